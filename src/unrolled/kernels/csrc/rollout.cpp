// Sequences through a packed network, step by step, from and to states that lie as torch has them.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "dispatch.h"
#include "plan.h"
#include "pool.h"
#include "scratch.h"
#include "validate.h"

namespace unrolled {
namespace {

constexpr double kAlone = 1e6;  // multiply-adds that one thread is done with before another one wakes

void validate(Validation& v, const Network& net, const Rollout& q) {
    const NetworkLayer& first = net.layers[0];
    for (int64_t l = 0; l < net.count; ++l)
        if (net.layers[l].H != first.H || net.layers[l].P != first.P || net.layers[l].cell != first.cell)
            v.refuse("network: expected layers of one size");
    if (net.takes_ids() || net.head.panels > 0) v.refuse("network: expected layers alone, on dense input");
    v.within("threads", q.threads, 1, 1024);
    v.within("T", q.T, 1, most_bytes / 64);
    v.within("B", q.B, 1, most_bytes / 64);
    if (v.complaint) return;
    v.bytes("T * B * I", {q.T, q.B, first.I});
    v.bytes("L * B * H", {net.count, q.B, 8, std::max(first.H, first.P)});
    if (v.complaint) return;
    const bool lstm = first.cell == Cell::lstm;
    v.address("x", q.x.data, Need::required);
    v.address("h_0", q.h_0, Need::optional);
    v.address("c_0", q.c_0, lstm ? Need::optional : Need::unused);
    v.address("y", q.y.data, Need::optional);
    v.address("h_n", q.h_n, Need::required);
    v.address("c_n", q.c_n, lstm ? Need::required : Need::unused);
    v.strides("x", Strided<const void>{q.x.data, q.x.t, q.x.b}, first.I);
    if (q.resets.data != nullptr) v.strides("resets", q.resets, 1);
    if (q.y.data != nullptr) v.output_strides("y", Strided<void>{q.y.data, q.y.t, q.y.b}, first.P);
}

struct Run {
    const Network& net;
    const Rollout& q;
    const Kernels& kernels;
    Scratch scratch;
    const int64_t H, P, B, L;
    int threads = 1;
    const float* zeros = nullptr;  // a state
    float *h_spare = nullptr, *c_spare = nullptr;
    int64_t *h_at = nullptr, *c_at = nullptr;
    StepRows rows;
    const float **x = nullptr, **h = nullptr, **c = nullptr;  // [B], and so are these
    float **h_new = nullptr, **c_new = nullptr, **out = nullptr;
    StepMemory* memory = nullptr;  // [threads]
    std::atomic<int> result{0};

    Run(const Network& network, const Rollout& rollout)
        : net(network), q(rollout), kernels(*kernels_of(network.isa)), H(network.layers[0].H),
          P(network.layers[0].P), B(rollout.B), L(network.count) {}

    void take_memory(int most_threads) {
        if (q.h_0 == nullptr || q.resets.data != nullptr || (c_size() > 0 && q.c_0 == nullptr)) {
            const int64_t size = L * B * std::max(H, P);
            float* const to = scratch.take<float>(size);
            std::memset(to, 0, static_cast<size_t>(size) * sizeof(float));
            zeros = to;
        }
        if (q.T > 1) h_spare = scratch.take<float>(L * B * P), c_spare = scratch.take<float>(L * c_size());
        h_at = scratch.take<int64_t>(2 * L), c_at = h_at + L;
        for (int64_t l = 0; l < L; ++l) h_at[l] = l * B * P, c_at[l] = l * c_size();
        x = scratch.take<const float*>(3 * B), h = x + B, c = h + B;
        h_new = scratch.take<float*>(3 * B), c_new = h_new + B, out = c_new + B;
        memory = scratch.take<StepMemory>(most_threads);
        const int64_t each = ceil_div(B, most_threads);
        for (int t = 0; t < most_threads; ++t) {
            const int64_t bytes = kernels.step_memory(net, each, false, nullptr, memory + t);
            kernels.step_memory(net, each, false, scratch.take<char>(bytes), memory + t);
        }
        rows.count = B, rows.x = x, rows.h = h, rows.c = c, rows.h_new = h_new, rows.c_new = c_new;
        rows.h_at = h_at, rows.c_at = c_at;
        rows.out = q.y.data == nullptr ? nullptr : out;
        rows.checked = net.storage == Storage::i8;
    }

    void work(int thread) {
        const Range mine = share(B, thread, threads);
        int64_t failed = 0;
        for (int64_t t = 0; t < q.T; ++t) {
            for (int64_t r = mine.begin; r < mine.end; ++r) point(t, r);
            const Stepped stepped = kernels.step(net, rows, mine.begin, mine.end, memory[thread], &failed);
            if (stepped != Stepped::ok) return result.store(static_cast<int>(stepped));
        }
    }

  private:
    int64_t c_size() const { return net.layers[0].cell == Cell::lstm ? B * H : 0; }
    static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

    // Row r at step t. States take turns, so that the last ones land where they are wanted.
    void point(int64_t t, int64_t r) {
        const bool lands = (q.T - 1 - t) % 2 == 0;
        const bool fresh = q.resets.data != nullptr && q.resets.data[t * q.resets.t + r * q.resets.b] != 0;
        const float* const h_from = t == 0 ? q.h_0 : lands ? h_spare : q.h_n;
        const float* const c_from = t == 0 ? q.c_0 : lands ? c_spare : q.c_n;
        x[r] = q.x.data + t * q.x.t + r * q.x.b;
        h[r] = fresh || h_from == nullptr ? zeros : h_from + r * P;
        h_new[r] = (lands ? q.h_n : h_spare) + r * P;
        c[r] = c_new[r] = nullptr;
        if (c_size() > 0) {
            c[r] = fresh || c_from == nullptr ? zeros : c_from + r * H;
            c_new[r] = (lands ? q.c_n : c_spare) + r * H;
        }
        if (rows.out != nullptr) out[r] = q.y.data + t * q.y.t + r * q.y.b;
    }
};

}  // namespace

const char* run(const Network& network, const Rollout& rollout, Stepped* result) {
    Validation v(rollout.T, rollout.B, network.layers[0].I, network.layers[0].H, sizeof(float));
    validate(v, network, rollout);
    if (v.complaint) return v.complaint;
    try {
        Run run(network, rollout);
        const double worth = static_cast<double>(rollout.B) * static_cast<double>(rollout.T) *
                             static_cast<double>(network.multiply_adds) / kAlone;
        const int most = worth < 2 ? 1 : static_cast<int>(std::min<double>({worth, static_cast<double>(rollout.B),
                                                                           static_cast<double>(rollout.threads)}));
        if (most == 1) {
            run.take_memory(1);
            run.work(0);
        } else {
            Lease lease(most);
            do run.take_memory(run.threads = lease.threads());
            while (!lease.run([](void* given, int thread) { static_cast<Run*>(given)->work(thread); }, &run));
        }
        *result = static_cast<Stepped>(run.result.load());
    } catch (const std::bad_alloc&) {
        v.refuse("memory: expected room for the states of T %lld, B %lld, got none", (long long)rollout.T,
                 (long long)rollout.B);
    }
    return v.complaint;
}

}  // namespace unrolled
