// The native engine: recurrent layers over whole sequences, forward and backward, on the CPU.
//
// It knows neither torch nor Python: pointers, sizes, strides, a thread count, an instruction set.
//
// Letters: T steps, B rows, I inputs, H hidden units, G gates (LSTM 4, GRU 3, RNN 1), R the size of h: H, but
// where an LSTM projects it. `P` is H rounded up to a multiple of 16, whatever the instruction set. Strides are in elements; the last axis of
// every tensor is dense. "Null" means not given, or not wanted.
//
// Aliasing: no output may overlap an input or another output. Lifetime: a call keeps no address; a handle
// keeps those of its weights unless it has packed them; `kept` belongs to the caller, who hands it from
// `forward` to one or more `backward`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace unrolled {

enum class Cell : int { rnn_tanh = 0, rnn_relu = 1, gru = 2, lstm = 3 };
enum class Type : int { f32 = 0, f64 = 1, bf16 = 2 };  // bf16 for operands alone
enum class Isa : int { baseline = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3 };

// How a layer computes. Every buffer is of the type `storage`. With float32 the operands may be bfloat16:
// weights, x, h and the gradients of pre-activations are rounded to it where they are multiplied, and only there.
struct Format {
    Isa isa = Isa::baseline;
    Type storage = Type::f32;      // of every buffer, the weights' too: f32 or f64
    Type operand = Type::f32;      // in which numbers are multiplied: as `storage`, or bf16
    Type accumulator = Type::f32;  // in which products are added up, and states carried on: as `storage`
};

struct Weights {
    Cell cell = Cell::lstm;
    int64_t I = 0, H = 0;
    const void* weight_ih = nullptr;  // [G·H, I], contiguous, gates in torch's order (i f g o, r z n)
    const void* weight_hh = nullptr;  // [G·H, R], contiguous
    const void* bias_ih = nullptr;    // [G·H], or null
    const void* bias_hh = nullptr;    // [G·H], or null
    // LSTM only, h = weight_hr · (o · tanh(c)); null and 0 where there is no projection.
    const void* weight_hr = nullptr;  // [R, H], contiguous
    int64_t projected = 0;            // R

    int64_t R() const { return projected > 0 ? projected : H; }
};

// A layer's weights in a format. Any number of calls may use one at once.
struct Handle {
    Weights weights;  // where they are packed, their addresses are null
    Format format;
    struct Free {
        void operator()(void* memory) const;
    };
    std::unique_ptr<void, Free> packed;  // in a layout of the instruction set; null: each call packs for itself
};

// A tensor [T, B, ·] by the address of its first element and its strides over T and B.
template <class Element>
struct Strided {
    Element* data = nullptr;
    int64_t t = 0, b = 0;
};

// What forward and backward share.
struct Sequences {
    int threads = 1;       // at most; a call that finds the pool busy runs on its own thread
    bool reverse = false;  // each row from its last valid step to its first
    int64_t T = 0, B = 0;
    const int64_t* lengths = nullptr;  // [B], each 0..T; null: all T
    Strided<const uint8_t> resets;     // [T, B], nonzero cuts the edge between t - 1 and t; null: none
    Strided<const void> x;             // [T, B, I]; what lies past a row's length is never read
    const void* h_0 = nullptr;         // [B, R], contiguous
    const void* c_0 = nullptr;         // [B, H], contiguous; LSTM only
    // Where V > 0, x is [V, I], a row for each of V symbols with stride b between them, and a step takes the row
    // that its id names: x·W_ih is computed once per symbol, with the bits that each step would compute.
    Strided<const int64_t> ids;        // [T, B], each 0..V-1; past a row's length never read
    int64_t V = 0;
    // Where rows are packed, in falling order of length: [T], how many of them have a step t, never rising and at
    // least 1. Then x, y and their gradients are [n, ·], step after step, n the sum, with stride b between rows;
    // `lengths` is null, and there are no ids.
    const int64_t* batch_sizes = nullptr;
};

struct ForwardOut {
    Strided<void> y;      // [T, B, R]; zero past a row's length
    void* h_n = nullptr;  // [B, R], contiguous
    void* c_n = nullptr;  // [B, H], contiguous; LSTM only
    // [kept_size], contiguous, of n rows of one step where they are packed: what backward needs, in a layout of the engine's own which begins with the
    // format; null where no backward will come. Of its rows only Σlengths are touched.
    void* kept = nullptr;
    // The trajectory, each [T, B, H] contiguous, zero past a row's length; all null, or none of the
    // cell's: LSTM i f g o c; GRU r z n; RNN the pre-activation a.
    void* traces[5] = {};
};

struct BackwardIn {
    Strided<const void> y;       // as forward wrote it
    const void* kept = nullptr;  // as forward wrote it, in the handle's format; left as it is
    Strided<const void> dy;      // [T, B, R], or null for zero; past a row's length never read
    const void* dh_n = nullptr;  // [B, R], contiguous, or null for zero
    const void* dc_n = nullptr;  // [B, H], contiguous, or null for zero; LSTM only
};

// Null where a gradient is not wanted; what is not wanted is not computed.
struct BackwardOut {
    Strided<void> dx;            // [T, B, I]; zero past a row's length. Where V > 0, [V, I] with stride b
    void* dh_0 = nullptr;        // [B, R], contiguous
    void* dc_0 = nullptr;        // [B, H], contiguous; LSTM only
    void* dweight_ih = nullptr;  // [G·H, I], contiguous
    void* dweight_hh = nullptr;  // [G·H, R], contiguous
    void* dbias_ih = nullptr;    // [G·H]
    void* dbias_hh = nullptr;    // [G·H]
    void* dweight_hr = nullptr;  // [R, H], contiguous; where there is a projection
};

// Each returns null when all is well; else one line "argument: expected …, got …", valid until the thread's
// next call.

// Makes a handle. With `copy` the weights are packed now, once, and may change or go; such a handle is for
// `forward` alone. Without, the handle refers to them and every call packs them for itself: what training
// wants, as they change with every step.
const char* pack(const Weights& weights, const Format& format, bool copy, Handle& handle);
const char* forward(const Handle& handle, const Sequences& sequences, const ForwardOut& out);
const char* backward(const Handle& handle, const Sequences& sequences, const BackwardIn& in,
                     const BackwardOut& out);

// Elements of `kept`: the format, then gates [T·B, gates_width], then the LSTM's cell states [T·B, P].
constexpr int64_t format_width = 16;
constexpr int64_t padded(int64_t hidden) { return (hidden + 15) / 16 * 16; }
constexpr int64_t gates_width(Cell cell, int64_t hidden) {
    return cell == Cell::lstm || cell == Cell::gru ? 4 * padded(hidden) : 0;
}
constexpr int64_t kept_width(Cell cell, int64_t hidden) {
    return gates_width(cell, hidden) + (cell == Cell::lstm ? padded(hidden) : 0);
}
constexpr int64_t kept_size(Cell cell, int64_t T, int64_t B, int64_t hidden) {
    return format_width + T * B * kept_width(cell, hidden);
}

// The format in which a forward pass wrote `kept`, in numbers of type `storage`: false where none did.
bool kept_format(const void* kept, Type storage, Format& format);

// Whether this build holds the instruction set and this processor and system run it.
bool runs(Isa isa);

}  // namespace unrolled
