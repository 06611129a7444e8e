#include "plan.h"

#include <algorithm>
#include <numeric>

#include "cache.h"

namespace unrolled {

Plan plan_rows(const Sequences& q, Scratch& scratch) {
    Plan plan;
    plan.B = q.B;
    int64_t* row = scratch.take<int64_t>(q.B);
    int64_t* length = scratch.take<int64_t>(q.B);
    std::iota(row, row + q.B, int64_t{0});
    if (q.lengths != nullptr) {
        std::stable_sort(row, row + q.B,
                         [&](int64_t a, int64_t b) { return q.lengths[a] > q.lengths[b]; });
    }
    for (int64_t i = 0, t = q.T; i < q.B; ++i) {
        while (q.batch_sizes != nullptr && t > 0 && q.batch_sizes[t - 1] <= i) --t;
        length[i] = q.lengths != nullptr ? q.lengths[row[i]] : t;
    }
    plan.steps = q.B > 0 ? length[0] : 0;
    int64_t* active = scratch.take<int64_t>(plan.steps + 1);
    int64_t* offset = scratch.take<int64_t>(plan.steps + 1);
    int64_t running = q.B;
    offset[0] = 0;
    for (int64_t s = 0; s < plan.steps; ++s) {
        while (length[running - 1] <= s) --running;
        active[s] = running;
        offset[s + 1] = offset[s] + running;
    }
    active[plan.steps] = 0;
    plan.row = row;
    plan.length = length;
    plan.active = active;
    plan.offset = offset;
    return plan;
}

namespace {

constexpr double kWakeCycles = 25000;   // until a sleeping thread is at work, measured
constexpr double kBarrierCycles = 500;  // two threads that arrive together, measured
constexpr double kTileCycles = 120;     // a tile's first and last instructions wait for each other
constexpr double kPointCycles = 60;     // the pointwise part of a row and unit block

// Bytes per cycle at which a core is fed, by how much it goes through again and again: measured on Zen 5,
// where a cache serves up to some four fifths of its size. Others are of the same order.
double bytes_per_cycle(double footprint) {
    const Caches& has = caches();
    return footprint <= 0.8 * static_cast<double>(has.first)     ? 100
           : footprint <= 0.72 * static_cast<double>(has.second) ? 55
                                                                 : 25;
}

double step_cycles(const Shape& shape, int64_t rows, int64_t panels, int vectors) {
    if (rows <= 0 || panels <= 0) return 0;
    const double panel = static_cast<double>(shape.k) * vectors * shape.lanes * shape.scalar_bytes;
    const double first = panel / bytes_per_cycle(panel * static_cast<double>(panels));
    const double again = panel / bytes_per_cycle(panel);
    const int64_t tiles = (rows + shape.tile_rows - 1) / shape.tile_rows;
    const double rows_in_tile = static_cast<double>(rows) / static_cast<double>(tiles);
    // Two multiply-adds a cycle, but no chain is faster than its latency of four.
    const double compute =
        static_cast<double>(shape.k) * std::max(4.0, rows_in_tile * vectors / 2.0) +
        kPointCycles * rows_in_tile + kTileCycles;
    return static_cast<double>(panels) *
           (std::max(first, compute) + static_cast<double>(tiles - 1) * std::max(again, compute));
}

}  // namespace

Way choose_way(const Plan& plan, const Shape& shape, int threads) {
    if (threads == 1) return Way::alone;
    const int64_t share_of_panels = (shape.panels_by_units + threads - 1) / threads;
    double alone = 0, by_rows = kWakeCycles, by_units = kWakeCycles;
    int64_t s = 0;
    while (s < plan.steps) {
        int64_t end = s;
        while (end < plan.steps && plan.active[end] == plan.active[s]) ++end;
        const int64_t rows = plan.active[s];
        const double steps = static_cast<double>(end - s);
        const int64_t share_of_rows = (rows + threads - 1) / threads;
        const double outside = steps * static_cast<double>(rows * shape.outside) / 2.0;
        alone += steps * step_cycles(shape, rows, shape.panels, shape.vectors) + outside;
        by_rows += steps * step_cycles(shape, share_of_rows, shape.panels, shape.vectors) +
                   outside / threads;
        by_units += steps * (step_cycles(shape, rows, share_of_panels, shape.vectors_by_units) +
                             kBarrierCycles) +
                    outside / threads;
        s = end;
    }
    if (alone <= std::min(by_rows, by_units)) return Way::alone;
    return by_rows <= by_units ? Way::by_rows : Way::by_units;
}

void share_rows(const Plan& plan, int threads, Scratch& scratch, Share* out) {
    int64_t* total = scratch.take<int64_t>(threads);
    int64_t* filled = scratch.take<int64_t>(threads);
    int64_t* owner = scratch.take<int64_t>(plan.B);
    std::fill(total, total + threads, 0);
    std::fill(filled, filled + threads, 0);
    // The longest first, to whom has least. Neighbours go together: they lie side by side in memory, and a
    // core that fetches ahead of its own rows would fetch what another is writing.
    const bool even = plan.B == 0 || plan.length[0] == plan.length[plan.B - 1];
    const int64_t together = even ? (plan.B + threads - 1) / threads
                                  : std::min<int64_t>(8, std::max<int64_t>(1, plan.B / (8 * threads)));
    for (int64_t rank = 0; rank < plan.B; ++rank) {
        const int64_t who = rank % together == 0 ? std::min_element(total, total + threads) - total
                                                 : owner[rank - 1];
        owner[rank] = who;
        total[who] += plan.length[rank];
        ++filled[who];
    }
    int64_t* ranks = scratch.take<int64_t>(plan.B);
    int64_t begin = 0;
    for (int t = 0; t < threads; ++t) {
        out[t] = {ranks + begin, filled[t]};
        begin += filled[t];
        int64_t at = 0;
        for (int64_t rank = 0; rank < plan.B; ++rank) {
            if (owner[rank] == t) const_cast<int64_t*>(out[t].rank)[at++] = rank;
        }
    }
}

}  // namespace unrolled
