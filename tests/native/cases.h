// Random layers: what to compute, drawn from a seed, and its numbers.
#pragma once

#include <string>

#include "naive.h"

namespace driver {

using unrolled::Cell;
using unrolled::Type;
using unrolled::Isa;

struct Case {
    uint64_t seed = 0;
    Cell cell = Cell::lstm;
    Type dtype = Type::f32;
    bool bf16 = false;  // float32 multiplied as bfloat16; x and weights need no rounding then
    int64_t T = 0, B = 0, I = 0, H = 0;
    int64_t projected = 0;  // LSTM: the size of h where it is projected
    bool reverse = false, ragged = false;
    double reset_density = -1;  // below 0: null
    bool bias_ih = true, bias_hh = true;
    bool dy = true, dh_n = true, dc_n = true;
    bool spiky = false;     // some inputs saturate every gate
    bool constant = false;  // x and dy do not vary along one axis

    std::string line() const;
};

// The arguments' values. Past a row's length x and dy are NaN: nobody may read them.
template <class S>
struct Problem {
    naive::Input<S> in;
    naive::Adjoint<S> adjoint;
};

Case draw(uint64_t seed);

template <class S>
Problem<S> make(const Case& one);

template <class To, class From>
Problem<To> convert(const Problem<From>& problem);

// Σlengths: the steps that count.
template <class S>
int64_t valid_steps(const naive::Input<S>& in) {
    int64_t sum = 0;
    for (int64_t b = 0; b < in.B; ++b) sum += in.length(b);
    return sum;
}

const char* name(Cell cell);
const char* name(Type dtype);
const char* name(Isa isa);

}  // namespace driver
