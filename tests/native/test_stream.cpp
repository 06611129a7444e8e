// Networks that run step by step: steps, chunks and pools against the batch run bit for bit, and every type of
// weights against a naive oracle.
#include <algorithm>
#include <cmath>
#include <limits>

#include "stream_net.h"
#include "tests.h"

namespace driver {
namespace {

// One call on some rows of what is given, each tensor in walled memory.
struct Placed {
    Tensor<float> x, out;
    Tensor<int64_t> ids;
    int64_t outs, O;

    Placed(const Given& given, const std::vector<int64_t>& rows, int64_t outs, int64_t O, Random& random)
        : outs(outs), O(O) {
        Floats values;
        std::vector<int64_t> numbers;
        for (int64_t r : rows) {
            if (given.ids.empty())
                values.insert(values.end(), given.x.begin() + r * given.width,
                              given.x.begin() + (r + 1) * given.width);
            else
                numbers.push_back(given.ids[static_cast<size_t>(r)]);
        }
        const int64_t n = static_cast<int64_t>(rows.size());
        if (given.ids.empty())
            x = Tensor<float>::dense_input(values, 1, n, given.width, random);
        else
            ids = Tensor<int64_t>::dense_input(numbers, 1, 1, n, random);
        out = Tensor<float>::contiguous(1, outs, O, random);
    }
    Floats taken() { return out.take("out"); }
};

// All rows, one step at a time; [rows, O].
Floats by_steps(Streams& streams, const Given& given, int64_t begin, int64_t end, Random& random) {
    Floats all;
    for (int64_t t = begin; t < end; ++t) {
        Placed placed(given, {t}, 1, streams.network().O, random);
        int64_t failed = -1;
        well(streams.step(nullptr, placed.x.data(), placed.ids.data(), placed.out.data(), &failed));
        const Floats out = placed.taken();
        all.insert(all.end(), out.begin(), out.end());
    }
    return all;
}

Floats by_run(Streams& streams, const Given& given, int64_t begin, int64_t end, bool all, Random& random) {
    std::vector<int64_t> rows;
    for (int64_t t = begin; t < end; ++t) rows.push_back(t);
    Placed placed(given, rows, all ? end - begin : 1, streams.network().O, random);
    int64_t failed = -1;
    well(streams.run(end - begin, placed.x.data(), placed.ids.data(), placed.out.data(), all, &failed));
    return placed.taken();
}

bool same(const Floats& a, const Floats& b, int64_t at, int64_t count) {
    return std::memcmp(a.data(), b.data() + at, static_cast<size_t>(count) * sizeof(float)) == 0;
}

void cuts_change_nothing(std::shared_ptr<Network> network, const Given& given, const Floats& y, Random& random) {
    Streams cut(network, 1, 1), whole(network, 1, 1), last(network, 1, 1);
    const int64_t O = network->O;
    check(same_bits(by_run(whole, given, 0, given.rows, true, random), y), "run: other bits than steps");
    for (int64_t t = 0; t < given.rows;) {
        const int64_t n = std::min(given.rows - t, random.pick<int64_t>({1, 2, 5, 40}));
        const Floats part =
            random.chance(0.5) ? by_run(cut, given, t, t + n, true, random) : by_steps(cut, given, t, t + n, random);
        check(same(part, y, t * O, n * O), "a cut of time: other bits");
        if (random.chance(0.3)) {  // saved, spoilt, restored
            const Floats state = state_of(cut);
            by_run(cut, given, 0, 1, true, random);
            well(cut.write(0, state.data()));
        }
        t += n;
    }
    check(same(by_run(last, given, 0, given.rows, false, random), y, (given.rows - 1) * O, O),
          "run, the last output: other bits");
    check(same_bits(state_of(cut), state_of(whole)) && same_bits(state_of(last), state_of(whole)),
          "a cut of time: another state");
    int64_t failed = -1;
    well(cut.run(0, nullptr, nullptr, nullptr, true, &failed));
    well(whole.write(0, nullptr));
    check(same_bits(state_of(whole), Floats(static_cast<size_t>(network->state_size))), "write of null: not zeros");
}

// Streams at places of their own in the same input, some at a time.
void pools_change_nothing(std::shared_ptr<Network> network, const Given& given, const Floats& y, Random& random) {
    const int64_t count = random.pick<int64_t>({1, 2, 9, 60}), O = network->O;
    Streams pool(network, count, random.pick({1, 2, 3, 4}));
    std::vector<int64_t> at(static_cast<size_t>(count), 0);
    for (int tick = 0; tick < 5; ++tick) {
        const bool all = tick == 0 && random.chance(0.5);
        Given spoilt = given;  // what a stream that rests would read is not to be read
        for (float& value : spoilt.x) value = std::numeric_limits<float>::quiet_NaN();
        for (int64_t& id : spoilt.ids) id = -7;
        std::vector<uint8_t> active;
        std::vector<int64_t> rows;
        Given mixed = given;
        mixed.x.insert(mixed.x.end(), spoilt.x.begin(), spoilt.x.end());
        mixed.ids.insert(mixed.ids.end(), spoilt.ids.begin(), spoilt.ids.end());
        for (int64_t s = 0; s < count; ++s) {
            active.push_back(all || random.chance(0.6) ? static_cast<uint8_t>(random.pick({1, 2, 255})) : 0);
            rows.push_back(active.back() ? at[static_cast<size_t>(s)] : given.rows + at[static_cast<size_t>(s)]);
        }
        Placed placed(mixed, rows, count, O, random);
        const auto mask = Tensor<uint8_t>::dense_input(active, 1, 1, count, random);
        int64_t failed = -1;
        well(pool.step(all ? nullptr : mask.data(), placed.x.data(), placed.ids.data(), placed.out.data(), &failed));
        const Floats out = placed.out.values();
        for (int64_t s = 0; s < count; ++s) {
            uint32_t first;
            std::memcpy(&first, &out[static_cast<size_t>(s * O)], sizeof first);
            if (!active[static_cast<size_t>(s)])
                check(first == kCanary, "pool: a stream that rests got an output");
            else
                check(std::memcmp(&out[static_cast<size_t>(s * O)],
                                  &y[static_cast<size_t>(at[static_cast<size_t>(s)]++ * O)],
                                  static_cast<size_t>(O) * sizeof(float)) == 0,
                      "pool: other bits than a stream of its own");
        }
    }
    int64_t failed = -1;
    const std::vector<uint8_t> none(static_cast<size_t>(count), 0);
    well(pool.step(none.data(), given.x.data(), given.ids.empty() ? nullptr : given.ids.data(), nullptr, &failed));
}

// The engine's batch run of one layer after another, without a projection or a read-out.
Floats batch_run(const Net& net, Isa isa, const Given& given) {
    Floats x = given.x;
    for (int64_t id : given.ids)
        x.insert(x.end(), net.embedding.begin() + id * net.layers[0].I,
                 net.embedding.begin() + (id + 1) * net.layers[0].I);
    for (const Layer& l : net.layers) {
        unrolled::Weights w{l.cell,
                            l.I,
                            l.H,
                            l.ih.plain.data(),
                            l.hh.plain.data(),
                            l.bias_ih.empty() ? nullptr : l.bias_ih.data(),
                            l.bias_hh.empty() ? nullptr : l.bias_hh.data()};
        unrolled::Format format;
        format.isa = isa;
        unrolled::Handle handle;
        check(unrolled::pack(w, format, true, handle) == nullptr, "the batch run: pack refused");
        Floats y(static_cast<size_t>(given.rows * l.H)), zero(static_cast<size_t>(l.H)), h(zero), c(zero);
        unrolled::Sequences q;
        q.T = given.rows, q.B = 1, q.x = {x.data(), l.I, l.I}, q.h_0 = zero.data();
        unrolled::ForwardOut out;
        out.y = {y.data(), l.H, l.H}, out.h_n = h.data();
        if (l.cell == Cell::lstm) q.c_0 = zero.data(), out.c_n = c.data();
        const char* error = unrolled::forward(handle, q, out);
        check(error == nullptr, std::string("the batch run refused: ") + (error ? error : ""));
        x = std::move(y);
    }
    return x;
}

// What is multiplied: as it is, rounded, or in steps of the largest over 127.
std::vector<double> operands(const std::vector<double>& x, Storage storage) {
    std::vector<double> out;
    float most = 0;
    for (double value : x) most = std::max(most, std::fabs(static_cast<float>(value)));
    for (double value : x) {
        if (storage == Storage::f32)
            out.push_back(value);
        else if (storage == Storage::bf16)
            out.push_back(to_bf16(static_cast<float>(value)));
        else
            out.push_back(most < 0x1p-120f ? 0 : std::nearbyint(value * 127 / most) * most / 127);
    }
    return out;
}

std::vector<double> product(const Stored& w, const std::vector<double>& x, Storage storage) {
    const std::vector<double> a = operands(x, storage);
    std::vector<double> out(static_cast<size_t>(w.rows), 0);
    for (int64_t r = 0; r < w.rows; ++r)
        for (int64_t k = 0; k < w.K; ++k)
            out[static_cast<size_t>(r)] +=
                static_cast<double>(w.stands[static_cast<size_t>(r * w.K + k)]) * a[static_cast<size_t>(k)];
    return out;
}

double squash(double x) { return 1 / (1 + std::exp(-x)); }

struct NaiveState {
    std::vector<double> h, c;
};

void naive_step(const Layer& l, Storage storage, std::vector<double>& x, NaiveState& s) {
    const size_t H = static_cast<size_t>(l.H);
    const std::vector<double> of_x = product(l.ih, x, storage), of_h = product(l.hh, s.h, storage);
    const auto a = [&](size_t gate, size_t u, bool from_x, bool from_h) {
        const size_t r = gate * H + u;
        return (from_x ? of_x[r] + (l.bias_ih.empty() ? 0.0 : l.bias_ih[r]) : 0.0) +
               (from_h ? of_h[r] + (l.bias_hh.empty() ? 0.0 : l.bias_hh[r]) : 0.0);
    };
    std::vector<double> h(H);
    for (size_t u = 0; u < H; ++u) {
        if (l.cell == Cell::lstm) {
            s.c[u] =
                squash(a(1, u, true, true)) * s.c[u] + squash(a(0, u, true, true)) * std::tanh(a(2, u, true, true));
            h[u] = squash(a(3, u, true, true)) * std::tanh(s.c[u]);
        } else if (l.cell == Cell::gru) {
            const double z = squash(a(1, u, true, true));
            const double n = std::tanh(a(2, u, true, false) + squash(a(0, u, true, true)) * a(2, u, false, true));
            h[u] = (1 - z) * n + z * s.h[u];
        } else {
            h[u] = l.cell == Cell::rnn_relu ? std::max(0.0, a(0, u, true, true)) : std::tanh(a(0, u, true, true));
        }
    }
    s.h = l.hr.rows > 0 ? product(l.hr, h, storage) : h;
    x = s.h;
}

void near_naive(const Net& net, const Given& given, const Floats& y) {
    std::vector<NaiveState> states;
    for (const Layer& l : net.layers)
        states.push_back(
            {std::vector<double>(static_cast<size_t>(l.P), 0), std::vector<double>(static_cast<size_t>(l.H), 0)});
    const double most = net.storage == Storage::f32 ? 2e-5 : net.storage == Storage::bf16 ? 0.03 : 0.1;
    const int64_t steps = std::min<int64_t>(given.rows, 6);  // later, numbers that rounded the other way add up
    for (int64_t t = 0; t < steps; ++t) {
        std::vector<double> x;
        for (int64_t k = 0; k < net.layers[0].I; ++k)
            x.push_back(
                net.V > 0
                    ? net.embedding[static_cast<size_t>(given.ids[static_cast<size_t>(t)] * net.layers[0].I + k)]
                    : given.x[static_cast<size_t>(t * net.layers[0].I + k)]);
        for (size_t l = 0; l < net.layers.size(); ++l) naive_step(net.layers[l], net.storage, x, states[l]);
        std::vector<double> want = net.head.rows > 0 ? product(net.head, x, net.storage) : x;
        for (size_t n = 0; n < want.size(); ++n) {
            want[n] += net.head_bias.empty() ? 0.0 : net.head_bias[n];
            const double got = y[static_cast<size_t>(t) * want.size() + n];
            CHECK(std::fabs(got - want[n]) <= most * (1 + std::fabs(want[n]) * (net.grows ? 4 : 1)),
                  "step " + std::to_string(t) + ": expected " + std::to_string(want[n]) + ", got " +
                      std::to_string(got));
        }
    }
}

// Layers of one size over a batch, from states that lie as torch has them: each row is a stream of its own, whose
// state is written as zero where its sequence begins anew.
void rollouts_change_nothing(std::shared_ptr<Network> network, Random& random) {
    const int64_t T = random.pick<int64_t>({1, 2, 5}), B = random.pick<int64_t>({1, 3, 40, 130}), L = network->count;
    const int64_t I = network->input_size(), H = network->layers[0].H, P = network->O;
    const bool lstm = network->layers[0].cell == Cell::lstm, from_zero = random.chance(0.3);
    const auto drawn = [&](int64_t count) {
        Floats made;
        for (int64_t n = 0; n < count; ++n) made.push_back(static_cast<float>(random.between(-1, 1)));
        return made;
    };
    const Floats x = drawn(T * B * I), h_0 = drawn(L * B * P), c_0 = drawn(L * B * H);
    std::vector<uint8_t> resets;
    for (int64_t n = 0; n < T * B; ++n) resets.push_back(random.chance(0.2) ? 3 : 0);
    const auto x_at = Tensor<float>::input(x, T, B, I, random);
    const auto resets_at = Tensor<uint8_t>::input(resets, T, B, 1, random);
    const auto h_at = Tensor<float>::dense_input(h_0, L, B, P, random);
    const auto c_at = Tensor<float>::dense_input(c_0, L, B, H, random);
    auto y_at = Tensor<float>::strided(T, B, P, random);
    auto h_n = Tensor<float>::contiguous(L, B, P, random), c_n = Tensor<float>::contiguous(L, B, H, random);
    unrolled::Rollout q;
    q.threads = random.pick({1, 2, 4}), q.T = T, q.B = B;
    q.x = {x_at.data(), x_at.t_stride(), x_at.b_stride()};
    q.resets = {resets_at.data(), resets_at.t_stride(), resets_at.b_stride()};
    if (!from_zero) q.h_0 = h_at.data(), q.c_0 = lstm ? c_at.data() : nullptr;
    q.y = {y_at.data(), y_at.t_stride(), y_at.b_stride()};
    q.h_n = h_n.data(), q.c_n = lstm ? c_n.data() : nullptr;
    Stepped result = Stepped::ok;
    const char* error = unrolled::run(*network, q, &result);
    check(error == nullptr, std::string("rollout refused: ") + (error ? error : ""));
    well(result);
    const Floats y = y_at.take("y"), h_last = h_n.take("h_n"), c_last = lstm ? c_n.take("c_n") : Floats();
    const auto same_row = [](const Floats& a, int64_t at, const float* b, int64_t count) {
        return std::memcmp(a.data() + at * count, b, static_cast<size_t>(count) * sizeof(float)) == 0;
    };
    for (int64_t b = 0; b < B; b += random.pick<int64_t>({1, 7})) {
        Streams own(network, 1, 1);
        Floats state(static_cast<size_t>(network->state_size)), out(static_cast<size_t>(P));
        for (int64_t l = 0; l < L && !from_zero; ++l) {
            std::copy_n(&h_0[static_cast<size_t>((l * B + b) * P)], P,
                        &state[static_cast<size_t>(network->layers[l].h_at)]);
            if (lstm)
                std::copy_n(&c_0[static_cast<size_t>((l * B + b) * H)], H,
                            &state[static_cast<size_t>(network->layers[l].c_at)]);
        }
        well(own.write(0, state.data()));
        for (int64_t t = 0; t < T; ++t) {
            int64_t failed = -1;
            if (resets[static_cast<size_t>(t * B + b)]) well(own.write(0, nullptr));
            well(own.step(nullptr, &x[static_cast<size_t>((t * B + b) * I)], nullptr, out.data(), &failed));
            check(same_row(y, t * B + b, out.data(), P), "rollout: other bits than a stream");
        }
        state = state_of(own);
        for (int64_t l = 0; l < L; ++l) {
            check(same_row(h_last, l * B + b, &state[static_cast<size_t>(network->layers[l].h_at)], P),
                  "rollout: another h_n");
            check(!lstm || same_row(c_last, l * B + b, &state[static_cast<size_t>(network->layers[l].c_at)], H),
                  "rollout: another c_n");
        }
    }
}

bool of_one_size(const Net& net) {
    for (const Layer& l : net.layers)
        if (l.cell != net.layers[0].cell || l.H != net.layers[0].H || l.P != net.layers[0].P) return false;
    return net.V == 0 && net.head.rows == 0;
}

}  // namespace

void test_stream(uint64_t seed, const std::vector<Isa>& isas) {
    for (Storage storage : {Storage::f32, Storage::bf16, Storage::i8}) {
        Random drawing(seed);
        const Net net(drawing, storage);
        const Given given(net, drawing.pick<int64_t>({1, 6, 20, 130}), drawing);
        for (Isa isa : isas) {
            now_testing("stream: seed " + std::to_string(seed) + ", " + net.line(isa) + ", T " +
                        std::to_string(given.rows));
            Random random(seed + 1);
            const auto network = net.pack(isa, random);
            Streams streams(network, 1, 1);
            const Floats y = by_steps(streams, given, 0, given.rows, random);
            if (storage == Storage::f32 && !net.projects && net.head.rows == 0)
                check(same_bits(y, batch_run(net, isa, given)), "steps: other bits than the batch run");
            near_naive(net, given, y);
            cuts_change_nothing(network, given, y, random);
            if (of_one_size(net)) rollouts_change_nothing(network, random);
            if (given.rows >= 6) pools_change_nothing(network, given, y, random);
        }
    }
}

}  // namespace driver
