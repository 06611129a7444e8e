// The kernels of one instruction set. Compiled once for each, with UNROLLED_ISA naming it.
#include "isa.h"

#if defined(__AVX512F__)
#include "vec_avx512.h"
#elif defined(__AVX2__)
#include "vec_avx2.h"
#endif
#include "backward.h"
#include "forward.h"
#include "vec_portable.h"

#define UNROLLED_JOIN(a, b) a##b
#define UNROLLED_KERNELS(isa) UNROLLED_JOIN(kernels_, isa)

namespace unrolled {
namespace UNROLLED_ISA {

#if defined(__AVX2__)
using Float = VecF;
#else
using Float = VecAny<float>;
#endif
using Double = VecAny<double>;

// run(V, C) with the vector and the cell that the call is about.
template <class V, class Run>
void with_cell(Cell cell, Run run) {
    switch (cell) {
        case Cell::lstm: return run(V{}, LstmShape{});
        case Cell::gru: return run(V{}, GruShape{});
        case Cell::rnn_tanh: return run(V{}, RnnShape<false>{});
        case Cell::rnn_relu: return run(V{}, RnnShape<true>{});
    }
}

template <class Run>
void with_types(const Layer& layer, Run run) {
    if (layer.dtype == Dtype::f32) with_cell<Float>(layer.cell, run);
    else with_cell<Double>(layer.cell, run);
}

void forward(const Layer& layer, const ForwardOut& out) {
    with_types(layer, [&](auto v, auto c) { Forward<decltype(v), decltype(c)>(layer, out).run(); });
}

void backward(const Layer& layer, const BackwardIn& in, const BackwardOut& out) {
    with_types(layer, [&](auto v, auto c) { Backward<decltype(v), decltype(c)>(layer, in, out).run(); });
}

template <class V>
void activate_all(int which, const void* x, void* y, int64_t n) {
    using S = typename V::Scalar;
    const Flush flush;
    for (int64_t i = 0; i < n; i += V::lanes) {
        const V a = load_some<V>(static_cast<const S*>(x) + i, n - i);
        const V b = which == 0 ? exp_minus(abs(a)) : which == 1 ? sigmoid(a) : tanh(a);
        store_some(b, static_cast<S*>(y) + i, n - i);
    }
}

void activate(Dtype dtype, int which, const void* x, void* y, int64_t n) {
    if (dtype == Dtype::f32) activate_all<Float>(which, x, y, n);
    else activate_all<Double>(which, x, y, n);
}

}  // namespace UNROLLED_ISA

extern const Kernels UNROLLED_KERNELS(UNROLLED_ISA);
const Kernels UNROLLED_KERNELS(UNROLLED_ISA) = {UNROLLED_ISA::forward, UNROLLED_ISA::backward,
                                                UNROLLED_ISA::activate};

}  // namespace unrolled
