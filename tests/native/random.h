// A seeded generator, the same on every system (the standard's distributions are not).
#pragma once

#include <cstdint>
#include <initializer_list>

namespace driver {

class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed * 0xD1342543DE82EF95u + 0x2545F4914F6CDD1Du) {}

    uint64_t next() {  // splitmix64, Steele et al. 2014
        uint64_t z = state_ += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }
    int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
    double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
    double between(double low, double high) { return low + (high - low) * uniform(); }
    double bell() { return between(-1, 1) + between(-1, 1) + between(-1, 1); }  // variance 1
    bool chance(double p) { return uniform() < p; }

    template <class V>
    V pick(std::initializer_list<V> from) {
        return from.begin()[below(static_cast<int64_t>(from.size()))];
    }

  private:
    uint64_t state_;
};

}  // namespace driver
