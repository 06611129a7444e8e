// The kernels of one instruction set. Compiled once for each, with UNROLLED_ISA naming it.
#include "isa.h"

#include "backward.h"
#include "forward.h"
#include "step.h"

#define UNROLLED_JOIN(a, b) a##b
#define UNROLLED_KERNELS(isa) UNROLLED_JOIN(kernels_, isa)

namespace unrolled {
namespace UNROLLED_ISA {

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

// run(V, C, O): with the type of the operands too.
template <class Run>
void with_format(Cell cell, const Format& format, Run run) {
    if (format.storage == Type::f64)
        with_cell<Double>(cell, [&](auto v, auto c) { run(v, c, OperandOf<Double>{}); });
    else if (format.operand == Type::bf16)
        with_cell<Float>(cell, [&](auto v, auto c) { run(v, c, OperandBf16{}); });
    else
        with_cell<Float>(cell, [&](auto v, auto c) { run(v, c, OperandF32{}); });
}

size_t packed_bytes(const Weights& w, const Format& format) {
    size_t bytes = 0;
    with_format(w.cell, format, [&](auto v, auto c, auto o) {
        using P = Packed<decltype(v), decltype(c), decltype(o)>;
        bytes = static_cast<size_t>(P::size(w)) * sizeof(typename P::S);
    });
    return bytes;
}

void pack(const Weights& w, const Format& format, void* to) {
    with_format(w.cell, format, [&](auto v, auto c, auto o) {
        using P = Packed<decltype(v), decltype(c), decltype(o)>;
        P(w, to).fill(w, {0, P::panels(w)});
        P(w, to).fill_hr(w, {0, P::hr_panels(w)});
    });
}

void forward(const Handle& handle, const Sequences& sequences, const ForwardOut& out) {
    with_format(handle.weights.cell, handle.format, [&](auto v, auto c, auto o) {
        Forward<decltype(v), decltype(c), decltype(o)>(handle, sequences, out).run();
    });
}

void backward(const Handle& handle, const Sequences& sequences, const BackwardIn& in,
              const BackwardOut& out) {
    with_format(handle.weights.cell, handle.format, [&](auto v, auto c, auto o) {
        Backward<decltype(v), decltype(c), decltype(o)>(handle, sequences, in, out).run();
    });
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

void activate(Type type, int which, const void* x, void* y, int64_t n) {
    if (type == Type::f32) activate_all<Float>(which, x, y, n);
    else activate_all<Double>(which, x, y, n);
}

}  // namespace UNROLLED_ISA

extern const Kernels UNROLLED_KERNELS(UNROLLED_ISA);
const Kernels UNROLLED_KERNELS(UNROLLED_ISA) = {UNROLLED_ISA::packed_bytes, UNROLLED_ISA::pack, UNROLLED_ISA::forward,
                                                UNROLLED_ISA::backward, UNROLLED_ISA::pack_network,
                                                UNROLLED_ISA::step_memory, UNROLLED_ISA::step,
                                                UNROLLED_ISA::bare_network, UNROLLED_ISA::activate};

}  // namespace unrolled
