// The engine's entry: every argument is validated before a pointer is formed from it; then the kernels of
// the handle's instruction set run.
#include "engine.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <numeric>

#include "dispatch.h"
#include "validate.h"

namespace unrolled {
namespace {

constexpr int most_threads = 1024;
constexpr int traces_of[] = {1, 1, 3, 5};  // by Cell
constexpr int64_t most = most_bytes / 8;

bool is_lstm(const Weights& w) { return w.cell == Cell::lstm; }
int64_t element_of(Type type) { return type == Type::f32 ? 4 : 8; }
Need wanted(bool yes) { return yes ? Need::required : Need::optional; }

void validate_format(Validation& v, const Format& f) {
    v.within("isa", static_cast<int>(f.isa), 0, 3);
    v.within("storage", static_cast<int>(f.storage), 0, 1);
    v.within("operand", static_cast<int>(f.operand), 0, 2);
    v.within("accumulator", static_cast<int>(f.accumulator), 0, 1);
    const bool narrow = f.storage == Type::f32 && f.operand == Type::bf16;
    if ((f.operand != f.storage && !narrow) || f.accumulator != f.storage)
        v.refuse("operand, accumulator: expected the type of storage, %d, or bfloat16 operands of float32, got %d "
                 "and %d",
                 static_cast<int>(f.storage), static_cast<int>(f.operand), static_cast<int>(f.accumulator));
    if (!v.complaint && !runs(f.isa))
        v.refuse("isa: expected an instruction set that this build holds and this machine runs, got %d",
                 static_cast<int>(f.isa));
}

void validate_weights(Validation& v, const Weights& w) {
    v.within("cell", static_cast<int>(w.cell), 0, 3);
    v.within("I", w.I, 1, most);
    v.within("H", w.H, 1, most / 8);  // so that 4 * padded(H) is a number
    if (v.complaint) return;
    const int64_t P = padded(w.H);
    v.bytes("4 * H * I", {4, P, w.I});
    v.within("projected", w.projected, 0, is_lstm(w) ? most / 8 : 0);
    if (v.complaint) return;
    v.bytes("4 * H * R", {4, P, padded(w.R())});
    v.address("weight_ih", w.weight_ih, Need::required);
    v.address("weight_hh", w.weight_hh, Need::required);
    v.address("bias_ih", w.bias_ih, Need::optional);
    v.address("bias_hh", w.bias_hh, Need::optional);
    v.address("weight_hr", w.weight_hr, w.projected > 0 ? Need::required : Need::unused);
}

// The strides of x, y or a gradient of theirs; there are steps.
template <class Element>
void steps(const char* name, Validation& v, const Sequences& q, const Strided<Element>& a, int64_t width) {
    if (q.batch_sizes) return v.rows(name, a, std::accumulate(q.batch_sizes, q.batch_sizes + q.T, int64_t{0}), width);
    if constexpr (std::is_const<Element>::value) v.strides(name, a, width);
    else v.output_strides(name, a, width);
}

void validate_sequences(Validation& v, const Weights& w, const Sequences& q) {
    v.within("threads", q.threads, 1, INT32_MAX);
    v.within("T", q.T, 0, most);
    v.within("B", q.B, 0, most);
    if (v.complaint) return;
    const int64_t P = padded(w.H);
    v.bytes("4 * B * H", {4, q.B, P});
    v.bytes("B * I", {q.B, w.I});
    v.bytes("T * B * I", {q.T, q.B, w.I});
    v.bytes("5 * T * B * H", {5, q.T, q.B, P});
    v.bytes("B * R", {2, q.B, padded(w.R())});
    v.bytes("T * B * R", {q.T, q.B, padded(w.R())});
    if (v.complaint) return;
    const int64_t work = q.T * q.B;
    v.within("V", q.V, q.ids.data != nullptr ? 1 : 0, most);
    if (v.complaint) return;
    v.bytes("V * I", {q.V, w.I});
    v.bytes("4 * V * H", {4, q.V, P});
    v.address("lengths", q.lengths, Need::optional, sizeof(int64_t));
    v.address("batch_sizes", q.batch_sizes, Need::optional, sizeof(int64_t));
    if (q.batch_sizes && (q.lengths || q.V > 0)) v.refuse("batch_sizes: expected null beside lengths or ids, got an address");
    if (v.complaint) return;
    for (int64_t t = 0; q.batch_sizes && t < q.T && !v.complaint; ++t)
        v.within("batch_sizes", q.batch_sizes[t], 1, t > 0 ? q.batch_sizes[t - 1] : q.B);
    if (v.complaint) return;
    v.address("ids", q.ids.data, wanted(q.V > 0 && work > 0), sizeof(int64_t));
    v.address("x", q.x.data, wanted(work > 0));
    v.address("h_0", q.h_0, wanted(q.B > 0));
    v.address("c_0", q.c_0, is_lstm(w) ? wanted(q.B > 0) : Need::unused);
    if (work > 0 && q.V == 0) steps("x", v, q, q.x, w.I);
    if (work > 0 && q.V > 0) v.rows("x", q.x, q.V, w.I);
    if (work > 0 && q.V > 0) v.strides("ids", q.ids, 1);
    if (work > 0 && q.resets.data) v.strides("resets", q.resets, 1);
    for (int64_t b = 0; q.lengths && b < q.B && !v.complaint; ++b) v.within("lengths", q.lengths[b], 0, q.T);
    for (int64_t b = 0; q.V > 0 && b < q.B && !v.complaint; ++b)
        for (int64_t t = 0, end = q.lengths ? q.lengths[b] : q.T; t < end; ++t)
            v.within("ids", q.ids.data[t * q.ids.t + b * q.ids.b], 0, q.V - 1);
}

void validate_traces(Validation& v, Cell cell, bool some_work, void* const (&traces)[5]) {
    const int count = traces_of[static_cast<int>(cell)];
    const auto given = std::count_if(traces, traces + count, [](void* t) { return t != nullptr; });
    if (given != 0 && given != count && some_work)
        v.refuse("traces: expected none or %d for this cell, got %d", count, static_cast<int>(given));
    for (int i = 0; i < 5; ++i)
        v.address("traces", traces[i], i < count ? Need::optional : Need::unused);
}

void validate(Validation& v, const Weights& w, const Sequences& q, const ForwardOut& out) {
    validate_sequences(v, w, q);
    if (v.complaint) return;
    const bool some_work = q.T * q.B > 0;
    v.address("y", out.y.data, wanted(some_work));
    v.address("h_n", out.h_n, wanted(q.B > 0));
    v.address("c_n", out.c_n, is_lstm(w) ? wanted(q.B > 0) : Need::unused);
    v.address("kept", out.kept, Need::optional);
    if (some_work) steps("y", v, q, out.y, w.R());
    validate_traces(v, w.cell, some_work, out.traces);
}

// `kept` begins with the format, in numbers of its own type and from 1 on: zeros are none, and it is still
// there where somebody has kept the buffer in a smaller type for a while.
template <class S>
void write_format(S* kept, const Format& f) {
    const Type types[] = {f.storage, f.operand, f.accumulator};
    std::fill(kept, kept + format_width, S(0));
    kept[0] = static_cast<S>(1 + static_cast<int>(f.isa));
    for (int i = 0; i < 3; ++i) kept[1 + i] = static_cast<S>(1 + static_cast<int>(types[i]));
}

template <class S>
bool has_format(const S* kept, const Format& f) {
    S wanted[format_width];
    write_format(wanted, f);
    return std::equal(wanted, wanted + format_width, kept);
}

bool was_kept_in(const Format& f, const void* kept) {
    return f.storage == Type::f32 ? has_format(static_cast<const float*>(kept), f)
                                  : has_format(static_cast<const double*>(kept), f);
}

void validate(Validation& v, const Handle& handle, const Sequences& q, const BackwardIn& in,
              const BackwardOut& out) {
    const Weights& w = handle.weights;
    if (handle.packed) v.refuse("handle: expected one that refers to its weights, got one that packed them");
    validate_sequences(v, w, q);
    if (v.complaint) return;
    const bool some_work = q.T * q.B > 0;
    const Need only_lstm = is_lstm(w) ? Need::optional : Need::unused;
    v.address("y", in.y.data, wanted(some_work));
    v.address("kept", in.kept, wanted(some_work));
    v.address("dy", in.dy.data, Need::optional);
    v.address("dh_n", in.dh_n, Need::optional);
    v.address("dc_n", in.dc_n, only_lstm);
    v.address("dx", out.dx.data, Need::optional);
    v.address("dh_0", out.dh_0, Need::optional);
    v.address("dc_0", out.dc_0, only_lstm);
    v.address("dweight_ih", out.dweight_ih, Need::optional);
    v.address("dweight_hh", out.dweight_hh, Need::optional);
    v.address("dbias_ih", out.dbias_ih, Need::optional);
    v.address("dbias_hh", out.dbias_hh, Need::optional);
    v.address("dweight_hr", out.dweight_hr, w.projected > 0 ? Need::optional : Need::unused);
    if (out.dx.data && q.V > 0) v.rows("dx", out.dx, q.V, w.I);
    if (!some_work || v.complaint) return;
    steps("y", v, q, in.y, w.R());
    if (in.dy.data) steps("dy", v, q, in.dy, w.R());
    if (out.dx.data && q.V == 0) steps("dx", v, q, out.dx, w.I);
    if (v.complaint || was_kept_in(handle.format, in.kept)) return;
    Format wrote;
    const bool known = kept_format(in.kept, handle.format.storage, wrote);
    v.refuse("kept: expected what a forward pass of the handle's format wrote, instruction set %d and operands %d, "
             "got %d and %d",
             static_cast<int>(handle.format.isa), static_cast<int>(handle.format.operand),
             known ? static_cast<int>(wrote.isa) : -1, known ? static_cast<int>(wrote.operand) : -1);
}

Validation for_call(const Handle& handle, const Sequences& q) {
    return {q.T, q.B, handle.weights.I, handle.weights.H, element_of(handle.format.storage)};
}

// The call itself, once nothing speaks against it.
template <class Run>
const char* run(Validation& v, const Weights& w, const Sequences& asked, Run&& kernels) {
    if (v.complaint) return v.complaint;
    Sequences q = asked;
    q.threads = std::min(q.threads, most_threads);
    try {
        kernels(q);
    } catch (const std::bad_alloc&) {
        v.refuse("memory: expected room for the engine's own buffers, got none for T %lld, B %lld, "
                 "I %lld, H %lld",
                 (long long)q.T, (long long)q.B, (long long)w.I, (long long)w.H);
    }
    return v.complaint;
}

}  // namespace

void Handle::Free::operator()(void* memory) const { std::free(memory); }

bool kept_format(const void* kept, Type storage, Format& format) {
    for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::avx512_bf16})
        for (Type operand : {storage, Type::bf16}) {
            format = {isa, storage, operand, storage};
            if (was_kept_in(format, kept)) return true;
        }
    return false;
}

const char* pack(const Weights& weights, const Format& format, bool copy, Handle& handle) {
    Validation v(0, 0, weights.I, weights.H, element_of(format.storage));
    validate_format(v, format);
    validate_weights(v, weights);
    if (v.complaint) return v.complaint;
    Handle made{weights, format, nullptr};
    if (copy) {
        const Kernels& kernels = *kernels_of(format.isa);
        made.packed.reset(std::aligned_alloc(64, kernels.packed_bytes(weights, format)));
        if (!made.packed) {
            v.refuse("memory: expected room for the packed weights, got none for I %lld, H %lld",
                     (long long)weights.I, (long long)weights.H);
            return v.complaint;
        }
        kernels.pack(weights, format, made.packed.get());
        made.weights = Weights{weights.cell, weights.I, weights.H};
        made.weights.projected = weights.projected;
    }
    handle = std::move(made);
    return nullptr;
}

const char* forward(const Handle& handle, const Sequences& sequences, const ForwardOut& out) {
    Validation v = for_call(handle, sequences);
    validate(v, handle.weights, sequences, out);
    return run(v, handle.weights, sequences, [&](const Sequences& q) {
        kernels_of(handle.format.isa)->forward(handle, q, out);
        if (out.kept == nullptr) return;
        if (handle.format.storage == Type::f32) write_format(static_cast<float*>(out.kept), handle.format);
        else write_format(static_cast<double*>(out.kept), handle.format);
    });
}

const char* backward(const Handle& handle, const Sequences& sequences, const BackwardIn& in,
                     const BackwardOut& out) {
    Validation v = for_call(handle, sequences);
    validate(v, handle, sequences, in, out);
    return run(v, handle.weights, sequences,
               [&](const Sequences& q) { kernels_of(handle.format.isa)->backward(handle, q, in, out); });
}

}  // namespace unrolled
