// The equations of the cells, from pre-activations on: the one place for the batch run and the step.
#pragma once

#include "activation.h"

namespace unrolled {
namespace UNROLLED_ISA {

template <class V>
struct LstmGates {
    V i, f, g, o;
    V cell(V before) const { return fma(f, before, i * g); }
    V hidden(V c) const { return o * tanh(c); }
};
template <class V>
inline LstmGates<V> lstm_gates(V i, V f, V g, V o) {
    return {sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)};
}

template <class V>
struct GruGates {
    V r, z, n;
    V hidden(V before) const { return fma(z, before, nfma(z, n, n)); }  // z·h + (n - z·n)
};
template <class V>
inline GruGates<V> gru_gates(V n_of_x, V r, V z, V n_of_h) {
    const V reset = sigmoid(r), update = sigmoid(z);
    return {reset, update, tanh(fma(reset, n_of_h, n_of_x))};
}

}  // namespace UNROLLED_ISA
}  // namespace unrolled
