// The door of the engine: every argument is checked before a pointer is formed from it; then the
// kernels of the wanted instruction set run.
#include "engine.h"

#include <algorithm>
#include <new>

#include "dispatch.h"
#include "door.h"

namespace unrolled {
namespace {

constexpr int most_threads = 1024;
constexpr int traces_of[] = {1, 1, 3, 5};  // by Cell

bool is_lstm(const Layer& a) { return a.cell == Cell::lstm; }
int64_t element_of(const Layer& a) { return a.dtype == Dtype::f32 ? 4 : 8; }
Need wanted(bool yes) { return yes ? Need::required : Need::optional; }

void check_choices(Door& door, const Layer& a) {
    door.within("cell", static_cast<int>(a.cell), 0, 3);
    door.within("dtype", static_cast<int>(a.dtype), 0, 1);
    door.within("isa", static_cast<int>(a.isa), 0, 3);
    door.within("threads", a.threads, 1, INT32_MAX);
    if (!door.complaint && !runs(a.isa))
        door.refuse("isa: expected an instruction set that this build holds and this machine runs, got %d",
                    static_cast<int>(a.isa));
}

void check_sizes(Door& door, const Layer& a) {
    constexpr int64_t most = most_bytes / 8;
    door.within("T", a.T, 0, most);
    door.within("B", a.B, 0, most);
    door.within("I", a.I, 1, most);
    door.within("H", a.H, 1, most / 8);  // so that 4 * padded(H) is a number
    if (door.complaint) return;
    const int64_t element = element_of(a), P = padded(a.H);
    door.bytes("4 * H * I", a, {4, P, a.I}, element);
    door.bytes("4 * H * H", a, {4, P, P}, element);
    door.bytes("4 * B * H", a, {4, a.B, P}, element);
    door.bytes("B * I", a, {a.B, a.I}, element);
    door.bytes("T * B * I", a, {a.T, a.B, a.I}, element);
    door.bytes("4 * T * B * H", a, {4, a.T, a.B, P}, element);
}

void check_layer(Door& door, const Layer& a) {
    check_choices(door, a);
    if (door.complaint) return;
    check_sizes(door, a);
    if (door.complaint) return;
    const int64_t element = element_of(a), work = a.T * a.B;
    door.address("lengths", a.lengths, Need::optional, sizeof(int64_t));
    door.address("x", a.x, wanted(work > 0), element);
    door.address("h_0", a.h_0, wanted(a.B > 0), element);
    door.address("c_0", a.c_0, is_lstm(a) ? wanted(a.B > 0) : Need::unused, element);
    door.address("weight_ih", a.weight_ih, Need::required, element);
    door.address("weight_hh", a.weight_hh, Need::required, element);
    door.address("bias_ih", a.bias_ih, Need::optional, element);
    door.address("bias_hh", a.bias_hh, Need::optional, element);
    if (work > 0) door.strides("x", a, a.x_t, a.x_b, a.I, element);
    if (work > 0 && a.resets) door.strides("resets", a, a.resets_t, a.resets_b, 1, 1);
    for (int64_t b = 0; a.lengths && b < a.B && !door.complaint; ++b)
        door.within("lengths", a.lengths[b], 0, a.T);
}

void check_kept(Door& door, const Layer& a, const void* gates, const void* cells, Need need) {
    const bool has_gates = gates_width(a.cell, a.H) > 0;
    door.address("gates", gates, has_gates ? need : Need::unused, element_of(a));
    door.address("cells", cells, is_lstm(a) ? need : Need::unused, element_of(a));
    if (is_lstm(a) && a.T * a.B > 0 && !gates != !cells)
        door.refuse("gates, cells: expected both or neither, got one");
}

void check_traces(Door& door, const Layer& a, void* const (&traces)[5]) {
    const int count = traces_of[static_cast<int>(a.cell)];
    const auto given = std::count_if(traces, traces + count, [](void* t) { return t != nullptr; });
    if (given != 0 && given != count && a.T * a.B > 0)
        door.refuse("traces: expected none or %d for this cell, got %d", count, static_cast<int>(given));
    for (int i = 0; i < 5; ++i)
        door.address("traces", traces[i], i < count ? Need::optional : Need::unused, element_of(a));
}

void check(Door& door, const Layer& a, const ForwardOut& out) {
    check_layer(door, a);
    if (door.complaint) return;
    const int64_t element = element_of(a), work = a.T * a.B;
    door.address("y", out.y, wanted(work > 0), element);
    door.address("h_n", out.h_n, wanted(a.B > 0), element);
    door.address("c_n", out.c_n, is_lstm(a) ? wanted(a.B > 0) : Need::unused, element);
    if (work > 0) door.output_strides("y", a, out.y_t, out.y_b, a.H, element);
    check_kept(door, a, out.gates, out.cells, Need::optional);
    check_traces(door, a, out.traces);
}

void check(Door& door, const Layer& a, const BackwardIn& in, const BackwardOut& out) {
    check_layer(door, a);
    if (door.complaint) return;
    const int64_t element = element_of(a), work = a.T * a.B;
    const Need only_lstm = is_lstm(a) ? Need::optional : Need::unused;
    door.address("y", in.y, wanted(work > 0), element);
    check_kept(door, a, in.gates, in.cells, wanted(work > 0));
    door.address("dy", in.dy, Need::optional, element);
    door.address("dh_n", in.dh_n, Need::optional, element);
    door.address("dc_n", in.dc_n, only_lstm, element);
    door.address("dx", out.dx, Need::optional, element);
    door.address("dh_0", out.dh_0, Need::optional, element);
    door.address("dc_0", out.dc_0, only_lstm, element);
    door.address("dweight_ih", out.dweight_ih, Need::optional, element);
    door.address("dweight_hh", out.dweight_hh, Need::optional, element);
    door.address("dbias_ih", out.dbias_ih, Need::optional, element);
    door.address("dbias_hh", out.dbias_hh, Need::optional, element);
    if (work == 0) return;
    door.strides("y", a, in.y_t, in.y_b, a.H, element);
    if (in.dy) door.strides("dy", a, in.dy_t, in.dy_b, a.H, element);
    if (out.dx) door.output_strides("dx", a, out.dx_t, out.dx_b, a.I, element);
}

// The call itself, once nothing speaks against it.
template <class Run>
const char* run(Door& door, const Layer& asked, Run&& kernels) {
    if (door.complaint) return door.complaint;
    Layer layer = asked;
    layer.threads = std::min(layer.threads, most_threads);
    try {
        kernels(layer);
    } catch (const std::bad_alloc&) {
        door.refuse("memory: expected room for the engine's own buffers, got none for T %lld, B %lld, "
                    "I %lld, H %lld",
                    (long long)layer.T, (long long)layer.B, (long long)layer.I, (long long)layer.H);
    }
    return door.complaint;
}

}  // namespace

const char* forward(const Layer& layer, const ForwardOut& out) {
    Door door;
    check(door, layer, out);
    return run(door, layer, [&](const Layer& a) { kernels_of(a.isa)->forward(a, out); });
}

const char* backward(const Layer& layer, const BackwardIn& in, const BackwardOut& out) {
    Door door;
    check(door, layer, in, out);
    return run(door, layer, [&](const Layer& a) { kernels_of(a.isa)->backward(a, in, out); });
}

}  // namespace unrolled
