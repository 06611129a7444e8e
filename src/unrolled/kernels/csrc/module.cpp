// The binding: plain integers in, the engine called without the GIL, its complaint as an exception.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <vector>

#include "dispatch.h"
#include "engine.h"
#include "pool.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace unrolled;

namespace {

using Address = uintptr_t;

template <class T = void>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

// Called with the GIL; `engine` runs without it and returns null or its complaint.
template <class Engine>
void call(Engine&& engine) {
    const char* complaint;
    {
        nb::gil_scoped_release released;
        complaint = engine();
    }
    if (!complaint) return;
    const bool memory = std::strncmp(complaint, "memory:", 7) == 0;
    PyErr_SetString(memory ? PyExc_MemoryError : PyExc_ValueError, complaint);
    throw nb::python_error();
}

void activate(int dtype, int isa, int which, Address x, Address y, int64_t n) {
    const Isa set = static_cast<Isa>(isa);
    if (!runs(set)) throw nb::value_error("isa: expected one that runs here");
    if (dtype < 0 || dtype > 1) throw nb::value_error("dtype: expected 0 or 1");
    if (which < 0 || which > 2) throw nb::value_error("which: expected 0, 1 or 2");
    if (n < 0 || (n > 0 && (!x || !y))) throw nb::value_error("n: expected as many numbers as x and y hold");
    call([&]() -> const char* {
        kernels_of(set)->activate(static_cast<Dtype>(dtype), which, at(x), at(y), n);
        return nullptr;
    });
}

}  // namespace

// The arguments of a layer in the order of engine.h: as parameters, as the struct, as names with defaults.
#define LAYER_PARAMETERS                                                                                 \
    int cell, int dtype, int isa, int threads, bool reverse, int64_t T, int64_t B, int64_t I, int64_t H, \
        Address lengths, Address resets, int64_t resets_t, int64_t resets_b, Address x, int64_t x_t,     \
        int64_t x_b, Address h_0, Address c_0, Address weight_ih, Address weight_hh, Address bias_ih,    \
        Address bias_hh
#define LAYER                                                                                            \
    Layer {                                                                                              \
        static_cast<Cell>(cell), static_cast<Dtype>(dtype), static_cast<Isa>(isa), threads, reverse, T,  \
            B, I, H, at<int64_t>(lengths), at<uint8_t>(resets), resets_t, resets_b, at(x), x_t, x_b,     \
            at(h_0), at(c_0), at(weight_ih), at(weight_hh), at(bias_ih), at(bias_hh)                     \
    }
#define LAYER_NAMES                                                                                      \
    nb::kw_only(), "cell"_a, "dtype"_a, "isa"_a, "threads"_a = 1, "reverse"_a = false, "T"_a, "B"_a,     \
        "I"_a, "H"_a, "lengths"_a = 0, "resets"_a = 0, "resets_t"_a = 0, "resets_b"_a = 0, "x"_a = 0,    \
        "x_t"_a = 0, "x_b"_a = 0, "h_0"_a = 0, "c_0"_a = 0, "weight_ih"_a = 0, "weight_hh"_a = 0,        \
        "bias_ih"_a = 0, "bias_hh"_a = 0

NB_MODULE(_engine, m) {
    m.doc() = "The native engine; see csrc/engine.h for every argument.";

    m.def(
        "forward",
        [](LAYER_PARAMETERS, Address y, int64_t y_t, int64_t y_b, Address h_n, Address c_n, Address gates,
           Address cells, const std::vector<Address>& traces) {
            ForwardOut out{at(y), y_t, y_b, at(h_n), at(c_n), at(gates), at(cells), {}};
            if (traces.size() > 5) throw nb::value_error("traces: expected at most 5 addresses");
            for (size_t i = 0; i < traces.size(); ++i) out.traces[i] = at(traces[i]);
            call([&] { return forward(LAYER, out); });
        },
        LAYER_NAMES, "y"_a = 0, "y_t"_a = 0, "y_b"_a = 0, "h_n"_a = 0, "c_n"_a = 0, "gates"_a = 0,
        "cells"_a = 0, "traces"_a = nb::tuple());

    m.def(
        "backward",
        [](LAYER_PARAMETERS, Address y, int64_t y_t, int64_t y_b, Address gates, Address cells, Address dy,
           int64_t dy_t, int64_t dy_b, Address dh_n, Address dc_n, Address dx, int64_t dx_t, int64_t dx_b,
           Address dh_0, Address dc_0, Address dweight_ih, Address dweight_hh, Address dbias_ih,
           Address dbias_hh) {
            const BackwardIn in{at(y), y_t,  y_b,  at(gates), at(cells),
                                at(dy), dy_t, dy_b, at(dh_n),  at(dc_n)};
            const BackwardOut out{at(dx),         dx_t,           dx_b,         at(dh_0),    at(dc_0),
                                  at(dweight_ih), at(dweight_hh), at(dbias_ih), at(dbias_hh)};
            call([&] { return backward(LAYER, in, out); });
        },
        LAYER_NAMES, "y"_a = 0, "y_t"_a = 0, "y_b"_a = 0, "gates"_a = 0, "cells"_a = 0, "dy"_a = 0,
        "dy_t"_a = 0, "dy_b"_a = 0, "dh_n"_a = 0, "dc_n"_a = 0, "dx"_a = 0, "dx_t"_a = 0, "dx_b"_a = 0,
        "dh_0"_a = 0, "dc_0"_a = 0, "dweight_ih"_a = 0, "dweight_hh"_a = 0, "dbias_ih"_a = 0,
        "dbias_hh"_a = 0);

    m.def(
        "borrow_team",
        [](Address parallel, Address size, Address in_parallel) {
            Team team;
            team.parallel = reinterpret_cast<decltype(team.parallel)>(parallel);
            team.size = reinterpret_cast<decltype(team.size)>(size);
            team.in_parallel = reinterpret_cast<decltype(team.in_parallel)>(in_parallel);
            borrow(team);
        },
        nb::call_guard<nb::gil_scoped_release>(), nb::kw_only(), "parallel"_a, "size"_a, "in_parallel"_a,
        "Run jobs on the threads of an OpenMP runtime, by the addresses of its functions; see csrc/pool.h.");
    m.def("runs", [](int isa) { return runs(static_cast<Isa>(isa)); }, "isa"_a);
    m.def("padded", &padded, "hidden"_a);
    m.def(
        "gates_width", [](int cell, int64_t hidden) { return gates_width(static_cast<Cell>(cell), hidden); },
        "cell"_a, "hidden"_a);
    m.def("activate", &activate, nb::kw_only(), "dtype"_a, "isa"_a, "which"_a, "x"_a, "y"_a, "n"_a,
          "Test hook: y[i] = f(x[i]); which: 0 exp(-|x|), 1 sigmoid, 2 tanh.");
}
