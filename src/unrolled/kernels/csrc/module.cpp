// The binding: plain integers in, the engine called without the GIL, its complaint as an exception.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <tuple>
#include <vector>

#include "cache.h"
#include "dispatch.h"
#include "engine.h"
#include "module_stream.h"
#include "pool.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace unrolled;

namespace {

using Address = uintptr_t;
using Tensor = std::tuple<Address, int64_t, int64_t>;  // address, strides over T and B

template <class T = void>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

template <class T = void>
Strided<T> strided(const Tensor& tensor) {
    return {at<T>(std::get<0>(tensor)), std::get<1>(tensor), std::get<2>(tensor)};
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

void activate(int type, int isa, int which, Address x, Address y, int64_t n) {
    const Isa set = static_cast<Isa>(isa);
    if (!runs(set)) throw nb::value_error("isa: expected one that runs here");
    if (type < 0 || type > 1) throw nb::value_error("type: expected 0 or 1");
    if (which < 0 || which > 2) throw nb::value_error("which: expected 0, 1 or 2");
    if (n < 0 || (n > 0 && (!x || !y))) throw nb::value_error("n: expected as many numbers as x and y hold");
    call([&]() -> const char* {
        kernels_of(set)->activate(static_cast<Type>(type), which, at(x), at(y), n);
        return nullptr;
    });
}

}  // namespace

// What forward and backward share, in the order of engine.h: as parameters, as the struct, as names.
#define SEQUENCES_PARAMETERS                                                                            \
    int threads, bool reverse, int64_t T, int64_t B, Address lengths, const Tensor &resets,             \
        const Tensor &x, Address h_0, Address c_0
#define SEQUENCES                                                                                       \
    Sequences {                                                                                         \
        threads, reverse, T, B, at<int64_t>(lengths), strided<const uint8_t>(resets),                   \
            strided<const void>(x), at(h_0), at(c_0), strided<const int64_t>(ids), V, at<int64_t>(batch_sizes) \
    }
#define SEQUENCES_NAMES                                                                                 \
    "handle"_a, "threads"_a, "reverse"_a, "T"_a, "B"_a, "lengths"_a, "resets"_a, "x"_a, "h_0"_a, "c_0"_a

NB_MODULE(_engine, m) {
    m.doc() = "The native engine; see csrc/engine.h for every argument.";

    nb::class_<Handle>(m, "Handle", "A layer's weights in a format: cell, isa and types are numbers of CELLS, ISAS and DTYPES.")
        .def_prop_ro("cell", [](const Handle& h) { return static_cast<int>(h.weights.cell); })
        .def_prop_ro("input_size", [](const Handle& h) { return h.weights.I; })
        .def_prop_ro("hidden_size", [](const Handle& h) { return h.weights.H; })
        .def_prop_ro("isa", [](const Handle& h) { return static_cast<int>(h.format.isa); })
        .def_prop_ro("storage", [](const Handle& h) { return static_cast<int>(h.format.storage); })
        .def_prop_ro("operand", [](const Handle& h) { return static_cast<int>(h.format.operand); })
        .def_prop_ro("accumulator", [](const Handle& h) { return static_cast<int>(h.format.accumulator); })
        .def_prop_ro("projected", [](const Handle& h) { return h.weights.projected; })
        .def_prop_ro("packed", [](const Handle& h) { return h.packed != nullptr; });

    m.def(
        "pack",
        [](int cell, int isa, int storage, int operand, int accumulator, int64_t I, int64_t H,
           Address weight_ih, Address weight_hh, Address bias_ih, Address bias_hh, bool copy, Address weight_hr,
           int64_t projected) {
            const Weights weights{static_cast<Cell>(cell), I, H, at(weight_ih), at(weight_hh),
                                  at(bias_ih), at(bias_hh), at(weight_hr), projected};
            const Format format{static_cast<Isa>(isa), static_cast<Type>(storage),
                                static_cast<Type>(operand), static_cast<Type>(accumulator)};
            Handle handle;
            call([&] { return pack(weights, format, copy, handle); });
            return handle;
        },
        "cell"_a, "isa"_a, "storage"_a, "operand"_a, "accumulator"_a, "I"_a, "H"_a, "weight_ih"_a,
        "weight_hh"_a, "bias_ih"_a, "bias_hh"_a, "copy"_a, "weight_hr"_a = 0, "projected"_a = 0);

    m.def(
        "forward",
        [](const Handle& handle, SEQUENCES_PARAMETERS, const Tensor& y, Address h_n, Address c_n,
           Address kept, const std::vector<Address>& traces, const Tensor& ids, int64_t V,
           Address batch_sizes) {
            ForwardOut out{strided(y), at(h_n), at(c_n), at(kept), {}};
            if (traces.size() > 5) throw nb::value_error("traces: expected at most 5 addresses");
            for (size_t i = 0; i < traces.size(); ++i) out.traces[i] = at(traces[i]);
            call([&] { return forward(handle, SEQUENCES, out); });
        },
        SEQUENCES_NAMES, "y"_a, "h_n"_a, "c_n"_a, "kept"_a, "traces"_a,
        "ids"_a = Tensor(0, 0, 0), "V"_a = 0, "batch_sizes"_a = 0);

    m.def(
        "backward",
        [](const Handle& handle, SEQUENCES_PARAMETERS, const Tensor& y, Address kept, const Tensor& dy,
           Address dh_n, Address dc_n, const Tensor& dx, Address dh_0, Address dc_0, Address dweight_ih,
           Address dweight_hh, Address dbias_ih, Address dbias_hh, Address dweight_hr,
           const Tensor& ids, int64_t V,
           Address batch_sizes) {
            const BackwardIn in{strided<const void>(y), at(kept), strided<const void>(dy), at(dh_n),
                                at(dc_n)};
            const BackwardOut out{strided(dx),    at(dh_0),       at(dc_0),    at(dweight_ih),
                                  at(dweight_hh), at(dbias_ih), at(dbias_hh), at(dweight_hr)};
            call([&] { return backward(handle, SEQUENCES, in, out); });
        },
        SEQUENCES_NAMES, "y"_a, "kept"_a, "dy"_a, "dh_n"_a, "dc_n"_a, "dx"_a, "dh_0"_a, "dc_0"_a,
        "dweight_ih"_a, "dweight_hh"_a, "dbias_ih"_a, "dbias_hh"_a, "dweight_hr"_a = 0,
        "ids"_a = Tensor(0, 0, 0), "V"_a = 0, "batch_sizes"_a = 0);

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
    m.def("caches", [] {
        const Caches& has = caches();
        return std::make_tuple(has.first, has.second, has.third, has.read);
    });
    m.def("runs", [](int isa) { return runs(static_cast<Isa>(isa)); }, "isa"_a);
    m.def(
        "kept_size",
        [](int cell, int64_t T, int64_t B, int64_t hidden) {
            return kept_size(static_cast<Cell>(cell), T, B, hidden);
        },
        "cell"_a, "T"_a, "B"_a, "hidden"_a);
    m.def(
        "kept_format",
        [](Address kept, int storage) {
            Format format;
            const bool known = kept_format(at(kept), static_cast<Type>(storage), format);
            return known ? std::make_tuple(static_cast<int>(format.isa), static_cast<int>(format.operand))
                         : std::make_tuple(-1, -1);
        },
        "kept"_a, "storage"_a);
    m.def("activate", &activate, nb::kw_only(), "type"_a, "isa"_a, "which"_a, "x"_a, "y"_a, "n"_a,
          "Test hook: y[i] = f(x[i]); which: 0 exp(-|x|), 1 sigmoid, 2 tanh.");
    bind_streams(m);
}
