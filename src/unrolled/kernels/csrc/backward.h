// A layer backward over its whole sequence.
//
// In the time loop only dh·W_hh and the pointwise part: gradients of the pre-activations go to a block
// of steps. When a block is full, dW_ih, dW_hh, db and dx are taken from it. Sums over rows and steps are cut in
// the same places whatever the thread count and the machine: rows in up to two bands, each summed by itself, a
// band's rows of a block in chunks. Two threads that share the rows so sum one band each and never wait; in any
// other number they share the gates of every sum.
#pragma once

#include "activation.h"
#include "cache.h"
#include "pass.h"
#include "tile.h"

namespace unrolled {
namespace UNROLLED_ISA {

// One row at one step. `d` is the gradient of the loss.
template <class V, class O>
struct BackwardRow {
    using S = typename V::Scalar;
    const S* g;         // gates, as forward kept them
    const S* c;         // [P]
    const S* c_before;  // [P]
    const S* h_before;  // [H]
    const S* y;         // [H]
    const S* dy;        // [H], or null
    const S* dh;        // [P] from the step after
    const S* carried;   // [P] dc, or the part of dh that passes a GRU by
    S* carry;           // [P] the same for the step before; may be `carried`
    typename O::Word* d;  // gradients of the pre-activations, as operands
    S* unprojected;       // [P] for o · tanh(c), where it was projected; else null
};

template <class V, class O>
inline V sum_dh(const BackwardRow<V, O>& row, int64_t unit, int64_t left) {
    const V dh = V::load(row.dh + unit);
    return row.dy == nullptr ? dh : dh + load_some<V>(row.dy + unit, left);
}

// Zero from lane `left` on: what lies behind the last unit may be 0 · infinity, which no zero weight undoes.
template <class V>
inline V only(V v, int64_t left) {
    if (left >= V::lanes) return v;
    typename V::Scalar each[V::lanes];
    v.store(each);
    return V::load(each, static_cast<int>(left));
}

template <class V, class O>
inline void differentiate(LstmShape, const BackwardRow<V, O>& row, int64_t unit, int64_t left,
                          int64_t) {
    constexpr int L = V::lanes;
    const V one = V::all(1);
    const typename V::Scalar* at = row.g + 4 * unit;
    const V i = V::load(at), f = V::load(at + L), g = V::load(at + 2 * L), o = V::load(at + 3 * L);
    const V squashed = tanh(V::load(row.c + unit));
    const V dh = sum_dh(row, unit, left);
    const V dc = fma(dh * o, nfma(squashed, squashed, one), V::load(row.carried + unit));
    const int64_t to = 4 * unit;
    O::store(row.d, to, only(dc * g * i * (one - i), left));
    O::store(row.d, to + L, only(dc * V::load(row.c_before + unit) * f * (one - f), left));
    O::store(row.d, to + 2 * L, only(dc * i * nfma(g, g, one), left));
    O::store(row.d, to + 3 * L, only(dh * squashed * o * (one - o), left));
    if (row.unprojected != nullptr) (o * squashed).store(row.unprojected + unit);
    only(dc * f, left).store(row.carry + unit);
}

// Two sets of three: for h·W_hh (r z n), and `x_part` further on for x·W_ih.
template <class V, class O>
inline void differentiate(GruShape, const BackwardRow<V, O>& row, int64_t unit, int64_t left,
                          int64_t x_part) {
    constexpr int L = V::lanes;
    const V one = V::all(1);
    const typename V::Scalar* at = row.g + 4 * unit;
    const V n = V::load(at), r = V::load(at + L), z = V::load(at + 2 * L), of_h = V::load(at + 3 * L);
    const V dh = sum_dh(row, unit, left) + V::load(row.carried + unit);
    const V dn = only(dh * (one - z) * nfma(n, n, one), left);
    const V dz = only(dh * (load_some<V>(row.h_before + unit, left) - n) * z * (one - z), left);
    const V dr = only(dn * of_h * r * (one - r), left);
    const int64_t to = 3 * unit;
    O::store(row.d, to, dr);
    O::store(row.d, to + L, dz);
    O::store(row.d, to + 2 * L, only(dn * r, left));
    O::store(row.d, to + x_part, dr);
    O::store(row.d, to + x_part + L, dz);
    O::store(row.d, to + x_part + 2 * L, dn);
    only(dh * z, left).store(row.carry + unit);
}

template <class V, class O, bool relu>
inline void differentiate(RnnShape<relu>, const BackwardRow<V, O>& row, int64_t unit,
                          int64_t left, int64_t) {
    const V y = load_some<V>(row.y + unit, left), dh = sum_dh(row, unit, left);
    O::store(row.d, unit, only(relu ? where_positive(y, dh) : dh * nfma(y, y, V::all(1)), left));
}

// `O` is the type of the operands: of the weights, of x and h, and of the gradients of the pre-activations. Sums
// and what is carried from step to step are numbers of `V`.
template <class V, class C, class O>
class Backward : Pass<V, C> {
    using Base = Pass<V, C>;
    friend Base;
    using S = typename V::Scalar;
    using Word = typename O::Word;
    using Row = BackwardRow<V, O>;
    using Base::L, Base::w, Base::q, Base::plan, Base::nb, Base::P, Base::way, Base::team,
        Base::threads, Base::zeros, Base::shares, Base::most, Base::time, Base::cut, Base::running, Base::at,
        Base::R, Base::padded_R, Base::projects;
    static constexpr int kChunk = 128 * O::per;  // rows of one partial sum of dW: two panels fit the first cache
    static constexpr int kBlock = 256;   // rows of a block at least, where one step has fewer
    static constexpr int kCacheLine = 64;

  public:
    Backward(const Handle& handle, const Sequences& sequences, const BackwardIn& given,
             const BackwardOut& out)
        : Base(handle, sequences), in(given), o(out) {
        part = C::gates * nb * L;
        x_part = C::cell == Cell::gru ? part : 0;
        stride = O::words(part + x_part) + kCacheLine / static_cast<int64_t>(sizeof(S));  // no two rows on one set
        const int64_t fit = (256 << 10) / (stride * static_cast<int64_t>(sizeof(S)));
        block_rows = fit < kBlock ? kBlock : fit > 4 * kBlock ? 4 * kBlock : fit;
        const int split = width_by_units(q.threads);
        const int64_t of_x = Base::has_ids() ? 0 : 2 * w.I;
        const Shape shape{O::words(part), ceil_div(nh(), 4), 4,
                          ceil_div(nh(), split), split, L,
                          sizeof(S), tile_rows<V>(4), O::words(of_x + R) * C::gates * nb};
        way = choose_way(plan, shape, q.threads);
        // Two sums where adding them up is little beside making them.
        const int64_t numbers = C::gates * w.H * (w.I + R) + w.projected * w.H;
        bands = !Base::has_ids() && q.B >= 32 && plan.valid() >= 4 * kBlock && numbers <= 512 << 10 ? 2 : 1;
    }

    void run() { Base::run(this); }

  private:
    Scratch& memory = Base::scratch;
    const BackwardIn& in;
    const BackwardOut& o;
    // What is summed over rows and steps; null where it is not wanted.
    struct Sums {
        S* of[5] = {};  // dweight_ih, dweight_hh, dweight_hr, dbias_ih, dbias_hh
    };
    int64_t sizes[5];
    int bands;
    Share band[2];
    Sums sums[2];  // the first are the outputs
    bool own = false;  // whether each thread sums the band that it runs
    int64_t block = 0;    // most rows of a block
    int64_t regions = 1;  // how often there is memory for a block
    bool near = false;  // whether the weights of dh·W_hh stay in the second cache
    int64_t pairs_stride = 0;
    int64_t part, x_part, stride, block_rows;  // of a row of gradients: numbers, numbers, words
    int wide = 4;  // vectors in a panel of dh·W_hh
    Word *w_hh, *w_ih, *w_hr, *d[2];
    S *dh_n, *dc_n, *c_0;  // [B, P or padded_R] by rank, padded
    // Of a projection, for the steps of a block: the gradients of h, as operands, and what was projected.
    Word* projected[2];
    S* unprojected[2];
    int64_t projected_stride;  // words
    // Of ids: gradients of what the chains of each symbol begin with, the same as operands, and who is used.
    S* table = nullptr;             // [V, table_stride]
    Word* table_words = nullptr;    // [V, stride]
    uint8_t* used = nullptr;        // [V]
    S* no_symbol = nullptr;         // [I] zeros
    int64_t table_stride = 0;
    struct Buffers {
        const Word** d_after;
        S** dh_now;
        Row* rows;
        const S** gates;  // [rows + 1] of a step, and of the step to come
        S *dh, *carry;  // [rows, padded_R], [rows, P]
        S* before;      // [rows, P] the gradient of what is projected
        S** before_now;
        const Word** projected_now;
        // Of the rows and steps of a band in a block: x, the state before, the gradients for either and dx.
        const S **x, **h;
        const Word **d_x, **d_h;
        S** dx;
        Word* chunk;  // [words of kChunk, 4 · lanes]
        // Where a word holds numbers of more than one row: [words of kChunk, pairs_stride], and its rows.
        Word* pairs;
        const Word** pair_rows;
    };
    Buffers* buffers;

    int64_t nh() const { return ceil_div(R, L); }  // vectors of h
    bool has_table() const { return Base::has_ids() && (o.dx.data != nullptr || o.dweight_ih != nullptr); }
    bool has_gates() const { return gates_width(C::cell, w.H) > 0; }
    int width_by_units(int split) const {  // of a panel of dh·W_hh, so that every thread has one
        const int64_t even = ceil_div(nh(), split);
        return static_cast<int>(even < 4 ? even : 4);
    }
    int64_t dh_panels() const { return ceil_div(nh(), wide); }
    int64_t hr_panels() const { return projects ? ceil_div(nb, 4) : 0; }  // of dh·W_hr, each 4 vectors wide
    int hr_vectors(int64_t p) const { return static_cast<int>(nb - p * 4 < 4 ? nb - p * 4 : 4); }
    int64_t hr_panel_size() const { return O::words(R) * 4 * L; }
    int64_t dx_panels() const { return ceil_div(ceil_div(w.I, L), 4); }
    int dh_vectors(int64_t p) const {
        return static_cast<int>(nh() - p * wide < wide ? nh() - p * wide : wide);
    }
    int dx_vectors(int64_t p) const {
        const int64_t left = ceil_div(w.I, L) - p * 4;
        return static_cast<int>(left < 4 ? left : 4);
    }
    Range my_panels(int thread) const {
        return way == Way::by_units ? share(dh_panels(), thread, threads) : Range{0, dh_panels()};
    }

    // The unit blocks whose pointwise part is this thread's: those of its panels.
    Range my_blocks(int thread) const {
        const Range panels = projects && way == Way::by_units ? share(hr_panels(), thread, threads)
                             : projects                       ? Range{0, hr_panels()}
                                                              : my_panels(thread);
        const int64_t each = projects ? 4 : wide;
        return {panels.begin * each, panels.end * each < nb ? panels.end * each : nb};
    }

    int64_t block_begin(int64_t end) const {  // the first step of the block that ends before `end`
        int64_t s = end - 1;
        while (s > 0 && plan.offset[end] - plan.offset[s - 1] <= block_rows) --s;
        return s;
    }

    void take_memory() {
        const int64_t B = q.B;
        wide = way == Way::by_units ? width_by_units(threads) : 4;
        near = dh_panels() * O::words(part) * wide * L * static_cast<int64_t>(sizeof(Word)) <= caches().second / 2;
        w_hh = memory.take<Word>(dh_panels() * O::words(part) * wide * L);
        w_ih = memory.take<Word>(o.dx.data != nullptr ? dx_panels() * O::words(part) * 4 * L : 0);
        const int64_t most_at_once = B > block_rows ? B : block_rows;
        block = most_at_once < plan.valid() ? most_at_once : plan.valid();
        own = bands > 1 && way == Way::by_rows && threads == bands;
        // Where rows end one by one, a row has another place in each block. Threads that do not wait for one another
        // then need a region each: one that is blocks ahead would write where the other has yet to read.
        regions = own && plan.valid() < B * plan.steps ? threads : 1;
        d[0] = memory.take<Word>(regions * block * stride);
        d[1] = memory.take<Word>(regions * block * stride);
        w_hr = memory.take<Word>(hr_panels() * hr_panel_size());
        projected_stride = O::words(padded_R) + kCacheLine / static_cast<int64_t>(sizeof(S));
        for (int i = 0; i < 2; ++i) {
            projected[i] = memory.take<Word>(projects ? regions * block * projected_stride : 0);
            unprojected[i] = memory.take<S>(projects ? regions * block * P : 0);
        }
        table_stride = part + kCacheLine / static_cast<int64_t>(sizeof(S));
        table = memory.take<S>(has_table() ? q.V * table_stride : 0);
        table_words = memory.take<Word>(has_table() && O::per > 1 ? q.V * stride : 0);
        used = memory.take<uint8_t>(has_table() ? q.V : 0);
        no_symbol = memory.take<S>(has_table() ? w.I : 0);
        const int64_t pointed = has_table() && q.V > block ? q.V : block;
        dh_n = memory.take<S>(in.dh_n != nullptr ? B * padded_R : 0);
        dc_n = memory.take<S>(in.dc_n != nullptr ? B * P : 0);
        c_0 = memory.take<S>(C::cell == Cell::lstm ? B * P : 0);
        Base::share_all_rows();
        const int64_t GH = C::gates * w.H, numbers[] = {GH * w.I, GH * R, w.projected * w.H, GH, GH};
        void* const outputs[] = {o.dweight_ih, o.dweight_hh, o.dweight_hr, o.dbias_ih, o.dbias_hh};
        for (int i = 0; i < 5; ++i) {
            sizes[i] = outputs[i] != nullptr ? numbers[i] : 0;
            sums[0].of[i] = static_cast<S*>(outputs[i]);
            if (bands > 1) sums[1].of[i] = outputs[i] != nullptr ? memory.take<S>(sizes[i]) : nullptr;
        }
        share_rows(plan, bands, memory, band);
        buffers = memory.take<Buffers>(threads);
        for (int t = 0; t < threads; ++t) buffers[t] = {};
        const int64_t n = threads;
        const Word** d_after = memory.take<const Word*>(n * most);
        S** dh_now = memory.take<S*>(n * most);
        Row* rows = memory.take<Row>(n * most);
        const S** gates = memory.take<const S*>(n * (most + 1));
        S* dh = memory.take<S>(n * most * padded_R);
        S* before = memory.take<S>(projects ? n * most * P : 0);
        S** before_now = memory.take<S*>(projects ? n * most : 0);
        const Word** projected_now = memory.take<const Word*>(projects ? n * most : 0);
        S* carry = memory.take<S>(n * most * P);
        const S** pointers = memory.take<const S*>(n * pointed * 2);
        const Word** gradients = memory.take<const Word*>(n * pointed * 2);
        S** dx = memory.take<S*>(n * pointed);
        pairs_stride = part > padded_R ? part : padded_R;
        const int64_t chunk_size = O::words(kChunk) * 4 * L;
        const int64_t pairs_size = O::per > 1 ? O::words(kChunk) * pairs_stride : 0;
        Word* chunk = memory.take<Word>(n * chunk_size);
        Word* pairs = memory.take<Word>(n * pairs_size);
        const int64_t pairs_count = O::per > 1 ? O::words(kChunk) : 0;
        const Word** pair_rows = memory.take<const Word*>(n * pairs_count);
        for (int64_t t = 0; t < n; ++t) {
            buffers[t] = {d_after + t * most,
                        dh_now + t * most,
                        rows + t * most,
                        gates + t * (most + 1),
                        dh + t * most * padded_R,
                        carry + t * most * P,
                        before + (projects ? t * most * P : 0),
                        before_now + (projects ? t * most : 0),
                        projected_now + (projects ? t * most : 0),
                        pointers + t * pointed * 2,
                        pointers + t * pointed * 2 + pointed,
                        gradients + t * pointed * 2,
                        gradients + t * pointed * 2 + pointed,
                        dx + t * pointed,
                        chunk + t * chunk_size,
                        pairs + t * pairs_size,
                        pair_rows + t * pairs_count};
            for (int64_t i = 0; i < pairs_count; ++i)
                buffers[t].pair_rows[i] = buffers[t].pairs + i * pairs_stride;
        }
    }

    // This thread's part of a band's sums.
    void clear(const Sums& all, int part, int parts) const {
        for (int i = 0; i < 5; ++i) {
            const Range mine = share(sizes[i], part, parts);
            if (mine.end > mine.begin)
                std::memset(all.of[i] + mine.begin, 0, static_cast<size_t>(mine.end - mine.begin) * sizeof(S));
        }
    }

    void prepare(int thread) {
        const Range hh = share(dh_panels(), thread, threads);
        for (int64_t p = hh.begin; p < hh.end; ++p)
            pack_backward<V, C, O>(static_cast<const S*>(w.weight_hh), R, w.H, p * wide * L,
                                   dh_vectors(p) * L, w_hh + p * O::words(part) * wide * L);
        const Range ih = o.dx.data != nullptr ? share(dx_panels(), thread, threads) : Range{0, 0};
        for (int64_t p = ih.begin; p < ih.end; ++p)
            pack_backward<V, C, O>(static_cast<const S*>(w.weight_ih), w.I, w.H, p * 4 * L, dx_vectors(p) * L,
                                   w_ih + p * O::words(part) * 4 * L);
        const Range hr = share(hr_panels(), thread, threads);
        for (int64_t p = hr.begin; p < hr.end; ++p)
            pack_rows<V, O>(static_cast<const S*>(w.weight_hr), R, w.H, p * 4 * L, hr_vectors(p) * L,
                            w_hr + p * hr_panel_size());
        Base::pad(dh_n, in.dh_n, R, thread);
        Base::pad(dc_n, in.dc_n, w.H, thread);
        if (C::cell == Cell::lstm) Base::pad(c_0, q.c_0, w.H, thread);
        if (has_table()) {
            const Range symbols = share(q.V, thread, threads);
            std::memset(table + symbols.begin * table_stride, 0,
                        static_cast<size_t>((symbols.end - symbols.begin) * table_stride) * sizeof(S));
            if (thread == 0) mark_used();
        }
        if (own) return clear(sums[thread], 0, 1);
        for (int i = 0; i < bands; ++i) clear(sums[i], thread, threads);
    }

    void mark_used() const {
        std::memset(used, 0, static_cast<size_t>(q.V));
        std::memset(no_symbol, 0, static_cast<size_t>(w.I) * sizeof(S));
        for (int64_t rank = 0; rank < q.B; ++rank)
            for (int64_t t = 0; t < plan.length[rank]; ++t) used[Base::id(rank, t)] = 1;
    }

    const S* h_before(int64_t rank, int64_t s) const {
        const int64_t t = time(rank, s);
        if (cut(rank, t)) return zeros;
        return s == 0 ? Base::h_0(rank) : at(in.y, rank, t + (q.reverse ? 1 : -1));
    }

    const S* cells_at(int64_t rank, int64_t s) const { return Base::cells_in(in.kept, rank, s); }

    void work(int thread) {
        const Flush flush;
        prepare(thread);
        team->barrier();
        const Share& mine = shares[thread];
        int64_t end = plan.steps, n_after = 0;
        for (int turn = 0; end > 0; turn ^= 1) {
            const int64_t begin = block_begin(end);
            const Block now = block_of(thread, turn);
            for (int64_t s = end - 1; s >= begin; --s) {
                const Word* after =
                    s == end - 1 ? block_of(thread, turn ^ 1).d : now.d + in_block(s + 1, begin) * stride;
                n_after = step(thread, mine, s, n_after, after, now, in_block(s, begin));
                if (way == Way::by_units) team->barrier();
            }
            if (own) {
                consume(buffers[thread], thread, 0, 1, begin, end, now);
            } else {
                if (way == Way::by_rows) team->barrier();
                for (int i = 0; i < bands; ++i) consume(buffers[thread], i, thread, threads, begin, end, now);
            }
            end = begin;
            if (end == 0) finish(thread, mine, n_after, now.d);
        }
        if (plan.steps == 0) finish(thread, mine, 0, nullptr);
        if (has_table()) of_symbols(thread);
        if (bands == 1) return;
        team->barrier();
        for (int i = 0; i < 5; ++i) {
            const Range some = share(sizes[i], thread, threads);
            for (int64_t n = some.begin; n < some.end; ++n) sums[0].of[i][n] += sums[1].of[i][n];
        }
    }

    // Where the rows of a block of steps lie, by their place in it.
    struct Block {
        Word* d;          // [rows, stride] gradients of the pre-activations
        Word* projected;  // [rows, projected_stride]
        S* unprojected;   // [rows, P]
    };

    Block block_of(int thread, int turn) const {
        const int64_t first = regions > 1 ? thread * block : 0;
        return {d[turn] + first * stride, projected[turn] + (projects ? first * projected_stride : 0),
                unprojected[turn] + (projects ? first * P : 0)};
    }

    int64_t in_block(int64_t s, int64_t begin) const { return plan.offset[s] - plan.offset[begin]; }

    // One step of the time loop: the rows that come from the step after by dh·W_hh, then those whose
    // last step this is. Returns how many rows there are now.
    int64_t step(int thread, const Share& mine, int64_t s, int64_t n_after, const Word* after, const Block& to,
                 int64_t in_block) {
        Word* const now = to.d + in_block * stride;
        const Buffers& buf = buffers[thread];
        const int64_t n = running(mine, s, n_after);
        for (int64_t j = 0; j < n; ++j) {
            const int64_t rank = mine.rank[j], t = time(rank, s);
            Row& row = buf.rows[j];
            const bool last = s == plan.length[rank] - 1;
            const bool fresh = !last && cut(rank, time(rank, s + 1));
            row.d = now + rank * stride;
            row.dy = in.dy.data == nullptr ? nullptr : at(in.dy, rank, t);
            row.carry = buf.carry + j * P;
            row.dh = fresh ? zeros : buf.dh + j * padded_R;
            row.unprojected = projects ? to.unprojected + (in_block + rank) * P : nullptr;
            row.carried = fresh ? zeros : row.carry;
            if (last) {
                row.dh = in.dh_n != nullptr ? dh_n + rank * padded_R : zeros;
                row.carried = C::cell == Cell::lstm && in.dc_n != nullptr ? dc_n + rank * P : zeros;
            }
            if (has_gates()) row.g = Base::gates_in(in.kept, rank, s);
            if (C::cell == Cell::lstm) {
                row.c = cells_at(rank, s);
                row.c_before = cut(rank, t) ? zeros : s == 0 ? c_0 + rank * P : cells_at(rank, s - 1);
            } else {
                row.h_before = h_before(rank, s);
                row.y = at(in.y, rank, t);
            }
        }
        if (projects) {
            through_projection(thread, mine, n_after, n, after, to.projected + in_block * projected_stride);
            return n;
        }
        const Range mine_too = my_blocks(thread);
        // What the pointwise part of a tile reads comes from far: it is fetched during the tile before.
        const int64_t tile = tile_rows<V>(wide);
        fetch(buf, 0, n < tile ? n : tile, mine_too.begin, mine_too.begin + wide);
        if (has_gates() && near) {
            for (int64_t j = 0; j < n; ++j) buf.gates[j] = buf.rows[j].g;
            buf.gates[n] = s > 0 && n > 0 ? Base::gates_in(in.kept, mine.rank[0], s - 1) : zeros;
        }
        products(thread, mine, n_after, after, [&](int64_t begin, int64_t stop, int64_t u0, int64_t u1) {
            if (stop < n) fetch(buf, stop, n - stop < tile ? n : stop + tile, u0, u1);
            else fetch(buf, 0, n < tile ? n : tile, u1, u1 + wide);
            pointwise(buf, begin, stop, u0, u1);
        });
        pointwise(buf, n_after, n, mine_too.begin, mine_too.end);
        return n;
    }

    // A step of a layer that projects: the gradients of h, then of what was projected, then the pointwise part.
    void through_projection(int thread, const Share& mine, int64_t n_after, int64_t n, const Word* after,
                            Word* now) {
        const Buffers& buf = buffers[thread];
        const auto sums = [&](int64_t begin, int64_t end, int64_t first, int64_t past) {
            for (int64_t j = begin; j < end; ++j)
                for (int64_t b = first; b < past; ++b)
                    O::store(now + mine.rank[j] * projected_stride, b * L,
                             only(sum_dh(buf.rows[j], b * L, R - b * L), R - b * L));
        };
        products(thread, mine, n_after, after, sums);
        const Range of_h = my_panels(thread);
        sums(n_after, n, of_h.begin * wide, of_h.end * wide < nh() ? of_h.end * wide : nh());
        if (way == Way::by_units) team->barrier();
        for (int64_t j = 0; j < n; ++j) {
            buf.projected_now[j] = now + mine.rank[j] * projected_stride;
            buf.before_now[j] = buf.before + j * P;
            buf.rows[j].dh = buf.before_now[j];
            buf.rows[j].dy = nullptr;
        }
        const Range panels = way == Way::by_units ? share(hr_panels(), thread, threads) : Range{0, hr_panels()};
        for (int64_t p = panels.begin; p < panels.end; ++p) {
            const Panel<Word> panel{w_hr + p * hr_panel_size(), O::words(R), hr_vectors(p)};
            through_rows<V, O>(panel, buf.projected_now, n, Start::zero, nullptr, buf.before_now, p * 4 * L,
                               panel.vectors * L, [&](int64_t begin, int64_t end) {
                                   pointwise(buf, begin, end, p * 4, p * 4 + panel.vectors);
                               });
        }
    }

    UNROLLED_PREFETCHES void fetch(const Buffers& buf, int64_t begin, int64_t end, int64_t first,
                                   int64_t past) const {
        const int64_t at = first * L, count = ((past < nb ? past : nb) - first) * L;
        for (int64_t j = begin; j < end; ++j) {
            const Row& row = buf.rows[j];
            if (has_gates() && !near) prefetch_row(row.g + C::slots * at, C::slots * count);
            prefetch_row((C::cell == Cell::lstm ? row.c_before : row.h_before) + at, count);
            if (row.dy != nullptr) prefetch_row(row.dy + at, count);
        }
    }

    void pointwise(const Buffers& buf, int64_t begin, int64_t end, int64_t first, int64_t past) const {
        for (int64_t j = begin; j < end; ++j)
            for (int64_t b = first; b < past; ++b)
                differentiate<V, O>(C{}, buf.rows[j], b * L, w.H - b * L, x_part);
    }

    // dh of rows 0 .. n from the gradients of the step after; then(rows, unit blocks) follows each tile.
    template <class Then>
    void products(int thread, const Share& mine, int64_t n, const Word* after, Then then) {
        const Buffers& buf = buffers[thread];
        for (int64_t j = 0; j < n; ++j) {
            buf.d_after[j] = after + mine.rank[j] * stride;
            buf.dh_now[j] = buf.dh + j * padded_R;
        }
        const Range panels = my_panels(thread);
        for (int64_t p = panels.begin; p < panels.end; ++p) {
            const Panel<Word> panel{w_hh + p * O::words(part) * wide * L, O::words(part), dh_vectors(p)};
            const int64_t first = p * wide;
            Following gates;
            if (has_gates() && near && !projects && p == panels.begin)
                gates = {reinterpret_cast<const void* const*>(buf.gates),
                         gates_width(C::cell, w.H) * static_cast<int64_t>(sizeof(S))};
            through_rows<V, O>(panel, buf.d_after, n, Start::zero, nullptr, buf.dh_now, first * L,
                            panel.vectors * L, [&](int64_t begin, int64_t end) {
                                then(begin, end, first, first + panel.vectors);
                            }, gates);
        }
    }

    // dW, db and dx of a band in one block of steps: of the sums, and of the rows of dx, one part of several.
    void consume(const Buffers& buf, int which, int part_index, int parts, int64_t begin, int64_t end,
                 const Block& from) {
        const Sums& to = sums[which];
        int64_t rows = 0;
        each_row(which, begin, end, [&](int64_t rank, int64_t s, int64_t in_block) {
            const int64_t t = time(rank, s);
            buf.h[rows] = o.dweight_hh != nullptr ? h_before(rank, s) : nullptr;
            buf.d_h[rows] = from.d + in_block * stride;
            buf.d_x[rows] = buf.d_h[rows] + O::words(x_part);
            if (Base::has_ids()) {
                buf.dx[rows] = has_table() ? table + Base::id(rank, t) * table_stride : nullptr;
            } else {
                buf.x[rows] = at(q.x, rank, t);
                buf.dx[rows] = o.dx.data != nullptr ? at(o.dx, rank, t) : nullptr;
            }
            ++rows;
        });
        const Part mine = my_part(part_index, parts);
        if (has_table()) add_to_table(buf, rows, share(nb * C::gates, part_index, parts));
        if (!Base::has_ids()) weights(buf, buf.x, w.I, mine.x, rows, {buf.d_x, C::gates, w.H}, mine.gates, to.of[0]);
        weights(buf, buf.h, R, mine.h, rows, {buf.d_h, C::gates, w.H}, mine.gates, to.of[1]);
        const Range of_bias = share(nb * C::gates, part_index, parts);
        if (x_part == 0) {
            biases(of_bias, rows, buf.d_h, to.of[3], to.of[4]);
        } else {
            biases(of_bias, rows, buf.d_x, to.of[3], nullptr);
            biases(of_bias, rows, buf.d_h, nullptr, to.of[4]);
        }
        if (!Base::has_ids()) of_inputs(buf, share(rows, part_index, parts));
        if (!projects || o.dweight_hr == nullptr) return;
        rows = 0;
        each_row(which, begin, end, [&](int64_t, int64_t, int64_t in_block) {
            buf.h[rows] = from.unprojected + in_block * P;
            buf.d_h[rows++] = from.projected + in_block * projected_stride;
        });
        weights(buf, buf.h, w.H, {0, nb}, rows, {buf.d_h, 1, R}, share(nh(), part_index, parts), to.of[2]);
    }

    // do(rank, step, place in the block) for every row of a band at every step of a block.
    template <class Do>
    void each_row(int which, int64_t begin, int64_t end, Do what) const {
        int64_t n = band[which].count;
        for (int64_t s = begin; s < end; ++s) {
            n = running(band[which], s, n);
            for (int64_t j = 0; j < n; ++j)
                what(band[which].rank[j], s, in_block(s, begin) + band[which].rank[j]);
        }
    }

    // dx of some rows, from buf.d_x.
    void of_inputs(const Buffers& buf, Range my_rows) {
        if (o.dx.data == nullptr) return;
        for (int64_t p = 0; p < dx_panels(); ++p) {
            const Panel<Word> panel{w_ih + p * O::words(part) * 4 * L, O::words(part), dx_vectors(p)};
            const int64_t column = p * 4 * L, left = w.I - column;
            const int cols = static_cast<int>(left < panel.vectors * L ? left : panel.vectors * L);
            through_rows<V, O>(panel, buf.d_x + my_rows.begin, my_rows.end - my_rows.begin, Start::zero,
                            nullptr, buf.dx + my_rows.begin, column, cols, [](int64_t, int64_t) {});
        }
    }

    // To each row's symbol, some vectors of its gradients.
    void add_to_table(const Buffers& buf, int64_t rows, Range gates) const {
        for (int64_t m = 0; m < rows; ++m)
            for (int64_t g = gates.begin; g < gates.end; ++g) {
                S* const sum = buf.dx[m] + g * L;
                (V::load(sum) + O::row(buf.d_x[m], g * L)).store(sum);
            }
    }

    // dW_ih and dx of symbols in place of steps. What no step has taken is not looked at.
    void of_symbols(int thread) {
        const Buffers& buf = buffers[thread];
        const Range symbols = share(q.V, thread, threads);
        if (plan.steps == 0) {
            for (int64_t v = symbols.begin; o.dx.data != nullptr && v < symbols.end; ++v)
                std::memset(static_cast<S*>(o.dx.data) + v * o.dx.b, 0, static_cast<size_t>(w.I) * sizeof(S));
            return;
        }
        team->barrier();
        const Word* grads;
        int64_t row = table_stride;
        if constexpr (O::per == 1) {
            grads = table;
        } else {
            for (int64_t v = symbols.begin; v < symbols.end; ++v)
                for (int64_t g = 0; g < part; g += L)
                    O::store(table_words + v * stride, g, V::load(table + v * table_stride + g));
            team->barrier();
            grads = table_words, row = stride;
        }
        for (int64_t v = 0; v < q.V; ++v) {
            buf.x[v] = used[v] ? Base::symbol(v) : no_symbol;
            buf.d_x[v] = grads + v * row;
            buf.dx[v] = o.dx.data != nullptr ? static_cast<S*>(o.dx.data) + v * o.dx.b : nullptr;
        }
        const Part mine = my_part(thread, threads);
        weights(buf, buf.x, w.I, mine.x, q.V, {buf.d_x, C::gates, w.H}, mine.gates, sums[0].of[0]);
        of_inputs(buf, symbols);
    }

    // What is added up of dW_ih and dW_hh: a share of the gates' vectors, or, where those are few as
    // in the RNN, of the columns of x and h side by side.
    struct Part {
        Range gates, x, h;  // vectors
    };

    Part my_part(int part_index, int parts) const {
        const int64_t gates = nb * C::gates, x = ceil_div(w.I, L), h = nh();
        if (gates > x + h) return {share(gates, part_index, parts), {0, x}, {0, h}};
        const Range mine = share(x + h, part_index, parts);
        const auto at_most = [](int64_t a, int64_t b) { return a < b ? a : b; };
        return {{0, gates},
                {at_most(mine.begin, x), at_most(mine.end, x)},
                {mine.begin > x ? mine.begin - x : 0, mine.end > x ? mine.end - x : 0}};
    }

    // Rows of gradients, [unit block][gate][lane] each.
    struct Gradients {
        const Word* const* rows;
        int gates;
        int64_t units;
    };

    // to [gates · units, K] += Σ over rows of grads ⊗ from, for some vectors of its rows and of its columns.
    void weights(const Buffers& buf, const S* const* from, int64_t K, Range columns, int64_t rows,
                 const Gradients& grads, Range gates, S* to) {
        if (to == nullptr || columns.begin == columns.end) return;
        // As many columns at once as three quarters of the first cache hold.
        const int64_t fit = caches().first * 3 / 4 / (O::words(kChunk) * L * static_cast<int64_t>(sizeof(Word)));
        const int64_t count = columns.end - columns.begin, groups = ceil_div(count, fit < 2 ? 2 : fit > 4 ? 4 : fit);
        for (int64_t m = 0; m < rows; m += kChunk) {
            const int64_t M = rows - m < kChunk ? rows - m : kChunk;
            const Word* const* const d = along_rows(grads.rows + m, M, gates, buf);
            for (int64_t group = 0; group < groups; ++group) {
                const Range some{columns.begin + count * group / groups, columns.begin + count * (group + 1) / groups};
                const int64_t k = some.begin * L, left = K - k;
                const int vectors = static_cast<int>(some.end - some.begin);
                for (int v = 0; v < vectors; ++v)
                    fill_chunk(from + m, M, k + v * L, left - v * L, buf.chunk + v * L, vectors * L);
                const int cols = static_cast<int>(left < vectors * L ? left : vectors * L);
                for (int64_t g = gates.begin; g < gates.end; ++g)
                    weights_of_vector(d, grads, g, g + 1 < gates.end ? g + 1 : gates.begin, O::words(M), buf.chunk,
                                      vectors, to, K, k, cols);
            }
        }
    }

    // Gradients of some rows with words that go along the rows: as they are, or in pairs.
    const Word* const* along_rows(const Word* const* grads, int64_t M, Range gates, const Buffers& buf) const {
        if constexpr (O::per == 1) {
            return grads;
        } else {
            for (int64_t m = 0; m < M; m += 2) {
                const Word* const low = grads[m];
                const Word* const high = m + 1 < M ? grads[m + 1] : nullptr;
                for (int64_t g = gates.begin; g < gates.end; ++g)
                    O::pair(low, high, g * L).store(buf.pairs + m / 2 * pairs_stride + g * L);
            }
            return buf.pair_rows;
        }
    }

    // Up to a vector of x or h of some rows, their words along the rows.
    static void fill_chunk(const S* const* from, int64_t M, int64_t k, int64_t left, Word* to, int64_t step) {
        for (int64_t m = 0; m < M; m += O::per, to += step) {
            const V low = load_some<V>(from[m] + k, left);
            if constexpr (O::per == 1) low.store(to);
            else O::pair(low, m + 1 < M ? load_some<V>(from[m + 1] + k, left) : V::zero()).store(to);
        }
    }

    void weights_of_vector(const Word* const* d, const Gradients& grads, int64_t g, int64_t next, int64_t depth,
                           const Word* chunk, int vectors, S* to, int64_t K, int64_t k, int cols) {
        const int64_t unit = g / grads.gates * L, gate = g % grads.gates, left = grads.units - unit;
        const int units = static_cast<int>(left < L ? left : L);
        const int most = tile_rows<V>(vectors), tiles = (units + most - 1) / most;
        for (int i = 0; i < tiles; ++i) {
            const int begin = units * i / tiles, end = units * (i + 1) / tiles;
            S* rows[8];
            for (int r = begin; r < end; ++r) rows[r - begin] = to + (gate * grads.units + unit + r) * K;
            with_size<V, O, Outer>(end - begin, vectors, d, g * L + begin, (i == 0 ? next : g) * L, depth, chunk,
                                static_cast<S* const*>(rows), k, cols);
        }
    }

    // One sum over rows for each, added to both of them.
    void biases(Range mine, int64_t rows, const Word* const* grads, S* to, S* too) const {
        if (to == nullptr && too == nullptr) return;
        constexpr int64_t kSide = 4;  // side by side, as an addition waits for the one before it
        for (int64_t g = mine.begin; g < mine.end; g += kSide) {
            const int64_t count = mine.end - g < kSide ? mine.end - g : kSide;
            V sum[kSide] = {V::zero(), V::zero(), V::zero(), V::zero()};
            if (count == kSide) {
                for (int64_t m = 0; m < rows; ++m)
#pragma GCC unroll 4
                    for (int64_t i = 0; i < kSide; ++i) sum[i] = sum[i] + O::row(grads[m], (g + i) * L);
            } else {
                for (int64_t i = 0; i < count; ++i)
                    for (int64_t m = 0; m < rows; ++m) sum[i] = sum[i] + O::row(grads[m], (g + i) * L);
            }
            for (int64_t i = 0; i < count; ++i) {
                const int64_t unit = (g + i) / C::gates * L, at = (g + i) % C::gates * w.H + unit;
                for (S* all : {to, too})
                    if (all != nullptr)
                        store_some(sum[i] + load_some<V>(all + at, w.H - unit), all + at, w.H - unit);
            }
        }
    }

    // The gradients of the initial states, and zeros for x past a row's length.
    void finish(int thread, const Share& mine, int64_t n, const Word* first) {
        const Buffers& buf = buffers[thread];
        if (o.dh_0 != nullptr && n > 0) products(thread, mine, n, first, [](int64_t, int64_t, int64_t, int64_t) {});
        const Range panels = my_panels(thread), blocks = my_blocks(thread);
        const auto at_most = [](int64_t a, int64_t b) { return a < b ? a : b; };
        for (int64_t j = 0; j < mine.count; ++j) {
            const int64_t rank = mine.rank[j], row = plan.row[rank];
            const bool none = plan.length[rank] == 0, zeroed = !none && cut(rank, time(rank, 0));
            for (int64_t u = panels.begin * wide * L; o.dh_0 != nullptr && u < at_most(panels.end * wide * L, R); ++u) {
                const S still = in.dh_n != nullptr && none ? dh_n[rank * padded_R + u] : S(0);
                const S passed = C::cell == Cell::gru ? buf.carry[j * P + u] : S(0);
                static_cast<S*>(o.dh_0)[row * R + u] =
                    none ? still : zeroed ? S(0) : buf.dh[j * padded_R + u] + passed;
            }
            if (C::cell != Cell::lstm || o.dc_0 == nullptr) continue;
            for (int64_t u = blocks.begin * L; u < at_most(blocks.end * L, w.H); ++u) {
                const S still = in.dc_n != nullptr && none ? dc_n[rank * P + u] : S(0);
                static_cast<S*>(o.dc_0)[row * w.H + u] = none ? still : zeroed ? S(0) : buf.carry[j * P + u];
            }
        }
        if (o.dx.data == nullptr || Base::has_ids() || Base::is_packed()) return;
        const Range rows = share(q.B, thread, threads);
        for (int64_t rank = rows.begin; rank < rows.end; ++rank)
            for (int64_t t = plan.length[rank]; t < q.T; ++t)
                std::memset(at(o.dx, rank, t), 0, w.I * sizeof(S));
    }
};

}  // namespace UNROLLED_ISA
}  // namespace unrolled
