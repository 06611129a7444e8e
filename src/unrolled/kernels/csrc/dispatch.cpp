// Which instruction sets this build holds, and which of them this processor and its system run.
#include "dispatch.h"

namespace unrolled {

const Kernels* kernels_of(Isa isa) {
    switch (isa) {
        case Isa::baseline:
            return &kernels_baseline;
#ifdef UNROLLED_HAS_AVX2
        case Isa::avx2:
            return &kernels_avx2;
#endif
#ifdef UNROLLED_HAS_AVX512
        case Isa::avx512:
            return &kernels_avx512;
#endif
#ifdef UNROLLED_HAS_AVX512_BF16
        case Isa::avx512_bf16:
            return &kernels_avx512_bf16;
#endif
        default:
            return nullptr;
    }
}

namespace {

// The compiler's builtin reads cpuid and, for what needs wider registers, xgetbv: it says no where the
// operating system does not save them.
bool processor_runs(Isa isa) {
    if (isa == Isa::baseline) return true;
#ifdef UNROLLED_HAS_AVX2
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa == Isa::avx2) return avx2;
#endif
#ifdef UNROLLED_HAS_AVX512
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (isa == Isa::avx512) return avx512;
#endif
#ifdef UNROLLED_HAS_AVX512_BF16
    if (isa == Isa::avx512_bf16)
        return avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
#endif
    return false;
}

}  // namespace

bool runs(Isa isa) { return kernels_of(isa) != nullptr && processor_runs(isa); }

}  // namespace unrolled
