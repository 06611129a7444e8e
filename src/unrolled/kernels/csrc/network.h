// A whole trained network that runs step by step: an embedding or dense input, a stack of recurrent layers,
// a linear read-out. Packed once; after that nothing is allocated and nothing is copied but the state.
//
// Letters as in engine.h; V symbols of a vocabulary, O outputs, P the size of h (H without a projection).
// Inputs, states and outputs are float32 whatever the weights are.
#pragma once

#include <atomic>
#include <memory>

#include "engine.h"

namespace unrolled {

// In which the weights are held, and numbers multiplied; products are added up in float32, of int8 exactly.
enum class Storage : int { f32 = 0, bf16 = 1, i8 = 2 };

// A matrix [rows, K], contiguous, in the network's storage type.
struct Matrix {
    const void* data = nullptr;
    const float* scales = nullptr;  // [rows], int8 only: the number is scale · data
};

struct LayerWeights {
    Cell cell = Cell::lstm;
    int64_t I = 0, H = 0, P = 0;
    Matrix weight_ih, weight_hh;  // [G·H, I], [G·H, P]
    Matrix weight_hr;             // [P, H], LSTM only; null: P is H
    const float* bias_ih = nullptr;
    const float* bias_hh = nullptr;  // [G·H] each, or null
};

struct NetworkWeights {
    Storage storage = Storage::f32;
    Isa isa = Isa::baseline;
    int64_t count = 0;
    const LayerWeights* layers = nullptr;  // [count]
    int64_t V = 0;
    const float* embedding = nullptr;  // [V, I of the first layer]; null: the input is dense
    int64_t O = 0;
    Matrix head;                       // [O, P of the last layer]; null: the output is h, and O is its size
    const float* head_bias = nullptr;  // [O], or null
};

// A matrix product in the order in which a step goes through it, one stream of words from begin to end: groups
// of up to `wide` panels, of each first the words that meet x, of all its panels for each k, then those that
// meet h.
struct Product {
    int64_t units = 0, panels = 0, words_x = 0, words_h = 0, panel_words = 0;
    const void* w = nullptr;          // [panels · panel_words]
    const float* bias = nullptr;      // [panels][slots · lanes]
    const float* scale = nullptr;     // int8: [panels][vectors · lanes]
    const int32_t* offset = nullptr;  // int8: what the sums begin with, laid out as `scale`
};

struct NetworkLayer {
    Cell cell = Cell::lstm;
    int64_t I = 0, H = 0, P = 0;
    int64_t h_at = 0, c_at = 0;  // of a stream's state
    int64_t start_size = 0;      // of the chains of a step: floats
    Product gates, projection;   // no panels: no projection
};

// A packed network. Immutable; any number of streams on any threads may use it at once.
struct Network {
    static constexpr int most_layers = 64;
    Storage storage = Storage::f32;
    Isa isa = Isa::baseline;
    int64_t V = 0, O = 0, count = 0, state_size = 0;  // state_size: floats of a stream's state
    int64_t multiply_adds = 0;                        // of one step of one stream
    int64_t bytes = 0;                                // of the packed memory
    bool far = false;  // whether it is larger than the second cache, so that what comes next is prefetched
    const float* starts = nullptr;     // [V, start_size of the first layer]: embedding · W_ih + bias of the first layer
    const float* embedding = nullptr;  // [V, I], where the vocabulary is too large for `starts`
    NetworkLayer layers[most_layers];
    Product head;  // no panels: none
    std::unique_ptr<void, Handle::Free> memory;

    int64_t input_size() const { return layers[0].I; }
    bool takes_ids() const { return V > 0; }
};

// Makes a network; afterwards the weights may change or go. Null, or one line "argument: expected …, got …".
const char* pack(const NetworkWeights& weights, Network& network);

// Rows at one step. Row r's states begin at h[r] and c[r] and are written from h_new[r] and c_new[r] on, which
// overlap nothing that is read; layer l lies h_at[l], c_at[l] behind.
struct StepRows {
    int64_t count = 0;
    bool one_stream = false;  // the rows are steps of one stream: the new states of each are the next one's
    const float* const* x = nullptr;  // dense inputs
    const int64_t* ids = nullptr;     // or symbols, each 0..V-1
    const float* const* h = nullptr;
    const float* const* c = nullptr;
    float* const* h_new = nullptr;
    float* const* c_new = nullptr;
    const int64_t* h_at = nullptr;
    const int64_t* c_at = nullptr;
    float* const* out = nullptr;  // [O] each; null: not wanted
    bool checked = true;          // refuse inputs and states that are not finite; else they are passed on
};

// Memory in which one thread works through rows: made before the first step.
struct StepMemory {
    static constexpr int64_t most_rows = 96;  // their operands fit a near cache
    int64_t rows = 0;          // that go through a layer together
    int64_t row_bytes = 0;     // of an operand
    int64_t hidden_size = 0;
    char* words = nullptr;     // [rows, 2, row_bytes]: operands of x and of h
    float* hidden = nullptr;   // [rows, hidden_size]: before a projection
    float* starts = nullptr;   // [rows, start_size]: where the rows are one stream
    void* of_rows = nullptr;
};

enum class Stepped : int { ok = 0, input = 1, state = 2, id = 3, closed = 4, busy = 5, memory = 6, forked = 7 };

// Some streams of one network, each with its own state, side by side. A call that finds another one at work
// on the same streams, or that fails, changes nothing. What a fork has copied in the middle of another thread's
// call is neither the state before nor the one after: in the child only `close` takes it.
class Streams {
  public:
    // Throws std::bad_alloc. threads >= 1: of a call, at most.
    Streams(std::shared_ptr<const Network> network, int64_t count, int threads);
    ~Streams();
    Streams(const Streams&) = delete;
    Streams& operator=(const Streams&) = delete;

    // One step of the streams whose `active` [count] is not zero; null: of all. Stream s takes row s of x
    // [count, I] or ids[s], and writes row s of out [count, O]; out may be null. `failed`: the stream at fault, the
    // first one. out overlaps nothing that is read, but x where there is one stream and one step.
    Stepped step(const uint8_t* active, const float* x, const int64_t* ids, float* out, int64_t* failed);
    // T steps where there is one stream; out [T, O], or [O] of the last step, or null. `failed`: the step at fault.
    // The first chunk of many steps takes the memory for all chunks: `memory` where there is none.
    Stepped run(int64_t T, const float* x, const int64_t* ids, float* out, bool all, int64_t* failed);

    Stepped read(int64_t stream, float* state) const;           // [state_size]
    Stepped write(int64_t stream, const float* state);          // null: zeros
    Stepped close();
    bool closed() const { return closed_.load(std::memory_order_relaxed); }
    int64_t count() const { return count_; }
    const Network& network() const { return *network_; }

  private:
    friend struct Claim;
    Stepped advance(const uint8_t* active, const float* x, const int64_t* ids, float* out, int64_t* failed);

    std::shared_ptr<const Network> network_;
    int64_t count_;
    int threads_;
    std::atomic<bool> closed_{false};
    mutable std::atomic<bool> torn_{false};  // by a fork
    mutable std::atomic<int> busy_{0};       // the generation of the process at work, or 0
    std::unique_ptr<void, Handle::Free> memory_;
    float** now_ = nullptr;   // [count] states
    float** next_ = nullptr;  // [count] where the next ones go
    const float** before_ = nullptr;  // from here on [count]: of the rows of a step
    float** after_ = nullptr;
    const float** inputs_ = nullptr;
    float** outputs_ = nullptr;
    int64_t* stream_ = nullptr;
    int64_t* ids_ = nullptr;
    int64_t* h_at_ = nullptr;
    int64_t* c_at_ = nullptr;
    StepMemory* work_ = nullptr;  // [threads]
    struct Chunk;
    std::unique_ptr<Chunk> chunk_;  // of `run`
};

// Sequences of B rows, T steps each, through a network of dense input and layers of one size, from states that
// lie as torch has them. Outputs overlap no input and each other nowhere.
struct Rollout {
    int threads = 1;  // at most; each takes its share of the rows through all steps
    int64_t T = 0, B = 0;
    Strided<const float> x;         // [T, B, I]
    Strided<const uint8_t> resets;  // [T, B], nonzero: the row's state is zero before that step; null: none
    const float* h_0 = nullptr;     // [L, B, P], contiguous; null: zeros
    const float* c_0 = nullptr;     // [L, B, H], contiguous; LSTM only; null: zeros
    Strided<float> y;               // [T, B, P]; null: not wanted
    float* h_n = nullptr;           // [L, B, P], contiguous
    float* c_n = nullptr;           // [L, B, H], contiguous; LSTM only
};

// Null, or one line "argument: expected …, got …". Numbers that are not finite are passed on as the batch run
// passes them on; int8 weights have no word for them and refuse them: then `*result` says so, and outputs
// hold anything.
const char* run(const Network& network, const Rollout& rollout, Stepped* result);

// Test and benchmark hook: the nanoseconds of `repeats` products of one vector with all the packed weights,
// with nothing before or after them.
void bare_product(const Network& network, int64_t repeats, double* nanoseconds);

}  // namespace unrolled
