// The processor's limit: fused multiply-adds on registers alone, on some threads at once.
//
// Built by limit.py when the benchmark starts. Vectors are the compiler's own, so one source serves
// every instruction set; whether multiply and add were fused is the compiler's doing (-ffp-contract=fast).
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

// Four cycles of latency times two ports need eight chains; twelve and two constants fit 16 registers.
constexpr int CHAINS = 12;
constexpr int64_t TURNS = 20000;  // of a piece of work: some 30 microseconds

template <int BYTES>
struct Vector {
    typedef float type __attribute__((vector_size(BYTES)));
};

template <int BYTES>
inline __attribute__((always_inline)) float chains(int64_t turns, float factor) {
    using V = typename Vector<BYTES>::type;
    const V by = V{} + factor, plus = V{} + (1.0f - factor);  // runs towards 1, never into denormals
    V sum[CHAINS];
    for (int i = 0; i < CHAINS; ++i) sum[i] = V{} + static_cast<float>(i);
    for (int64_t turn = 0; turn < turns; ++turn) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; ++i) sum[i] = sum[i] * by + plus;
    }
    float total = 0;
    for (int i = 0; i < CHAINS; ++i) total += sum[i][0];
    return total;
}

using Loop = float (*)(int64_t, float);

#if defined(__x86_64__)
__attribute__((target("avx512f,fma"))) float wide(int64_t turns, float factor) {
    return chains<64>(turns, factor);
}
// Products of bfloat16 summed in float32, two to a lane: counted as 32 lanes.
__attribute__((target("avx512f,avx512bf16"))) float bfloat16(int64_t turns, float factor) {
    const __m512bh by = _mm512_cvtne2ps_pbh(_mm512_set1_ps(factor), _mm512_set1_ps(factor));
    __m512 sum[CHAINS];
    for (int i = 0; i < CHAINS; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
    for (int64_t turn = 0; turn < turns; ++turn) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], by, by);
    }
    float total = 0;
    for (int i = 0; i < CHAINS; ++i) total += _mm512_cvtss_f32(sum[i]);
    return total;
}
__attribute__((target("avx2,fma"))) float middle(int64_t turns, float factor) {
    return chains<32>(turns, factor);
}
#endif
float narrow(int64_t turns, float factor) { return chains<16>(turns, factor); }

// By lanes; null where this processor does not run them.
Loop loop_of(int lanes) {
#if defined(__x86_64__)
    if (lanes == 32) return __builtin_cpu_supports("avx512bf16") ? bfloat16 : nullptr;
    if (lanes == 16) return __builtin_cpu_supports("avx512f") ? wide : nullptr;
    if (lanes == 8) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? middle : nullptr;
#endif
    return lanes == 4 ? narrow : nullptr;
}

std::atomic<float> kept;  // so that no loop is left out

}  // namespace

// Floats a vector holds at the widest this processor runs: 16, 8 or 4.
extern "C" int fma_widest() { return loop_of(16) ? 16 : loop_of(8) ? 8 : 4; }

// Floating-point operations of one call.
extern "C" double fma_operations(int lanes, int64_t pieces) { return 2.0 * CHAINS * lanes * TURNS * pieces; }

// Runs the pieces on so many threads; 0 when done, 1 where the lanes do not run here. Each thread takes the
// next piece when it is through with one, so that one who starts late holds up nobody.
extern "C" int fma_run(int lanes, int threads, int64_t pieces) {
    const Loop loop = loop_of(lanes);
    if (!loop) return 1;
    std::atomic<int64_t> left{pieces};
    const auto job = [&left, loop] {
        while (left.fetch_sub(1) > 0) kept = loop(TURNS, 0.5f);
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back(job);
    job();
    for (std::thread& other : others) other.join();
    return 0;
}
