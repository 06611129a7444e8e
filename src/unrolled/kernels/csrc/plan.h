// What a call is about to do: the order of the rows, and how threads share the work.
#pragma once

#include "engine.h"
#include "scratch.h"

namespace unrolled {

// Rows by falling length, so that at every step the rows still running come first. A step is counted
// in turn: 0 is the first one computed, whichever way the row runs.
struct Plan {
    int64_t B = 0;
    int64_t steps = 0;                 // of the longest row
    const int64_t* row = nullptr;      // [B] rank → row
    const int64_t* length = nullptr;   // [B] by rank
    const int64_t* active = nullptr;   // [steps + 1] rows that run at this step; the last is 0
    const int64_t* offset = nullptr;   // [steps + 1] valid steps before this one, over all rows

    int64_t valid() const { return offset[steps]; }
};

Plan plan_rows(const Sequences& sequences, Scratch& scratch);

// What a call costs, for the cost rule.
struct Shape {
    int64_t k;       // of a product in the time loop: the length of a chain
    int64_t panels;  // how often a panel of `vectors` vectors is gone through in a step
    int vectors;
    int64_t panels_by_units;  // the same where units are split between threads
    int vectors_by_units;
    int lanes;
    int scalar_bytes;
    int tile_rows;
    int64_t outside;  // multiply-adds of vectors, per row and step, outside the time loop
};

enum class Way { alone, by_rows, by_units };

// The written cost rule. By rows, each thread runs its own rows through all steps and never waits.
// By units, each thread computes its share of the hidden units for all rows, with one barrier a step.
// By units wins where rows are few or weights so large that a share of them fits a nearer cache.
// Alone wins where a call is over before another thread is awake.
Way choose_way(const Plan& plan, const Shape& shape, int threads);

// The ranks that a thread runs when the work is split by rows: equal shares of steps, rising ranks.
struct Share {
    const int64_t* rank = nullptr;  // [count]
    int64_t count = 0;
};

// out: [threads]
void share_rows(const Plan& plan, int threads, Scratch& scratch, Share* out);

// The share of `count` things that thread number `thread` takes: [begin, end).
struct Range {
    int64_t begin, end;
};
inline Range share(int64_t count, int thread, int threads) {
    return {count * thread / threads, count * (thread + 1) / threads};
}

}  // namespace unrolled
