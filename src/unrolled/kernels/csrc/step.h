// One step of a network's rows, layer after layer: products and activations of a panel of units in registers.
//
// Each pre-activation of float32 weights is the engine's one chain (see tile.h): the summed bias, x·W_ih in
// rising k, h·W_hh in rising k. So a row has the bits of the batch run, in whatever tile it is. bfloat16 has
// the same chain in pairs of k. Of int8 the sums are exact, and each is scaled and added to the bias.
#pragma once

#include "cells.h"
#include "flush.h"
#include "network.h"
#include "operand.h"
#include "pack.h"
#include "tile.h"

namespace unrolled {
namespace UNROLLED_ISA {

// One row of a layer: operands, and where its results go.
struct StepRow {
    const void* x = nullptr;  // words
    const void* h = nullptr;
    float x_scale = 0, h_scale = 0;
    const float* start = nullptr;  // what its chains begin with; null: the bias
    const float* h_before = nullptr;
    const float* c_before = nullptr;
    float* h_new = nullptr;
    float* c_new = nullptr;
};

// What a panel is made of, per kind of product. `nx` vectors of x's product fill the slots from 0 on, `nh` of
// h's those from `first_h` on; `blocks` are its unit blocks; `wide` panels go side by side where there is
// but one row, so that enough chains run at once. `row(n)` is the gate and the unit block of vector n.
struct LstmStep {
    static constexpr int slots = 4, nx = 4, nh = 4, first_h = 0, blocks = 1, wide = 2, gates = 4;
    static constexpr int gate_x[4] = {0, 1, 2, 3}, gate_h[4] = {0, 1, 2, 3};
    template <class V>
    static void finish(const V* pre, const StepRow& row, int64_t unit, int64_t H, Cell) {
        const LstmGates<V> gates = lstm_gates(pre[0], pre[1], pre[2], pre[3]);
        const V c = gates.cell(load_some<V>(row.c_before + unit, H - unit));
        store_some(c, row.c_new + unit, H - unit);
        store_some(gates.hidden(c), row.h_new + unit, H - unit);
    }
};
struct GruStep {  // slots: n of x, r, z, n of h
    static constexpr int slots = 4, nx = 3, nh = 3, first_h = 1, blocks = 1, wide = 2, gates = 3;
    static constexpr int gate_x[3] = {2, 0, 1}, gate_h[3] = {0, 1, 2};
    template <class V>
    static void finish(const V* pre, const StepRow& row, int64_t unit, int64_t H, Cell) {
        const GruGates<V> gates = gru_gates(pre[0], pre[1], pre[2], pre[3]);
        store_some(gates.hidden(load_some<V>(row.h_before + unit, H - unit)), row.h_new + unit, H - unit);
    }
};
struct RnnStep {
    static constexpr int slots = 2, nx = 2, nh = 2, first_h = 0, blocks = 2, wide = 4, gates = 1;
    static constexpr int gate_x[2] = {0, 0}, gate_h[2] = {0, 0};
    template <class V>
    static void finish(const V* pre, const StepRow& row, int64_t unit, int64_t H, Cell cell) {
        for (int b = 0; b < 2 && unit < H; ++b, unit += V::lanes)
            store_some(cell == Cell::rnn_relu ? max(V::zero(), pre[b]) : tanh(pre[b]), row.h_new + unit, H - unit);
    }
};
struct LinearStep {  // a projection or a read-out
    static constexpr int slots = 2, nx = 2, nh = 0, first_h = 0, blocks = 2, wide = 4, gates = 1;
    static constexpr int gate_x[2] = {0, 0}, gate_h[1] = {0};
    template <class V>
    static void finish(const V* pre, const StepRow& row, int64_t unit, int64_t N, Cell) {
        for (int b = 0; b < 2 && unit < N; ++b, unit += V::lanes)
            store_some(pre[b], row.h_new + unit, N - unit);
    }
};
// What of a product is done: all; x's half alone, stored as the chains of later steps begin (a row [panels]
// [slots · lanes] at h_new); or h's half alone, on chains that were stored so.
enum class Part { all, of_x, of_h };

// sums[r][n] += a[r][k] · w[k · step + n], over `words` words k and N vectors n. `ahead`: what comes later in
// the stream of words is prefetched.
template <class O, int R, int N, bool ahead>
inline void products(typename O::Sum (&sums)[R][N], const typename O::Word* const (&a)[R], int64_t words,
                     const typename O::Word* w, int64_t step) {
    constexpr int L = Float::lanes;
    constexpr int kAhead = 1024 / sizeof(typename O::Word);
    for (int64_t k = 0; k < words; ++k, w += step) {
        typename O::Vector column[N];
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) {
            if constexpr (ahead) __builtin_prefetch(w + n * L + kAhead);
            column[n] = O::load(w + n * L);
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const typename O::Vector s = O::all(a[r][k]);
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) sums[r][n] = O::dot(s, column[n], sums[r][n]);
        }
    }
}

// Half of a product for some panels side by side: what it multiplies, and where its words, scales and offsets lie.
template <class O, int R>
struct Half {
    const typename O::Word* a[R];
    float scale[R];
    int64_t words;
    const typename O::Word* w;
    int64_t step;
    const float* scales;
    const int32_t* offsets;
    int64_t panel_scales;  // from one panel to the next
};

// Adds a half to the pre-activations [Q][slots], N vectors per panel from slot `first` on.
template <class O, int R, int Q, int N, int slots, int first, bool ahead>
inline void add_products(Float (&pre)[R][Q * slots], const Half<O, R>& half) {
    constexpr int L = Float::lanes;
    if (half.words == 0) return;
    typename O::Sum sums[R][Q * N];
    if constexpr (O::exact) {
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q)
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) {
                const auto begin = O::Sum::load(half.offsets + q * half.panel_scales + n * L);
#pragma GCC unroll 8
                for (int r = 0; r < R; ++r) sums[r][q * N + n] = begin;
            }
        products<O, R, Q * N, ahead>(sums, half.a, half.words, half.w, half.step);
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q)
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) {
                const Float of_row = Float::load(half.scales + q * half.panel_scales + n * L);
#pragma GCC unroll 8
                for (int r = 0; r < R; ++r) {
                    Float& to = pre[r][q * slots + first + n];
                    to = to + to_float(sums[r][q * N + n]) * (of_row * Float::all(half.scale[r]));
                }
            }
    } else {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q)
#pragma GCC unroll 8
                for (int n = 0; n < N; ++n) sums[r][q * N + n] = pre[r][q * slots + first + n];
        products<O, R, Q * N, ahead>(sums, half.a, half.words, half.w, half.step);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q)
#pragma GCC unroll 8
                for (int n = 0; n < N; ++n) pre[r][q * slots + first + n] = sums[r][q * N + n];
    }
}

// Panels p .. p + Q - 1, which are of one group, for R rows: from their operands to their new states.
template <class O, class C, Part part, int R, int Q, bool ahead>
void step_tile(const Product& m, Cell cell, int64_t p, const StepRow* rows) {
    using Word = typename O::Word;
    constexpr int L = Float::lanes, slots = C::slots, all = C::nx + C::nh;
    const int64_t group = p / C::wide * C::wide, left = m.panels - group;
    const int64_t members = left < C::wide ? left : C::wide;
    const Word* const w = static_cast<const Word*>(m.w) + group * m.panel_words;
    Float pre[R][Q * slots];
    Half<O, R> x, h;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        const float* start = (rows[r].start != nullptr ? rows[r].start : m.bias) + p * slots * L;
#pragma GCC unroll 8
        for (int n = 0; n < Q * slots; ++n) pre[r][n] = Float::load(start + n * L);
        x.a[r] = static_cast<const Word*>(rows[r].x), h.a[r] = static_cast<const Word*>(rows[r].h);
        x.scale[r] = rows[r].x_scale, h.scale[r] = rows[r].h_scale;
    }
    x.words = m.words_x, x.step = members * C::nx * L, x.w = w + (p - group) * C::nx * L;
    h.words = m.words_h, h.step = members * C::nh * L;
    h.w = w + m.words_x * x.step + (p - group) * C::nh * L;
    if constexpr (O::exact) {
        x.panel_scales = h.panel_scales = all * L;
        x.scales = m.scale + p * all * L, x.offsets = m.offset + p * all * L;
        h.scales = x.scales + C::nx * L, h.offsets = x.offsets + C::nx * L;
    }
    if constexpr (part != Part::of_h) add_products<O, R, Q, C::nx, slots, 0, ahead>(pre, x);
    if constexpr (part != Part::of_x && C::nh > 0)
        add_products<O, R, Q, C::nh, slots, C::first_h, ahead>(pre, h);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        if constexpr (part == Part::of_x) {
#pragma GCC unroll 8
            for (int n = 0; n < Q * slots; ++n) pre[r][n].store(rows[r].h_new + (p * slots + n) * L);
            continue;
        }
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q)
            C::template finish<Float>(pre[r] + q * slots, rows[r], (p + q) * C::blocks * L, m.units, cell);
    }
}

// All panels for one row, a group at a time.
template <class O, class C, Part part, bool ahead>
void step_row(const Product& m, Cell cell, const StepRow* row) {
    int64_t p = 0;
    for (; p + C::wide <= m.panels; p += C::wide) step_tile<O, C, part, 1, C::wide, ahead>(m, cell, p, row);
    switch (m.panels - p) {
        case 1: return step_tile<O, C, part, 1, 1, ahead>(m, cell, p, row);
        case 2: return step_tile<O, C, part, 1, C::wide < 2 ? 1 : 2, ahead>(m, cell, p, row);
        case 3: return step_tile<O, C, part, 1, C::wide < 3 ? 1 : 3, ahead>(m, cell, p, row);
        default: return;
    }
}

// All panels for n rows.
template <class O, class C, Part part = Part::all>
void step_product(const Product& m, Cell cell, const StepRow* rows, int64_t n, bool ahead) {
    static_assert(part != Part::of_h, "h's half goes step by step: step_row");
    if (n == 1) return ahead ? step_row<O, C, part, true>(m, cell, rows) : step_row<O, C, part, false>(m, cell, rows);
    constexpr int most = tile_rows<Float>(C::slots);
    const int64_t tiles = ceil_div(n, most);
    for (int64_t p = 0; p < m.panels; ++p) {
        int64_t begin = 0;
        for (int64_t i = 1; i <= tiles; ++i) {
            const int64_t end = n * i / tiles;
            const StepRow* from = rows + begin;
            switch (end - begin) {
                case 1: step_tile<O, C, part, 1, 1, false>(m, cell, p, from); break;
                case 2: step_tile<O, C, part, 2, 1, false>(m, cell, p, from); break;
                case 3: step_tile<O, C, part, 3, 1, false>(m, cell, p, from); break;
                case 4: step_tile<O, C, part, most < 4 ? most : 4, 1, false>(m, cell, p, from); break;
                case 5: step_tile<O, C, part, most < 5 ? most : 5, 1, false>(m, cell, p, from); break;
                case 6: step_tile<O, C, part, most < 6 ? most : 6, 1, false>(m, cell, p, from); break;
                case 7: step_tile<O, C, part, most < 7 ? most : 7, 1, false>(m, cell, p, from); break;
                default: step_tile<O, C, part, most, 1, false>(m, cell, p, from);
            }
            begin = end;
        }
    }
}

// The layer's h half for one row.
template <class O, class C>
void step_row_of_h(const Product& m, Cell cell, const StepRow* row, bool ahead) {
    if (ahead) step_row<O, C, Part::of_h, true>(m, cell, row);
    else step_row<O, C, Part::of_h, false>(m, cell, row);
}
template <class O>
void step_cell_of_h(const Product& m, Cell cell, const StepRow* row, bool ahead) {
    switch (cell) {
        case Cell::lstm: return step_row_of_h<O, LstmStep>(m, cell, row, ahead);
        case Cell::gru: return step_row_of_h<O, GruStep>(m, cell, row, ahead);
        default: return step_row_of_h<O, RnnStep>(m, cell, row, ahead);
    }
}

template <class O, Part part>
void step_cell(const Product& m, Cell cell, const StepRow* rows, int64_t n, bool ahead) {
    switch (cell) {
        case Cell::lstm: return step_product<O, LstmStep, part>(m, cell, rows, n, ahead);
        case Cell::gru: return step_product<O, GruStep, part>(m, cell, rows, n, ahead);
        default: return step_product<O, RnnStep, part>(m, cell, rows, n, ahead);
    }
}

inline int64_t words_of(int64_t K, int per) { return ceil_div(K, per); }
inline int per_word(Storage storage) { return storage == Storage::f32 ? 1 : storage == Storage::bf16 ? 2 : 4; }

// ---- packing ---------------------------------------------------------------------------------------

// Memory in parts, each on a cache line; without memory it counts.
struct Arena {
    char* memory;
    int64_t used = 0;
    template <class T>
    T* take(int64_t count) {
        T* const at = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + used);
        used += ceil_div(count * static_cast<int64_t>(sizeof(T)), 64) * 64;
        return at;
    }
};

template <class O>
inline uint32_t packed_word(const Matrix& m, int64_t row, int64_t K, int64_t word) {
    uint32_t bits = 0;
    for (int64_t j = 0, k = word * O::per; j < O::per && k < K; ++j, ++k) {
        if constexpr (O::per == 1) std::memcpy(&bits, static_cast<const float*>(m.data) + row * K + k, 4);
        if constexpr (O::per == 2) bits |= uint32_t{static_cast<const uint16_t*>(m.data)[row * K + k]} << (16 * j);
        if constexpr (O::per == 4) bits |= uint32_t{static_cast<const uint8_t*>(m.data)[row * K + k]} << (8 * j);
    }
    return bits;
}

// Half of a panel: N vectors of a matrix of K columns, which lie `step` words apart for each k.
template <class O, class C, int N>
void pack_half(const Matrix& m, const int (&gate)[N], int64_t units, int64_t K, int64_t p, uint32_t* w,
               int64_t step, float* scale, int32_t* offset) {
    constexpr int L = Float::lanes;
    const int64_t words = words_of(K, O::per);
    for (int n = 0; n < N; ++n)
        for (int lane = 0; lane < L; ++lane) {
            const int64_t unit = (p * C::blocks + n / C::gates) * L + lane, row = gate[n] * units + unit;
            const bool valid = unit < units;
            for (int64_t k = 0; k < words; ++k)
                w[k * step + n * L + lane] = valid ? packed_word<O>(m, row, K, k) : 0;
            if constexpr (O::exact) {
                int32_t sum = 0;
                for (int64_t k = 0; kUnsigned && valid && k < K; ++k)
                    sum += static_cast<const int8_t*>(m.data)[row * K + k];
                scale[n * L + lane] = valid ? m.scales[row] : 0;
                offset[n * L + lane] = -128 * sum;
            }
        }
}

struct Biases {
    const float *ih = nullptr, *hh = nullptr;
    float of(const float* bias, int64_t row) const { return bias == nullptr ? 0.0f : bias[row]; }
};

// A product of x [I] and h [Kh], of `units` outputs per gate; a Kh of 0 has no h.
template <class O, class C>
Product pack_product(Arena& arena, const Matrix& ih, int64_t I, const Matrix& hh, int64_t Kh, int64_t units,
                     Biases biases) {
    constexpr int L = Float::lanes, all = C::nx + C::nh;
    Product m;
    m.units = units, m.panels = ceil_div(ceil_div(units, L), C::blocks);
    m.words_x = words_of(I, O::per), m.words_h = C::nh == 0 ? 0 : words_of(Kh, O::per);
    m.panel_words = (m.words_x * C::nx + m.words_h * C::nh) * L;
    uint32_t* w = arena.take<uint32_t>(m.panels * m.panel_words);
    float* bias = arena.take<float>(m.panels * C::slots * L);
    float* scale = arena.take<float>(O::exact ? m.panels * all * L : 0);
    int32_t* offset = arena.take<int32_t>(O::exact ? m.panels * all * L : 0);
    m.w = w, m.bias = bias, m.scale = scale, m.offset = offset;
    if (arena.memory == nullptr) return m;
    for (int64_t p = 0; p < m.panels; ++p) {
        const int64_t group = p / C::wide * C::wide, left = m.panels - group, of_panel = p * all * L;
        const int64_t members = left < C::wide ? left : C::wide;
        uint32_t* const x = w + group * m.panel_words;
        uint32_t* const h = x + m.words_x * members * C::nx * L;
        if (m.words_x > 0)
            pack_half<O, C>(ih, C::gate_x, units, I, p, x + (p - group) * C::nx * L, members * C::nx * L,
                            scale + of_panel, offset + of_panel);
        if constexpr (C::nh > 0)
            pack_half<O, C>(hh, C::gate_h, units, Kh, p, h + (p - group) * C::nh * L, members * C::nh * L,
                            scale + of_panel + C::nx * L, offset + of_panel + C::nx * L);
        for (int n = 0; n < C::slots; ++n)
            for (int lane = 0; lane < L; ++lane) {
                const int64_t unit = (p * C::blocks + (C::gates == 1 ? n : 0)) * L + lane;
                float value = 0;
                if (unit < units) {
                    const bool second = C::gates == 3 && n == 3;  // the GRU's n of h
                    const int64_t row = (second ? 2 : C::gate_x[n % C::nx]) * units + unit;
                    const bool first_n = C::gates == 3 && n == 0;
                    if (second) value = biases.of(biases.hh, row);
                    else if (first_n) value = biases.of(biases.ih, row);
                    else value = biases.of(biases.ih, row) + biases.of(biases.hh, row);
                }
                bias[(p * C::slots + n) * L + lane] = value;
            }
    }
    return m;
}

// ---- a step ----------------------------------------------------------------------------------------

constexpr int64_t kMostStarts = 8 << 20;  // bytes

template <class O>
class Stepping {
  public:
    Stepping(const Network& network, const StepRows& given, StepMemory& memory)
        : net(network), q(given), own(memory), rows(static_cast<StepRow*>(memory.of_rows)) {}

    Stepped run(int64_t begin, int64_t end, int64_t* failed) {
        for (int64_t from = begin; from < end; from += own.rows) {
            const int64_t n = end - from < own.rows ? end - from : own.rows;
            const Stepped result = block(from, n, failed);
            if (result != Stepped::ok) return result;
        }
        return Stepped::ok;
    }

  private:
    const Network& net;
    const StepRows& q;
    StepMemory& own;
    StepRow* rows;
    int64_t lost = 0;  // the first row of a block that is not finite before a projection: int8 cannot say so

    // A row's operand: x and h have a place each.
    const void* operand(const float* from, int64_t K, int64_t r, int which, float* scale) const {
        return O::put(from, K, own.words + (2 * r + which) * own.row_bytes, scale);
    }

    // The first row at fault is the one that is named: those before it are worked through, in vain or not.
    Stepped block(int64_t from, int64_t rows_given, int64_t* failed) {
        const bool checks_x = q.checked && q.x != nullptr;
        int64_t n = checks_x ? 0 : rows_given;
        while (n < rows_given && all_finite(q.x[from + n], net.input_size())) ++n;
        lost = n;
        for (int64_t l = 0; n > 0 && l < net.count; ++l) q.one_stream ? steps(l, from, n) : layer(l, from, n);
        for (int64_t r = 0; q.checked && r < n; ++r)
            if (r == lost || !finite(from + r)) return *failed = from + r, Stepped::state;
        if (n < rows_given) return *failed = from + n, Stepped::input;
        if (q.out != nullptr) outputs(from, n);
        return Stepped::ok;
    }

    // What x gives a row of layer l: its operand, or where its chains begin.
    void input(int64_t l, int64_t i, int64_t r, StepRow& row) const {
        const NetworkLayer& layer = net.layers[l];
        row.start = nullptr;
        if (l > 0) row.x = operand(q.h_new[i] + q.h_at[l - 1], layer.I, r, 0, &row.x_scale);
        else if (net.starts != nullptr) row.start = net.starts + q.ids[i] * layer.start_size;
        else if (q.ids != nullptr) row.x = operand(net.embedding + q.ids[i] * layer.I, layer.I, r, 0, &row.x_scale);
        else row.x = operand(q.x[i], layer.I, r, 0, &row.x_scale);
    }

    // Rows that are steps of one stream: x's half for all of them at once, so that its weights are read once,
    // then h's half step by step.
    void steps(int64_t l, int64_t from, int64_t n) {
        const NetworkLayer& layer = net.layers[l];
        for (int64_t r = 0; r < n; ++r) {
            input(l, from + r, r, rows[r]);
            rows[r].h_new = own.starts + r * layer.start_size;
        }
        if (rows[0].start == nullptr) {
            step_cell<O, Part::of_x>(layer.gates, layer.cell, rows, n, net.far);
            for (int64_t r = 0; r < n; ++r) rows[r].start = own.starts + r * layer.start_size;
        }
        for (int64_t r = 0; r < n; ++r) {
            state(l, from + r, r, rows[r]);
            step_cell_of_h<O>(layer.gates, layer.cell, rows + r, net.far);
            project(l, from + r, r, 1);
        }
    }

    // Rows of streams of their own.
    void layer(int64_t l, int64_t from, int64_t n) {
        for (int64_t r = 0; r < n; ++r) {
            input(l, from + r, r, rows[r]);
            state(l, from + r, r, rows[r]);
        }
        step_cell<O, Part::all>(net.layers[l].gates, net.layers[l].cell, rows, n, net.far);
        project(l, from, 0, n);
    }

    // The states of layer l from which row i goes on, and where they go.
    void state(int64_t l, int64_t i, int64_t r, StepRow& row) const {
        const NetworkLayer& layer = net.layers[l];
        row.h_before = q.h[i] + q.h_at[l];
        row.h = operand(row.h_before, layer.P, r, 1, &row.h_scale);
        row.c_before = q.c[i] + q.c_at[l];
        row.h_new = layer.projection.panels > 0 ? own.hidden + r * own.hidden_size : q.h_new[i] + q.h_at[l];
        row.c_new = q.c_new[i] + q.c_at[l];
    }

    // n rows from number r on, which are rows i, i + 1, … of the call.
    void project(int64_t l, int64_t i, int64_t r, int64_t n) {
        const NetworkLayer& layer = net.layers[l];
        if (layer.projection.panels == 0) return;
        for (int64_t k = 0; k < n; ++k) {
            StepRow& row = rows[r + k];
            if (r + k < lost && !all_finite(row.h_new, layer.H)) lost = r + k;
            row.x = operand(row.h_new, layer.H, r + k, 0, &row.x_scale);
            row.start = nullptr;
            row.h_new = q.h_new[i + k] + q.h_at[l];
        }
        step_product<O, LinearStep>(layer.projection, layer.cell, rows + r, n, net.far);
    }

    bool finite(int64_t i) const {
        bool all = true;
        for (int64_t l = 0; l < net.count; ++l) {
            all &= all_finite(q.h_new[i] + q.h_at[l], net.layers[l].P);
            if (net.layers[l].cell == Cell::lstm) all &= all_finite(q.c_new[i] + q.c_at[l], net.layers[l].H);
        }
        return all;
    }

    void outputs(int64_t from, int64_t n) {
        const int64_t last = net.count - 1, P = net.layers[last].P;
        for (int64_t r = 0; r < n; ++r) {
            const float* h = q.h_new[from + r] + q.h_at[last];
            if (net.head.panels == 0) std::memcpy(q.out[from + r], h, static_cast<size_t>(P) * sizeof(float));
            else rows[r].x = operand(h, P, r, 0, &rows[r].x_scale);
            rows[r].start = nullptr;
            rows[r].h_new = q.out[from + r];
        }
        if (net.head.panels > 0) step_product<O, LinearStep>(net.head, Cell::lstm, rows, n, net.far);
    }
};

template <class Run>
auto with_operand(Storage storage, Run run) {
    switch (storage) {
        case Storage::bf16: return run(OperandBf16{});
        case Storage::i8: return run(OperandInt8{});
        default: return run(OperandF32{});
    }
}

inline Stepped step(const Network& network, const StepRows& rows, int64_t begin, int64_t end, StepMemory& memory,
                    int64_t* failed) {
    const Flush flush;
    return with_operand(network.storage, [&](auto o) {
        return Stepping<decltype(o)>(network, rows, memory).run(begin, end, failed);
    });
}

template <class O, class C>
void pack_layer(const NetworkWeights& w, int64_t l, Arena& arena, Network& to) {
    const LayerWeights& of = w.layers[l];
    NetworkLayer& layer = to.layers[l];
    const Biases biases{of.bias_ih, of.bias_hh};
    layer.start_size = ceil_div(ceil_div(of.H, Float::lanes), C::blocks) * C::slots * Float::lanes;
    const bool starts = l == 0 && w.V > 0 && w.V <= kMostStarts / 4 / layer.start_size;
    if (starts) {  // the first layer's chains after embedding · W_ih, for every symbol
        float* const table = arena.take<float>(w.V * layer.start_size);
        const Product of_x = pack_product<O, C>(arena, of.weight_ih, of.I, of.weight_hh, 0, of.H, biases);
        void* const words = arena.take<float>(of.I + 16);
        for (int64_t v = 0; arena.memory != nullptr && v < w.V; ++v) {
            StepRow row;
            row.x = O::put(w.embedding + v * of.I, of.I, words, &row.x_scale);
            row.h_new = table + v * layer.start_size;
            step_product<O, C, Part::of_x>(of_x, of.cell, &row, 1, false);
        }
        to.starts = table;
    } else if (l == 0 && w.V > 0) {
        float* const rows = arena.take<float>(w.V * of.I);
        if (rows != nullptr) std::memcpy(rows, w.embedding, static_cast<size_t>(w.V * of.I) * sizeof(float));
        to.embedding = rows;
    }
    layer.gates = pack_product<O, C>(arena, of.weight_ih, starts ? 0 : of.I, of.weight_hh, of.P, of.H, biases);
    if (of.weight_hr.data != nullptr)
        layer.projection = pack_product<O, LinearStep>(arena, of.weight_hr, of.H, {}, 0, of.P, {});
}

inline int64_t pack_network(const NetworkWeights& w, void* memory, Network& to) {
    const Flush flush;
    Arena arena{static_cast<char*>(memory)};
    with_operand(w.storage, [&](auto o) {
        using O = decltype(o);
        for (int64_t l = 0; l < w.count; ++l) switch (w.layers[l].cell) {
                case Cell::lstm: pack_layer<O, LstmStep>(w, l, arena, to); break;
                case Cell::gru: pack_layer<O, GruStep>(w, l, arena, to); break;
                default: pack_layer<O, RnnStep>(w, l, arena, to);
            }
        if (w.head.data != nullptr)
            to.head = pack_product<O, LinearStep>(arena, w.head, w.layers[w.count - 1].P, {}, 0, w.O,
                                                  {w.head_bias, nullptr});
    });
    return arena.used;
}

// A thread's memory for steps of at most `rows` rows at once; null memory counts.
inline int64_t step_memory(const Network& net, int64_t rows, bool one_stream, void* memory, StepMemory* to) {
    Arena arena{static_cast<char*>(memory)};
    int64_t longest = 0, hidden = 0, starts = 0;
    for (int64_t l = 0; l < net.count; ++l) {
        const NetworkLayer& layer = net.layers[l];
        starts = layer.start_size > starts ? layer.start_size : starts;
        const int64_t sizes[] = {layer.I, layer.H, layer.P};
        for (int64_t K : sizes) longest = K > longest ? K : longest;
        if (layer.projection.panels > 0) hidden = layer.H > hidden ? layer.H : hidden;
    }
    to->rows = rows < StepMemory::most_rows ? rows : StepMemory::most_rows;
    to->row_bytes = net.storage == Storage::f32 ? 0 : ceil_div(words_of(longest, per_word(net.storage)) * 4, 64) * 64;
    to->hidden_size = ceil_div(hidden, 16) * 16;
    to->words = arena.take<char>(2 * to->rows * to->row_bytes);
    to->hidden = arena.take<float>(to->rows * to->hidden_size);
    to->starts = arena.take<float>(one_stream ? to->rows * starts : 0);
    StepRow* const of_rows = arena.take<StepRow>(to->rows);
    for (int64_t r = 0; of_rows != nullptr && r < to->rows; ++r) of_rows[r] = StepRow{};
    to->of_rows = of_rows;
    return arena.used;
}

// A product of one vector with all of a network's words and nothing else, eight chains side by side.
template <class O, bool ahead>
void bare(const Product& m, const typename O::Word* a, float* sink) {
    constexpr int L = Float::lanes;
    const int64_t depth = m.words_x + m.words_h;
    const auto* w = static_cast<const typename O::Word*>(m.w);
    const typename O::Word* const rows[1] = {a};
    Float total = Float::zero();
    for (int64_t left = m.panels * m.panel_words / L / 8; left > 0; left -= depth, w += 8 * depth * L) {
        typename O::Sum sums[1][8];
#pragma GCC unroll 8
        for (int n = 0; n < 8; ++n) {
            if constexpr (O::exact) sums[0][n] = O::all(0);
            else sums[0][n] = Float::zero();
        }
        const int64_t words = left < depth ? left : depth;
        products<O, 1, 8, ahead>(sums, rows, words, w, 8 * L);
#pragma GCC unroll 8
        for (int n = 0; n < 8; ++n) {
            if constexpr (O::exact) total = total + to_float(sums[0][n]);
            else total = total + sums[0][n];
        }
    }
    (Float::load(sink) + total).store(sink);
}

inline void bare_network(const Network& net, const void* words, float* sink) {
    with_operand(net.storage, [&](auto o) {
        using O = decltype(o);
        const auto* a = static_cast<const typename O::Word*>(words);
        const auto through = [&](const Product& m) {
            if (m.panels > 0) net.far ? bare<O, true>(m, a, sink) : bare<O, false>(m, a, sink);
        };
        for (int64_t l = 0; l < net.count; ++l) through(net.layers[l].gates), through(net.layers[l].projection);
        through(net.head);
    });
}

}  // namespace UNROLLED_ISA
}  // namespace unrolled
