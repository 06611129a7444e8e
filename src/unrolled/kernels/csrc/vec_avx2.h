// Eight floats: AVX2 with FMA. Every multiply-add is written; the compiler contracts nothing.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace unrolled {
namespace UNROLLED_ISA {

struct VecF {
    using Scalar = float;
    static constexpr int lanes = 8;
    static constexpr int registers = 12;  // accumulators of a tile; leaves 4 for operands
    __m256 v;

    static VecF zero() { return {_mm256_setzero_ps()}; }
    static VecF all(float s) { return {_mm256_set1_ps(s)}; }
    static VecF load(const float* p) { return {_mm256_loadu_ps(p)}; }
    static VecF load(const float* p, int n) { return {_mm256_maskload_ps(p, first(n))}; }
    void store(float* p) const { _mm256_storeu_ps(p, v); }
    void store(float* p, int n) const { _mm256_maskstore_ps(p, first(n), v); }

    // to[j · step + i] = from[i · ld + j] for i, j < lanes.
    static void transpose(const float* from, int64_t ld, float* to, int64_t step) {
        __m256 a[8], b[8];
        for (int i = 0; i < 8; ++i) a[i] = _mm256_loadu_ps(from + i * ld);
        for (int i = 0; i < 8; i += 2) {
            b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
            b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
        }
        for (int i = 0; i < 8; i += 4)
            for (int j = 0; j < 2; ++j) {
                a[i + 2 * j] = _mm256_shuffle_ps(b[i + j], b[i + j + 2], 0x44);
                a[i + 2 * j + 1] = _mm256_shuffle_ps(b[i + j], b[i + j + 2], 0xEE);
            }
        for (int j = 0; j < 4; ++j) {
            _mm256_storeu_ps(to + j * step, _mm256_permute2f128_ps(a[j], a[j + 4], 0x20));
            _mm256_storeu_ps(to + (j + 4) * step, _mm256_permute2f128_ps(a[j], a[j + 4], 0x31));
        }
    }

    static __m256i first(int n) {
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
};

inline VecF operator+(VecF a, VecF b) { return {_mm256_add_ps(a.v, b.v)}; }
inline VecF operator-(VecF a, VecF b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline VecF operator*(VecF a, VecF b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline VecF fma(VecF a, VecF b, VecF c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }    // a·b + c
inline VecF nfma(VecF a, VecF b, VecF c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a·b
inline VecF nfms(VecF a, VecF b, VecF c) { return {_mm256_fnmsub_ps(a.v, b.v, c.v)}; }  // -a·b - c
inline VecF abs(VecF a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
// NaN in the second operand is what comes out.
inline VecF max(VecF limit, VecF a) { return {_mm256_max_ps(limit.v, a.v)}; }
inline VecF min(VecF limit, VecF a) { return {_mm256_min_ps(limit.v, a.v)}; }
inline VecF round(VecF a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// 2^n, n a whole number from -127 to 127; -127 gives zero; NaN gives any number.
inline VecF power_of_two(VecF n) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(biased, 23))};
}
inline VecF reciprocal(VecF a) { return {_mm256_div_ps(_mm256_set1_ps(1.0f), a.v)}; }
inline VecF with_sign_of(VecF magnitude, VecF sign) {
    const __m256 bit = _mm256_set1_ps(-0.0f);
    return {_mm256_or_ps(_mm256_andnot_ps(bit, magnitude.v), _mm256_and_ps(bit, sign.v))};
}
inline VecF where_positive(VecF x, VecF a) {  // a where x > 0, else 0
    return {_mm256_and_ps(_mm256_cmp_ps(x.v, _mm256_setzero_ps(), _CMP_GT_OQ), a.v)};
}

}  // namespace UNROLLED_ISA
}  // namespace unrolled
