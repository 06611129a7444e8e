#include <algorithm>
#include <cmath>
#include <future>
#include <limits>
#include <numeric>

#include "check.h"
#include "engine_call.h"
#include "tests.h"

namespace driver {
namespace {

template <class S>
using Vector = std::vector<S>;
using Rows = Vector<int64_t>;

// out[t, k] = of[first + t, rows[k]], for T steps; `fill` where `of` has no such step.
template <class V>
Vector<V> block(const Vector<V>& of, int64_t B, int64_t N, int64_t first, int64_t T, const Rows& rows,
                V fill = V()) {
    Vector<V> out(static_cast<size_t>(T) * rows.size() * static_cast<size_t>(N), fill);
    const int64_t steps = static_cast<int64_t>(of.size()) / std::max<int64_t>(1, B * N);
    auto to = out.begin();
    for (int64_t t = first; t < first + T; ++t)
        for (int64_t b : rows) {
            if (t < steps) std::copy_n(of.begin() + (t * B + b) * N, N, to);
            to += N;
        }
    return out;
}

// What is not given stays so.
template <class V>
Vector<V> rows_of(const Vector<V>& of, int64_t B, int64_t N, const Rows& rows) {
    return of.empty() ? of : block(of, B, N, 0, 1, rows);
}

// The same layer over some rows and some steps. Past the old end there is NaN, and a length if need be.
template <class S>
Problem<S> part(const Problem<S>& whole, int64_t first, int64_t T, const Rows& rows) {
    const naive::Input<S>& in = whole.in;
    Problem<S> made = whole;
    constexpr S nan = std::numeric_limits<S>::quiet_NaN();
    made.in.T = T, made.in.B = static_cast<int64_t>(rows.size());
    made.in.x = block(in.x, in.B, in.I, first, T, rows, nan);
    if (!in.resets.empty()) made.in.resets = block<uint8_t>(in.resets, in.B, 1, first, T, rows, 1);
    made.in.h_0 = rows_of(in.h_0, in.B, in.R(), rows);
    made.in.c_0 = rows_of(in.c_0, in.B, in.H, rows);
    made.in.lengths.clear();
    if (!in.lengths.empty() || first + T > in.T)
        for (int64_t b : rows) made.in.lengths.push_back(std::clamp<int64_t>(in.length(b) - first, 0, T));
    return made;
}

Rows all_rows(int64_t B) {
    Rows rows(static_cast<size_t>(B));
    std::iota(rows.begin(), rows.end(), 0);
    return rows;
}

// Whether `got` are the bits of these rows of `want`.
template <class S>
void same_rows(const std::string& law, const naive::Input<S>& in, const naive::Output<S>& got,
               const naive::Output<S>& want, const Rows& rows) {
    check(same_bits(got.y, block(want.y, in.B, in.R(), 0, in.T, rows)), law + ": y has other bits");
    check(same_bits(got.h_n, rows_of(want.h_n, in.B, in.R(), rows)), law + ": h_n has other bits");
    check(same_bits(got.c_n, rows_of(want.c_n, in.B, in.H, rows)), law + ": c_n has other bits");
}

template <class S>
void threads_and_requests(const Problem<S>& problem, Setting setting, const naive::Output<S>& want,
                          Random& random) {
    for (int threads : {1, 2, 3}) {
        setting.threads = threads, setting.layout = random.next();
        setting.keep = random.chance(0.5), setting.traces = random.chance(0.3);
        setting.packed = random.chance(0.5), setting.symbols = random.chance(0.3);
        setting.rows_packed = !setting.keep && random.chance(0.5);
        const auto got = forward(problem, setting).out;
        same_rows(std::to_string(threads) + (setting.packed ? " threads, packed" : " threads"), problem.in, got, want, all_rows(problem.in.B));
    }
}

template <class S>
void batch_composition(const Problem<S>& problem, Setting setting, const naive::Output<S>& want,
                       Random& random) {
    const int64_t B = problem.in.B;
    if (B == 0) return;
    setting.layout = random.next();
    const Rows alone = {random.below(B)};
    const auto of = [&](const Rows& rows) {
        return forward(part(problem, 0, problem.in.T, rows), setting).out;
    };
    same_rows("a row alone", problem.in, of(alone), want, alone);
    auto some = all_rows(B);
    for (size_t n = some.size() - 1; n > 0; --n)
        std::swap(some[n], some[static_cast<size_t>(random.below(static_cast<int64_t>(n) + 1))]);
    some.resize(static_cast<size_t>(1 + random.below(B)));
    same_rows("some rows in another order", problem.in, of(some), want, some);
}

// A state that is zeroed between the two halves of a reversed row: the reset at the cut itself. What is
// left of step 0 is nothing to be cut off.
template <class S>
void zero_where_cut(const naive::Input<S>& in, int64_t cut, int64_t width, Vector<S>& state) {
    if (!in.reverse || cut == 0 || in.resets.empty() || state.empty()) return;
    for (int64_t b = 0; b < in.B; ++b)
        if (cut < in.length(b) && in.resets[static_cast<size_t>(cut * in.B + b)])
            std::fill_n(state.begin() + b * width, width, S(0));
}

template <class S>
void cut_in_time(const Problem<S>& problem, Setting setting, const naive::Output<S>& want, Random& random) {
    const naive::Input<S>& in = problem.in;
    const auto rows = all_rows(in.B);
    const int64_t cut = random.below(in.T + 1);
    auto early = part(problem, 0, cut, rows), late = part(problem, cut, in.T - cut, rows);
    Problem<S>&first = in.reverse ? late : early, &second = in.reverse ? early : late;
    setting.layout = random.next();
    auto one = forward(first, setting).out;
    second.in.h_0 = one.h_n, second.in.c_0 = one.c_n;
    zero_where_cut(in, cut, in.R(), second.in.h_0);
    zero_where_cut(in, cut, in.H, second.in.c_0);
    auto two = forward(second, setting).out;
    naive::Output<S> whole;
    whole.y = in.reverse ? two.y : one.y;
    const Vector<S>& rest = in.reverse ? one.y : two.y;
    whole.y.insert(whole.y.end(), rest.begin(), rest.end());
    whole.h_n = two.h_n, whole.c_n = two.c_n;
    same_rows("cut before step " + std::to_string(cut), in, whole, want, rows);
}

template <class S>
void padding(const Problem<S>& problem, Setting setting, const naive::Output<S>& want, Random& random) {
    const naive::Input<S>& in = problem.in;
    setting.layout = random.next();
    const auto rows = all_rows(in.B);
    auto got = forward(part(problem, 0, in.T + random.pick<int64_t>({1, 9}), rows), setting).out;
    got.y.resize(want.y.size());
    same_rows("padding", in, got, want, rows);
}

// From a reset on, a row is one that starts there with a state of zero.
template <class S>
void reset_is_a_fresh_start(const Problem<S>& problem, Setting setting, const naive::Output<S>& want,
                            Random& random) {
    const naive::Input<S>& in = problem.in;
    if (in.resets.empty()) return;
    const int64_t b = random.below(in.B), t = random.below(in.T);
    if (t >= in.length(b) || !in.resets[static_cast<size_t>(t * in.B + b)]) return;
    auto fresh = in.reverse ? part(problem, 0, t, {b}) : part(problem, t, in.T - t, {b});
    for (auto* state : {&fresh.in.h_0, &fresh.in.c_0}) std::fill(state->begin(), state->end(), S(0));
    setting.layout = random.next();
    const auto got = forward(fresh, setting).out;
    const auto rest = block(want.y, in.B, in.R(), in.reverse ? 0 : t, in.reverse ? t : in.T - t, {b});
    check(same_bits(got.y, rest), "a fresh start at a reset: y has other bits");
    if (in.reverse && t == 0) return;  // a reset there is never met
    const auto h_n = rows_of(want.h_n, in.B, in.R(), {b}), c_n = rows_of(want.c_n, in.B, in.H, {b});
    check(same_bits(got.h_n, h_n), "a fresh start at a reset: h_n has other bits");
    check(same_bits(got.c_n, c_n), "a fresh start at a reset: c_n has other bits");
}

// The same rows back to front, in the other direction.
template <class S>
void mirrored(const Problem<S>& problem, Setting setting, const naive::Output<S>& want, Random& random) {
    const naive::Input<S>& in = problem.in;
    auto other = problem;
    other.in.reverse = !in.reverse;
    auto y = want.y;
    for (int64_t b = 0; b < in.B; ++b)
        for (int64_t t = 0, length = in.length(b); t < length; ++t) {
            const auto at = t * in.B + b, to = (length - 1 - t) * in.B + b;
            std::copy_n(in.x.begin() + at * in.I, in.I, other.in.x.begin() + to * in.I);
            std::copy_n(want.y.begin() + at * in.R(), in.R(), y.begin() + to * in.R());
            // The edge before step t is the one after its mirror image; before step 0 only one way meets it.
            if (!in.resets.empty() && t > 0)
                other.in.resets[static_cast<size_t>(to + in.B)] = in.resets[static_cast<size_t>(at)];
        }
    for (int64_t b = 0; !in.resets.empty() && b < in.B && in.T > 0; ++b) {
        if (!in.reverse && in.length(b) > 0 && in.resets[static_cast<size_t>(b)]) return;
        other.in.resets[static_cast<size_t>(b)] = 0;
    }
    setting.layout = random.next();
    const auto got = forward(other, setting).out;
    check(same_bits(got.y, y), "rows back to front: y has other bits");
    check(same_bits(got.h_n, want.h_n), "rows back to front: h_n has other bits");
    check(same_bits(got.c_n, want.c_n), "rows back to front: c_n has other bits");
}

// A reset forgets all, even a NaN; and a NaN in one row is no other row's business.
template <class S>
void nan_stays_in(const Problem<S>& problem, Setting setting, const naive::Output<S>& want, Random& random) {
    const naive::Input<S>& in = problem.in;
    if (in.T * in.B == 0) return;
    const int64_t ill = random.below(in.B);
    if (in.length(ill) == 0) return;
    const int64_t at = random.below(in.length(ill));
    auto poisoned = problem;
    poisoned.in.x[static_cast<size_t>((at * in.B + ill) * in.I)] = std::numeric_limits<S>::quiet_NaN();
    setting.layout = random.next();
    const auto got = forward(poisoned, setting).out;
    const auto is_reset = [&](int64_t t) {
        return !in.resets.empty() && in.resets[static_cast<size_t>(t * in.B + ill)] != 0;
    };
    const int64_t step = in.reverse ? -1 : 1;
    int64_t end = at + step;  // the first step after `at`, in the row's order, that the NaN does not reach
    while (end >= 0 && end < in.length(ill) && !is_reset(in.reverse ? end + 1 : end)) end += step;
    for (int64_t t = 0; t < in.T; ++t)
        for (int64_t b = 0; b < in.B; ++b) {
            const auto from = (t * in.B + b) * in.R();
            const Vector<S> now(got.y.begin() + from, got.y.begin() + from + in.R());
            const Vector<S> then(want.y.begin() + from, want.y.begin() + from + in.R());
            const bool reached = b == ill && (in.reverse ? t <= at && t > end : t >= at && t < end);
            // Every gate of every unit sees the NaN.
            CHECK(reached ? std::all_of(now.begin(), now.end(), [](S v) { return std::isnan(v); })
                          : same_bits(now, then),
                  "NaN in x at t=" + std::to_string(at) + " b=" + std::to_string(ill) + ": y at t=" +
                      std::to_string(t) + " b=" + std::to_string(b) + (reached ? " is not NaN" : " changed"));
        }
}

template <class S>
void same_gradients(const std::string& law, const naive::Gradients<S>& got, const naive::Gradients<S>& want) {
    check(same_bits(got.dx, want.dx), law + ": dx has other bits");
    check(same_bits(got.dh_0, want.dh_0), law + ": dh_0 has other bits");
    check(same_bits(got.dc_0, want.dc_0), law + ": dc_0 has other bits");
    check(same_bits(got.dweight_ih, want.dweight_ih), law + ": dweight_ih has other bits");
    check(same_bits(got.dweight_hh, want.dweight_hh), law + ": dweight_hh has other bits");
    check(same_bits(got.dbias_ih, want.dbias_ih), law + ": dbias_ih has other bits");
    check(same_bits(got.dbias_hh, want.dbias_hh), law + ": dbias_hh has other bits");
    check(same_bits(got.dweight_hr, want.dweight_hr), law + ": dweight_hr has other bits");
}

template <class S>
void gradients_repeat(const Problem<S>& problem, const Forwarded<S>& forwarded, Setting setting,
                      Random& random) {
    const auto want = backward(problem, forwarded, setting);
    setting.layout = random.next();
    same_gradients("gradients again", backward(problem, forwarded, setting), want);
    for (int threads : {1, 2, 3}) {
        setting.threads = threads;
        const auto got = backward(problem, forwarded, setting);
        same_gradients("gradients with " + std::to_string(threads) + " threads", got, want);
    }
}

// One of them has the pool and the engine's kept memory, the others do without.
template <class S>
void callers_at_once(const Problem<S>& problem, const Forwarded<S>& forwarded, Setting setting) {
    const auto call = [&] {
        for (int again = 0; again < 3; ++again) {
            const auto got = forward(problem, setting);
            same_rows("callers at once", problem.in, got.out, forwarded.out, all_rows(problem.in.B));
            (void)backward(problem, got, setting);
        }
        return backward(problem, forwarded, setting);
    };
    setting.threads = 2;
    const auto want = backward(problem, forwarded, setting);
    std::future<naive::Gradients<S>> callers[3];
    for (auto& caller : callers) caller = std::async(std::launch::async, call);
    for (auto& caller : callers) same_gradients("callers at once", caller.get(), want);
}

template <class S>
void test(const Case& one, const std::vector<Isa>& isas) {
    const auto problem = make<S>(one);
    Random random(one.seed + 99);
    for (Isa isa : isas) {
        now_testing(one.line() + ", isa=" + name(isa) + ", bits");
        Setting setting;
        setting.isa = isa;
        setting.bf16 = one.bf16;
        setting.threads = random.pick({1, 2, 3});
        setting.layout = random.next();
        setting.symbols = random.chance(0.2), setting.rows_packed = random.chance(0.4);
        const auto forwarded = forward(problem, setting);
        const auto& want = forwarded.out;
        threads_and_requests(problem, setting, want, random);
        batch_composition(problem, setting, want, random);
        cut_in_time(problem, setting, want, random);
        padding(problem, setting, want, random);
        reset_is_a_fresh_start(problem, setting, want, random);
        mirrored(problem, setting, want, random);
        nan_stays_in(problem, setting, want, random);
        gradients_repeat(problem, forwarded, setting, random);
        if (random.chance(0.3)) callers_at_once(problem, forwarded, setting);
    }
}

}  // namespace

void test_bits(const Case& one, const std::vector<Isa>& isas) {
    one.dtype == Type::f32 ? test<float>(one, isas) : test<double>(one, isas);
}

}  // namespace driver
