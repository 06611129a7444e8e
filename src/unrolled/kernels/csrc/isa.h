// One set of kernels per instruction set: `isa.cpp` is compiled once for each.
#pragma once

#include "network.h"

namespace unrolled {

// Arguments have been validated (engine.cpp). May throw std::bad_alloc before any output is written, and
// nothing else.
struct Kernels {
    size_t (*packed_bytes)(const Weights&, const Format&);  // a multiple of 64
    void (*pack)(const Weights&, const Format&, void* to);
    void (*forward)(const Handle&, const Sequences&, const ForwardOut&);
    void (*backward)(const Handle&, const Sequences&, const BackwardIn&, const BackwardOut&);
    // What a network and a thread's memory for its steps take, in bytes; with null for `memory` they count only.
    int64_t (*pack_network)(const NetworkWeights&, void* memory, Network&);
    int64_t (*step_memory)(const Network&, int64_t rows, bool one_stream, void* memory, StepMemory*);
    // Rows begin .. end - 1; `failed`: the row at fault.
    Stepped (*step)(const Network&, const StepRows&, int64_t begin, int64_t end, StepMemory&, int64_t* failed);
    void (*bare_network)(const Network&, const void* words, float* sink);  // sink [16]
    // Test hook: y[i] = f(x[i]) by the engine's own activations; which: 0 exp(-|x|), 1 sigmoid, 2 tanh.
    void (*activate)(Type type, int which, const void* x, void* y, int64_t n);
};

extern const Kernels kernels_baseline;
extern const Kernels kernels_avx2;         // where UNROLLED_HAS_AVX2 is defined
extern const Kernels kernels_avx512;       // where UNROLLED_HAS_AVX512 is defined
extern const Kernels kernels_avx512_bf16;  // where UNROLLED_HAS_AVX512_BF16 is defined

}  // namespace unrolled
