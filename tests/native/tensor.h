// Where the engine reads and writes: a [T, B, N] in walled memory, at strides and an offset drawn at
// random. What belongs to no element is the margin, and an output's margin must stay as it was.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "memory.h"
#include "random.h"

namespace driver {

template <class V>
bool same_bits(const std::vector<V>& a, const std::vector<V>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(V)) == 0);
}

template <class V>
class Tensor {
  public:
    Tensor() = default;  // a null pointer

    static Tensor contiguous(int64_t T, int64_t B, int64_t N, Random& random) {
        return Tensor(T, B, N, B * N, N, random);
    }

    static Tensor strided(int64_t T, int64_t B, int64_t N, Random& random) {
        const int64_t pad = random.pick<int64_t>({0, 0, 1, 3}), gap = random.pick<int64_t>({0, 0, 5});
        int64_t t = B * (N + pad) + gap, b = N + pad;
        if (random.chance(0.4)) t = N + pad, b = T * (N + pad) + gap;  // batch first
        return Tensor(T, B, N, t, b, random);
    }

    // An input; where its values do not vary along an axis, sometimes expanded along it as torch does it.
    static Tensor input(const std::vector<V>& values, int64_t T, int64_t B, int64_t N, Random& random) {
        Tensor made = strided(T, B, N, random);
        if (random.chance(0.5)) {
            if (made.same_along(values, true)) made.t_stride_ = T == 1 ? 12345 : 0;
            if (made.same_along(values, false)) made.b_stride_ = B == 1 ? 54321 : 0;
        }
        made.put(values);
        return made;
    }

    static Tensor dense_input(const std::vector<V>& values, int64_t T, int64_t B, int64_t N, Random& random) {
        Tensor made = contiguous(T, B, N, random);
        made.put(values);
        return made;
    }

    V* data() const { return data_; }
    int64_t t_stride() const { return t_stride_; }
    int64_t b_stride() const { return b_stride_; }

    std::vector<V> values() const {
        std::vector<V> out(static_cast<size_t>(T_ * B_ * N_));
        each_row([&](V* row, int64_t at) { copy(out.data() + at, row); });
        return out;
    }

    void put(const std::vector<V>& values) {
        each_row([&](V* row, int64_t at) { copy(row, values.data() + at); });
    }

    // An output's values; fails where its margin was written to.
    std::vector<V> take(const char* name) {
        if (!memory_.data()) return {};
        const std::vector<V> out = values();
        each_row([&](V* row, int64_t) { clear(row, N_); });
        check(memory_.all_canary(), std::string(name) + ": written to outside of its elements");
        put(out);
        return out;
    }

    int64_t elements_touched() const {
        int64_t touched = 0;
        each_row([&](V* row, int64_t) {
            for (int64_t n = 0; n < N_; ++n) {
                V untouched;
                clear(&untouched, 1);
                touched += std::memcmp(row + n, &untouched, sizeof(V)) != 0;
            }
        });
        return touched;
    }

  private:
    Tensor(int64_t T, int64_t B, int64_t N, int64_t t, int64_t b, Random& random)
        : T_(T), B_(B), N_(N), t_stride_(t), b_stride_(b) {
        const bool empty = T * B * N == 0;
        const int64_t elements = empty ? 0 : (T - 1) * t + (B - 1) * b + N;
        const size_t shift = random.chance(0.3) ? sizeof(V) : 0;  // off by one element
        memory_ = Memory(static_cast<size_t>(elements) * sizeof(V), random.chance(0.6), shift);
        // Of an empty tensor torch gives null for an address, and others something.
        if (!empty || random.chance(0.5)) data_ = reinterpret_cast<V*>(memory_.data());
    }

    template <class F>
    void each_row(F f) const {
        if (N_ == 0) return;
        for (int64_t t = 0; t < T_; ++t)
            for (int64_t b = 0; b < B_; ++b) f(data_ + t * t_stride_ + b * b_stride_, (t * B_ + b) * N_);
    }
    void copy(V* to, const V* from) const { std::memcpy(to, from, static_cast<size_t>(N_) * sizeof(V)); }
    static void clear(V* row, int64_t count) {
        for (size_t k = 0; k < static_cast<size_t>(count) * sizeof(V) / sizeof(kCanary); ++k)
            std::memcpy(reinterpret_cast<char*>(row) + k * sizeof(kCanary), &kCanary, sizeof(kCanary));
    }
    bool same_along(const std::vector<V>& values, bool time) const {
        for (int64_t t = 0; t < T_; ++t)
            for (int64_t b = 0; b < B_; ++b) {
                const V* here = values.data() + (t * B_ + b) * N_;
                const V* first = values.data() + (time ? b : t * B_) * N_;
                if (std::memcmp(here, first, static_cast<size_t>(N_) * sizeof(V)) != 0) return false;
            }
        return true;
    }

    Memory memory_;
    int64_t T_ = 0, B_ = 0, N_ = 0, t_stride_ = 0, b_stride_ = 0;
    V* data_ = nullptr;
};

}  // namespace driver
