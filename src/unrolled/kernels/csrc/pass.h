// What the forward and the backward pass share: the rows, when each of them runs, and on which thread.
#pragma once

#include "flush.h"
#include "pack.h"
#include "plan.h"
#include "pool.h"

namespace unrolled {
namespace UNROLLED_ISA {

template <class V, class C>
class Pass {
  protected:
    using S = typename V::Scalar;
    static constexpr int L = V::lanes;

    const Handle& handle;
    const Weights& w;
    const Sequences& q;
    Scratch scratch;
    const Plan plan;
    const int64_t nb, P;        // unit blocks; padded(H)
    const int64_t R, padded_R;  // the size of h
    const bool projects;
    Way way = Way::alone;
    Lease* team = nullptr;
    int threads = 1;
    S* zeros = nullptr;       // [max(P, padded_R)]
    Share* shares = nullptr;  // [threads]
    int64_t most = 0;         // rows of a share

    Pass(const Handle& given, const Sequences& sequences)
        : handle(given),
          w(given.weights),
          q(sequences),
          plan(plan_rows(sequences, scratch)),
          nb(ceil_div(given.weights.H, L)),
          P(padded(given.weights.H)),
          R(given.weights.R()),
          padded_R(padded(R)),
          projects(C::cell == Cell::lstm && given.weights.projected > 0) {}

    // Runs self->work(thread) on every thread. Where fewer come than asked for, memory is taken anew for
    // those that there are: no bit depends on how many.
    template <class Self>
    void run(Self* self) {
        Lease lease(way == Way::alone ? 1 : q.threads);
        team = &lease;
        do {
            threads = lease.threads();
            if (threads == 1) way = Way::alone;
            self->take_memory();
        } while (!lease.run([](void* pass, int thread) { static_cast<Self*>(pass)->work(thread); }, self));
    }

    void share_all_rows() {
        const int64_t widest = P > padded_R ? P : padded_R;
        zeros = scratch.take<S>(widest);
        for (int64_t i = 0; i < widest; ++i) zeros[i] = 0;
        shares = scratch.take<Share>(threads);
        most = q.B;
        if (way == Way::by_rows) {
            share_rows(plan, threads, scratch, shares);
            most = 0;
            for (int t = 0; t < threads; ++t) most = shares[t].count > most ? shares[t].count : most;
        } else {
            int64_t* all = scratch.take<int64_t>(q.B);
            for (int64_t i = 0; i < q.B; ++i) all[i] = i;
            for (int t = 0; t < threads; ++t) shares[t] = {all, q.B};
        }
    }

    // This thread's part of states [B, n], null for none, as [B, padded(n)] by rank.
    void pad(S* to, const void* from, int64_t n, int thread) const {
        if (from == nullptr) return;
        const Range rows = share(q.B, thread, threads);
        const int64_t wide = padded(n);
        for (int64_t rank = rows.begin; rank < rows.end; ++rank) {
            const S* row = static_cast<const S*>(from) + plan.row[rank] * n;
            for (int64_t u = 0; u < wide; ++u) to[rank * wide + u] = u < n ? row[u] : S(0);
        }
    }

    int64_t time(int64_t rank, int64_t s) const { return q.reverse ? plan.length[rank] - 1 - s : s; }

    // Whether the edge into step t is cut, so that the state before it is zero.
    bool cut(int64_t rank, int64_t t) const {
        if (q.resets.data == nullptr) return false;
        if (q.reverse && ++t >= plan.length[rank]) return false;
        return q.resets.data[t * q.resets.t + plan.row[rank] * q.resets.b] != 0;
    }

    // How many rows of a share run at step s, from how many do at a step beside it.
    int64_t running(const Share& mine, int64_t s, int64_t n) const {
        while (n > 0 && mine.rank[n - 1] >= plan.active[s]) --n;
        while (n < mine.count && mine.rank[n] < plan.active[s]) ++n;
        return n;
    }

    bool is_packed() const { return q.batch_sizes != nullptr; }

    // A row of a tensor [T, B, ·], or [n, ·] where rows are packed.
    template <class Element>
    auto at(const Strided<Element>& a, int64_t rank, int64_t t) const {
        using To = std::conditional_t<std::is_const<Element>::value, const S, S>;
        const int64_t at = is_packed() ? (plan.offset[t] + rank) * a.b : t * a.t + plan.row[rank] * a.b;
        return static_cast<To*>(a.data) + at;
    }

    // Whether x is a row for each symbol, and steps name theirs; that of a step, and a symbol's row.
    bool has_ids() const { return q.V > 0; }
    int64_t id(int64_t rank, int64_t t) const { return q.ids.data[t * q.ids.t + plan.row[rank] * q.ids.b]; }
    const S* symbol(int64_t v) const { return static_cast<const S*>(q.x.data) + v * q.x.b; }

    const S* h_0(int64_t rank) const { return static_cast<const S*>(q.h_0) + plan.row[rank] * R; }

    // Where a row's gates and cell states lie in `kept` at step s.
    template <class Kept>
    auto gates_in(Kept* kept, int64_t rank, int64_t s) const {
        using To = std::conditional_t<std::is_const<Kept>::value, const S, S>;
        return static_cast<To*>(kept) + format_width + (plan.offset[s] + rank) * gates_width(C::cell, w.H);
    }
    template <class Kept>
    auto cells_in(Kept* kept, int64_t rank, int64_t s) const {
        const int64_t rows = is_packed() ? plan.valid() : q.T * q.B;
        return gates_in(kept, 0, 0) + rows * gates_width(C::cell, w.H) + (plan.offset[s] + rank) * P;
    }
};

}  // namespace UNROLLED_ISA
}  // namespace unrolled
