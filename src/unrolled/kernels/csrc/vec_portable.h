// A vector of any scalar in the compiler's own terms: float64 everywhere, and float32 where no better
// one is written. The baseline has no fused multiply-add, so here each one rounds twice.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace unrolled {
namespace UNROLLED_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kRegisters = 24;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kRegisters = 12;
#else
constexpr int kVectorBytes = 16, kRegisters = 12;
#endif

template <class T>
struct VecAny {
    using Scalar = T;
    static constexpr int lanes = kVectorBytes / static_cast<int>(sizeof(T));
    static constexpr int registers = kRegisters;
    typedef T Raw __attribute__((vector_size(kVectorBytes)));
    Raw v;

    static VecAny zero() { return {Raw{}}; }
    static VecAny all(T s) { return {Raw{} + s}; }
    static VecAny load(const T* p) {
        VecAny a;
        std::memcpy(&a.v, p, sizeof a.v);
        return a;
    }
    static VecAny load(const T* p, int n) {
        VecAny a = zero();
        std::memcpy(&a.v, p, static_cast<size_t>(n) * sizeof(T));
        return a;
    }
    void store(T* p) const { std::memcpy(p, &v, sizeof v); }
    void store(T* p, int n) const { std::memcpy(p, &v, static_cast<size_t>(n) * sizeof(T)); }

    // to[j · step + i] = from[i · ld + j] for i, j < lanes.
    static void transpose(const T* from, int64_t ld, T* to, int64_t step) {
        for (int i = 0; i < lanes; ++i)
            for (int j = 0; j < lanes; ++j) to[j * step + i] = from[i * ld + j];
    }

    template <class F>
    static VecAny each(F f) {
        VecAny out;
        for (int i = 0; i < lanes; ++i) out.v[i] = f(i);
        return out;
    }
};

template <class T>
inline VecAny<T> operator+(VecAny<T> a, VecAny<T> b) { return {a.v + b.v}; }
template <class T>
inline VecAny<T> operator-(VecAny<T> a, VecAny<T> b) { return {a.v - b.v}; }
template <class T>
inline VecAny<T> operator*(VecAny<T> a, VecAny<T> b) { return {a.v * b.v}; }
template <class T>
inline VecAny<T> fma(VecAny<T> a, VecAny<T> b, VecAny<T> c) { return {a.v * b.v + c.v}; }
template <class T>
inline VecAny<T> nfma(VecAny<T> a, VecAny<T> b, VecAny<T> c) { return {c.v - a.v * b.v}; }
template <class T>
inline VecAny<T> nfms(VecAny<T> a, VecAny<T> b, VecAny<T> c) { return {-(a.v * b.v) - c.v}; }
template <class T>
inline VecAny<T> abs(VecAny<T> a) {
    return VecAny<T>::each([&](int i) { return std::fabs(a.v[i]); });
}
// NaN in the second operand is what comes out.
template <class T>
inline VecAny<T> max(VecAny<T> limit, VecAny<T> a) {
    return VecAny<T>::each([&](int i) { return limit.v[i] > a.v[i] ? limit.v[i] : a.v[i]; });
}
template <class T>
inline VecAny<T> min(VecAny<T> limit, VecAny<T> a) {
    return VecAny<T>::each([&](int i) { return limit.v[i] < a.v[i] ? limit.v[i] : a.v[i]; });
}
template <class T>
inline VecAny<T> round(VecAny<T> a) {
    return VecAny<T>::each([&](int i) { return std::nearbyint(a.v[i]); });
}
// 2^n, n a whole number from -127 to 127; -127 gives zero; NaN gives any number.
inline VecAny<float> power_of_two(VecAny<float> n) {
    return VecAny<float>::each([&](int i) {
        const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n.v[i] == n.v[i] ? n.v[i] : 0) + 127) << 23;
        float power;
        std::memcpy(&power, &bits, sizeof power);
        return power;
    });
}
template <class T>
inline VecAny<T> reciprocal(VecAny<T> a) { return {T(1) / a.v}; }
template <class T>
inline VecAny<T> with_sign_of(VecAny<T> magnitude, VecAny<T> sign) {
    return VecAny<T>::each([&](int i) { return std::copysign(magnitude.v[i], sign.v[i]); });
}
template <class T>
inline VecAny<T> where_positive(VecAny<T> x, VecAny<T> a) {
    return VecAny<T>::each([&](int i) { return x.v[i] > 0 ? a.v[i] : T(0); });
}

}  // namespace UNROLLED_ISA
}  // namespace unrolled
