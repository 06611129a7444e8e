// What `pack` of a network refuses, what leaves a state alone, and what threads and forks do to streams.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <limits>
#include <thread>

#include "stream_net.h"
#include "tests.h"

namespace driver {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kForks = false;  // it cannot follow a child that starts threads
#else
constexpr bool kForks = true;
#endif

struct Offer {
    Memory nowhere{0, true, 0};  // whoever follows it before everything was looked at does not come back
    unrolled::LayerWeights layers[2];
    unrolled::NetworkWeights w;

    Offer() {
        for (unrolled::LayerWeights& layer : layers) {
            layer.I = layer.H = layer.P = 4;
            layer.weight_ih = layer.weight_hh = {nowhere.data(), nullptr};
        }
        w.count = 2, w.layers = layers, w.O = 4;
    }
};

void pack_refuses(const char* argument, const std::function<void(Offer&)>& spoil) {
    now_testing(std::string("stream: pack with a bad ") + argument);
    Offer offer;
    spoil(offer);
    Network network;
    const char* error = unrolled::pack(offer.w, network);
    check(error != nullptr, "accepted");
    const std::string said = error;
    check(said.find(argument) == 0 && said.find(": expected ") != std::string::npos &&
              said.find(", got ") != std::string::npos && said.find('\n') == std::string::npos,
          "not one line about it: " + said);
}

void test_refusals() {
    constexpr int64_t huge = int64_t{1} << 60;
    for (int64_t bad : {int64_t{0}, int64_t{-1}, INT64_MIN, huge, INT64_MAX}) {
        pack_refuses("I:", [=](Offer& o) { o.layers[1].I = bad; });
        pack_refuses("H:", [=](Offer& o) { o.layers[0].H = bad; });
        pack_refuses("P:", [=](Offer& o) { o.layers[0].P = bad; });
        pack_refuses("O:", [=](Offer& o) { o.w.O = bad; });
        pack_refuses("layers:", [=](Offer& o) { o.w.count = bad; });
        if (bad != 0) pack_refuses("V:", [=](Offer& o) { o.w.V = bad; });
    }
    for (int bad : {-1, 4, INT32_MAX, INT32_MIN}) {
        pack_refuses("cell:", [=](Offer& o) { o.layers[1].cell = static_cast<Cell>(bad); });
        pack_refuses("isa:", [=](Offer& o) { o.w.isa = static_cast<Isa>(bad); });
        if (bad != 4) pack_refuses("storage:", [=](Offer& o) { o.w.storage = static_cast<Storage>(bad); });
    }
    pack_refuses("storage:", [](Offer& o) { o.w.storage = static_cast<Storage>(3); });
    pack_refuses("layers:", [](Offer& o) { o.w.layers = nullptr; });
    pack_refuses("layers:", [](Offer& o) { o.w.count = Network::most_layers + 1; });
    pack_refuses("weight_ih:", [](Offer& o) { o.layers[1].weight_ih.data = nullptr; });
    pack_refuses("weight_hh:", [](Offer& o) { o.layers[1].weight_hh.data = nullptr; });
    pack_refuses("weight_ih:", [](Offer& o) { o.layers[0].weight_ih.data = o.nowhere.data() + 1; });
    pack_refuses("weight_ih:", [](Offer& o) {
        o.layers[0].I = int64_t{1} << 50, o.layers[0].H = o.layers[0].P = int64_t{1} << 40;
    });
    pack_refuses("scales:",
                 [](Offer& o) { o.layers[0].weight_ih.scales = reinterpret_cast<const float*>(o.nowhere.data()); });
    pack_refuses("scales:", [](Offer& o) { o.w.storage = Storage::i8; });
    pack_refuses("I:", [](Offer& o) { o.layers[1].I = 5; });
    pack_refuses("P:", [](Offer& o) { o.layers[1].P = 3; });
    pack_refuses("weight_hr:",
                 [](Offer& o) { o.layers[1].cell = Cell::gru, o.layers[1].weight_hr = {o.nowhere.data(), nullptr}; });
    pack_refuses("bias_ih:",
                 [](Offer& o) { o.layers[0].bias_ih = reinterpret_cast<const float*>(o.nowhere.data() + 2); });
    pack_refuses("embedding:", [](Offer& o) { o.w.V = 5; });
    pack_refuses("embedding:", [](Offer& o) { o.w.embedding = reinterpret_cast<const float*>(o.nowhere.data()); });
    pack_refuses("O:", [](Offer& o) { o.w.O = 5; });
    pack_refuses("head_bias:", [](Offer& o) { o.w.head_bias = reinterpret_cast<const float*>(o.nowhere.data()); });
    pack_refuses("columns of int8 weights:", [](Offer& o) {
        o.w.storage = Storage::i8;
        o.layers[0].I = (1 << 16) + 1;
        for (unrolled::LayerWeights& l : o.layers)
            l.weight_ih.scales = l.weight_hh.scales = reinterpret_cast<const float*>(o.nowhere.data());
    });
}

// A relu RNN of three units, each of which is its input and 10^6 times what it was: it overflows in a few steps.
std::shared_ptr<Network> growing(Isa isa, Storage storage) {
    constexpr float weights[2] = {1.0f, 0x1p20f};  // each a bfloat16 too
    Floats numbers[2] = {Floats(9, 0.0f), Floats(9, 0.0f)};
    std::vector<uint16_t> bits[2] = {std::vector<uint16_t>(9, 0), std::vector<uint16_t>(9, 0)};
    for (int m = 0; m < 2; ++m)
        for (size_t n : {0u, 4u, 8u}) {
            numbers[m][n] = weights[m];
            uint32_t all;
            std::memcpy(&all, &weights[m], sizeof all);
            bits[m][n] = static_cast<uint16_t>(all >> 16);
        }
    const auto matrix = [&](int m) {
        return unrolled::Matrix{
            storage == Storage::f32 ? static_cast<const void*>(numbers[m].data()) : bits[m].data(), nullptr};
    };
    unrolled::LayerWeights layer;
    layer.cell = Cell::rnn_relu, layer.I = layer.H = layer.P = 3;
    layer.weight_ih = matrix(0), layer.weight_hh = matrix(1);
    unrolled::NetworkWeights w;
    w.storage = storage, w.isa = isa, w.count = 1, w.layers = &layer, w.O = 3;
    auto network = std::make_shared<Network>();
    check(unrolled::pack(w, *network) == nullptr, "pack refused");
    return network;
}

void errors_leave_the_state_alone(Isa isa, Storage storage) {
    now_testing(std::string("stream: errors, ") + name(isa) + " " + type_of(storage));
    const auto network = growing(isa, storage);
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    for (int threads : {1, 2, 4}) {
        const int64_t count = 300;
        Streams pool(network, count, threads);
        Floats x(static_cast<size_t>(3 * count), 1.0f), out(x);
        int64_t failed = -1;
        for (int tick = 0; tick < 3; ++tick) well(pool.step(nullptr, x.data(), nullptr, out.data(), &failed));
        std::vector<Floats> before;
        for (int64_t s = 0; s < count; ++s) before.push_back(state_of(pool, s));
        const auto unchanged = [&] {
            for (int64_t s = 0; s < count; ++s)
                check(same_bits(state_of(pool, s), before[static_cast<size_t>(s)]), "a refused call changed a state");
        };
        for (float bad : {nan, infinity, -infinity}) {
            x[3 * 299 + 2] = x[3 * 101] = bad;
            check(pool.step(nullptr, x.data(), nullptr, out.data(), &failed) == Stepped::input && failed == 101,
                  "a bad input: not refused at its row");
            x[3 * 299 + 2] = x[3 * 101] = 1.0f;
            unchanged();
        }
        const Floats brink(3, 3e37f);
        for (int64_t s : {77, 290}) well(pool.write(s, brink.data())), before[static_cast<size_t>(s)] = brink;
        check(pool.step(nullptr, x.data(), nullptr, out.data(), &failed) == Stepped::state && failed == 77,
              "an overflow: not refused at its row");
        unchanged();
        std::vector<uint8_t> others(static_cast<size_t>(count), 1);
        others[77] = others[290] = 0;
        well(pool.step(others.data(), x.data(), nullptr, out.data(), &failed));
        check(same_bits(state_of(pool, 77), brink), "a stream that rests was changed");
    }
    Streams one(network, 1, 1);
    Floats x(3 * 200, 1.0f), out(x);
    int64_t failed = -1;
    well(one.run(2, x.data(), nullptr, out.data(), true, &failed));
    const Floats before = state_of(one);
    check(one.run(200, x.data(), nullptr, out.data(), true, &failed) == Stepped::state && failed == 5,
          "a chunk that overflows: not refused at its step");
    check(same_bits(state_of(one), before), "a refused chunk changed the state");
    x[3 * 3 + 1] = nan;
    check(one.run(4, x.data(), nullptr, out.data(), true, &failed) == Stepped::input && failed == 3,
          "a bad input in a chunk: not refused at its step");
    check(same_bits(state_of(one), before), "a refused chunk changed the state");
    well(one.close());
    well(one.close());
    check(one.step(nullptr, x.data(), nullptr, out.data(), &failed) == Stepped::closed &&
              one.read(0, out.data()) == Stepped::closed && one.write(0, nullptr) == Stepped::closed &&
              one.run(1, x.data(), nullptr, nullptr, true, &failed) == Stepped::closed,
          "a closed stream took a call");
}

// ---- threads and forks -------------------------------------------------------------------------------------------

// A stream that another thread keeps at work with chunks of its own, while `meanwhile` runs.
void while_at_work(Streams& streams, const std::function<void()>& meanwhile) {
    const int64_t T = 200, I = streams.network().input_size();
    const Floats x(static_cast<size_t>(T * I), 0.5f);
    std::atomic<bool> enough{false};
    std::thread other([&] {
        int64_t failed = -1;
        while (!enough) streams.run(T, x.data(), nullptr, nullptr, true, &failed);
    });
    Floats state(static_cast<size_t>(streams.network().state_size));
    while (streams.read(0, state.data()) != Stepped::busy) std::this_thread::yield();
    std::string failure;
    try {
        meanwhile();
    } catch (const Failure& found) {
        failure = found.what();
    }
    enough = true;
    other.join();
    check(failure.empty(), failure);
}

std::shared_ptr<Network> steady(Isa isa, Random& random) {
    for (;;) {
        const Net net(random, Storage::f32);
        if (net.V == 0 && !net.grows && net.layers[0].H > 16) return net.pack(isa, random);
    }
}

void test_threads(Isa isa) {
    now_testing(std::string("stream: threads, ") + name(isa));
    Random random(11);
    const auto network = steady(isa, random);
    const int64_t I = network->input_size(), T = 60, O = network->O;
    Floats x;
    for (int64_t n = 0; n < T * I; ++n) x.push_back(static_cast<float>(random.bell()));
    const auto all = [&] {
        Streams streams(network, 1, 1);
        Floats y(static_cast<size_t>(T * O));
        int64_t failed = -1;
        for (int64_t t = 0; t < T; ++t)
            well(streams.step(nullptr, x.data() + t * I, nullptr, y.data() + t * O, &failed));
        return y;
    };
    const Floats y = all();
    Floats found[3];
    std::vector<std::thread> threads;
    for (Floats& mine : found) threads.emplace_back([&] { mine = all(); });
    for (std::thread& thread : threads) thread.join();
    for (const Floats& mine : found)
        check(same_bits(mine, y), "streams of one network on threads of their own: other bits");

    Streams shared(network, 1, 1);
    while_at_work(shared, [&] {
        int64_t failed = -1, busy = 0;
        Floats out(static_cast<size_t>(O));
        for (int again = 0; again < 2000 || busy == 0; ++again) {
            const Stepped result = shared.step(nullptr, x.data(), nullptr, out.data(), &failed);
            check(result == Stepped::ok || result == Stepped::busy, "a call beside another: expected busy");
            busy += result == Stepped::busy;
        }
    });
    well(shared.close());
}

int in_child(const std::function<bool()>& body) {
    const pid_t pid = fork();
    if (pid == 0) {
        bool fine = false;
        try {
            fine = body();
        } catch (const std::exception&) {
        }
        _exit(fine ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
}

void test_forks(Isa isa) {
    now_testing(std::string("stream: fork, ") + name(isa));
    Random random(12);
    const auto network = steady(isa, random);
    const Floats x(static_cast<size_t>(100 * network->input_size()), 0.5f);
    Streams torn(network, 1, 1), pool(network, 100, 2), idle(network, 1, 1);
    int64_t failed = -1;
    well(pool.step(nullptr, x.data(), nullptr, nullptr, &failed));
    well(idle.run(5, x.data(), nullptr, nullptr, true, &failed));
    const Floats before = state_of(idle);
    while_at_work(torn, [&] {
        bool met = false;
        for (int again = 0; again < 1000 && !met; ++again) {
            const int status = in_child([&] {
                Floats state(before.size());
                int64_t at = -1;
                const Stepped result = torn.read(0, state.data());
                if (result == Stepped::ok) _exit(7);  // the fork came between two calls
                Streams fresh(network, 1, 1);
                return result == Stepped::forked &&
                       torn.step(nullptr, x.data(), nullptr, nullptr, &at) == Stepped::forked &&
                       torn.close() == Stepped::ok && torn.read(0, state.data()) == Stepped::closed &&
                       same_bits(state_of(idle), before) &&
                       pool.step(nullptr, x.data(), nullptr, nullptr, &at) == Stepped::ok &&
                       fresh.run(5, x.data(), nullptr, nullptr, true, &at) == Stepped::ok &&
                       same_bits(state_of(fresh), before);
            });
            met = status == 0;
            check(met || (WIFEXITED(status) && WEXITSTATUS(status) == 7),
                  "fork in the middle of a call: the child could not work");
        }
        check(met, "fork in the middle of a call: it never was");
    });
    well(torn.step(nullptr, x.data(), nullptr, nullptr, &failed));
}

}  // namespace

void test_stream_errors(const std::vector<Isa>& isas) {
    test_refusals();
    for (Isa isa : isas) {
        for (Storage storage : {Storage::f32, Storage::bf16}) errors_leave_the_state_alone(isa, storage);
        test_threads(isa);
        if (kForks) test_forks(isa);
    }
}

}  // namespace driver
