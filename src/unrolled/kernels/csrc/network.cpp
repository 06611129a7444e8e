// Networks that run step by step: weights validated and packed, streams with their states.
#include "network.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>

#include "dispatch.h"
#include "plan.h"
#include "pool.h"
#include "scratch.h"
#include "validate.h"

namespace unrolled {
namespace {

constexpr int64_t most_int8 = 1 << 16;  // columns of which a sum of int8 products is surely an int32
constexpr int64_t most = most_bytes / 64;

int64_t gates_of(Cell cell) { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }

void* aligned(int64_t bytes) {
    if (bytes < 0 || bytes > most_bytes) throw std::bad_alloc();
    void* const memory = std::aligned_alloc(64, static_cast<size_t>((bytes + 63) / 64 * 64 + 64));
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

int64_t second_cache() {  // bytes
#if defined(_SC_LEVEL2_CACHE_SIZE)
    const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (size > 0) return size;
#endif
    return 512 << 10;
}

void validate_matrix(Validation& v, const char* name, const Matrix& m, Storage storage, int64_t rows, int64_t K) {
    const int64_t element = storage == Storage::f32 ? 4 : storage == Storage::bf16 ? 2 : 1;
    v.address(name, m.data, Need::required, element);
    v.address("scales", m.scales, storage == Storage::i8 ? Need::required : Need::unused, sizeof(float));
    v.bytes(name, {std::max<int64_t>(rows, 1), std::max<int64_t>(K, 1), 16});
    if (storage == Storage::i8) v.within("columns of int8 weights", K, 1, most_int8);
}

void validate_layer(Validation& v, const LayerWeights& w, Storage storage, int64_t input) {
    v.within("cell", static_cast<int>(w.cell), 0, 3);
    v.within("I", w.I, 1, most);
    v.within("H", w.H, 1, most / 8);
    v.within("P", w.P, 1, most);
    if (v.complaint) return;
    if (input > 0 && w.I != input)
        v.refuse("I: expected what the layer before puts out, %lld, got %lld", (long long)input, (long long)w.I);
    if (w.weight_hr.data == nullptr && w.P != w.H)
        v.refuse("P: expected H %lld without a projection, got %lld", (long long)w.H, (long long)w.P);
    if (w.weight_hr.data != nullptr && w.cell != Cell::lstm)
        v.refuse("weight_hr: expected null for this cell, got an address");
    const int64_t rows = gates_of(w.cell) * padded(w.H);
    validate_matrix(v, "weight_ih", w.weight_ih, storage, rows, w.I);
    validate_matrix(v, "weight_hh", w.weight_hh, storage, rows, w.P);
    if (w.weight_hr.data != nullptr) validate_matrix(v, "weight_hr", w.weight_hr, storage, padded(w.P), w.H);
    v.address("bias_ih", w.bias_ih, Need::optional, sizeof(float));
    v.address("bias_hh", w.bias_hh, Need::optional, sizeof(float));
}

void validate_network(Validation& v, const NetworkWeights& w) {
    v.within("storage", static_cast<int>(w.storage), 0, 2);
    v.within("isa", static_cast<int>(w.isa), 0, 3);
    v.within("layers", w.count, 1, Network::most_layers);
    v.address("layers", w.layers, Need::required, alignof(LayerWeights));
    v.within("V", w.V, 0, most);
    v.within("O", w.O, 1, most);
    if (v.complaint) return;
    if (!runs(w.isa))
        v.refuse("isa: expected an instruction set that this build holds and this machine runs, got %d",
                 static_cast<int>(w.isa));
    int64_t input = 0;
    for (int64_t l = 0; l < w.count && !v.complaint; ++l) {
        validate_layer(v, w.layers[l], w.storage, input);
        input = w.layers[l].P;
    }
    if (v.complaint) return;
    v.address("embedding", w.embedding, w.V > 0 ? Need::required : Need::unused, sizeof(float));
    v.bytes("embedding", {std::max<int64_t>(w.V, 1), w.layers[0].I, 4});
    if (w.head.data != nullptr) validate_matrix(v, "head", w.head, w.storage, padded(w.O), input);
    else if (w.O != input)
        v.refuse("O: expected the size of h, %lld, without a head, got %lld", (long long)input, (long long)w.O);
    v.address("head_bias", w.head_bias, w.head.data ? Need::optional : Need::unused, sizeof(float));
}

void lay_out(const NetworkWeights& w, Network& net) {
    net.storage = w.storage, net.isa = w.isa, net.V = w.V, net.O = w.O, net.count = w.count;
    int64_t at = 0;
    for (int64_t l = 0; l < w.count; ++l) {
        const LayerWeights& of = w.layers[l];
        NetworkLayer& layer = net.layers[l];
        layer.cell = of.cell, layer.I = of.I, layer.H = of.H, layer.P = of.P;
        layer.h_at = at, at += of.P;
        layer.c_at = at, at += of.cell == Cell::lstm ? of.H : 0;
        net.multiply_adds += gates_of(of.cell) * of.H * (of.I + of.P) + (of.weight_hr.data ? of.H * of.P : 0);
    }
    net.state_size = at;
    if (w.head.data != nullptr) net.multiply_adds += w.O * w.layers[w.count - 1].P;
}

}  // namespace

const char* pack(const NetworkWeights& weights, Network& network) {
    Validation v(0, 0, weights.count > 0 && weights.layers ? weights.layers[0].I : 0,
                 weights.count > 0 && weights.layers ? weights.layers[0].H : 0, 1);
    validate_network(v, weights);
    if (v.complaint) return v.complaint;
    try {
        lay_out(weights, network);
        const Kernels& kernels = *kernels_of(weights.isa);
        network.bytes = kernels.pack_network(weights, nullptr, network);
        network.far = network.bytes > second_cache();
        network.memory.reset(aligned(network.bytes));
        prefer_large_pages(network.memory.get(), static_cast<size_t>(network.bytes));
        kernels.pack_network(weights, network.memory.get(), network);
    } catch (const std::bad_alloc&) {
        v.refuse("memory: expected room for the packed network, got none");
    }
    return v.complaint;
}

// How many forks lie between the first process and this one. It tells a claim of this process from one that a
// fork has copied in the middle of another thread's call.
std::atomic<int> generation{1};

void count_forks() {
    static const int registered = pthread_atfork(nullptr, nullptr, [] { ++generation; });
    (void)registered;
}

// A claim of a call on some streams.
struct Claim {
    explicit Claim(const Streams& given) : streams(given) {
        const int mine = generation.load(std::memory_order_relaxed);
        int found = 0;
        held = streams.busy_.compare_exchange_strong(found, mine, std::memory_order_acquire);
        if (held || found == mine) return;
        held = streams.busy_.compare_exchange_strong(found, mine, std::memory_order_acquire);
        if (held) streams.torn_ = true;
    }
    ~Claim() {
        if (held) streams.busy_.store(0, std::memory_order_release);
    }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;

    Stepped refusal() const {
        if (!held) return Stepped::busy;
        return streams.closed_ ? Stepped::closed : streams.torn_ ? Stepped::forked : Stepped::ok;
    }

    const Streams& streams;
    bool held;
};

// What `run` needs: the states between up to `rows` steps, and the memory of a thread that takes them.
struct Streams::Chunk {
    static constexpr int64_t rows = StepMemory::most_rows;
    std::unique_ptr<void, Handle::Free> memory;
    StepMemory work;
    float* states[rows + 1];
    const float* inputs[rows];
    float* outputs[rows];

    explicit Chunk(const Network& net) {
        const Kernels& kernels = *kernels_of(net.isa);
        const int64_t row = (net.state_size + 15) / 16 * 16;
        const int64_t of_states = (rows + 1) * row * static_cast<int64_t>(sizeof(float));
        StepMemory counted;
        memory.reset(aligned(of_states + kernels.step_memory(net, rows, true, nullptr, &counted)));
        char* const at = static_cast<char*>(memory.get());
        kernels.step_memory(net, rows, true, at + of_states, &work);
        for (int64_t r = 0; r <= rows; ++r) states[r] = reinterpret_cast<float*>(at) + r * row;
    }
};

Streams::Streams(std::shared_ptr<const Network> network, int64_t count, int threads)
    : network_(std::move(network)), count_(count), threads_(threads) {
    count_forks();
    const Network& net = *network_;
    const Kernels& kernels = *kernels_of(net.isa);
    int64_t state_bytes = 0;
    if (count < 1 || count > most || __builtin_mul_overflow(count, net.state_size * 8, &state_bytes) ||
        state_bytes > most_bytes)
        throw std::bad_alloc();
    const int64_t own_rows = (count + threads - 1) / threads;
    StepMemory counted;
    const int64_t of_thread = kernels.step_memory(net, own_rows, false, nullptr, &counted);
    int64_t at = 0;
    const auto part = [&at](int64_t bytes) {
        const int64_t from = at;
        at += (bytes + 63) / 64 * 64;
        return from;
    };
    const int64_t row = (net.state_size + 15) / 16 * 16;  // floats
    const int64_t states = part(count * 2 * row * 4), work = part(threads * sizeof(StepMemory));
    const int64_t pointers = part(8 * count * static_cast<int64_t>(sizeof(void*)));
    const int64_t places = part(2 * net.count * 8), threads_at = part(threads * of_thread);
    char* const memory = static_cast<char*>(aligned(at));
    memory_.reset(memory);
    std::memset(memory, 0, static_cast<size_t>(threads_at));
    now_ = reinterpret_cast<float**>(memory + pointers);
    next_ = now_ + count, after_ = next_ + count, outputs_ = after_ + count;
    before_ = const_cast<const float**>(outputs_ + count), inputs_ = before_ + count;
    stream_ = reinterpret_cast<int64_t*>(inputs_ + count), ids_ = stream_ + count;
    h_at_ = reinterpret_cast<int64_t*>(memory + places), c_at_ = h_at_ + net.count;
    work_ = reinterpret_cast<StepMemory*>(memory + work);
    for (int64_t i = 0; i < count; ++i) {
        now_[i] = reinterpret_cast<float*>(memory + states) + 2 * i * row;
        next_[i] = now_[i] + row;
    }
    for (int64_t l = 0; l < net.count; ++l) h_at_[l] = net.layers[l].h_at, c_at_[l] = net.layers[l].c_at;
    for (int t = 0; t < threads; ++t)
        kernels.step_memory(net, own_rows, false, memory + threads_at + t * of_thread, work_ + t);
}

Streams::~Streams() = default;

// Each thread takes its share of the rows through all layers.
Stepped Streams::advance(const uint8_t* active, const float* x, const int64_t* ids, float* out, int64_t* failed) {
    const Network& net = *network_;
    int64_t rows = 0;
    for (int64_t s = 0; s < count_; ++s) {
        if (active != nullptr && active[s] == 0) continue;
        if (ids != nullptr && (ids[s] < 0 || ids[s] >= net.V)) return *failed = s, Stepped::id;
        stream_[rows] = s;
        before_[rows] = now_[s], after_[rows] = next_[s];
        if (ids != nullptr) ids_[rows] = ids[s];
        else inputs_[rows] = x + s * net.input_size();
        if (out != nullptr) outputs_[rows] = out + s * net.O;
        ++rows;
    }
    StepRows q;
    q.count = rows, q.ids = ids == nullptr ? nullptr : ids_, q.x = ids == nullptr ? inputs_ : nullptr;
    q.h = q.c = before_;
    q.h_new = q.c_new = after_;
    q.h_at = h_at_, q.c_at = c_at_;
    q.out = out == nullptr ? nullptr : outputs_;
    struct Job {
        const Streams& streams;
        const StepRows& rows;
        const Kernels& kernels;
        int threads;
        std::atomic<int64_t> failed;  // the first row at fault of all threads, times 8, and what is wrong with it
    } job{*this, q, *kernels_of(net.isa), 1, {INT64_MAX}};
    const auto work = [](void* context, int thread) {
        Job& job = *static_cast<Job*>(context);
        const Range mine = share(job.rows.count, thread, job.threads);
        int64_t at = 0;
        const Stepped result = job.kernels.step(*job.streams.network_, job.rows, mine.begin, mine.end,
                                                job.streams.work_[thread], &at);
        if (result == Stepped::ok) return;
        const int64_t mine_failed = at * 8 + static_cast<int>(result);
        int64_t first = job.failed.load();
        while (mine_failed < first && !job.failed.compare_exchange_weak(first, mine_failed)) {
        }
    };
    if (threads_ == 1 || rows <= 1) {
        work(&job, 0);
    } else {
        Lease lease(static_cast<int>(std::min<int64_t>(threads_, rows)));
        do job.threads = lease.threads();
        while (!lease.run(work, &job));
    }
    const int64_t first = job.failed;
    if (first != INT64_MAX) return *failed = stream_[first / 8], static_cast<Stepped>(first % 8);
    for (int64_t r = 0; r < rows; ++r) std::swap(now_[stream_[r]], next_[stream_[r]]);
    return Stepped::ok;
}

Stepped Streams::step(const uint8_t* active, const float* x, const int64_t* ids, float* out, int64_t* failed) {
    const Claim claim(*this);
    if (claim.refusal() != Stepped::ok) return claim.refusal();
    return advance(active, x, ids, out, failed);
}

Stepped Streams::run(int64_t T, const float* x, const int64_t* ids, float* out, bool all, int64_t* failed) {
    const Claim claim(*this);
    if (claim.refusal() != Stepped::ok) return claim.refusal();
    const Network& net = *network_;
    for (int64_t t = 0; ids != nullptr && t < T; ++t)
        if (ids[t] < 0 || ids[t] >= net.V) return *failed = t, Stepped::id;
    try {
        if (chunk_ == nullptr) chunk_ = std::make_unique<Chunk>(net);
    } catch (const std::bad_alloc&) {
        return Stepped::memory;
    }
    Chunk& chunk = *chunk_;
    const size_t bytes = static_cast<size_t>(net.state_size) * sizeof(float);
    std::memcpy(chunk.states[0], now_[0], bytes);
    StepRows q;
    q.one_stream = true;
    q.x = x == nullptr ? nullptr : chunk.inputs;
    q.h = q.c = chunk.states;
    q.h_new = q.c_new = chunk.states + 1;
    q.h_at = h_at_, q.c_at = c_at_;
    for (int64_t t = 0; t < T; t += q.count) {
        const bool last_alone = !all && out != nullptr && T - t > 1;  // the last step's output is the only one
        q.count = std::min<int64_t>(Chunk::rows, T - t - (last_alone ? 1 : 0));
        q.out = out != nullptr && !last_alone ? chunk.outputs : nullptr;
        q.ids = ids == nullptr ? nullptr : ids + t;
        for (int64_t r = 0; r < q.count; ++r) {
            if (x != nullptr) chunk.inputs[r] = x + (t + r) * net.input_size();
            chunk.outputs[r] = out == nullptr ? nullptr : all ? out + (t + r) * net.O : out;
        }
        const Stepped result = kernels_of(net.isa)->step(net, q, 0, q.count, chunk.work, failed);
        if (result != Stepped::ok) return *failed += t, result;
        std::memcpy(chunk.states[0], chunk.states[q.count], bytes);
    }
    if (T > 0) std::memcpy(now_[0], chunk.states[0], bytes);
    return Stepped::ok;
}

Stepped Streams::read(int64_t stream, float* state) const {
    const Claim claim(*this);
    if (claim.refusal() != Stepped::ok) return claim.refusal();
    std::memcpy(state, now_[stream], static_cast<size_t>(network_->state_size) * sizeof(float));
    return Stepped::ok;
}

Stepped Streams::write(int64_t stream, const float* state) {
    const Claim claim(*this);
    if (claim.refusal() != Stepped::ok) return claim.refusal();
    const size_t bytes = static_cast<size_t>(network_->state_size) * sizeof(float);
    if (state == nullptr) std::memset(now_[stream], 0, bytes);
    else std::memcpy(now_[stream], state, bytes);
    return Stepped::ok;
}

Stepped Streams::close() {
    const Claim claim(*this);
    if (!claim.held) return Stepped::busy;
    closed_ = true;
    return Stepped::ok;
}

void bare_product(const Network& network, int64_t repeats, double* nanoseconds) {
    int64_t longest = 0;
    for (int64_t l = 0; l < network.count; ++l)
        longest = std::max({longest, network.layers[l].gates.words_x + network.layers[l].gates.words_h,
                            network.layers[l].projection.words_x});
    longest = std::max(longest, network.head.words_x);
    std::unique_ptr<void, Handle::Free> words(aligned(longest * 4));
    std::memset(words.get(), 0, static_cast<size_t>(longest * 4));
    float sink[16] = {};
    const Kernels& kernels = *kernels_of(network.isa);
    for (int64_t i = 0; i < repeats; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        kernels.bare_network(network, words.get(), sink);
        const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
        nanoseconds[i] = took.count();
    }
}

}  // namespace unrolled
