#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>

#include "check.h"
#include "dispatch.h"
#include "random.h"
#include "tensor.h"
#include "tests.h"

namespace driver {
namespace {

const char* const kNames[] = {"exp(-|x|)", "sigmoid", "tanh"};

// The most that is accepted, in units of the last place of the right result, over every float; float64
// calls the C library and adds a rounding or two. Subnormal numbers count as zero in the engine, in between
// too, so what is off by no more than the least normal one is not off.
constexpr double kUlps[2][3] = {{1.5, 3, 3.5}, {1, 3, 3}};

template <class S>
struct Wider {
    using type = double;
};
template <>
struct Wider<double> {
    using type = long double;
};

template <class S>
typename Wider<S>::type exact(int which, S x) {
    using W = typename Wider<S>::type;
    const W w = x;
    if (which == 0) return std::exp(-std::abs(w));
    return which == 1 ? W(1) / (W(1) + std::exp(-w)) : std::tanh(w);
}

template <class S>
double ulps(S got, typename Wider<S>::type want) {
    using W = typename Wider<S>::type;
    const W error = std::abs(W(got) - want);
    if (error <= W(std::numeric_limits<S>::min())) return 0;
    const W unit = std::ldexp(W(1), std::ilogb(want) - std::numeric_limits<S>::digits + 1);
    return static_cast<double>(error / unit);
}

// One function of one instruction set, and the largest error found so far.
template <class S>
struct Function {
    static constexpr Type dtype = sizeof(S) == 4 ? Type::f32 : Type::f64;
    Isa isa;
    int which;
    double worst = 0, worst_absolute = 0;
    S worst_at = 0;

    std::string label() const {
        return std::string(kNames[which]) + ' ' + name(dtype) + ' ' + name(isa);
    }

    std::vector<S> operator()(const std::vector<S>& x) const {
        std::vector<S> y(x.size());
        const auto n = static_cast<int64_t>(x.size());
        unrolled::kernels_of(isa)->activate(dtype, which, x.data(), y.data(), n);
        return y;
    }

    void measure(const std::vector<S>& x) {
        const auto y = (*this)(x);
        for (size_t n = 0; n < x.size(); ++n) {
            CHECK(y[n] >= (which == 2 ? -1 : 0) && y[n] <= 1, told(x[n], y[n], "within its range"));
            const auto want = exact(which, x[n]);
            const double error = ulps(y[n], want);
            if (error > worst) worst = error, worst_at = x[n];
            worst_absolute = std::max(worst_absolute, static_cast<double>(std::abs(y[n] - want)));
            CHECK(error <= kUlps[sizeof(S) / 4 - 1][which], told(x[n], y[n], "nearer"));
        }
    }

    std::string told(S x, S y, const char* expected) const {
        std::ostringstream out;
        out.precision(17);
        out << "at x = " << x << ": expected " << static_cast<double>(exact(which, x)) << ", " << expected
            << ", got " << y;
        return out.str();
    }
};

template <class S>
void special_values(const Function<S>& f) {
    constexpr S inf = std::numeric_limits<S>::infinity(), nan = std::numeric_limits<S>::quiet_NaN();
    constexpr S most = std::numeric_limits<S>::max();
    const auto is = [&](S x, S want) {
        for (S y : f(std::vector<S>(17, x))) CHECK(y == want, f.told(x, y, "exactly"));
    };
    const S low = f.which == 2 ? S(-1) : S(0), high = f.which == 0 ? S(0) : S(1);
    is(inf, high), is(most, high);
    is(-inf, low), is(-most, low);
    is(S(0), f.which == 0 ? S(1) : f.which == 1 ? S(0.5) : S(0));
    for (S odd : {nan, -nan})
        for (S y : f(std::vector<S>(17, odd))) check(std::isnan(y), "NaN did not come out");
}

// No lane depends on its neighbours or on how many there are; nothing is read or written past the end.
template <class S>
void any_count(const Function<S>& f) {
    Random random(5);
    std::vector<S> x;
    for (int n = 0; n < 70; ++n) x.push_back(static_cast<S>(random.between(-12, 12)));
    x[3] = std::numeric_limits<S>::quiet_NaN();
    const auto want = f(x);
    for (int64_t n = 0; n <= 70; ++n) {
        const std::vector<S> some(x.end() - n, x.end());
        const auto in = Tensor<S>::dense_input(some, 1, 1, n, random);
        auto out = Tensor<S>::contiguous(1, 1, n, random);
        unrolled::kernels_of(f.isa)->activate(f.dtype, f.which, in.data(), out.data(), n);
        check(same_bits(out.take(f.label().c_str()), std::vector<S>(want.end() - n, want.end())),
              "other bits at another place");
    }
}

template <class S>
void tanh_is_odd(const Function<S>& f, const std::vector<S>& x) {
    std::vector<S> minus(x);
    for (S& value : minus) value = -value;
    const auto y = f(x), z = f(minus);
    for (size_t n = 0; n < x.size(); ++n)
        CHECK(y[n] == -z[n] && std::signbit(y[n]) != std::signbit(z[n]), f.told(x[n], y[n], "odd"));
}

// Once it has reached the end of its range it stays there.
template <class S>
void saturates_for_good(const Function<S>& f) {
    std::vector<S> x;
    for (S at = 0; at < S(1000); at += S(0.01)) x.push_back(f.which == 0 ? at : -at);
    const auto y = f(x);
    const S end = f.which == 2 ? S(-1) : S(0);
    for (size_t n = 1; n < y.size(); ++n)
        CHECK(y[n - 1] != end || y[n] == end, f.told(x[n], y[n], "saturated"));
    check(y.back() == end, "never saturates");
    if (f.which == 0) return;
    for (S& value : x) value = -value;
    const auto z = f(x);
    for (size_t n = 1; n < z.size(); ++n)
        CHECK(z[n - 1] != 1 || z[n] == 1, f.told(x[n], z[n], "saturated"));
    check(z.back() == 1, "never saturates");
}

float from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Every exponent of either sign, with many mantissas; and densely where the functions bend.
template <class S>
std::vector<S> samples() {
    Random random(11);
    std::vector<S> x = {S(0), S(-0.0)};
    constexpr int low = std::numeric_limits<S>::min_exponent - 24;
    constexpr int high = std::numeric_limits<S>::max_exponent;
    constexpr int each = sizeof(S) == 4 ? 400 : 60;
    for (int exponent = low; exponent < high; ++exponent)
        for (int n = 0; n < each; ++n) {
            const S value = static_cast<S>(std::ldexp(random.between(1, 2), exponent));
            if (std::abs(value) <= std::numeric_limits<S>::max()) x.push_back(n % 2 ? value : -value);
        }
    for (int n = 0; n < 400000; ++n) x.push_back(static_cast<S>(random.between(-20, 20)));
    for (int n = 0; n < 40000; ++n) x.push_back(static_cast<S>(random.between(-1000, 1000)));
    return x;
}

void every_float(Function<float>& f) {
    std::vector<float> x;
    for (uint64_t high = 0; high < 1u << 16; ++high) {
        x.clear();
        for (uint64_t low = 0; low < 1u << 16; ++low) {
            const float value = from_bits(static_cast<uint32_t>(high << 16 | low));
            if (!std::isnan(value)) x.push_back(value);
        }
        f.measure(x);
    }
}

template <class S>
std::string test(Isa isa, bool sweep) {
    std::ostringstream summary;
    const auto x = samples<S>();
    for (int which = 0; which < 3; ++which) {
        Function<S> f{isa, which};
        now_testing(f.label());
        special_values(f);
        any_count(f);
        f.measure(x);
        saturates_for_good(f);
        if (which == 2) tanh_is_odd(f, x);
        if constexpr (sizeof(S) == 4) {
            if (sweep) every_float(f);
        }
        summary.precision(3);
        summary << "  " << f.label() << ": at most " << f.worst << " ulp";
        summary.precision(9);
        summary << " (x = " << f.worst_at;
        summary.precision(3);
        summary << "), " << f.worst_absolute << " absolute\n";
    }
    return summary.str();
}

}  // namespace

std::string test_activations(const std::vector<Isa>& isas, bool sweep) {
    std::string summary;
    for (Isa isa : isas) {
        summary += test<float>(isa, sweep);
        summary += test<double>(isa, sweep);
    }
    return summary;
}

}  // namespace driver
