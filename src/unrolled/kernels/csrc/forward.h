// A layer forward over its whole sequence.
//
// Per thread: x·W_ih for a block of steps, stored; then step by step h·W_hh, which continues the
// stored chains, and the activations while the sums are in the nearest cache.
#pragma once

#include "activation.h"
#include "flush.h"
#include "pack.h"
#include "plan.h"
#include "pool.h"
#include "tile.h"

namespace unrolled {
namespace UNROLLED_ISA {

// One row at one step.
template <class S>
struct ForwardRow {
    const S* h;         // [H] hidden state before the step: h_0, y of the step before, or zeros
    S* g;               // [slots of all units] pre-activations, which become gates
    const S* c_before;  // [P] cell state before the step
    S* c;               // [P] cell state after it; may be c_before
    S* y;               // [H]
    int64_t at;         // of this row and step in a trajectory
};

template <class V>
struct Traces {
    typename V::Scalar* of[5];
    void put(int which, V v, int64_t at, int64_t n) const {
        if (of[0] != nullptr) store_some(v, of[which] + at, n);
    }
};

template <class V>
inline void activate(LstmShape, const ForwardRow<typename V::Scalar>& row, int64_t unit, int64_t left,
                     const Traces<V>& traces) {
    constexpr int L = V::lanes;
    typename V::Scalar* at = row.g + 4 * unit;
    const V i = sigmoid(V::load(at)), f = sigmoid(V::load(at + L));
    const V g = tanh(V::load(at + 2 * L)), o = sigmoid(V::load(at + 3 * L));
    const V c = fma(f, V::load(row.c_before + unit), i * g);
    i.store(at);
    f.store(at + L);
    g.store(at + 2 * L);
    o.store(at + 3 * L);
    c.store(row.c + unit);
    store_some(o * tanh(c), row.y + unit, left);
    if (traces.of[0] == nullptr) return;
    const int64_t to = row.at + unit;
    traces.put(0, i, to, left);
    traces.put(1, f, to, left);
    traces.put(2, g, to, left);
    traces.put(3, o, to, left);
    traces.put(4, c, to, left);
}

template <class V>
inline void activate(GruShape, const ForwardRow<typename V::Scalar>& row, int64_t unit, int64_t left,
                     const Traces<V>& traces) {
    constexpr int L = V::lanes;
    typename V::Scalar* at = row.g + 4 * unit;
    const V r = sigmoid(V::load(at + L)), z = sigmoid(V::load(at + 2 * L));
    const V n = tanh(fma(r, V::load(at + 3 * L), V::load(at)));
    const V before = load_some<V>(row.h + unit, left);
    n.store(at);
    r.store(at + L);
    z.store(at + 2 * L);
    store_some(fma(z, before, nfma(z, n, n)), row.y + unit, left);  // z·h + (n - z·n)
    if (traces.of[0] == nullptr) return;
    const int64_t to = row.at + unit;
    traces.put(0, r, to, left);
    traces.put(1, z, to, left);
    traces.put(2, n, to, left);
}

template <class V, bool relu>
inline void activate(RnnShape<relu>, const ForwardRow<typename V::Scalar>& row, int64_t unit, int64_t left,
                     const Traces<V>& traces) {
    const V a = V::load(row.g + unit);
    traces.put(0, a, row.at + unit, left);
    store_some(relu ? max(V::zero(), a) : tanh(a), row.y + unit, left);
}

template <class V, class C>
class Forward {
    using S = typename V::Scalar;
    static constexpr int L = V::lanes;

  public:
    Forward(const Layer& layer, const ForwardOut& out)
        : l(layer), o(out), plan(plan_rows(layer, memory)), nb(ceil_div(l.H, L)), width(C::slots * nb * L) {
        const int64_t panels = panel_count();
        const int vectors = C::blocks * C::gates;
        const Shape shape{l.H,       panels, vectors, panels, vectors, L, sizeof(S), tile_rows<V>(vectors),
                          l.I * C::gates * nb};
        way = choose_way(plan, shape, l.threads);
    }

    void run() {
        Lease lease(way == Way::alone ? 1 : l.threads);
        team = &lease;
        threads = lease.threads();
        if (threads == 1) way = Way::alone;
        take_memory();
        lease.run([](void* self, int thread) { static_cast<Forward*>(self)->work(thread); }, this);
    }

  private:
    const Layer& l;
    const ForwardOut& o;
    Scratch memory;
    Plan plan;
    int64_t nb;     // unit blocks
    int64_t width;  // of a row of gates that nobody keeps
    Way way;
    Lease* team = nullptr;
    int threads = 1;
    S *w_ih, *w_hh, *bias, *bias_n;  // packed; bias_n [nb · lanes] starts the GRU's second chain
    S* zeros;                        // [P]
    S* state;                        // [B, P] c_0 by rank; where no cells are kept, the running cell state
    Share* shares;
    int64_t block_rows, block_steps;
    struct Desk {  // what one thread works on
        const S** x;
        S** g;  // of a block of steps
        const S** h;
        S** g_now;
        ForwardRow<S>* rows;  // of a step
        S* gates;             // [block_rows, width] where nobody keeps them
    };
    Desk* desks;

    int64_t panel_count() const { return ceil_div(nb, C::blocks); }
    int64_t panel_size(int64_t K) const { return K * C::blocks * C::gates * L; }
    int vectors(int64_t p) const {
        const int64_t left = nb - p * C::blocks;
        return static_cast<int>(left < C::blocks ? left : C::blocks) * C::gates;
    }
    Range my_panels(int thread) const {
        return way == Way::by_units ? share(panel_count(), thread, threads) : Range{0, panel_count()};
    }

    void take_memory() {
        const int64_t P = padded(l.H), panels = panel_count(), valid = plan.valid();
        prefer_large_pages(o.gates, static_cast<size_t>(valid * gates_width(C::cell, l.H)) * sizeof(S));
        prefer_large_pages(o.cells, static_cast<size_t>(valid * P) * sizeof(S));
        const size_t trace = static_cast<size_t>(l.T * l.B * l.H) * sizeof(S);
        for (int i = 0; i < 5 && o.traces[i] != nullptr;) {  // those that lie end to end, as one
            char* const first = static_cast<char*>(o.traces[i]);
            size_t size = trace;
            while (++i < 5 && o.traces[i] == first + size) size += trace;
            prefer_large_pages(first, size);
        }
        w_ih = memory.take<S>(panels * panel_size(l.I));
        w_hh = memory.take<S>(panels * panel_size(l.H));
        bias = memory.take<S>(panels * panel_size(1));
        bias_n = memory.take<S>(nb * L);
        zeros = memory.take<S>(P);
        for (int64_t i = 0; i < P; ++i) zeros[i] = 0;
        state = memory.take<S>(C::cell == Cell::lstm ? l.B * P : 0);
        shares = memory.take<Share>(threads);
        int64_t most = l.B;
        if (way == Way::by_rows) {
            share_rows(plan, threads, memory, shares);
            most = 0;
            for (int t = 0; t < threads; ++t) most = shares[t].count > most ? shares[t].count : most;
        } else {
            int64_t* all = memory.take<int64_t>(l.B);
            for (int64_t i = 0; i < l.B; ++i) all[i] = i;
            for (int t = 0; t < threads; ++t) shares[t] = {all, l.B};
        }
        // A block's gates fill a quarter of the second cache; few rows take more steps.
        const int64_t fit = (256 << 10) / (width * static_cast<int64_t>(sizeof(S)));
        const int64_t rows = fit < 48 ? 48 : fit > 2048 ? 2048 : fit;
        block_steps = most == 0 ? 1 : rows / most < 1 ? 1 : rows / most;
        if (block_steps > plan.steps) block_steps = plan.steps;
        block_rows = block_steps * most;
        desks = memory.take<Desk>(threads);
        const bool keeps = C::kept > 0 && o.gates != nullptr;
        const int64_t n = threads;
        const S** xs = memory.take<const S*>(n * block_rows);
        S** gs = memory.take<S*>(n * block_rows);
        const S** hs = memory.take<const S*>(n * most);
        S** nows = memory.take<S*>(n * most);
        ForwardRow<S>* rows_of = memory.take<ForwardRow<S>>(n * most);
        S* gates = memory.take<S>(keeps ? 0 : n * block_rows * width);
        for (int64_t t = 0; t < n; ++t) {
            desks[t] = {xs + t * block_rows, gs + t * block_rows, hs + t * most, nows + t * most,
                        rows_of + t * most,  keeps ? nullptr : gates + t * block_rows * width};
        }
    }

    void pack(int thread) {
        constexpr int torch_order[4] = {0, 1, 2, 3};
        const S* b_ih = static_cast<const S*>(l.bias_ih);
        const S* b_hh = static_cast<const S*>(l.bias_hh);
        const Range mine = share(panel_count(), thread, threads);
        for (int64_t p = mine.begin; p < mine.end; ++p) {
            pack_forward<V, C>(static_cast<const S*>(l.weight_ih), l.I, l.H, p, C::order,
                               w_ih + p * panel_size(l.I));
            pack_forward<V, C>(static_cast<const S*>(l.weight_hh), l.H, l.H, p, torch_order,
                               w_hh + p * panel_size(l.H));
            for (int n = 0; n < vectors(p); ++n) {
                const int64_t unit = (p * C::blocks + n / C::gates) * L;
                const int gate = C::order[n % C::gates];
                V sum = load_bias<V>(b_ih, l.H, gate, unit);
                const V of_h = load_bias<V>(b_hh, l.H, gate, unit);
                if (C::cell == Cell::gru && gate == 2) of_h.store(bias_n + unit);
                else sum = sum + of_h;
                sum.store(bias + p * panel_size(1) + n * L);
            }
        }
        if (C::cell == Cell::lstm) {
            const int64_t P = padded(l.H);
            const Range rows = share(l.B, thread, threads);
            for (int64_t rank = rows.begin; rank < rows.end; ++rank) {
                const S* from = static_cast<const S*>(l.c_0) + plan.row[rank] * l.H;
                for (int64_t u = 0; u < P; ++u) state[rank * P + u] = u < l.H ? from[u] : S(0);
            }
        }
    }

    int64_t time(int64_t rank, int64_t s) const { return l.reverse ? plan.length[rank] - 1 - s : s; }

    bool cut(int64_t rank, int64_t t) const {
        if (l.resets == nullptr) return false;
        if (l.reverse && ++t >= plan.length[rank]) return false;
        return l.resets[t * l.resets_t + plan.row[rank] * l.resets_b] != 0;
    }

    S* y_at(int64_t rank, int64_t t) const {
        return static_cast<S*>(o.y) + t * o.y_t + plan.row[rank] * o.y_b;
    }

    // Where the gates of a row are: with those who keep them, or in the thread's own block.
    S* gates_at(const Desk& desk, int64_t rank, int64_t s, int64_t in_block) const {
        if (desk.gates != nullptr) return desk.gates + in_block * width;
        return static_cast<S*>(o.gates) + (plan.offset[s] + rank) * gates_width(C::cell, l.H);
    }

    S* cells_at(int64_t rank, int64_t s) const {
        const int64_t P = padded(l.H);
        if (o.cells == nullptr) return state + rank * P;
        return static_cast<S*>(o.cells) + (plan.offset[s] + rank) * P;
    }

    static int64_t running(const Plan& plan, const Share& mine, int64_t s, int64_t n) {
        while (n > 0 && mine.rank[n - 1] >= plan.active[s]) --n;
        return n;
    }

    void work(int thread) {
        const Flush flush;
        pack(thread);
        team->barrier();
        const Share& mine = shares[thread];
        const Desk& desk = desks[thread];
        int64_t n = mine.count;
        for (int64_t s = 0; s < plan.steps; s += block_steps) {
            const int64_t end = s + block_steps < plan.steps ? s + block_steps : plan.steps;
            n = running(plan, mine, s, n);
            if (n == 0) break;
            input_products(thread, mine, desk, s, end, n);
            int64_t in_block = 0, now = n;
            for (int64_t at = s; at < end; ++at) {
                now = running(plan, mine, at, now);
                if (now > 0) step(thread, mine, desk, at, now, in_block);
                in_block += now;
                if (way == Way::by_units) team->barrier();
            }
        }
        finish(thread, mine);
    }

    void input_products(int thread, const Share& mine, const Desk& desk, int64_t s, int64_t end, int64_t n) {
        int64_t rows = 0;
        for (; s < end; ++s) {
            n = running(plan, mine, s, n);
            for (int64_t j = 0; j < n; ++j, ++rows) {
                const int64_t rank = mine.rank[j];
                desk.x[rows] =
                    static_cast<const S*>(l.x) + time(rank, s) * l.x_t + plan.row[rank] * l.x_b;
                desk.g[rows] = gates_at(desk, rank, s, rows);
            }
        }
        const Range panels = my_panels(thread);
        for (int64_t p = panels.begin; p < panels.end; ++p) {
            const Panel<S> panel{w_ih + p * panel_size(l.I), l.I, vectors(p)};
            const int64_t at = p * C::blocks * C::slots * L;
            through_rows<V>(panel, desk.x, rows, Start::bias, bias + p * panel_size(1), desk.g, at,
                            panel.vectors * L, [&](int64_t begin, int64_t stop) {
                                if (C::cell != Cell::gru) return;
                                const V second = V::load(bias_n + p * L);
                                for (int64_t i = begin; i < stop; ++i) second.store(desk.g[i] + at + 3 * L);
                            });
        }
    }

    void step(int thread, const Share& mine, const Desk& desk, int64_t s, int64_t n, int64_t in_block) {
        for (int64_t j = 0; j < n; ++j) {
            const int64_t rank = mine.rank[j], t = time(rank, s);
            const bool fresh = cut(rank, t);
            ForwardRow<S>& row = desk.rows[j];
            row.g = gates_at(desk, rank, s, in_block + j);
            row.y = y_at(rank, t);
            row.h = fresh    ? zeros
                    : s == 0 ? static_cast<const S*>(l.h_0) + plan.row[rank] * l.H
                             : y_at(rank, t + (l.reverse ? 1 : -1));
            row.at = (t * l.B + plan.row[rank]) * l.H;
            if (C::cell == Cell::lstm) {
                row.c = cells_at(rank, s);
                row.c_before = fresh ? zeros : s == 0 ? state + rank * padded(l.H) : cells_at(rank, s - 1);
            }
            desk.h[j] = row.h;
            desk.g_now[j] = row.g;
        }
        Traces<V> traces;
        for (int i = 0; i < 5; ++i) traces.of[i] = static_cast<S*>(o.traces[i]);
        const Range panels = my_panels(thread);
        for (int64_t p = panels.begin; p < panels.end; ++p) {
            const Panel<S> panel{w_hh + p * panel_size(l.H), l.H, vectors(p)};
            const int64_t first = p * C::blocks;
            through_rows<V>(panel, desk.h, n, Start::stored, nullptr, desk.g_now,
                            (first * C::slots + C::first_h) * L, panel.vectors * L,
                            [&](int64_t begin, int64_t end) {
                                for (int64_t j = begin; j < end; ++j)
                                    for (int64_t b = first; b < first + panel.vectors / C::gates; ++b)
                                        activate<V>(C{}, desk.rows[j], b * L, l.H - b * L, traces);
                            });
        }
    }

    // The states after each row's last step, and zeros past its length.
    void finish(int thread, const Share& mine) {
        const bool own = way == Way::by_rows;
        const Range rows = own ? Range{0, mine.count} : share(l.B, thread, threads);
        for (int64_t i = rows.begin; i < rows.end; ++i) {
            const int64_t rank = own ? mine.rank[i] : i, length = plan.length[rank], row = plan.row[rank];
            const S* h = length > 0 ? y_at(rank, time(rank, length - 1))
                                    : static_cast<const S*>(l.h_0) + row * l.H;
            std::memcpy(static_cast<S*>(o.h_n) + row * l.H, h, l.H * sizeof(S));
            if (C::cell == Cell::lstm) {
                const S* c = length > 0 ? cells_at(rank, length - 1) : state + rank * padded(l.H);
                std::memcpy(static_cast<S*>(o.c_n) + row * l.H, c, l.H * sizeof(S));
            }
            for (int64_t t = length; t < l.T; ++t) {
                std::memset(y_at(rank, t), 0, l.H * sizeof(S));
                for (void* trace : o.traces)
                    if (trace != nullptr)
                        std::memset(static_cast<S*>(trace) + (t * l.B + row) * l.H, 0, l.H * sizeof(S));
            }
        }
    }
};

}  // namespace UNROLLED_ISA
}  // namespace unrolled
