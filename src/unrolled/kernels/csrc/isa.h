// One set of kernels per instruction set: `isa.cpp` is compiled once for each.
#pragma once

#include "engine.h"

namespace unrolled {

// Arguments have been checked at the door (engine.cpp). May throw std::bad_alloc before any output
// is written, and nothing else.
struct Kernels {
    void (*forward)(const Layer&, const ForwardOut&);
    void (*backward)(const Layer&, const BackwardIn&, const BackwardOut&);
    // Test hook: y[i] = f(x[i]) by the engine's own activations; which: 0 exp(-|x|), 1 sigmoid, 2 tanh.
    void (*activate)(Dtype dtype, int which, const void* x, void* y, int64_t n);
};

extern const Kernels kernels_baseline;
extern const Kernels kernels_avx2;         // where UNROLLED_HAS_AVX2 is defined
extern const Kernels kernels_avx512;       // where UNROLLED_HAS_AVX512 is defined
extern const Kernels kernels_avx512_bf16;  // where UNROLLED_HAS_AVX512_BF16 is defined

}  // namespace unrolled
