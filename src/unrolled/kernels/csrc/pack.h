// Weights and sums brought into the order in which the tiles go through them.
#pragma once

#include <cstdint>
#include <cstring>

#include "engine.h"
#include "operand.h"
#include "plan.h"

namespace unrolled {
namespace UNROLLED_ISA {

// What the three cells look like to the engine.
//
// A unit block is `lanes` hidden units. `gates` rows of the weights belong to a unit; `slots` values
// are kept for it; a panel of the forward product covers `blocks` unit blocks, so that it is three or
// four vectors wide. `order` gives torch's gate for each vector of a panel of x·W_ih; h·W_hh goes
// through the gates in torch's order, and starts at slot `first_h`.
struct LstmShape {
    static constexpr Cell cell = Cell::lstm;
    static constexpr int gates = 4, slots = 4, blocks = 1, first_h = 0;
    static constexpr int order[4] = {0, 1, 2, 3};  // i f g o
};
struct GruShape {  // slots: n of x, r, z, n of h; the GRU's n keeps two chains
    static constexpr Cell cell = Cell::gru;
    static constexpr int gates = 3, slots = 4, blocks = 1, first_h = 1;
    static constexpr int order[3] = {2, 0, 1};
};
template <bool relu>
struct RnnShape {
    static constexpr Cell cell = relu ? Cell::rnn_relu : Cell::rnn_tanh;
    static constexpr int gates = 1, slots = 1, blocks = 4, first_h = 0;
    static constexpr int order[1] = {0};
};

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Up to a vector of n values at p, in full where n allows.
template <class V>
inline V load_some(const typename V::Scalar* p, int64_t n) {
    return n >= V::lanes ? V::load(p) : V::load(p, static_cast<int>(n));
}
template <class V>
inline void store_some(V v, typename V::Scalar* p, int64_t n) {
    if (n >= V::lanes) v.store(p);
    else v.store(p, static_cast<int>(n));
}

// Row `from` of a weight's `valid` rows becomes lane 0 of a vector, and so on: to[k · step + lane], k in words.
template <class V, class O>
void pack_vector(const typename V::Scalar* from, int64_t ld, int64_t K, int valid, typename O::Word* to,
                 int64_t step) {
    constexpr int L = V::lanes;
    int64_t k = 0;
    if constexpr (O::per == 1) {
        if (valid == L)
            for (; k + L <= K; k += L) V::transpose(from + k, ld, to + k * step, step);
        for (; k < K; ++k)
            for (int lane = 0; lane < L; ++lane) to[k * step + lane] = lane < valid ? from[lane * ld + k] : 0;
    } else {
        alignas(64) typename O::Word rows[L][L] = {};
        for (; k < K; k += O::per * L) {
            const int64_t left = K - k, words = O::words(left) < L ? O::words(left) : L;
            for (int lane = 0; lane < valid; ++lane) O::put(from + lane * ld + k, left < O::per * L ? left : O::per * L, rows[lane], nullptr);
            if (words == L) {
                V::transpose(reinterpret_cast<const float*>(rows), L, reinterpret_cast<float*>(to), step);
            } else {
                for (int64_t i = 0; i < words; ++i)
                    for (int lane = 0; lane < L; ++lane) to[i * step + lane] = rows[lane][i];
            }
            to += words * step;
        }
    }
}

// Panel p of K columns of weight [gates · H, ld] for the forward product: to [words of K][vectors · lanes].
template <class V, class C, class O>
void pack_forward(const typename V::Scalar* weight, int64_t ld, int64_t K, int64_t H, int64_t p, const int* order,
                  typename O::Word* to) {
    constexpr int L = V::lanes;
    const int64_t nb = ceil_div(H, L);
    const int blocks = static_cast<int>(nb - p * C::blocks < C::blocks ? nb - p * C::blocks : C::blocks);
    const int vectors = blocks * C::gates;
    for (int n = 0; n < vectors; ++n) {
        const int64_t unit = (p * C::blocks + n / C::gates) * L;
        const int valid = static_cast<int>(H - unit < L ? H - unit : L);
        const int64_t row = order[n % C::gates] * H + unit;
        pack_vector<V, O>(weight + row * ld, ld, K, valid, to + n * L, vectors * L);
    }
}

// Columns [first, first + width) of weight [rows, K]: to [words of rows][width], zero outside. Whole words where
// `rows` is odd.
template <class V, class O>
void pack_rows(const typename V::Scalar* weight, int64_t rows, int64_t K, int64_t first, int64_t width,
               typename O::Word* to) {
    using S = typename V::Scalar;
    constexpr int L = V::lanes;
    const int64_t valid = K - first < width ? K - first : width;
    for (int64_t row = 0; row < rows; row += O::per, to += width) {
        const S* const from = weight + row * K + first;
        if constexpr (O::per == 1) {
            if (valid > 0) std::memcpy(to, from, valid * sizeof(S));
            if (valid < width) std::memset(to + valid, 0, (width - valid) * sizeof(S));
        } else {
            for (int64_t k = 0; k < width; k += L) {
                const int64_t left = valid - k;
                const V low = left > 0 ? load_some<V>(from + k, left) : V::zero();
                const V high = row + 1 < rows && left > 0 ? load_some<V>(from + K + k, left) : V::zero();
                O::pair(low, high).store(to + k);
            }
        }
    }
}

// Columns [first, first + width) of weight [gates · H, K], its rows in the order in which gradients of
// pre-activations lie ([unit block][gate][lane]): to [words of nb · gates · lanes][width], zero outside.
template <class V, class C, class O>
void pack_backward(const typename V::Scalar* weight, int64_t K, int64_t H, int64_t first, int64_t width,
                   typename O::Word* to) {
    using S = typename V::Scalar;
    constexpr int L = V::lanes;
    const int64_t nb = ceil_div(H, L);
    const int64_t valid = K - first < width ? K - first : width;
    for (int64_t block = 0; block < nb; ++block)
        for (int gate = 0; gate < C::gates; ++gate)
            for (int64_t unit = block * L; unit < (block + 1) * L; unit += O::per, to += width) {
                const S* const from = weight + (gate * H + unit) * K + first;
                if constexpr (O::per == 1) {
                    const int64_t n = unit < H ? valid : 0;
                    if (n > 0) std::memcpy(to, from, n * sizeof(S));
                    if (n < width) std::memset(to + n, 0, (width - n) * sizeof(S));
                } else {
                    for (int64_t k = 0; k < width; k += L) {
                        const int64_t left = valid - k;
                        const V low = unit < H && left > 0 ? load_some<V>(from + k, left) : V::zero();
                        const V high = unit + 1 < H && left > 0 ? load_some<V>(from + K + k, left) : V::zero();
                        O::pair(low, high).store(to + k);
                    }
                }
            }
}

// One vector of a bias of H units to a gate; null counts as zero.
template <class V>
inline V load_bias(const typename V::Scalar* bias, int64_t H, int gate, int64_t unit) {
    if (bias == nullptr || unit >= H) return V::zero();
    return H - unit < V::lanes ? V::load(bias + gate * H + unit, static_cast<int>(H - unit))
                               : V::load(bias + gate * H + unit);
}

// A layer's weights and summed biases, panel after panel, for the forward pass. A word is as large as a number
// of the sums.
template <class V, class C, class O>
struct Packed {
    using S = typename V::Scalar;
    using Word = typename O::Word;
    static_assert(sizeof(Word) == sizeof(S), "one buffer holds both");
    static constexpr int L = V::lanes;
    static constexpr int torch_order[4] = {0, 1, 2, 3};

    static constexpr int wide = 4;  // vectors in a panel of the projection

    Word *w_ih, *w_hh, *w_hr;
    S *bias, *bias_n;  // bias_n [nb · lanes] starts the GRU's second chain

    static int64_t blocks(const Weights& w) { return ceil_div(w.H, L); }
    static int64_t panels(const Weights& w) { return ceil_div(blocks(w), C::blocks); }
    static int64_t panel_size(int64_t words) { return words * C::blocks * C::gates * L; }
    static int vectors(const Weights& w, int64_t p) {
        const int64_t left = blocks(w) - p * C::blocks;
        return static_cast<int>(left < C::blocks ? left : C::blocks) * C::gates;
    }

    // Elements in all; each part begins on a cache line.
    static int64_t size(const Weights& w) {
        return part(w, O::words(w.I)) + part(w, O::words(w.R())) + hr_panels(w) * hr_panel_size(w) + part(w, 1) +
               whole_lines(blocks(w) * L);
    }

    // Of the projection, whose outputs are the units of h.
    static int64_t hr_panels(const Weights& w) { return ceil_div(ceil_div(w.projected, L), wide); }
    static int64_t hr_panel_size(const Weights& w) { return O::words(w.H) * wide * L; }
    static int hr_vectors(const Weights& w, int64_t p) {
        const int64_t left = ceil_div(w.projected, L) - p * wide;
        return static_cast<int>(left < wide ? left : wide);
    }

    Packed(const Weights& w, void* memory)
        : w_ih(static_cast<Word*>(memory)),
          w_hh(w_ih + part(w, O::words(w.I))),
          w_hr(w_hh + part(w, O::words(w.R()))),
          bias(reinterpret_cast<S*>(w_hr + hr_panels(w) * hr_panel_size(w))),
          bias_n(bias + part(w, 1)) {}

    void fill_hr(const Weights& w, Range mine) const {
        const S* const weight = static_cast<const S*>(w.weight_hr);
        for (int64_t p = mine.begin; p < mine.end; ++p)
            for (int v = 0; v < hr_vectors(w, p); ++v) {
                const int64_t row = (p * wide + v) * L, left = w.projected - row;
                pack_vector<V, O>(weight + row * w.H, w.H, w.H, static_cast<int>(left < L ? left : L),
                                  w_hr + p * hr_panel_size(w) + v * L, hr_vectors(w, p) * L);
            }
    }

    void fill(const Weights& w, Range mine) const {
        for (int64_t p = mine.begin; p < mine.end; ++p) {
            pack_forward<V, C, O>(static_cast<const S*>(w.weight_ih), w.I, w.I, w.H, p, C::order,
                                  w_ih + p * panel_size(O::words(w.I)));
            pack_forward<V, C, O>(static_cast<const S*>(w.weight_hh), w.R(), w.R(), w.H, p, torch_order,
                                  w_hh + p * panel_size(O::words(w.R())));
            pack_biases(w, p, bias + p * panel_size(1), bias_n + p * C::blocks * L);
        }
    }

    // Of panel p: what x's chains begin with, and the GRU's second one.
    static void pack_biases(const Weights& w, int64_t p, S* first, S* second) {
        const S* b_ih = static_cast<const S*>(w.bias_ih);
        const S* b_hh = static_cast<const S*>(w.bias_hh);
        for (int n = 0; n < vectors(w, p); ++n) {
            const int64_t unit = (p * C::blocks + n / C::gates) * L;
            const int gate = C::order[n % C::gates];
            V sum = load_bias<V>(b_ih, w.H, gate, unit);
            const V of_h = load_bias<V>(b_hh, w.H, gate, unit);
            if (C::cell == Cell::gru && gate == 2) of_h.store(second);
            else sum = sum + of_h;
            sum.store(first + n * L);
        }
    }

  private:
    static int64_t whole_lines(int64_t count) {
        constexpr int64_t line = 64 / sizeof(S);
        return ceil_div(count, line) * line;
    }
    static int64_t part(const Weights& w, int64_t words) { return whole_lines(panels(w) * panel_size(words)); }
};

}  // namespace UNROLLED_ISA
}  // namespace unrolled
