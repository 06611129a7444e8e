// The layers as they are defined, one row and one number at a time: slow, and plain to see to be right.
// The double is what the engine is measured against; its backward is checked by finite differences.
#pragma once

#include <cstdint>
#include <vector>

#include "engine.h"

namespace naive {

using unrolled::Cell;

constexpr int64_t gates(Cell cell) { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }
constexpr int traces(Cell cell) { return cell == Cell::lstm ? 5 : cell == Cell::gru ? 3 : 1; }

// Contiguous, in engine.h's shapes. An empty vector means "not given". Past a row's length nothing is read.
template <class S>
struct Input {
    Cell cell = Cell::lstm;
    bool reverse = false;
    int64_t T = 0, B = 0, I = 0, H = 0;
    std::vector<int64_t> lengths;
    std::vector<uint8_t> resets;
    std::vector<S> x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh;
    std::vector<S> weight_hr;  // [projected, H]
    int64_t projected = 0;     // 0: h is not projected

    int64_t R() const { return projected > 0 ? projected : H; }  // the size of h

    int64_t length(int64_t b) const { return lengths.empty() ? T : lengths[static_cast<size_t>(b)]; }
};

template <class S>
struct Output {
    std::vector<S> y, h_n, c_n, traces[5];
};

template <class S>
struct Adjoint {
    std::vector<S> dy, dh_n, dc_n;
    // The rectifier's slope jumps at 0, where rounding decides: [T, B, H], where it is to count as open.
    std::vector<uint8_t> open;
};

template <class S>
struct Gradients {
    std::vector<S> dx, dh_0, dc_0, dweight_ih, dweight_hh, dbias_ih, dbias_hh, dweight_hr;
};

template <class S>
Output<S> forward(const Input<S>& in);

template <class S>
Gradients<S> backward(const Input<S>& in, const Adjoint<S>& adjoint);

}  // namespace naive
