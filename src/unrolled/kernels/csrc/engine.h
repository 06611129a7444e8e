// The native engine: recurrent layers over whole sequences, forward and backward, on the CPU.
//
// It knows neither torch nor Python: pointers, sizes, strides, a thread count, an instruction set.
//
// Words: T steps, B rows, I inputs, H hidden units, G gates (LSTM 4, GRU 3, RNN 1). `P` is H rounded
// up to a multiple of 16, whatever the instruction set. Strides are in elements; the last axis of
// every tensor is dense. "Null" means not given, or not wanted.
//
// Aliasing: no output may overlap an input or another output. Lifetime: nothing is kept after a call;
// `gates` and `cells` belong to the caller, who hands them from `forward` to one or more `backward`.
#pragma once

#include <cstddef>
#include <cstdint>

namespace unrolled {

enum class Cell : int { rnn_tanh = 0, rnn_relu = 1, gru = 2, lstm = 3 };
enum class Dtype : int { f32 = 0, f64 = 1 };
enum class Isa : int { baseline = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3 };

// What forward and backward share.
struct Layer {
    Cell cell = Cell::lstm;
    Dtype dtype = Dtype::f32;
    Isa isa = Isa::baseline;
    int threads = 1;       // at most; a call that finds the pool busy runs on its own thread
    bool reverse = false;  // each row from its last valid step to its first
    int64_t T = 0, B = 0, I = 0, H = 0;
    const int64_t* lengths = nullptr;  // [B], each 0..T; null: all T
    const uint8_t* resets = nullptr;   // [T, B], nonzero cuts the edge between t - 1 and t; null: none
    int64_t resets_t = 0, resets_b = 0;
    const void* x = nullptr;  // [T, B, I]; what lies past a row's length is never read
    int64_t x_t = 0, x_b = 0;
    const void* h_0 = nullptr;  // [B, H], contiguous
    const void* c_0 = nullptr;  // [B, H], contiguous; LSTM only
    const void* weight_ih = nullptr;  // [G·H, I], contiguous, gates in torch's order (i f g o, r z n)
    const void* weight_hh = nullptr;  // [G·H, H], contiguous
    const void* bias_ih = nullptr;    // [G·H], or null
    const void* bias_hh = nullptr;    // [G·H], or null
};

struct ForwardOut {
    void* y = nullptr;  // [T, B, H]; zero past a row's length
    int64_t y_t = 0, y_b = 0;
    void* h_n = nullptr;  // [B, H], contiguous
    void* c_n = nullptr;  // [B, H], contiguous; LSTM only
    // What backward needs, in a layout of the engine's own; null where no backward will come.
    void* gates = nullptr;  // [T·B, gates_width]; LSTM and GRU. Only Σlengths rows are touched.
    void* cells = nullptr;  // [T·B, P]; LSTM. Only Σlengths rows are touched.
    // The trajectory, each [T, B, H] contiguous, zero past a row's length; all null, or none of the
    // cell's: LSTM i f g o c; GRU r z n; RNN the pre-activation a.
    void* traces[5] = {};
};

struct BackwardIn {
    const void* y = nullptr;  // as forward wrote it
    int64_t y_t = 0, y_b = 0;
    const void* gates = nullptr;  // as forward wrote them, same instruction set; left as they are
    const void* cells = nullptr;
    const void* dy = nullptr;  // [T, B, H], or null for zero; past a row's length never read
    int64_t dy_t = 0, dy_b = 0;
    const void* dh_n = nullptr;  // [B, H], contiguous, or null for zero
    const void* dc_n = nullptr;  // [B, H], contiguous, or null for zero; LSTM only
};

// Null where a gradient is not wanted; what is not wanted is not computed.
struct BackwardOut {
    void* dx = nullptr;  // [T, B, I]; zero past a row's length
    int64_t dx_t = 0, dx_b = 0;
    void* dh_0 = nullptr;        // [B, H], contiguous
    void* dc_0 = nullptr;        // [B, H], contiguous; LSTM only
    void* dweight_ih = nullptr;  // [G·H, I], contiguous
    void* dweight_hh = nullptr;  // [G·H, H], contiguous
    void* dbias_ih = nullptr;    // [G·H]
    void* dbias_hh = nullptr;    // [G·H]
};

// Null when all is well; else one line "argument: expected …, got …", valid until the thread's next call.
const char* forward(const Layer& layer, const ForwardOut& out);
const char* backward(const Layer& layer, const BackwardIn& in, const BackwardOut& out);

// Elements per row of `gates`: 4·P for LSTM and GRU, 0 for RNN. P for `cells`.
constexpr int64_t padded(int64_t hidden) { return (hidden + 15) / 16 * 16; }
constexpr int64_t gates_width(Cell cell, int64_t hidden) {
    return cell == Cell::lstm || cell == Cell::gru ? 4 * padded(hidden) : 0;
}

// Whether this build holds the instruction set and this processor and system run it.
bool runs(Isa isa);

}  // namespace unrolled
