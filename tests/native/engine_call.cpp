#include "engine_call.h"

namespace driver {
namespace {

template <class S>
constexpr Dtype dtype_of = sizeof(S) == 4 ? Dtype::f32 : Dtype::f64;

// The arguments, where the engine finds them.
template <class S>
struct Placed {
    Tensor<int64_t> lengths;
    Tensor<uint8_t> resets;
    Tensor<S> x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh;
    unrolled::Layer layer;

    Placed(const naive::Input<S>& in, const Setting& setting, Random& random) {
        const int64_t GH = naive::gates(in.cell) * in.H;
        if (!in.lengths.empty()) lengths = Tensor<int64_t>::dense_input(in.lengths, 1, 1, in.B, random);
        if (!in.resets.empty()) resets = Tensor<uint8_t>::input(in.resets, in.T, in.B, 1, random);
        x = Tensor<S>::input(in.x, in.T, in.B, in.I, random);
        h_0 = Tensor<S>::dense_input(in.h_0, 1, in.B, in.H, random);
        if (in.cell == Cell::lstm) c_0 = Tensor<S>::dense_input(in.c_0, 1, in.B, in.H, random);
        weight_ih = Tensor<S>::dense_input(in.weight_ih, 1, GH, in.I, random);
        weight_hh = Tensor<S>::dense_input(in.weight_hh, 1, GH, in.H, random);
        if (!in.bias_ih.empty()) bias_ih = Tensor<S>::dense_input(in.bias_ih, 1, 1, GH, random);
        if (!in.bias_hh.empty()) bias_hh = Tensor<S>::dense_input(in.bias_hh, 1, 1, GH, random);
        fill(in, setting);
    }

    void fill(const naive::Input<S>& in, const Setting& setting) {
        layer.cell = in.cell, layer.dtype = dtype_of<S>, layer.isa = setting.isa;
        layer.threads = setting.threads, layer.reverse = in.reverse;
        layer.T = in.T, layer.B = in.B, layer.I = in.I, layer.H = in.H;
        layer.lengths = lengths.data();
        layer.resets = resets.data();
        layer.resets_t = resets.t_stride(), layer.resets_b = resets.b_stride();
        layer.x = x.data(), layer.x_t = x.t_stride(), layer.x_b = x.b_stride();
        layer.h_0 = h_0.data(), layer.c_0 = c_0.data();
        layer.weight_ih = weight_ih.data(), layer.weight_hh = weight_hh.data();
        layer.bias_ih = bias_ih.data(), layer.bias_hh = bias_hh.data();
    }
};

void accepted(const char* error, const char* call) {
    check(error == nullptr, std::string(call) + " refused: " + (error ? error : ""));
}

template <class S>
void few_rows_touched(const Tensor<S>& tensor, int64_t steps, const char* name) {
    const int64_t touched = tensor.rows_touched();
    check(touched <= steps, std::string(name) + ": expected at most " + std::to_string(steps) +
                                " rows touched, got " + std::to_string(touched));
}

template <class S>
struct GradientTensors {
    Tensor<S> dx, dh_0, dc_0, dweight_ih, dweight_hh, dbias_ih, dbias_hh;

    GradientTensors(const naive::Input<S>& in, unsigned wanted, Random& random) {
        const int64_t GH = naive::gates(in.cell) * in.H;
        const auto output = [&](unsigned which, int64_t rows, int64_t columns) {
            return wanted & which ? Tensor<S>::contiguous(1, rows, columns, random) : Tensor<S>();
        };
        if (wanted & want_dx) dx = Tensor<S>::strided(in.T, in.B, in.I, random);
        dh_0 = output(want_dh_0, in.B, in.H);
        if (in.cell == Cell::lstm) dc_0 = output(want_dc_0, in.B, in.H);
        dweight_ih = output(want_dweight_ih, GH, in.I);
        dweight_hh = output(want_dweight_hh, GH, in.H);
        dbias_ih = output(want_dbias_ih, 1, GH);
        dbias_hh = output(want_dbias_hh, 1, GH);
    }

    unrolled::BackwardOut addresses() const {
        return {dx.data(),         dx.t_stride(),     dx.b_stride(),   dh_0.data(),    dc_0.data(),
                dweight_ih.data(), dweight_hh.data(), dbias_ih.data(), dbias_hh.data()};
    }

    naive::Gradients<S> take() {
        return {dx.take("dx"),
                dh_0.take("dh_0"),
                dc_0.take("dc_0"),
                dweight_ih.take("dweight_ih"),
                dweight_hh.take("dweight_hh"),
                dbias_ih.take("dbias_ih"),
                dbias_hh.take("dbias_hh")};
    }
};

}  // namespace

template <class S>
Forwarded<S> forward(const Problem<S>& problem, const Setting& setting) {
    const naive::Input<S>& in = problem.in;
    Random random(setting.layout);
    const Placed<S> placed(in, setting, random);
    const bool lstm = in.cell == Cell::lstm;
    const int64_t width = unrolled::gates_width(in.cell, in.H);
    Forwarded<S> result;
    auto y = Tensor<S>::strided(in.T, in.B, in.H, random);
    auto h_n = Tensor<S>::contiguous(1, in.B, in.H, random);
    Tensor<S> c_n, traces[5];
    if (lstm) c_n = Tensor<S>::contiguous(1, in.B, in.H, random);
    if (setting.keep && width) result.gates = Tensor<S>::contiguous(in.T, in.B, width, random);
    const int64_t P = unrolled::padded(in.H);
    if (setting.keep && lstm) result.cells = Tensor<S>::contiguous(in.T, in.B, P, random);
    if (setting.traces)
        for (int k = 0; k < naive::traces(in.cell); ++k)
            traces[k] = Tensor<S>::contiguous(in.T, in.B, in.H, random);

    unrolled::ForwardOut out;
    out.y = y.data(), out.y_t = y.t_stride(), out.y_b = y.b_stride();
    out.h_n = h_n.data(), out.c_n = c_n.data();
    out.gates = result.gates.data(), out.cells = result.cells.data();
    for (int k = 0; k < 5; ++k) out.traces[k] = traces[k].data();
    accepted(unrolled::forward(placed.layer, out), "forward");

    result.out.y = y.take("y");
    result.out.h_n = h_n.take("h_n");
    result.out.c_n = c_n.take("c_n");
    static const char* const names[] = {"traces[0]", "traces[1]", "traces[2]", "traces[3]", "traces[4]"};
    for (int k = 0; k < 5; ++k) result.out.traces[k] = traces[k].take(names[k]);
    result.gates.take("gates");
    result.cells.take("cells");
    few_rows_touched(result.gates, valid_steps(in), "gates");
    few_rows_touched(result.cells, valid_steps(in), "cells");
    return result;
}

template <class S>
naive::Gradients<S> backward(const Problem<S>& problem, const Forwarded<S>& forwarded, const Setting& setting,
                             unsigned wanted) {
    const naive::Input<S>& in = problem.in;
    const naive::Adjoint<S>& adjoint = problem.adjoint;
    Random random(setting.layout ^ 0x5DEECE66Du);
    const Placed<S> placed(in, setting, random);
    const auto y = Tensor<S>::input(forwarded.out.y, in.T, in.B, in.H, random);
    Tensor<S> dy, dh_n, dc_n;
    if (!adjoint.dy.empty()) dy = Tensor<S>::input(adjoint.dy, in.T, in.B, in.H, random);
    if (!adjoint.dh_n.empty()) dh_n = Tensor<S>::dense_input(adjoint.dh_n, 1, in.B, in.H, random);
    if (!adjoint.dc_n.empty()) dc_n = Tensor<S>::dense_input(adjoint.dc_n, 1, in.B, in.H, random);

    unrolled::BackwardIn back;
    back.y = y.data(), back.y_t = y.t_stride(), back.y_b = y.b_stride();
    back.gates = forwarded.gates.data(), back.cells = forwarded.cells.data();
    back.dy = dy.data(), back.dy_t = dy.t_stride(), back.dy_b = dy.b_stride();
    back.dh_n = dh_n.data(), back.dc_n = dc_n.data();

    GradientTensors<S> made(in, wanted, random);
    const auto gates = forwarded.gates.values(), cells = forwarded.cells.values();
    accepted(unrolled::backward(placed.layer, back, made.addresses()), "backward");
    check(same_bits(gates, forwarded.gates.values()), "gates: changed by backward");
    check(same_bits(cells, forwarded.cells.values()), "cells: changed by backward");
    return made.take();
}

template Forwarded<float> forward(const Problem<float>&, const Setting&);
template Forwarded<double> forward(const Problem<double>&, const Setting&);
template naive::Gradients<float> backward(const Problem<float>&, const Forwarded<float>&, const Setting&,
                                          unsigned);
template naive::Gradients<double> backward(const Problem<double>&, const Forwarded<double>&, const Setting&,
                                           unsigned);

}  // namespace driver
