// How numbers are multiplied: words, each of one float or double, two bfloat16 or four int8, and vectors of such
// words. `dot` adds the products of a word's numbers to one accumulator per lane.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "vec_portable.h"

#if defined(__AVX512F__)
#include "vec_avx512.h"
#elif defined(__AVX2__)
#include "vec_avx2.h"
#endif

namespace unrolled {
namespace UNROLLED_ISA {

inline uint32_t bf16_of(float value) {  // to the nearest, ties to even; a NaN stays one
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

// A vector of 32-bit words, as many as Float has lanes.
#if defined(__AVX512F__)
struct Words {  // of 32-bit lanes: as __m512i, of 64-bit ones, each sum would be copied twice per product
    typedef int32_t Raw __attribute__((vector_size(64)));
    Raw v;
    static Words all(uint32_t word) { return {Raw{} + static_cast<int32_t>(word)}; }
    static Words load(const void* p) { return {reinterpret_cast<Raw>(_mm512_loadu_si512(p))}; }
    void store(void* p) const { _mm512_storeu_si512(p, bits()); }
    __m512i bits() const { return reinterpret_cast<__m512i>(v); }
};
using Float = VecF;
inline Words words_of(__m512i bits) { return {reinterpret_cast<Words::Raw>(bits)}; }
// As many 16-bit numbers as there are words, each in the lower half of a word of its own.
inline Words load_halves(const void* p) {
    return words_of(_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))));
}
inline Words upper(Words a) { return words_of(_mm512_slli_epi32(a.bits(), 16)); }
inline Words both(Words a, Words b) { return words_of(_mm512_or_si512(a.bits(), b.bits())); }
inline Float as_float(Words a) { return {_mm512_castsi512_ps(a.bits())}; }
inline Float to_float(Words a) { return {_mm512_cvtepi32_ps(a.bits())}; }
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
inline void store_bf16(Float v, void* p) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v.v)));
}
inline Words round_bf16(Float v) {
    return words_of(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v.v))));
}
inline Float dot_bf16(Words a, Words b, Float sum) {
    return {_mm512_dpbf16_ps(sum.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(b.v))};
}
constexpr bool kUnsigned = true;  // the instruction multiplies unsigned by signed bytes
inline Words dot_int8(Words a, Words b, Words sum) {
    return {reinterpret_cast<Words::Raw>(_mm512_dpbusd_epi32(sum.bits(), a.bits(), b.bits()))};
}
#else
// To the nearest, ties to even; a NaN stays one. In the lower half of each word.
inline Words round_bf16(Float v) {
    const __m512i bits = _mm512_castps_si512(v.v), one = _mm512_set1_epi32(1);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
    const __m512i near = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 none = _mm512_cmp_ps_mask(v.v, v.v, _CMP_UNORD_Q);
    return words_of(_mm512_srli_epi32(
        _mm512_mask_or_epi32(near, none, bits, _mm512_set1_epi32(0x400000)), 16));
}
inline void store_bf16(Float v, void* p) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(round_bf16(v).bits()));
}
inline Float low_half(Words a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(a.bits(), 16))}; }
inline Float high_half(Words a) {
    return {_mm512_castsi512_ps(_mm512_and_si512(a.bits(), _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}
constexpr bool kUnsigned = false;
inline Words dot_int8(Words a, Words b, Words sum) {  // of 16-bit numbers: no product saturates
    const __m512i even = _mm512_madd_epi16(_mm512_srai_epi16(_mm512_slli_epi16(a.bits(), 8), 8),
                                           _mm512_srai_epi16(_mm512_slli_epi16(b.bits(), 8), 8));
    const __m512i odd = _mm512_madd_epi16(_mm512_srai_epi16(a.bits(), 8), _mm512_srai_epi16(b.bits(), 8));
    return {sum.v + reinterpret_cast<Words::Raw>(_mm512_add_epi32(even, odd))};
}
#endif
#elif defined(__AVX2__)
struct Words {
    __m256i v;
    static Words all(uint32_t word) { return {_mm256_set1_epi32(static_cast<int>(word))}; }
    static Words load(const void* p) { return {_mm256_loadu_si256(static_cast<const __m256i*>(p))}; }
    void store(void* p) const { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
};
using Float = VecF;
// As many 16-bit numbers as there are words, each in the lower half of a word of its own.
inline Words load_halves(const void* p) {
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
inline Words upper(Words a) { return {_mm256_slli_epi32(a.v, 16)}; }
inline Words both(Words a, Words b) { return {_mm256_or_si256(a.v, b.v)}; }
inline Float as_float(Words a) { return {_mm256_castsi256_ps(a.v)}; }
// To the nearest, ties to even; a NaN stays one. In the lower half of each word.
inline Words round_bf16(Float v) {
    const __m256i bits = _mm256_castps_si256(v.v), one = _mm256_set1_epi32(1);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    const __m256i near = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i none = _mm256_castps_si256(_mm256_cmp_ps(v.v, v.v, _CMP_UNORD_Q));
    return {_mm256_srli_epi32(_mm256_blendv_epi8(near, quiet, none), 16)};
}
inline void store_bf16(Float v, void* p) {
    const __m256i halves = round_bf16(v).v;
    const __m128i low = _mm256_castsi256_si128(halves), high = _mm256_extracti128_si256(halves, 1);
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm_packus_epi32(low, high));
}
inline Float to_float(Words a) { return {_mm256_cvtepi32_ps(a.v)}; }
inline Float low_half(Words a) { return {_mm256_castsi256_ps(_mm256_slli_epi32(a.v, 16))}; }
inline Float high_half(Words a) {
    return {_mm256_castsi256_ps(_mm256_and_si256(a.v, _mm256_set1_epi32(static_cast<int>(0xffff0000u))))};
}
constexpr bool kUnsigned = false;
inline Words dot_int8(Words a, Words b, Words sum) {  // of 16-bit numbers: no product saturates
    const __m256i even = _mm256_madd_epi16(_mm256_srai_epi16(_mm256_slli_epi16(a.v, 8), 8),
                                           _mm256_srai_epi16(_mm256_slli_epi16(b.v, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srai_epi16(a.v, 8), _mm256_srai_epi16(b.v, 8));
    return {_mm256_add_epi32(sum.v, _mm256_add_epi32(even, odd))};
}
#else
using Float = VecAny<float>;
struct Words {
    typedef int32_t Raw __attribute__((vector_size(kVectorBytes)));
    Raw v;
    static Words all(uint32_t word) { return {Raw{} + static_cast<int32_t>(word)}; }
    static Words load(const void* p) {
        Words a;
        std::memcpy(&a.v, p, sizeof a.v);
        return a;
    }
    void store(void* p) const { std::memcpy(p, &v, sizeof v); }
};
inline Float to_float(Words a) { return {__builtin_convertvector(a.v, Float::Raw)}; }
inline Float as_float(Words a) {
    Float f;
    std::memcpy(&f.v, &a.v, sizeof f.v);
    return f;
}
// As many 16-bit numbers as there are words, each in the lower half of a word of its own.
inline Words load_halves(const void* p) {
    uint16_t from[Float::lanes];
    std::memcpy(from, p, sizeof from);
    Words a{};
    for (int i = 0; i < Float::lanes; ++i) a.v[i] = from[i];
    return a;
}
inline Words upper(Words a) { return {a.v << 16}; }
inline Words both(Words a, Words b) { return {a.v | b.v}; }
// To the nearest, ties to even; a NaN stays one. In the lower half of each word.
inline Words round_bf16(Float v) {
    Words a{};
    for (int i = 0; i < Float::lanes; ++i) a.v[i] = static_cast<int32_t>(bf16_of(v.v[i]));
    return a;
}
inline void store_bf16(Float v, void* p) {
    uint16_t to[Float::lanes];
    for (int i = 0; i < Float::lanes; ++i) to[i] = static_cast<uint16_t>(bf16_of(v.v[i]));
    std::memcpy(p, to, sizeof to);
}
inline Float low_half(Words a) { return as_float(upper(a)); }
inline Float high_half(Words a) { return as_float(Words{a.v & static_cast<int32_t>(0xffff0000u)}); }
constexpr bool kUnsigned = false;
inline Words dot_int8(Words a, Words b, Words sum) {
    for (int shift = 24; shift >= 0; shift -= 8) sum.v += ((a.v << shift) >> 24) * ((b.v << shift) >> 24);
    return sum;
}
#endif
#if !(defined(__AVX512BF16__) && defined(__AVX512VNNI__))
inline Float dot_bf16(Words a, Words b, Float sum) {
    return fma(high_half(a), high_half(b), fma(low_half(a), low_half(b), sum));
}
#endif

inline float largest_of(Float v) {
    float each[Float::lanes];
    v.store(each);
    float largest = each[0];
    for (float one : each) largest = one > largest ? one : largest;
    return largest;
}

// Whether n numbers are finite: of NaN and infinity zero times it is NaN.
inline bool all_finite(const float* p, int64_t n) {
    Float sum = Float::zero();
    for (int64_t i = 0; i < n; i += Float::lanes) {
        const Float a = n - i >= Float::lanes ? Float::load(p + i) : Float::load(p + i, static_cast<int>(n - i));
        sum = fma(a, Float::zero(), sum);
    }
    float each[Float::lanes];
    sum.store(each);
    bool finite = true;
    for (float one : each) finite &= one == 0;
    return finite;
}

// Each operand type: `per` numbers per word; `put` brings K numbers into words and returns their scale.
// Of those that sequences take, `row` and `store` read and write a vector of numbers of a row of words.
template <class V>
struct OperandOf {  // the vector's own numbers, as they are
    using Word = typename V::Scalar;
    using Vector = V;
    using Sum = V;
    static constexpr int per = 1;
    static constexpr bool exact = false;  // whether sums are whole numbers that a scale turns into floats
    static int64_t words(int64_t K) { return K; }
    static Vector all(Word a) { return V::all(a); }
    static Vector load(const Word* p) { return V::load(p); }
    static Sum dot(Vector a, Vector b, Sum sum) { return fma(a, b, sum); }
    static const void* put(const Word* from, int64_t, void*, float*) { return from; }
    static V row(const Word* words, int64_t at) { return V::load(words + at); }
    static void store(Word* words, int64_t at, V v) { v.store(words + at); }
};
using OperandF32 = OperandOf<Float>;

struct OperandBf16 {
    using Word = uint32_t;
    using Vector = Words;
    using Sum = Float;
    static constexpr int per = 2;
    static constexpr bool exact = false;
    static int64_t words(int64_t K) { return (K + 1) / 2; }
    static Vector all(Word a) { return Words::all(a); }
    static Vector load(const Word* p) { return Words::load(p); }
    static Sum dot(Vector a, Vector b, Sum sum) { return dot_bf16(a, b, sum); }
    static const void* put(const float* from, int64_t K, void* memory, float*) {
        uint16_t* to = static_cast<uint16_t*>(memory);
        int64_t k = 0;
        for (; k + Float::lanes <= K; k += Float::lanes) store_bf16(Float::load(from + k), to + k);
        for (; k < K; ++k) to[k] = static_cast<uint16_t>(bf16_of(from[k]));
        if (K % 2 != 0) to[K] = 0;
        return memory;
    }
    static const void* half(const Word* words, int64_t at) { return reinterpret_cast<const uint16_t*>(words) + at; }
    static Float row(const Word* words, int64_t at) { return as_float(upper(load_halves(half(words, at)))); }
    static void store(Word* words, int64_t at, Float v) {
        store_bf16(v, const_cast<void*>(half(words, at)));
    }
    // Words whose two numbers come from two rows.
    static Words pair(Float low, Float high) { return both(round_bf16(low), upper(round_bf16(high))); }
    static Words pair(const Word* low, const Word* high, int64_t at) {
        const Words second = high == nullptr ? Words::all(0) : upper(load_halves(half(high, at)));
        return both(load_halves(half(low, at)), second);
    }
};

struct OperandInt8 {
    using Word = uint32_t;
    using Vector = Words;
    using Sum = Words;
    static constexpr int per = 4;
    static constexpr bool exact = true;
    static Vector all(Word a) { return Words::all(a); }
    static Vector load(const Word* p) { return Words::load(p); }
    static Sum dot(Vector a, Vector b, Sum sum) { return dot_int8(a, b, sum); }
    // q = round(x · 127 / max|x|), ties to even; scale = max|x| / 127. Of all zeros: q and scale are zero.
    static const void* put(const float* from, int64_t K, void* memory, float* scale) {
        Float largest = Float::zero();
        int64_t k = 0;
        for (; k + Float::lanes <= K; k += Float::lanes) largest = max(largest, abs(Float::load(from + k)));
        if (k < K) largest = max(largest, abs(Float::load(from + k, static_cast<int>(K - k))));
        const float most = largest_of(largest);
        // Below 2^-120 the quotient is no number any more; such inputs count as zero.
        const bool nothing = !(most >= 7.5231638e-37f);
        *scale = nothing ? 0.0f : most / 127.0f;
        const float inverse = nothing ? 0.0f : 127.0f / most;
        int8_t* to = static_cast<int8_t*>(memory);
        constexpr uint8_t flip = kUnsigned ? 0x80 : 0;
        k = 0;
#if defined(__AVX512F__)
        const __m128i flips = _mm_set1_epi8(static_cast<char>(flip));
        for (; k + 16 <= K; k += 16) {
            const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + k), _mm512_set1_ps(inverse)));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to + k), _mm_xor_si128(_mm512_cvtepi32_epi8(q), flips));
        }
#endif
        for (; k < K; ++k)
            to[k] = static_cast<int8_t>(static_cast<uint8_t>(std::lrintf(from[k] * inverse)) ^ flip);
        for (; k % 4 != 0; ++k) to[k] = static_cast<int8_t>(flip);
        return memory;
    }
};

}  // namespace UNROLLED_ISA
}  // namespace unrolled
