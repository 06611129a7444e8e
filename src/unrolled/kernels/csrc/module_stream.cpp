// The binding of networks and streams. A step's arguments are Python objects that have a buffer, looked at
// here, since a call of one step is over in a microsecond; complaints about them are worded in Python.
#include "module_stream.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <tuple>
#include <vector>

#include "network.h"

using namespace nb::literals;

namespace unrolled {
namespace {

using Address = uintptr_t;
using Weight = std::tuple<Address, Address>;  // data, scales
using LayerOf = std::tuple<int, int64_t, int64_t, int64_t, Weight, Weight, Weight, Address, Address>;

template <class T = void>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}
Matrix matrix(const Weight& weight) { return {at(std::get<0>(weight)), at<const float>(std::get<1>(weight))}; }

// What a call returns: 0, or what is wrong. From `bad_x` on it is about an argument.
enum : int { bad_x = 16, bad_out = 17, bad_active = 18, bad_overlap = 19 };
constexpr int64_t kLong = 400'000;  // multiply-adds from which on other Python threads may run meanwhile

// A dense buffer, released with this.
class Buffer {
  public:
    Buffer() = default;
    ~Buffer() {
        if (held_) PyBuffer_Release(&view_);
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    // Whether `object` is a contiguous and aligned buffer of this format with this many elements.
    bool take(PyObject* object, const char* formats, Py_ssize_t size, int64_t count, bool writable) {
        const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(object, &view_, flags) != 0) return PyErr_Clear(), false;
        held_ = true;
        const char* format = view_.format == nullptr ? "B" : view_.format;
        if (format[0] == '=' || format[0] == '<' || format[0] == '@') ++format;
        return view_.itemsize == size && format[0] != 0 && format[1] == 0 && std::strchr(formats, format[0]) &&
               (count < 0 || view_.len == count * size) && reinterpret_cast<uintptr_t>(view_.buf) % size_t(size) == 0;
    }
    bool floats(PyObject* object, int64_t count, bool writable) { return take(object, "f", 4, count, writable); }
    bool ids(PyObject* object, int64_t count) { return take(object, "lq", 8, count, false); }
    int64_t size() const { return view_.len / view_.itemsize; }
    bool overlaps(const Buffer& other) const {
        if (!held_ || !other.held_) return false;
        const char *const a = data<const char>(), *const b = other.data<const char>();
        return a < b + other.view_.len && b < a + view_.len;
    }
    template <class T>
    T* data() const {
        return static_cast<T*>(view_.buf);
    }

  private:
    Py_buffer view_;
    bool held_ = false;
};

// The GIL is released where a call is long.
template <class Run>
Stepped away(int64_t multiply_adds, Run run) {
    if (multiply_adds < kLong) return run();
    nb::gil_scoped_release released;
    return run();
}

bool is_id(PyObject* object, int64_t* id) {
    if (PyBool_Check(object)) return false;
    if (PyLong_Check(object)) {
        int overflow = 0;
        *id = PyLong_AsLongLongAndOverflow(object, &overflow);
        if (overflow != 0) *id = -1;
        return true;
    }
    if (!PyIndex_Check(object)) return false;
    PyObject* const number = PyNumber_Index(object);
    if (number == nullptr) return PyErr_Clear(), false;
    int overflow = 0;
    *id = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow != 0) *id = -1;
    Py_DECREF(number);
    return true;
}

// Raises where there is a complaint.
void raise(const char* complaint) {
    if (complaint == nullptr) return;
    const bool memory = std::strncmp(complaint, "memory:", 7) == 0;
    PyErr_SetString(memory ? PyExc_MemoryError : PyExc_ValueError, complaint);
    throw nb::python_error();
}

// A stream of one network, or several, with the row at which the last call failed.
struct Bound {
    Streams streams;
    std::atomic<int64_t> failed{-1};
    Bound(std::shared_ptr<Network> network, int64_t count, int threads) : streams(std::move(network), count, threads) {}

    template <class Run>
    int noted(int64_t multiply_adds, Run run) {
        int64_t at = -1;
        const Stepped result = away(multiply_adds, [&] { return run(&at); });
        if (at >= 0) failed = at;
        return static_cast<int>(result);
    }

    int step(nb::handle x, nb::handle out) {
        const Network& net = streams.network();
        if (streams.count() != 1) return bad_active;
        Buffer in, to;
        int64_t id = 0;
        const bool ids = net.takes_ids();
        if (ids ? !is_id(x.ptr(), &id) : !in.floats(x.ptr(), net.input_size(), false)) return bad_x;
        if (!out.is_none() && !to.floats(out.ptr(), net.O, true)) return bad_out;
        return noted(net.multiply_adds, [&](int64_t* at) {
            return streams.step(nullptr, ids ? nullptr : in.data<float>(), ids ? &id : nullptr,
                                out.is_none() ? nullptr : to.data<float>(), at);
        });
    }

    int run(nb::handle x, nb::handle out, bool all) {
        const Network& net = streams.network();
        if (streams.count() != 1) return bad_active;
        Buffer in, to;
        const bool ids = net.takes_ids();
        if (ids ? !in.ids(x.ptr(), -1) : !in.floats(x.ptr(), -1, false)) return bad_x;
        const int64_t T = ids ? in.size() : in.size() / net.input_size();
        if (!ids && T * net.input_size() != in.size()) return bad_x;
        if (!out.is_none() && !to.floats(out.ptr(), (all ? T : 1) * net.O, true)) return bad_out;
        if (to.overlaps(in)) return bad_overlap;
        return noted(T * net.multiply_adds, [&](int64_t* at) {
            return streams.run(T, ids ? nullptr : in.data<float>(), ids ? in.data<int64_t>() : nullptr,
                               out.is_none() ? nullptr : to.data<float>(), all, at);
        });
    }

    // x, out and `active`, which may be None for all, have a row for each stream.
    int step_rows(nb::handle x, nb::handle out, nb::handle active) {
        const Network& net = streams.network();
        const int64_t count = streams.count();
        Buffer in, to, mask;
        const bool ids = net.takes_ids(), some = !active.is_none();
        if (some && !mask.take(active.ptr(), "?", 1, count, false)) return bad_active;
        if (ids ? !in.ids(x.ptr(), count) : !in.floats(x.ptr(), count * net.input_size(), false)) return bad_x;
        if (!out.is_none() && !to.floats(out.ptr(), count * net.O, true)) return bad_out;
        if (to.overlaps(in) || to.overlaps(mask)) return bad_overlap;
        return noted(count * net.multiply_adds, [&](int64_t* at) {
            return streams.step(some ? mask.data<uint8_t>() : nullptr, ids ? nullptr : in.data<float>(),
                                ids ? in.data<int64_t>() : nullptr, out.is_none() ? nullptr : to.data<float>(), at);
        });
    }

    int read(int64_t stream, nb::handle state) {
        Buffer to;
        if (stream < 0 || stream >= streams.count()) return bad_active;
        if (!to.floats(state.ptr(), streams.network().state_size, true)) return bad_out;
        return static_cast<int>(streams.read(stream, to.data<float>()));
    }

    int write(int64_t stream, nb::handle state) {
        Buffer from;
        if (stream < 0 || stream >= streams.count()) return bad_active;
        if (!state.is_none() && !from.floats(state.ptr(), streams.network().state_size, false)) return bad_x;
        return static_cast<int>(streams.write(stream, state.is_none() ? nullptr : from.data<float>()));
    }
};

std::shared_ptr<Network> pack_network(int storage, int isa, const std::vector<LayerOf>& given, int64_t V,
                                      Address embedding, int64_t O, const Weight& head, Address head_bias) {
    std::vector<LayerWeights> layers;
    for (const auto& [cell, I, H, P, ih, hh, hr, bias_ih, bias_hh] : given)
        layers.push_back({static_cast<Cell>(cell), I, H, P, matrix(ih), matrix(hh), matrix(hr),
                          at<const float>(bias_ih), at<const float>(bias_hh)});
    NetworkWeights weights;
    weights.storage = static_cast<Storage>(storage), weights.isa = static_cast<Isa>(isa);
    weights.count = static_cast<int64_t>(layers.size()), weights.layers = layers.data();
    weights.V = V, weights.embedding = at<const float>(embedding);
    weights.O = O, weights.head = matrix(head), weights.head_bias = at<const float>(head_bias);
    auto network = std::make_shared<Network>();
    const char* complaint;
    {
        nb::gil_scoped_release released;
        complaint = pack(weights, *network);
    }
    raise(complaint);
    return network;
}

// Plain numbers in: sizes, addresses, strides over T and B.
int run_rollout(const Network& net, int threads, int64_t T, int64_t B, Address x, int64_t x_t, int64_t x_b,
                Address resets, int64_t resets_t, int64_t resets_b, Address h_0, Address c_0, Address y, int64_t y_t,
                int64_t y_b, Address h_n, Address c_n) {
    const Rollout rollout{threads,
                          T,
                          B,
                          {at<const float>(x), x_t, x_b},
                          {at<const uint8_t>(resets), resets_t, resets_b},
                          at<const float>(h_0),
                          at<const float>(c_0),
                          {at<float>(y), y_t, y_b},
                          at<float>(h_n),
                          at<float>(c_n)};
    Stepped result = Stepped::ok;
    const char* complaint = nullptr;
    const auto work = [&] { return complaint = run(net, rollout, &result), result; };
    const bool small = T > 0 && B > 0 && T < kLong && B < kLong && T * B < kLong;
    away(small ? T * B * net.multiply_adds : kLong, work);
    raise(complaint);
    return static_cast<int>(result);
}

}  // namespace

void bind_streams(nb::module_& m) {
    nb::class_<Network>(m, "Network", "A packed network; see csrc/network.h.")
        .def_ro("input_ids", &Network::V)
        .def_prop_ro("input_size", &Network::input_size)
        .def_ro("output_size", &Network::O)
        .def_ro("state_size", &Network::state_size)
        .def_ro("multiply_adds", &Network::multiply_adds)
        .def_ro("bytes", &Network::bytes)
        .def_prop_ro("isa", [](const Network& n) { return static_cast<int>(n.isa); })
        .def_prop_ro("storage", [](const Network& n) { return static_cast<int>(n.storage); })
        .def("rollout", &run_rollout)
        .def("bare_product", [](const Network& n, int64_t repeats) {
            std::vector<double> took(static_cast<size_t>(repeats < 0 ? 0 : repeats));
            bare_product(n, static_cast<int64_t>(took.size()), took.data());
            return took;
        }, "repeats"_a, "Benchmark hook: the nanoseconds of each of `repeats` bare products with all weights.");
    m.def("pack_network", &pack_network, "storage"_a, "isa"_a, "layers"_a, "V"_a, "embedding"_a, "O"_a, "head"_a,
          "head_bias"_a);
    nb::class_<Bound>(m, "Streams", "Streams of a network with their states; see csrc/network.h.")
        .def("__init__", [](Bound* self, std::shared_ptr<Network> network, int64_t count, int threads) {
            if (threads < 1 || threads > 1024) throw nb::value_error("threads: expected 1 to 1024");
            new (self) Bound(std::move(network), count, threads);
        }, "network"_a, "count"_a, "threads"_a)
        .def_prop_ro("count", [](const Bound& b) { return b.streams.count(); })
        .def_prop_ro("closed", [](const Bound& b) { return b.streams.closed(); })
        .def_prop_ro("failed", [](const Bound& b) { return b.failed.load(); })
        .def("step", &Bound::step, nb::arg("x").none(), nb::arg("out").none())
        .def("run", &Bound::run, nb::arg("x").none(), nb::arg("out").none(), "all"_a)
        .def("step_rows", &Bound::step_rows, nb::arg("x").none(), nb::arg("out").none(), nb::arg("active").none())
        .def("read", &Bound::read, "stream"_a, nb::arg("state").none())
        .def("write", &Bound::write, "stream"_a, nb::arg("state").none())
        .def("close", [](Bound& b) { return static_cast<int>(b.streams.close()); });
}

}  // namespace unrolled
