#include <cmath>
#include <functional>
#include <sstream>

#include "check.h"
#include "random.h"
#include "tests.h"

namespace driver {
namespace {

Case tiny(uint64_t seed) {
    Case one = draw(seed);
    Random random(seed + 1);
    one.dtype = Type::f64;
    one.T = random.below(5), one.B = 1 + random.below(3);
    one.I = 1 + random.below(3), one.H = 1 + random.below(3);
    if (one.reset_density == 1.0) one.reset_density = 0.5;
    one.spiky = false;
    return one;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (size_t n = 0; n < a.size() && n < b.size(); ++n)
        if (!std::isnan(a[n])) sum += a[n] * b[n];  // NaN: past the row's length
    return sum;
}

double loss(const naive::Input<double>& in, const naive::Adjoint<double>& adjoint) {
    const auto out = naive::forward(in);
    return dot(adjoint.dy, out.y) + dot(adjoint.dh_n, out.h_n) + dot(adjoint.dc_n, out.c_n);
}

// Central differences around each value of in.*member.
void differences(const char* name, naive::Input<double> in, const naive::Adjoint<double>& adjoint,
                 std::vector<double> naive::Input<double>::* member, const std::vector<double>& gradient) {
    constexpr double step = 1e-6;
    std::vector<double>& values = in.*member;
    for (size_t n = 0; n < values.size(); ++n) {
        const double value = values[n];
        if (std::isnan(value)) {
            check(gradient[n] == 0, std::string("naive ") + name + ": not zero past a row's length");
            continue;
        }
        values[n] = value + step;
        const double above = loss(in, adjoint);
        values[n] = value - step;
        const double slope = (above - loss(in, adjoint)) / (2 * step);
        values[n] = value;
        if (std::abs(slope - gradient[n]) <= 1e-7 * (1 + std::abs(slope))) continue;
        std::ostringstream message;
        message << "naive " << name << "[" << n << "]: finite differences say " << slope << ", backward "
                << gradient[n];
        throw Failure(message.str());
    }
}

// Whether a rectifier stands so near 0 that a step of a difference may cross it.
bool on_the_edge(const naive::Input<double>& in) {
    if (in.cell != Cell::rnn_relu) return false;
    const auto out = naive::forward(in);
    for (size_t n = 0; n < out.y.size(); ++n)
        if (std::abs(out.traces[0][n]) < 1e-4 && out.traces[0][n] != 0) return true;
    return false;
}

}  // namespace

void test_naive(uint64_t seed) {
    const Case one = tiny(seed);
    now_testing(one.line() + " (made tiny, naive)");
    const auto problem = make<double>(one);
    if (on_the_edge(problem.in)) return;
    using In = naive::Input<double>;
    using Values = std::vector<double>;
    const auto got = naive::backward(problem.in, problem.adjoint);
    const auto against = [&](const char* name, Values In::* member, const Values& gradient) {
        differences(name, problem.in, problem.adjoint, member, gradient);
    };
    against("dx", &In::x, got.dx);
    against("dh_0", &In::h_0, got.dh_0);
    against("dc_0", &In::c_0, got.dc_0);
    against("dweight_ih", &In::weight_ih, got.dweight_ih);
    against("dweight_hh", &In::weight_hh, got.dweight_hh);
    against("dbias_ih", &In::bias_ih, got.dbias_ih);
    against("dbias_hh", &In::bias_hh, got.dbias_hh);
}

}  // namespace driver
