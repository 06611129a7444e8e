#include <algorithm>
#include <cmath>

#include "compare.h"
#include "engine_call.h"
#include "tests.h"

namespace driver {
namespace {

double largest(const std::vector<double>& values) {
    double most = 0;
    for (double value : values) most = std::max(most, std::isnan(value) ? 0 : std::abs(value));
    return most;
}

// Inputs far above 1 scale every error by as much.
template <class S>
double amplitude(const Problem<S>& problem) {
    double most = 1;
    for (S value : problem.in.x)  // NaN past a row's length
        if (std::abs(value) > most) most = static_cast<double>(std::abs(value));
    return most > 10 ? most : 1;
}

template <class S>
void past_lengths_is_zero(const char* name, const std::vector<S>& got, const naive::Input<S>& in, int64_t N) {
    if (got.empty()) return;
    for (int64_t b = 0; b < in.B; ++b)
        for (int64_t t = in.length(b); t < in.T; ++t)
            for (int64_t k = 0; k < N; ++k)
                CHECK(got[static_cast<size_t>((t * in.B + b) * N + k)] == 0,
                      std::string(name) + ": expected zero past a row's length");
}

template <class S>
void compare_outputs(const Problem<S>& problem, Type operand, const naive::Output<S>& got,
                     const naive::Output<double>& want) {
    static const char* const traces[] = {"traces[0]", "traces[1]", "traces[2]", "traces[3]", "traces[4]"};
    const double factor = amplitude(problem);
    const auto compare = [&](const char* name, const std::vector<S>& a, const std::vector<double>& b) {
        near(name, a, b, Kind::state, operand, factor * std::max(1.0, largest(b)));
    };
    compare("y", got.y, want.y);
    compare("h_n", got.h_n, want.h_n);
    compare("c_n", got.c_n, want.c_n);
    past_lengths_is_zero("y", got.y, problem.in, problem.in.R());
    for (int k = 0; k < 5; ++k) {
        if (got.traces[k].empty()) continue;
        compare(traces[k], got.traces[k], want.traces[k]);
        past_lengths_is_zero(traces[k], got.traces[k], problem.in, problem.in.H);
    }
}

template <class S>
void compare_gradients(const Problem<S>& problem, Type operand, const naive::Gradients<S>& got,
                       const naive::Gradients<double>& want) {
    const double factor = amplitude(problem);
    const double root = std::sqrt(1.0 + static_cast<double>(valid_steps(problem.in)));
    const auto input = [&](const char* name, const std::vector<S>& a, const std::vector<double>& b) {
        if (!a.empty()) near(name, a, b, Kind::input_gradient, operand, factor * std::max(1.0, largest(b)));
    };
    const auto weight = [&](const char* name, const std::vector<S>& a, const std::vector<double>& b) {
        if (!a.empty()) near(name, a, b, Kind::weight_gradient, operand, factor * (root + largest(b)));
    };
    input("dx", got.dx, want.dx);
    input("dh_0", got.dh_0, want.dh_0);
    input("dc_0", got.dc_0, want.dc_0);
    weight("dweight_ih", got.dweight_ih, want.dweight_ih);
    weight("dweight_hh", got.dweight_hh, want.dweight_hh);
    weight("dbias_ih", got.dbias_ih, want.dbias_ih);
    weight("dbias_hh", got.dbias_hh, want.dbias_hh);
    weight("dweight_hr", got.dweight_hr, want.dweight_hr);
    past_lengths_is_zero("dx", got.dx, problem.in, problem.in.I);
}

template <class S>
std::vector<uint8_t> above_zero(const std::vector<S>& y) {
    std::vector<uint8_t> open;
    for (S value : y) open.push_back(value > 0);
    return open;
}

template <class S>
void test(const Case& one, const std::vector<Isa>& isas) {
    const auto problem = make<S>(one);
    auto exact = convert<double>(problem);
    const auto want = naive::forward(exact.in);
    const Type operand = one.bf16 ? Type::bf16 : one.dtype;
    const bool relu = one.cell == Cell::rnn_relu;
    auto want_back = relu ? naive::Gradients<double>{} : naive::backward(exact.in, exact.adjoint);
    Random random(one.seed + 77);
    for (Isa isa : isas) {
        Setting setting;
        setting.isa = isa;
        setting.bf16 = one.bf16;
        setting.threads = random.pick({1, 2, 3});
        setting.traces = random.chance(0.5);
        setting.packed = random.chance(0.3);
        setting.symbols = random.chance(0.3);
        setting.rows_packed = random.chance(0.6);
        setting.layout = random.next();
        now_testing(one.line() + ", isa=" + name(isa) + " threads=" + std::to_string(setting.threads) +
                    (setting.traces ? " traces" : "") + (setting.packed ? " packed" : "") +
                    (setting.symbols ? " symbols" : "") + (setting.rows_packed ? " packed rows" : ""));
        const auto forwarded = forward(problem, setting);
        compare_outputs(problem, operand, forwarded.out, want);
        if (relu) {
            exact.adjoint.open = above_zero(forwarded.out.y);
            want_back = naive::backward(exact.in, exact.adjoint);
        }
        setting.threads = random.pick({1, 2, 3});
        const auto any = static_cast<unsigned>(random.below(want_all + 1));
        const unsigned wanted = random.chance(0.6) ? want_all : any;
        now_testing(std::string(under_test()) + ", backward threads=" + std::to_string(setting.threads) +
                    " wanted=" + std::to_string(wanted));
        compare_gradients(problem, operand, backward(problem, forwarded, setting, wanted), want_back);
    }
}

}  // namespace

void test_layer(const Case& one, const std::vector<Isa>& isas) {
    one.dtype == Type::f32 ? test<float>(one, isas) : test<double>(one, isas);
}

}  // namespace driver
