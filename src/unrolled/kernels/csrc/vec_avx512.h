// Sixteen floats: AVX-512. Every multiply-add is written; the compiler contracts nothing.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace unrolled {
namespace UNROLLED_ISA {

struct VecF {
    using Scalar = float;
    static constexpr int lanes = 16;
    static constexpr int registers = 24;  // accumulators of a tile; leaves 8 for operands
    __m512 v;

    static VecF zero() { return {_mm512_setzero_ps()}; }
    static VecF all(float s) { return {_mm512_set1_ps(s)}; }
    static VecF load(const float* p) { return {_mm512_loadu_ps(p)}; }
    static VecF load(const float* p, int n) {
        return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p)};
    }
    void store(float* p) const { _mm512_storeu_ps(p, v); }
    void store(float* p, int n) const {
        _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
    }

    // to[j · step + i] = from[i · ld + j] for i, j < lanes.
    static void transpose(const float* from, int64_t ld, float* to, int64_t step) {
        __m512 a[16], b[16];
        for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_ps(from + i * ld);
        for (int i = 0; i < 16; i += 2) {
            b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
            b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
        }
        for (int i = 0; i < 16; i += 4)  // a[i + c]: rows i .. i + 3 of columns c, c + 4, c + 8, c + 12
            for (int j = 0; j < 2; ++j) {
                a[i + 2 * j] = _mm512_shuffle_ps(b[i + j], b[i + j + 2], 0x44);
                a[i + 2 * j + 1] = _mm512_shuffle_ps(b[i + j], b[i + j + 2], 0xEE);
            }
        for (int c = 0; c < 4; ++c) {
            const __m512 low02 = _mm512_shuffle_f32x4(a[c], a[c + 4], 0x88);
            const __m512 low13 = _mm512_shuffle_f32x4(a[c], a[c + 4], 0xDD);
            const __m512 high02 = _mm512_shuffle_f32x4(a[c + 8], a[c + 12], 0x88);
            const __m512 high13 = _mm512_shuffle_f32x4(a[c + 8], a[c + 12], 0xDD);
            _mm512_storeu_ps(to + c * step, _mm512_shuffle_f32x4(low02, high02, 0x88));
            _mm512_storeu_ps(to + (c + 4) * step, _mm512_shuffle_f32x4(low13, high13, 0x88));
            _mm512_storeu_ps(to + (c + 8) * step, _mm512_shuffle_f32x4(low02, high02, 0xDD));
            _mm512_storeu_ps(to + (c + 12) * step, _mm512_shuffle_f32x4(low13, high13, 0xDD));
        }
    }
};

inline VecF operator+(VecF a, VecF b) { return {_mm512_add_ps(a.v, b.v)}; }
inline VecF operator-(VecF a, VecF b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline VecF operator*(VecF a, VecF b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline VecF fma(VecF a, VecF b, VecF c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a·b + c
inline VecF nfma(VecF a, VecF b, VecF c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a·b
inline VecF nfms(VecF a, VecF b, VecF c) { return {_mm512_fnmsub_ps(a.v, b.v, c.v)}; }  // -a·b - c
inline VecF abs(VecF a) { return {_mm512_abs_ps(a.v)}; }
// NaN in the second operand is what comes out.
inline VecF max(VecF limit, VecF a) { return {_mm512_max_ps(limit.v, a.v)}; }
inline VecF min(VecF limit, VecF a) { return {_mm512_min_ps(limit.v, a.v)}; }
inline VecF round(VecF a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// 2^n, n a whole number from -127 to 127; -127 gives zero, as subnormals are flushed.
inline VecF power_of_two(VecF n) { return {_mm512_scalef_ps(_mm512_set1_ps(1.0f), n.v)}; }
// 1 / a for a >= 1: an estimate and one Newton step. From 2^126 on, where 1 / a is subnormal: zero.
inline VecF reciprocal(VecF a) {
    VecF r{_mm512_rcp14_ps(a.v)};
    return fma(r, nfma(a, r, VecF::all(1.0f)), r);
}
inline VecF with_sign_of(VecF magnitude, VecF sign) {
    const __m512i bit = _mm512_set1_epi32(INT32_MIN);
    return {_mm512_castsi512_ps(_mm512_ternarylogic_epi32(bit, _mm512_castps_si512(sign.v),
                                                          _mm512_castps_si512(magnitude.v), 0xCA))};
}
inline VecF where_positive(VecF x, VecF a) {  // a where x > 0, else 0
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, _mm512_setzero_ps(), _CMP_GT_OQ), a.v)};
}

}  // namespace UNROLLED_ISA
}  // namespace unrolled
