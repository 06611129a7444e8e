#include <climits>
#include <cstring>
#include <functional>

#include "check.h"
#include "engine.h"
#include "memory.h"
#include "tests.h"

namespace driver {
namespace {

// A small layer whose every pointer leads to a wall: whoever follows one before the entry has looked at
// everything does not come back.
struct Call {
    Memory nowhere{0, true, 0};
    int64_t lengths[2] = {3, 2};
    int64_t id = 0;  // of every step
    int64_t sizes[3] = {2, 2, 1};
    unrolled::Weights weights;
    unrolled::Format format;
    unrolled::Sequences q;
    unrolled::ForwardOut out;

    Call() {
        void* wall = nowhere.data();
        weights.I = 4, weights.H = 5;
        weights.weight_ih = weights.weight_hh = wall;
        q.T = 3, q.B = 2;
        q.x = {wall, 8, 4};
        q.h_0 = q.c_0 = wall;
        out.y = {wall, 10, 5};
        out.h_n = out.c_n = wall;
    }

    // Of the first call that complains.
    const char* forward() {
        unrolled::Handle handle;
        const char* error = unrolled::pack(weights, format, false, handle);
        return error ? error : unrolled::forward(handle, q, out);
    }
    const char* backward() {
        unrolled::Handle handle;
        unrolled::BackwardIn in;
        in.y = {out.y.data, out.y.t, out.y.b};
        in.kept = nowhere.data();
        unrolled::BackwardOut gradients;
        gradients.dh_0 = nowhere.data();
        const char* error = unrolled::pack(weights, format, false, handle);
        return error ? error : unrolled::backward(handle, q, in, gradients);
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
    now_testing(std::string("validate, ") + argument);
    told(argument, call.forward());
}

void refuses(const char* argument, const std::function<void(Call&)>& spoil) {
    forward_refuses(argument, spoil);
    Call call;
    spoil(call);
    told(argument, call.backward());
}

}  // namespace

void test_validate(const std::vector<Isa>& isas) {
    using C = Call&;
    refuses("cell", [](C c) { c.weights.cell = static_cast<Cell>(9); });
    refuses("operand", [](C c) { c.format.operand = Type::f64; });
    refuses("accumulator", [](C c) { c.format.accumulator = Type::f64; });
    refuses("storage", [](C c) { c.format.storage = static_cast<Type>(-1); });
    refuses("isa", [](C c) { c.format.isa = static_cast<Isa>(77); });
    refuses("threads", [](C c) { c.q.threads = 0; });
    refuses("T below 0", [](C c) { c.q.T = -1; });
    refuses("B below 0", [](C c) { c.q.B = -1; });
    refuses("I below 0", [](C c) { c.weights.I = -5; });
    refuses("H of 0", [](C c) { c.weights.H = 0; });
    for (int64_t huge : {INT64_MAX, INT64_MAX / 2, int64_t{1} << 61, int64_t{1} << 40}) {
        refuses("T huge", [=](C c) { c.q.T = huge, c.q.B = 1 << 20; });
        refuses("B huge", [=](C c) { c.q.B = huge, c.q.T = 1 << 20; });
        refuses("I huge", [=](C c) { c.weights.I = huge, c.weights.H = 1 << 20; });
        refuses("H huge", [=](C c) { c.weights.H = huge; });
        refuses("H huge and nothing to do", [=](C c) { c.weights.H = huge, c.q.T = 0; });
    }
    refuses("x strides", [](C c) { c.q.x.t = INT64_MAX; });
    refuses("y strides", [](C c) { c.out.y.t = INT64_MIN; });
    forward_refuses("y strides that overlap", [](C c) { c.out.y.b = 4; });
    refuses("resets strides", [](C c) {
        c.q.resets = {c.nowhere.data(), INT64_MAX, INT64_MAX};
    });
    refuses("lengths above T", [](C c) { c.lengths[1] = 4, c.q.lengths = c.lengths; });
    refuses("lengths below 0", [](C c) { c.lengths[0] = -1, c.q.lengths = c.lengths; });
    for (int64_t id : {-1, 3}) refuses("ids", [=](C c) { c.id = id, c.q.ids = {&c.id, 0, 0}, c.q.V = 3; });
    refuses("ids without symbols", [](C c) { c.q.ids = {&c.id, 0, 0}; });
    refuses("symbols without ids", [](C c) { c.q.V = 3; });
    refuses("symbols below 0", [](C c) { c.q.V = -1; });
    refuses("symbols without number", [](C c) { c.q.ids = {&c.id, 0, 0}, c.q.V = INT64_MAX / 8; });
    refuses("x stride of symbols", [](C c) { c.q.ids = {&c.id, 0, 0}, c.q.V = 3, c.q.x.b = INT64_MAX; });
    refuses("ids strides", [](C c) { c.q.ids = {&c.id, INT64_MAX, 0}, c.q.V = 3; });
    const int64_t sizes[][3] = {{3, 1, 1}, {2, 0, 0}, {1, 2, 1}, {-1, -1, -1}};
    for (const auto& each : sizes)
        refuses("batch_sizes", [&](C c) { c.q.batch_sizes = each, c.q.lengths = nullptr; });
    refuses("batch_sizes beside lengths", [](C c) { c.q.lengths = c.lengths, c.q.batch_sizes = c.lengths; });
    refuses("x stride of packed rows", [](C c) { c.q.batch_sizes = c.sizes, c.q.x.b = INT64_MAX; });
    forward_refuses("y stride of packed rows", [](C c) { c.q.batch_sizes = c.sizes, c.out.y.b = 4; });
    refuses("no x", [](C c) { c.q.x.data = nullptr; });
    refuses("no h_0", [](C c) { c.q.h_0 = nullptr; });
    refuses("no c_0", [](C c) { c.q.c_0 = nullptr; });
    refuses("no weight_hh", [](C c) { c.weights.weight_hh = nullptr; });
    refuses("no y", [](C c) { c.out.y.data = nullptr; });
    for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::avx512_bf16})
        if (!unrolled::runs(isa)) refuses("an instruction set not here", [=](C c) { c.format.isa = isa; });
    for (Isa isa : isas) check(unrolled::runs(isa), std::string("isa ") + name(isa) + ": does not run here");
}

}  // namespace driver
