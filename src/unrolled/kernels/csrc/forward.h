// A layer forward over its whole sequence.
//
// Per thread: x·W_ih for a block of steps, stored; then step by step h·W_hh, which continues the
// stored chains, and the activations while the sums are in the nearest cache. Where the weights are small,
// both products step by step, with sums that stay in registers: the same chains.
#pragma once

#include <utility>

#include "cache.h"
#include "cells.h"
#include "pass.h"
#include "tile.h"

namespace unrolled {
namespace UNROLLED_ISA {

// One row at one step.
template <class V, class O>
struct ForwardRow {
    using S = typename V::Scalar;
    const S* h;         // [H] hidden state before the step: h_0, y of the step before, or zeros
    S* g;               // [slots of all units] where gates go, or null; their sums may lie there too
    const S* c_before;  // [P] cell state before the step
    S* c;               // [P] cell state after it; may be c_before
    S* y;               // [H], or where o · tanh(c) goes to be projected
    typename O::Word* h_words;  // [words of P] the same, where operands are of another type
    int64_t at;         // of this row and step in a trajectory

    void put_hidden(V h, int64_t unit, int64_t left) const {
        store_some(h, y + unit, left);
        if constexpr (O::per > 1) O::store(h_words, unit, left >= V::lanes ? h : load_some<V>(y + unit, left));
    }
};

template <class V>
struct Traces {
    typename V::Scalar* of[5];
    void put(int which, V v, int64_t at, int64_t n) const {
        if (of[0] != nullptr) store_some(v, of[which] + at, n);
    }
};

// The gates and the state of a unit block from `sums`, its pre-activations.
template <class V, class O>
inline void activate(LstmShape, const typename V::Scalar* sums, const ForwardRow<V, O>& row, int64_t unit,
                     int64_t left, const Traces<V>& traces) {
    constexpr int L = V::lanes;
    const LstmGates<V> gates =
        lstm_gates(V::load(sums), V::load(sums + L), V::load(sums + 2 * L), V::load(sums + 3 * L));
    const V c = gates.cell(V::load(row.c_before + unit));
    if (row.g != nullptr) {
        typename V::Scalar* const at = row.g + 4 * unit;
        gates.i.store(at);
        gates.f.store(at + L);
        gates.g.store(at + 2 * L);
        gates.o.store(at + 3 * L);
    }
    c.store(row.c + unit);
    row.put_hidden(gates.hidden(c), unit, left);
    if (traces.of[0] == nullptr) return;
    const int64_t to = row.at + unit;
    traces.put(0, gates.i, to, left);
    traces.put(1, gates.f, to, left);
    traces.put(2, gates.g, to, left);
    traces.put(3, gates.o, to, left);
    traces.put(4, c, to, left);
}

template <class V, class O>
inline void activate(GruShape, const typename V::Scalar* sums, const ForwardRow<V, O>& row, int64_t unit,
                     int64_t left, const Traces<V>& traces) {
    constexpr int L = V::lanes;
    const V n_of_h = V::load(sums + 3 * L);
    const GruGates<V> gates = gru_gates(V::load(sums), V::load(sums + L), V::load(sums + 2 * L), n_of_h);
    if (row.g != nullptr) {
        typename V::Scalar* const at = row.g + 4 * unit;
        gates.n.store(at);
        gates.r.store(at + L);
        gates.z.store(at + 2 * L);
        n_of_h.store(at + 3 * L);
    }
    row.put_hidden(gates.hidden(load_some<V>(row.h + unit, left)), unit, left);
    if (traces.of[0] == nullptr) return;
    const int64_t to = row.at + unit;
    traces.put(0, gates.r, to, left);
    traces.put(1, gates.z, to, left);
    traces.put(2, gates.n, to, left);
}

template <class V, class O, bool relu>
inline void activate(RnnShape<relu>, const typename V::Scalar* sums, const ForwardRow<V, O>& row, int64_t unit,
                     int64_t left, const Traces<V>& traces) {
    const V a = V::load(sums);
    traces.put(0, a, row.at + unit, left);
    row.put_hidden(relu ? max(V::zero(), a) : tanh(a), unit, left);
}

// `O` is the type of the operands. Where it is not the vector's own, x and h are brought into its words: x for
// a block of steps, h as it is computed. States, sums and activations stay numbers of `V`.
template <class V, class C, class O>
class Forward : Pass<V, C> {
    using Base = Pass<V, C>;
    friend Base;
    using S = typename V::Scalar;
    using Word = typename O::Word;
    using Row = ForwardRow<V, O>;
    using Base::L, Base::w, Base::q, Base::plan, Base::nb, Base::P, Base::way, Base::team,
        Base::threads, Base::zeros, Base::shares, Base::most, Base::time, Base::cut, Base::running, Base::at,
        Base::R, Base::padded_R, Base::projects;

  public:
    Forward(const Handle& handle, const Sequences& sequences, const ForwardOut& out)
        : Base(handle, sequences), o(out), width(C::slots * nb * L), panel_count(Weight::panels(w)) {
        const int vectors = C::blocks * C::gates;
        const int64_t outside = Base::has_ids() ? 0 : O::words(w.I) * C::gates * nb;
        const Shape shape{O::words(R), panel_count, vectors,   panel_count,           vectors,
                          L,   sizeof(S),   tile_rows<V>(vectors), outside};
        way = choose_way(plan, shape, q.threads);
        in_pieces = O::per == 1 && !projects && !Base::has_ids() && Base::handle.packed == nullptr && plan.steps == 1 &&
                    way != Way::by_rows;
    }

    void run() { Base::run(this); }

  private:
    using Weight = Packed<V, C, O>;

    Scratch& memory = Base::scratch;
    const ForwardOut& o;
    const int64_t width;  // of a row of gates that nobody keeps
    const int64_t panel_count;
    // One step goes through its weights once: they are packed piece by piece, each used from the nearest cache.
    bool in_pieces;
    static constexpr int64_t kPiece = 64;  // columns
    Weight packed{w, nullptr};
    S* state;  // [B, P] c_0 by rank; where no cell states are kept, the running ones
    Word* h_words = nullptr;  // [2][B, words of padded_R] by rank: h before and after a step, in turn
    S* table = nullptr;        // [V, width] of ids: what the chains of a step begin with, by its symbol
    S* unprojected = nullptr;  // [B, P] by rank: o · tanh(c) of a step
    Word* unprojected_words = nullptr;  // [B, words of P]
    int64_t block_rows, block_steps;
    bool near = false;  // whether this thread's weights of x and of h stay in the second cache
    struct Buffers {  // what one thread works on
        const Word** x;
        S** g;  // of a block of steps
        const Word** h;
        S** g_now;
        Row* rows;      // of a step
        S** y_now;
        S* gates;       // [block_rows, width] where nobody keeps them
        Word* x_words;  // [block_rows, words of I] where operands are of another type
        S* piece;             // in pieces: two of [kPiece][vectors · lanes], then the biases of a panel
    };
    Buffers* buffers;

    Range my_panels(int thread) const {
        return way == Way::by_units ? share(panel_count, thread, threads) : Range{0, panel_count};
    }

    void take_memory() {
        const int64_t kept_rows = Base::is_packed() ? plan.valid() : q.T * q.B;
        prefer_large_pages(o.kept, static_cast<size_t>(kept_size(C::cell, kept_rows, 1, w.H)) * sizeof(S));
        const size_t trace = static_cast<size_t>(q.T * q.B * w.H) * sizeof(S);
        for (int i = 0; i < 5 && o.traces[i] != nullptr;) {  // those that lie end to end, as one
            char* const first = static_cast<char*>(o.traces[i]);
            size_t size = trace;
            while (++i < 5 && o.traces[i] == first + size) size += trace;
            prefer_large_pages(first, size);
        }
        void* const once = Base::handle.packed.get();
        packed = Weight(w, once != nullptr ? once : memory.take<S>(in_pieces ? 0 : Weight::size(w)));
        state = memory.take<S>(C::cell == Cell::lstm ? q.B * P : 0);
        h_words = memory.take<Word>(O::per > 1 ? 2 * q.B * O::words(padded_R) : 0);
        table = memory.take<S>(q.V * width);
        unprojected = memory.take<S>(projects ? q.B * P : 0);
        unprojected_words = memory.take<Word>(projects && O::per > 1 ? q.B * O::words(P) : 0);
        Base::share_all_rows();
        // A block's gates fill a quarter of the second cache; few rows take more steps.
        const int64_t second = caches().second, fit = second / 4 / (width * static_cast<int64_t>(sizeof(S)));
        const int64_t rows = fit < 48 ? 48 : fit > 2048 ? 2048 : fit;
        block_steps = most == 0 ? 1 : rows / most < 1 ? 1 : rows / most;
        if (block_steps > plan.steps) block_steps = plan.steps;
        block_rows = block_steps * most;
        const int64_t deep = O::words(w.I) + O::words(R);
        const int64_t my_share = way == Way::by_units ? ceil_div(panel_count, threads) : panel_count;
        constexpr bool enough = tile_rows<V>(C::blocks * C::gates + C::first_h) >= 6;  // else panels are read too often
        near = enough && !in_pieces && !Base::has_ids() && deep <= kDeep && my_share * Weight::panel_size(deep) * static_cast<int64_t>(sizeof(S)) <= second / 2;
        buffers = memory.take<Buffers>(threads);
        const bool keeps = gates_width(C::cell, w.H) > 0 && o.kept != nullptr;
        const int64_t n = threads;
        const int64_t x_rows = block_rows > q.V ? block_rows : q.V;
        const Word** xs = memory.take<const Word*>(n * x_rows);
        S** gs = memory.take<S*>(n * x_rows);
        const Word** hs = memory.take<const Word*>(n * most);
        S** nows = memory.take<S*>(n * most);
        Row* rows_of = memory.take<Row>(n * most);
        S** ys = memory.take<S*>(projects ? n * most : 0);
        S* gates = memory.take<S>(keeps ? 0 : n * block_rows * width);
        Word* x_words = memory.take<Word>(O::per > 1 ? n * x_rows * O::words(w.I) : 0);
        const int64_t piece = Weight::panel_size(2 * kPiece + 2);
        S* pieces = memory.take<S>(in_pieces ? n * piece : 0);
        for (int64_t t = 0; t < n; ++t) {
            buffers[t] = {xs + t * x_rows, gs + t * x_rows, hs + t * most, nows + t * most,
                        rows_of + t * most,  ys + (projects ? t * most : 0), keeps ? nullptr : gates + t * block_rows * width,
                        x_words + (O::per > 1 ? t * x_rows * O::words(w.I) : 0),
                        in_pieces ? pieces + t * piece : nullptr};
        }
    }

    void prepare(int thread) {
        if (Base::handle.packed == nullptr && !in_pieces) {
            packed.fill(w, share(panel_count, thread, threads));
            packed.fill_hr(w, share(Weight::hr_panels(w), thread, threads));
        }
        if (Base::has_ids() && plan.steps > 0) fill_table(thread);
        if (C::cell == Cell::lstm) Base::pad(state, q.c_0, w.H, thread);
        if constexpr (O::per > 1) {
            const Range mine = share(q.B, thread, threads);
            for (int64_t rank = mine.begin; rank < mine.end; ++rank)
                for (int64_t u = 0; u < padded_R; u += L)
                    O::store(h_words_at(rank, -1), u,
                             u < R ? load_some<V>(Base::h_0(rank) + u, R - u) : V::zero());
        }
    }

    // The state after step s, as operands.
    Word* h_words_at(int64_t rank, int64_t s) const {
        return h_words + ((s & 1) * q.B + rank) * O::words(padded_R);
    }

    // Where the gates of a row are: with those who keep them, or in the thread's own block.
    S* gates_at(const Buffers& buf, int64_t rank, int64_t s, int64_t in_block) const {
        return buf.gates != nullptr ? buf.gates + in_block * width : Base::gates_in(o.kept, rank, s);
    }

    S* cells_at(int64_t rank, int64_t s) const {
        return o.kept == nullptr ? state + rank * P : Base::cells_in(o.kept, rank, s);
    }

    void work(int thread) {
        const Flush flush;
        prepare(thread);
        team->barrier();
        const Share& mine = shares[thread];
        const Buffers& buf = buffers[thread];
        int64_t n = mine.count;
        if constexpr (O::per == 1) {
            if (in_pieces) {
                one_step(thread, mine, buf, running(mine, 0, n));
                if (way == Way::by_units) team->barrier();
                return finish(thread, mine);
            }
        }
        for (int64_t s = 0; s < plan.steps; s += block_steps) {
            const int64_t end = s + block_steps < plan.steps ? s + block_steps : plan.steps;
            n = running(mine, s, n);
            if (n == 0) break;
            const bool whole = near && n >= tile_rows<V>(C::blocks * C::gates + C::first_h);  // fewer wait for their sums
            if (whole) point_inputs(mine, buf, s, end, n);
            else input_products(thread, mine, buf, s, end, n);
            int64_t in_block = 0, now = n;
            for (int64_t step = s; step < end; ++step) {
                now = running(mine, step, now);
                if (now > 0 && whole) take_whole_step(thread, mine, buf, step, now, in_block);
                else if (now > 0) take_step(thread, mine, buf, step, now, in_block);
                in_block += now;
                if (way == Way::by_units) team->barrier();
                if (!projects) continue;
                if (now > 0) project(thread, mine, buf, step, now);
                if (way == Way::by_units) team->barrier();
            }
        }
        finish(thread, mine);
    }

    const Word* as_words(const S* x, const Buffers& buf, int64_t row) const {
        Word* const words = buf.x_words + (O::per > 1 ? row * O::words(w.I) : 0);
        return static_cast<const Word*>(O::put(x, w.I, words, nullptr));
    }

    int64_t point_inputs(const Share& mine, const Buffers& buf, int64_t s, int64_t end, int64_t n) {
        int64_t rows = 0;
        for (; s < end; ++s) {
            n = running(mine, s, n);
            for (int64_t j = 0; j < n; ++j, ++rows) {
                const int64_t rank = mine.rank[j];
                buf.x[rows] = as_words(at(q.x, rank, time(rank, s)), buf, rows);
                buf.g[rows] = gates_at(buf, rank, s, rows);
            }
        }
        return rows;
    }

    // This thread's columns of the table: those of the panels that it has packed, where a call packs.
    void fill_table(int thread) {
        const Buffers& buf = buffers[thread];
        for (int64_t v = 0; v < q.V; ++v) {
            buf.x[v] = as_words(Base::symbol(v), buf, v);
            buf.g[v] = table + v * width;
        }
        through_inputs(buf, q.V, share(panel_count, thread, threads));
    }

    // From the table to this thread's columns of the gates of a block of steps.
    void look_up(int thread, const Share& mine, const Buffers& buf, int64_t s, int64_t end, int64_t n) {
        const Range panels = my_panels(thread);
        const int64_t past = panels.end * C::blocks < nb ? panels.end * C::blocks : nb;
        const int64_t first = panels.begin * C::blocks * C::slots * L, size = past * C::slots * L - first;
        int64_t rows = 0;
        for (; s < end; ++s) {
            n = running(mine, s, n);
            for (int64_t j = 0; j < n && size > 0; ++j, ++rows) {
                const int64_t rank = mine.rank[j];
                std::memcpy(gates_at(buf, rank, s, rows) + first,
                            table + Base::id(rank, time(rank, s)) * width + first, size * sizeof(S));
            }
        }
    }

    void input_products(int thread, const Share& mine, const Buffers& buf, int64_t s, int64_t end, int64_t n) {
        if (Base::has_ids()) return look_up(thread, mine, buf, s, end, n);
        through_inputs(buf, point_inputs(mine, buf, s, end, n), my_panels(thread));
    }

    // From buf.x to buf.g: the summed biases, then x·W_ih.
    void through_inputs(const Buffers& buf, int64_t rows, Range panels) {
        for (int64_t p = panels.begin; p < panels.end; ++p) {
            const Panel<Word> panel{packed.w_ih + p * Weight::panel_size(O::words(w.I)), O::words(w.I),
                                    Weight::vectors(w, p)};
            const int64_t column = p * C::blocks * C::slots * L;
            const S* bias = packed.bias + p * Weight::panel_size(1);
            through_rows<V, O>(panel, buf.x, rows, Start::bias, bias, buf.g, column, panel.vectors * L,
                            [&](int64_t begin, int64_t stop) {
                                if (C::cell != Cell::gru) return;
                                const V second = V::load(packed.bias_n + p * L);
                                for (int64_t i = begin; i < stop; ++i)
                                    second.store(buf.g[i] + column + 3 * L);
                            });
        }
    }

    void point_rows(const Share& mine, const Buffers& buf, int64_t s, int64_t n, int64_t in_block) {
        for (int64_t j = 0; j < n; ++j) {
            const int64_t rank = mine.rank[j], t = time(rank, s);
            const bool fresh = cut(rank, t);
            Row& row = buf.rows[j];
            row.g = gates_at(buf, rank, s, in_block + j);
            row.y = projects ? unprojected + rank * P : at(o.y, rank, t);
            row.h = fresh    ? zeros
                    : s == 0 ? Base::h_0(rank)
                             : at(o.y, rank, t + (q.reverse ? 1 : -1));
            row.at = (t * q.B + plan.row[rank]) * w.H;
            if (C::cell == Cell::lstm) {
                row.c = cells_at(rank, s);
                row.c_before = fresh ? zeros : s == 0 ? state + rank * P : cells_at(rank, s - 1);
            }
            if constexpr (O::per == 1) {
                buf.h[j] = row.h;
            } else {
                buf.h[j] = fresh ? reinterpret_cast<const Word*>(zeros) : h_words_at(rank, s - 1);
                row.h_words = projects ? unprojected_words + rank * O::words(P) : h_words_at(rank, s);
            }
            buf.g_now[j] = row.g;
        }
    }

    Traces<V> all_traces() const {
        Traces<V> traces;
        for (int i = 0; i < 5; ++i) traces.of[i] = static_cast<S*>(o.traces[i]);
        return traces;
    }

    // A unit block whose sums lie where its gates go.
    void activate_stored(const Row& row, int64_t block, const Traces<V>& traces) const {
        activate<V, O>(C{}, row.g + C::slots * block * L, row, block * L, w.H - block * L, traces);
    }

    void take_step(int thread, const Share& mine, const Buffers& buf, int64_t s, int64_t n, int64_t in_block) {
        point_rows(mine, buf, s, n, in_block);
        const Traces<V> traces = all_traces();
        const Range panels = my_panels(thread);
        for (int64_t p = panels.begin; p < panels.end; ++p) {
            const Panel<Word> panel{packed.w_hh + p * Weight::panel_size(O::words(R)), O::words(R),
                                    Weight::vectors(w, p)};
            const int64_t first = p * C::blocks;
            through_rows<V, O>(panel, buf.h, n, Start::stored, nullptr, buf.g_now,
                            (first * C::slots + C::first_h) * L, panel.vectors * L,
                            [&](int64_t begin, int64_t end) {
                                for (int64_t j = begin; j < end; ++j)
                                    for (int64_t b = first; b < first + panel.vectors / C::gates; ++b)
                                        activate_stored(buf.rows[j], b, traces);
                            });
        }
    }

    // The same with x's products too, for a layer whose weights are near: its sums never lie in memory that is far.
    void take_whole_step(int thread, const Share& mine, const Buffers& buf, int64_t s, int64_t n,
                         int64_t in_block) {
        point_rows(mine, buf, s, n, in_block);
        if (buf.gates != nullptr)
            for (int64_t j = 0; j < n; ++j) buf.rows[j].g = nullptr;
        const Traces<V> traces = all_traces();
        const Range panels = my_panels(thread);
        alignas(64) S sums[V::registers * L];
        for (int64_t p = panels.begin; p < panels.end; ++p) {
            const int vectors = Weight::vectors(w, p), every = vectors + C::first_h;
            const int64_t tiles = ceil_div(n, tile_rows<V>(every)), first = p * C::blocks;
            const int64_t most = tile_rows<V>(every);
            const Following gates{reinterpret_cast<const void* const*>(buf.g_now), C::slots * nb * L * static_cast<int64_t>(sizeof(S))};
            int64_t begin = 0;
            for (int64_t i = 1; i <= tiles; ++i) {
                const int64_t end = n * i / tiles;
                if (i < tiles) fetch(buf, end, n * (i + 1) / tiles, first, vectors / C::gates);
                const int64_t of_x = O::words(w.I), of_h = O::words(R);
                const Word* const w_x = packed.w_ih + p * Weight::panel_size(of_x);
                const Word* const w_h = packed.w_hh + p * Weight::panel_size(of_h);
                const bool whole_rows = p == panels.begin && buf.gates == nullptr && i < tiles;
                const Factor<Word> x{buf.x + in_block + begin, of_x, w_x, panel_after<V>(w_x, of_x, vectors, i)};
                const Factor<Word> h{buf.h + begin, of_h, w_h, whole_rows ? gates.of(end, most, of_h)
                                                                          : panel_after<V>(w_h, of_h, vectors, i)};
                both(static_cast<int>(end - begin), vectors, x, h,
                     static_cast<const S*>(packed.bias + p * Weight::panel_size(1)),
                     static_cast<const S*>(packed.bias_n + p * C::blocks * L), static_cast<S*>(sums));
                for (int64_t j = begin; j < end; ++j)
                    for (int64_t b = 0; b < vectors / C::gates; ++b)
                        activate<V, O>(C{}, sums + ((j - begin) * every + b) * L, buf.rows[j], (first + b) * L,
                                       w.H - (first + b) * L, traces);
                begin = end;
            }
        }
    }

    // What the next tile will write, fetched during this one.
    UNROLLED_PREFETCHES void fetch(const Buffers& buf, int64_t begin, int64_t end, int64_t block,
                                   int64_t blocks) const {
        for (int64_t j = begin; j < end; ++j)
            for (int64_t b = block; b < block + blocks; ++b) {
                __builtin_prefetch(buf.rows[j].y + b * L, 1);
                if (C::cell == Cell::lstm) __builtin_prefetch(buf.rows[j].c + b * L, 1);
            }
    }

    template <class... Args>
    static void both(int rows, int vectors, Args... args) {
        constexpr int first = C::first_h;
        if constexpr (C::blocks == 1) with_rows<V, O, Both<first>::template Tile, C::gates>(rows, args...);
        else with_size<V, O, Both<first>::template Tile>(rows, vectors, args...);
    }

    // h of a step, from what take_step has left of every row.
    void project(int thread, const Share& mine, const Buffers& buf, int64_t s, int64_t n) {
        for (int64_t j = 0; j < n; ++j) {
            const int64_t rank = mine.rank[j];
            buf.y_now[j] = at(o.y, rank, time(rank, s));
            if constexpr (O::per == 1) buf.h[j] = unprojected + rank * P;
            else buf.h[j] = unprojected_words + rank * O::words(P);
        }
        const int64_t count = Weight::hr_panels(w);
        const Range panels = way == Way::by_units ? share(count, thread, threads) : Range{0, count};
        for (int64_t p = panels.begin; p < panels.end; ++p) {
            const Panel<Word> panel{packed.w_hr + p * Weight::hr_panel_size(w), O::words(w.H),
                                    Weight::hr_vectors(w, p)};
            const int64_t column = p * Weight::wide * L, left = R - column;
            const int cols = static_cast<int>(left < panel.vectors * L ? left : panel.vectors * L);
            through_rows<V, O>(panel, buf.h, n, Start::zero, nullptr, buf.y_now, column, cols,
                               [&](int64_t begin, int64_t end) {
                                   if constexpr (O::per > 1)
                                       for (int64_t j = begin; j < end; ++j)
                                           for (int64_t u = column; u < column + panel.vectors * L; u += L)
                                               O::store(h_words_at(mine.rank[j], s), u,
                                                        load_some<V>(buf.y_now[j] + u, R - u));
                               });
        }
    }

    // The only step: panel by panel from the packing to the new states.
    void one_step(int thread, const Share& mine, const Buffers& buf, int64_t n) {
        if (n == 0) return;
        point_inputs(mine, buf, 0, 1, n);
        point_rows(mine, buf, 0, n, 0);
        const Traces<V> traces = all_traces();
        S* const bias = buf.piece + Weight::panel_size(2 * kPiece);
        S* const bias_n = bias + Weight::panel_size(1);
        const Range panels = my_panels(thread);
        for (int64_t p = panels.begin; p < panels.end; ++p) {
            const int64_t first = p * C::blocks, column = first * C::slots * L;
            Weight::pack_biases(w, p, bias, bias_n);
            for (int64_t j = 0; C::cell == Cell::gru && j < n; ++j)
                V::load(bias_n).store(buf.g[j] + column + 3 * L);
            through_pieces(w.weight_ih, w.I, C::order, p, buf, buf.x, n, Start::bias, bias, column);
            through_pieces(w.weight_hh, w.H, Weight::torch_order, p, buf, buf.h, n, Start::stored, bias,
                           column + C::first_h * L);
            for (int64_t j = 0; j < n; ++j)
                for (int64_t b = first; b < first + Weight::vectors(w, p) / C::gates; ++b)
                    activate_stored(buf.rows[j], b, traces);
        }
    }

    // Panel p of a product with weight [gates · H, K], piece by piece: the chains are stored in between.
    void through_pieces(const void* weight, int64_t K, const int* order, int64_t p, const Buffers& buf,
                        const S* const* a, int64_t rows, Start start, const S* bias, int64_t column) {
        const int vectors = Weight::vectors(w, p);
        const int64_t most_rows = tile_rows<V>(vectors), tiles = ceil_div(rows, most_rows);
        int64_t from = 0;
        if (rows == 1 && (p + 1) * C::blocks * L <= w.H && K >= kPiece) {
            from = K - K % kPiece;
            one_row(static_cast<const S*>(weight), K, order, p, buf.piece, a[0],
                    start == Start::bias ? bias : buf.g_now[0] + column, buf.g_now[0] + column);
            start = Start::stored;
        }
        for (; from < K; from += kPiece, start = Start::stored) {
            const int64_t depth = K - from < kPiece ? K - from : kPiece;
            pack_forward<V, C, O>(static_cast<const S*>(weight) + from, K, depth, w.H, p, order, buf.piece);
            for (int64_t i = 0; i < tiles; ++i) {
                const int64_t begin = rows * i / tiles, end = rows * (i + 1) / tiles;
                with_size<V, O, Tile>(static_cast<int>(end - begin), vectors, a + begin, from, depth,
                                   static_cast<const S*>(buf.piece), Ahead{buf.piece, 0}, start, bias,
                                   buf.g_now + begin, column, vectors * L);
            }
        }
    }

    // The whole pieces of a full panel for one row. While a piece is packed the chains go through the one
    // before it, since shuffles and multiply-adds wait for different parts of the processor.
    void one_row(const S* weight, int64_t K, const int* order, int64_t p, S* piece, const S* a, const S* from,
                 S* to) const {
        constexpr int N = C::blocks * C::gates, parts = kPiece / L;
        const S* row[N];
        V acc[1][N];
        for (int n = 0; n < N; ++n) {
            row[n] = weight + (order[n % C::gates] * w.H + (p * C::blocks + n / C::gates) * L) * K;
            acc[0][n] = V::load(from + n * L);
        }
        S* other = piece + Weight::panel_size(kPiece);
        const int64_t count = K / kPiece;
        for (int64_t i = 0; i <= count; ++i) {
            for (int part = 0; part < N * parts; ++part) {
                const int n = part / parts, first = part % parts * L;
                if (i < count) V::transpose(row[n] + i * kPiece + first, K, piece + (first * N + n) * L, N * L);
                if (i == 0) continue;
                const int64_t begin = kPiece * part / (N * parts), end = kPiece * (part + 1) / (N * parts);
                const S* const columns = other + begin * N * L;
                chains<V, O, 1, N>(acc, &a, (i - 1) * kPiece + begin, end - begin, columns, {columns, 0});
            }
            std::swap(piece, other);
        }
        for (int n = 0; n < N; ++n) acc[0][n].store(to + n * L);
    }

    // The states after each row's last step, and zeros past its length.
    void finish(int thread, const Share& mine) {
        const bool own = way == Way::by_rows;
        const Range rows = own ? Range{0, mine.count} : share(q.B, thread, threads);
        for (int64_t i = rows.begin; i < rows.end; ++i) {
            const int64_t rank = own ? mine.rank[i] : i, length = plan.length[rank], row = plan.row[rank];
            const S* h = length > 0 ? at(o.y, rank, time(rank, length - 1)) : Base::h_0(rank);
            std::memcpy(static_cast<S*>(o.h_n) + row * R, h, R * sizeof(S));
            if (C::cell == Cell::lstm) {
                const S* c = length > 0 ? cells_at(rank, length - 1) : state + rank * P;
                std::memcpy(static_cast<S*>(o.c_n) + row * w.H, c, w.H * sizeof(S));
            }
            for (int64_t t = length; t < q.T; ++t) {
                if (!Base::is_packed()) std::memset(at(o.y, rank, t), 0, R * sizeof(S));
                for (void* trace : o.traces)
                    if (trace != nullptr)
                        std::memset(static_cast<S*>(trace) + (t * q.B + row) * w.H, 0, w.H * sizeof(S));
            }
        }
    }
};

}  // namespace UNROLLED_ISA
}  // namespace unrolled
