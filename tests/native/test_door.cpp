#include <climits>
#include <cstring>
#include <functional>

#include "check.h"
#include "engine.h"
#include "memory.h"
#include "tests.h"

namespace driver {
namespace {

// A small layer whose every pointer leads to a wall: whoever follows one before the door has looked at
// everything does not come back.
struct Call {
    Memory nowhere{0, true, 0};
    int64_t lengths[2] = {3, 2};
    unrolled::Layer layer;
    unrolled::ForwardOut out;

    Call() {
        void* wall = nowhere.data();
        layer.T = 3, layer.B = 2, layer.I = 4, layer.H = 5;
        layer.x = layer.h_0 = layer.c_0 = layer.weight_ih = layer.weight_hh = wall;
        layer.x_t = 8, layer.x_b = 4;
        out.y = out.h_n = out.c_n = wall;
        out.y_t = 10, out.y_b = 5;
    }
};

void told(const std::string& argument, const char* error) {
    check(error != nullptr, argument + ": accepted");
    const std::string message = error;
    check(message.find("expected") != std::string::npos && message.find(", got") != std::string::npos &&
              message.find('\n') == std::string::npos,
          argument + ": not one line with expected and got: " + message);
}

void forward_refuses(const char* argument, const std::function<void(Call&)>& spoil) {
    Call call;
    spoil(call);
    now_testing(std::string("door, ") + argument);
    told(argument, unrolled::forward(call.layer, call.out));
}

void refuses(const char* argument, const std::function<void(Call&)>& spoil) {
    forward_refuses(argument, spoil);
    Call call;
    spoil(call);
    unrolled::BackwardIn in;
    in.y = call.out.y, in.y_t = call.out.y_t, in.y_b = call.out.y_b;
    in.gates = in.cells = call.nowhere.data();
    unrolled::BackwardOut out;
    out.dh_0 = call.nowhere.data();
    told(argument, unrolled::backward(call.layer, in, out));
}

}  // namespace

void test_door(const std::vector<Isa>& isas) {
    using C = Call&;
    refuses("cell", [](C c) { c.layer.cell = static_cast<Cell>(9); });
    refuses("dtype", [](C c) { c.layer.dtype = static_cast<Dtype>(-1); });
    refuses("isa", [](C c) { c.layer.isa = static_cast<Isa>(77); });
    refuses("threads", [](C c) { c.layer.threads = 0; });
    refuses("T below 0", [](C c) { c.layer.T = -1; });
    refuses("B below 0", [](C c) { c.layer.B = -1; });
    refuses("I below 0", [](C c) { c.layer.I = -5; });
    refuses("H of 0", [](C c) { c.layer.H = 0; });
    for (int64_t huge : {INT64_MAX, INT64_MAX / 2, int64_t{1} << 61, int64_t{1} << 40}) {
        refuses("T huge", [=](C c) { c.layer.T = huge, c.layer.B = 1 << 20; });
        refuses("B huge", [=](C c) { c.layer.B = huge, c.layer.T = 1 << 20; });
        refuses("I huge", [=](C c) { c.layer.I = huge, c.layer.H = 1 << 20; });
        refuses("H huge", [=](C c) { c.layer.H = huge; });
        refuses("H huge and nothing to do", [=](C c) { c.layer.H = huge, c.layer.T = 0; });
    }
    refuses("x strides", [](C c) { c.layer.x_t = INT64_MAX; });
    refuses("y strides", [](C c) { c.out.y_t = INT64_MIN; });
    forward_refuses("y strides that overlap", [](C c) { c.out.y_b = 4; });
    refuses("resets strides", [](C c) {
        c.layer.resets = c.nowhere.data();
        c.layer.resets_t = c.layer.resets_b = INT64_MAX;
    });
    refuses("lengths above T", [](C c) { c.lengths[1] = 4, c.layer.lengths = c.lengths; });
    refuses("lengths below 0", [](C c) { c.lengths[0] = -1, c.layer.lengths = c.lengths; });
    refuses("no x", [](C c) { c.layer.x = nullptr; });
    refuses("no h_0", [](C c) { c.layer.h_0 = nullptr; });
    refuses("no c_0", [](C c) { c.layer.c_0 = nullptr; });
    refuses("no weight_hh", [](C c) { c.layer.weight_hh = nullptr; });
    refuses("no y", [](C c) { c.out.y = nullptr; });
    for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::avx512_bf16})
        if (!unrolled::runs(isa)) refuses("an instruction set not here", [=](C c) { c.layer.isa = isa; });
    for (Isa isa : isas) check(unrolled::runs(isa), std::string("isa ") + name(isa) + ": does not run here");
}

}  // namespace driver
