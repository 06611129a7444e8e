#include "stream_net.h"

#include <algorithm>
#include <cmath>

namespace driver {
namespace {

Floats uniform(int64_t count, double most, Random& random) {
    Floats drawn;
    for (int64_t n = 0; n < count; ++n) drawn.push_back(static_cast<float>(random.between(-most, most)));
    return drawn;
}

uint16_t upper_half(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<uint16_t>(bits >> 16);
}

}  // namespace

const char* type_of(Storage storage) {
    return storage == Storage::f32 ? "float32" : storage == Storage::bf16 ? "bfloat16" : "int8";
}

float to_bf16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    std::memcpy(&value, &bits, sizeof bits);
    return value;
}

Stored::Stored(int64_t rows, int64_t K, Storage storage, Random& random)
    : rows(rows), K(K), plain(uniform(rows * K, 1.5 / std::sqrt(static_cast<double>(K)), random)) {
    if (random.chance(0.2)) std::fill_n(plain.begin(), K, 0.0f);
    stands = plain;
    if (storage == Storage::f32) f32 = Tensor<float>::dense_input(plain, 1, rows, K, random);
    if (storage == Storage::bf16) round(random);
    if (storage == Storage::i8) quantise(random);
}

unrolled::Matrix Stored::matrix() const {
    if (i8.data()) return {i8.data(), scales.data()};
    return {f32.data() ? static_cast<const void*>(f32.data()) : bf16.data(), nullptr};
}

void Stored::round(Random& random) {
    std::vector<uint16_t> bits;
    for (float& value : stands) value = to_bf16(value), bits.push_back(upper_half(value));
    bf16 = Tensor<uint16_t>::dense_input(bits, 1, rows, K, random);
}

void Stored::quantise(Random& random) {
    std::vector<int8_t> whole;
    Floats of_rows;
    for (int64_t r = 0; r < rows; ++r) {
        float* const row = stands.data() + r * K;
        float most = 0;
        for (int64_t k = 0; k < K; ++k) most = std::max(most, std::fabs(row[k]));
        of_rows.push_back(most / 127.0f);
        for (int64_t k = 0; k < K; ++k) {
            const float q = most > 0 ? std::nearbyint(row[k] / of_rows.back()) : 0;
            whole.push_back(static_cast<int8_t>(std::min(127.0f, std::max(-127.0f, q))));
            row[k] = q * of_rows.back();
        }
    }
    scales = Tensor<float>::dense_input(of_rows, 1, 1, rows, random);
    i8 = Tensor<int8_t>::dense_input(whole, 1, rows, K, random);
}

namespace {
int64_t size(Random& random) { return random.pick<int64_t>({1, 7, 16, 33, 67}); }
}  // namespace

Net::Net(Random& random, Storage storage) : storage(storage) {
    int64_t input = size(random);
    if (random.chance(0.4)) V = size(random);
    for (int64_t left = random.pick<int64_t>({1, 1, 2, 3}); left > 0; --left) {
        layers.push_back(layer(input, random));
        input = layers.back().P;
    }
    for (int64_t n = 0; n < V * layers[0].I; ++n) embedding.push_back(static_cast<float>(random.bell()));
    O = input;
    if (random.chance(0.4)) O = size(random), head = Stored(O, input, storage, random);
    if (head.rows > 0 && random.chance(0.7)) head_bias = uniform(O, 1, random);
}

Layer Net::layer(int64_t input, Random& random) {
    Layer made;
    made.cell = random.pick({Cell::lstm, Cell::gru, Cell::rnn_tanh, Cell::rnn_relu});
    made.I = input, made.H = made.P = size(random);
    grows = grows || made.cell == Cell::rnn_relu;
    const bool projected = made.cell == Cell::lstm && random.chance(0.3);
    if (projected) made.P = size(random), made.hr = Stored(made.P, made.H, storage, random), projects = true;
    const int64_t rows = (made.cell == Cell::lstm ? 4 : made.cell == Cell::gru ? 3 : 1) * made.H;
    made.ih = Stored(rows, made.I, storage, random), made.hh = Stored(rows, made.P, storage, random);
    if (random.chance(0.7)) made.bias_ih = uniform(rows, 0.5, random);
    if (random.chance(0.7)) made.bias_hh = uniform(rows, 0.5, random);
    if (!made.bias_ih.empty()) made.placed_ih = Tensor<float>::dense_input(made.bias_ih, 1, 1, rows, random);
    if (!made.bias_hh.empty()) made.placed_hh = Tensor<float>::dense_input(made.bias_hh, 1, 1, rows, random);
    return made;
}

std::shared_ptr<Network> Net::pack(Isa isa, Random& random) const {
    std::vector<unrolled::LayerWeights> given;
    for (const Layer& layer : layers) {
        unrolled::LayerWeights w;
        w.cell = layer.cell, w.I = layer.I, w.H = layer.H, w.P = layer.P;
        w.weight_ih = layer.ih.matrix(), w.weight_hh = layer.hh.matrix();
        if (layer.hr.rows > 0) w.weight_hr = layer.hr.matrix();
        w.bias_ih = layer.placed_ih.data(), w.bias_hh = layer.placed_hh.data();
        given.push_back(w);
    }
    const auto table = Tensor<float>::dense_input(embedding, 1, V, layers[0].I, random);
    const int64_t biases = static_cast<int64_t>(head_bias.size());
    const auto bias = Tensor<float>::dense_input(head_bias, 1, 1, biases, random);
    unrolled::NetworkWeights w;
    w.storage = storage, w.isa = isa, w.count = static_cast<int64_t>(given.size()), w.layers = given.data();
    w.V = V, w.embedding = V > 0 ? table.data() : nullptr;
    w.O = O, w.head = head.rows > 0 ? head.matrix() : unrolled::Matrix{};
    w.head_bias = head_bias.empty() ? nullptr : bias.data();
    auto network = std::make_shared<Network>();
    const char* error = unrolled::pack(w, *network);
    check(error == nullptr, std::string("pack refused: ") + (error ? error : ""));
    return network;
}

std::string Net::line(Isa isa) const {
    std::string text = std::string(type_of(storage)) + " " + name(isa) + ", V " + std::to_string(V);
    for (const Layer& l : layers)
        text += std::string(", ") + name(l.cell) + " " + std::to_string(l.I) + " " + std::to_string(l.H) + " " +
                std::to_string(l.P);
    return text + ", O " + std::to_string(O);
}

Given::Given(const Net& net, int64_t rows, Random& random) : rows(rows), width(net.width()) {
    for (int64_t r = 0; r < rows; ++r) {
        if (net.V > 0) ids.push_back(random.below(net.V));
        const double size = random.pick({0.0, 1e-39, 1e-3, 1.0, 1.0, 1.0, 5.0});
        for (int64_t k = 0; net.V == 0 && k < width; ++k) x.push_back(static_cast<float>(size * random.bell()));
    }
}

void well(Stepped result) {
    check(result == Stepped::ok, "a call was refused: " + std::to_string(static_cast<int>(result)));
}

Floats state_of(const Streams& streams, int64_t stream) {
    Floats state(static_cast<size_t>(streams.network().state_size));
    well(streams.read(stream, state.data()));
    return state;
}

}  // namespace driver
