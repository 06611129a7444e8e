#include "cases.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>

#include "random.h"

namespace driver {

const char* name(Cell cell) {
    switch (cell) {
        case Cell::rnn_tanh: return "rnn_tanh";
        case Cell::rnn_relu: return "rnn_relu";
        case Cell::gru: return "gru";
        case Cell::lstm: return "lstm";
    }
    return "?";
}

const char* name(Type dtype) { return dtype == Type::f32 ? "f32" : "f64"; }

const char* name(Isa isa) {
    switch (isa) {
        case Isa::baseline: return "baseline";
        case Isa::avx2: return "avx2";
        case Isa::avx512: return "avx512";
        case Isa::avx512_bf16: return "avx512_bf16";
    }
    return "?";
}

std::string Case::line() const {
    std::ostringstream out;
    out << "--cases 1 --seed " << seed << ": " << name(cell) << ' ' << (bf16 ? "bf16" : name(dtype)) << " T=" << T << " B=" << B
        << " I=" << I << " H=" << H;
    if (projected > 0) out << " R=" << projected;
    if (reverse) out << " reverse";
    if (ragged) out << " ragged";
    if (reset_density >= 0) out << " resets=" << reset_density;
    if (!bias_ih) out << " no-bias_ih";
    if (!bias_hh) out << " no-bias_hh";
    if (!dy) out << " no-dy";
    if (!dh_n) out << " no-dh_n";
    if (!dc_n) out << " no-dc_n";
    if (spiky) out << " spiky";
    if (constant) out << " constant";
    return out.str();
}

namespace {

// Where it pays to split the units among threads, for one gate or for several: few rows of many units.
void make_wide(Case& one, Random& random) {
    one.T = random.pick<int64_t>({40, 63});
    one.B = random.pick<int64_t>({1, 1, 2, 5});
    one.I = random.pick<int64_t>({3, 31});
    one.H = naive::gates(one.cell) == 1 ? random.pick<int64_t>({417, 530}) : random.pick<int64_t>({193, 257});
}

// Where it pays to split the rows, even for one gate.
void make_tall(Case& one, Random& random) {
    one.T = random.pick<int64_t>({9, 17});
    one.B = random.pick<int64_t>({33, 65});
    one.H = random.pick<int64_t>({67, 130});
}

}  // namespace

Case draw(uint64_t seed) {
    Random random(seed);
    Case one;
    one.seed = seed;
    one.cell = random.pick({Cell::rnn_tanh, Cell::rnn_relu, Cell::gru, Cell::lstm, Cell::gru, Cell::lstm});
    one.dtype = random.chance(0.7) ? Type::f32 : Type::f64;
    one.T = random.pick<int64_t>({0, 1, 2, 3, 5, 17, 63});
    one.B = random.pick<int64_t>({0, 1, 2, 5, 6, 7, 13, 17, 33});
    one.I = random.pick<int64_t>({1, 3, 16, 31, 70});
    one.H = random.pick<int64_t>({1, 7, 8, 15, 16, 17, 33, 64, 67, 130});
    if (random.chance(0.04)) make_wide(one, random);
    else if (random.chance(0.04)) make_tall(one, random);
    one.reverse = random.chance(0.4);
    one.ragged = random.chance(0.6);
    if (random.chance(0.5)) one.reset_density = random.pick({0.0, 0.02, 0.2, 0.6, 1.0});
    one.bias_ih = random.chance(0.7);
    one.bias_hh = random.chance(0.7);
    one.dy = random.chance(0.85);
    one.dh_n = random.chance(0.7);
    one.dc_n = random.chance(0.7);
    one.spiky = random.chance(0.1);
    one.constant = random.chance(0.07);
    one.bf16 = one.dtype == Type::f32 && random.chance(0.4);
    if (one.cell == Cell::lstm && random.chance(0.4)) one.projected = random.pick<int64_t>({1, 3, 16, 31, 64, 67, 140});
    return one;
}

namespace {

template <class S>
std::vector<S> bells(int64_t n, Random& random) {
    std::vector<S> out(static_cast<size_t>(n));
    for (S& value : out) value = static_cast<S>(random.bell());
    return out;
}

template <class S>
void round_to_bf16(std::vector<S>& values) {
    for (S& value : values) {
        float number = static_cast<float>(value);
        uint32_t bits;
        std::memcpy(&bits, &number, sizeof bits);
        bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
        std::memcpy(&number, &bits, sizeof bits);
        value = static_cast<S>(number);
    }
}

// torch's starting values: uniform in ±1/√H.
template <class S>
std::vector<S> weights(int64_t n, int64_t H, Random& random) {
    const double bound = 1 / std::sqrt(static_cast<double>(H));
    std::vector<S> out(static_cast<size_t>(n));
    for (S& value : out) value = static_cast<S>(random.between(-bound, bound));
    return out;
}

// Lengths that reach every corner: none, one, all, and anything between.
std::vector<int64_t> lengths(const Case& one, Random& random) {
    std::vector<int64_t> out;
    for (int64_t b = 0; b < one.B; ++b) {
        const int64_t any = random.below(one.T + 1);
        out.push_back(random.pick<int64_t>({any, any, any, one.T, 0, one.T > 0 ? 1 : 0}));
    }
    if (!out.empty() && random.chance(0.4)) {  // as rows are packed
        out[0] = one.T;
        std::sort(out.rbegin(), out.rend());
    }
    return out;
}

std::vector<uint8_t> resets(const Case& one, Random& random) {
    std::vector<uint8_t> out;
    for (int64_t n = 0; n < one.T * one.B; ++n)
        out.push_back(random.chance(one.reset_density) ? random.pick<uint8_t>({1, 1, 255}) : uint8_t{0});
    return out;
}

template <class S>
void repeat(std::vector<S>& values, const Case& one, int64_t N, bool time) {
    for (int64_t t = 0; t < one.T; ++t)
        for (int64_t b = 0; b < one.B; ++b)
            for (int64_t k = 0; k < N; ++k)
                values[static_cast<size_t>((t * one.B + b) * N + k)] =
                    values[static_cast<size_t>((time ? b : t * one.B) * N + k)];
}

template <class S>
void poison_past_lengths(std::vector<S>& values, const naive::Input<S>& in, int64_t N) {
    if (values.empty()) return;
    for (int64_t b = 0; b < in.B; ++b)
        for (int64_t t = in.length(b); t < in.T; ++t)
            for (int64_t k = 0; k < N; ++k)
                values[static_cast<size_t>((t * in.B + b) * N + k)] = std::numeric_limits<S>::quiet_NaN();
}

}  // namespace

template <class S>
Problem<S> make(const Case& one) {
    Random random(~one.seed);
    Problem<S> made;
    naive::Input<S>& in = made.in;
    in.cell = one.cell, in.reverse = one.reverse;
    in.T = one.T, in.B = one.B, in.I = one.I, in.H = one.H, in.projected = one.projected;
    const int64_t GH = naive::gates(one.cell) * one.H, BH = one.B * one.H, R = in.R(), BR = one.B * R;
    const bool lstm = one.cell == Cell::lstm;
    if (one.ragged) in.lengths = lengths(one, random);
    if (one.reset_density >= 0) in.resets = resets(one, random);
    in.x = bells<S>(one.T * one.B * one.I, random);
    if (one.spiky)
        for (S& value : in.x) value *= random.chance(0.03) ? S(30) : S(1);
    in.h_0 = bells<S>(BR, random);
    if (lstm) in.c_0 = bells<S>(BH, random);
    in.weight_ih = weights<S>(GH * one.I, one.H, random);
    in.weight_hh = weights<S>(GH * R, one.H, random);
    in.weight_hr = weights<S>(one.projected * one.H, one.H, random);
    for (auto* values : {&in.x, &in.weight_ih, &in.weight_hh, &in.weight_hr})
        if (one.bf16) round_to_bf16(*values);
    if (one.bias_ih) in.bias_ih = weights<S>(GH, one.H, random);
    if (one.bias_hh) in.bias_hh = weights<S>(GH, one.H, random);
    if (one.dy) made.adjoint.dy = bells<S>(one.T * BR, random);
    if (one.dh_n) made.adjoint.dh_n = bells<S>(BR, random);
    if (one.dc_n && lstm) made.adjoint.dc_n = bells<S>(BH, random);
    if (one.constant) {
        const bool time = random.chance(0.5);
        repeat(in.x, one, one.I, time);
        if (one.dy) repeat(made.adjoint.dy, one, R, time);
    } else {
        poison_past_lengths(in.x, in, one.I);
        poison_past_lengths(made.adjoint.dy, in, R);
    }
    return made;
}

template <class To, class From>
Problem<To> convert(const Problem<From>& problem) {
    const auto cast = [](const std::vector<From>& v) { return std::vector<To>(v.begin(), v.end()); };
    const naive::Input<From>& in = problem.in;
    const naive::Adjoint<From>& adjoint = problem.adjoint;
    return {{in.cell, in.reverse, in.T, in.B, in.I, in.H, in.lengths, in.resets, cast(in.x), cast(in.h_0),
             cast(in.c_0), cast(in.weight_ih), cast(in.weight_hh), cast(in.bias_ih), cast(in.bias_hh),
             cast(in.weight_hr), in.projected},
            {cast(adjoint.dy), cast(adjoint.dh_n), cast(adjoint.dc_n), adjoint.open}};
}

template Problem<float> make(const Case&);
template Problem<double> make(const Case&);
template Problem<double> convert(const Problem<float>&);
template Problem<double> convert(const Problem<double>&);

}  // namespace driver
