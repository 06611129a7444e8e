// exp, sigmoid and tanh: the one place where they are computed. Maximum errors, measured over every
// float by tests/native, are in docs/decisions/0008-native-engine.md.
#pragma once

#include <cmath>

#include "vec_portable.h"

namespace unrolled {
namespace UNROLLED_ISA {

// exp(-a) = scale · (1 + part) for a in [-88, 88], scale a power of two and |part| < 0.42, so that
// exp(-a) and exp(-a) - 1 both come out without cancellation.
template <class V>
struct Exp {
    V scale, part;
};

template <class V>
inline Exp<V> exp_of_minus(V a) {
    const V n = round(a * V::all(-1.4426950216293335f));
    // ln 2 in two parts, the first with few bits so that n times it is exact.
    const V r = nfma(n, V::all(-0.00021219444170128554f), nfms(n, V::all(0.693359375f), a));
    // (exp(r) - 1 - r) / r², fitted on |r| <= ln 2 / 2: relative error of exp(r) - 1 below 1.9e-8.
    V q = V::all(0.0013946472899988294f);
    q = fma(q, r, V::all(0.008366597816348076f));
    q = fma(q, r, V::all(0.04166628047823906f));
    q = fma(q, r, V::all(0.1666654348373413f));
    q = fma(q, r, V::all(0.5f));
    return {power_of_two(n), fma(r * r, q, r)};
}

// exp(-a) for any a: 2^127 and more at the far end, zero at the other, where it is subnormal.
template <class V>
inline V exp_minus(V a) {
    const Exp<V> e = exp_of_minus(min(V::all(88.0f), max(V::all(-88.0f), a)));
    return fma(e.scale, e.part, e.scale);
}

template <class V>
inline V sigmoid(V x) {
    return reciprocal(V::all(1.0f) + exp_minus(x));
}

template <class V>
inline V tanh(V x) {
    // By |x|, so that the quotient is of numbers in [-1, 0] and [1, 2]: it stays within [-1, 1].
    const V a = abs(x);
    const Exp<V> e = exp_of_minus(min(V::all(88.0f), a + a));
    const V minus = fma(e.scale, e.part, e.scale - V::all(1.0f));  // exp(-2|x|) - 1
    return with_sign_of(minus * reciprocal(V::all(2.0f) + minus), x);
}

template <>
inline VecAny<double> exp_minus(VecAny<double> a) {
    return VecAny<double>::each([&](int i) { return std::exp(-a.v[i]); });
}
template <>
inline VecAny<double> sigmoid(VecAny<double> x) {
    return VecAny<double>::each([&](int i) {
        const double e = std::exp(-std::fabs(x.v[i]));
        return (std::signbit(x.v[i]) ? e : 1.0) / (1.0 + e);
    });
}
template <>
inline VecAny<double> tanh(VecAny<double> x) {
    return VecAny<double>::each([&](int i) { return std::tanh(x.v[i]); });
}

}  // namespace UNROLLED_ISA
}  // namespace unrolled
