#include "naive.h"

#include <algorithm>
#include <cmath>

namespace naive {
namespace {

template <class S>
using Vector = std::vector<S>;

template <class S>
S sigmoid(S a) {
    return S(1) / (S(1) + std::exp(-a));
}

// One step of one row, as computed. `gates` are activated (for the RNN: the pre-activation).
template <class S>
struct Step {
    int64_t t;
    bool cut;  // the state was zeroed on the way in
    Vector<S> h_before, c_before, gates, hidden_n, h, c;
    Vector<S> unprojected;  // where h is a projection
};

// The edge between the step before, in the row's own order, and step t.
template <class S>
bool is_cut(const Input<S>& in, int64_t b, int64_t t) {
    if (in.resets.empty()) return false;
    const int64_t edge = in.reverse ? t + 1 : t;  // a reset at t lies between t - 1 and t
    if (edge >= in.length(b)) return false;       // the row's own start in reverse
    return in.resets[static_cast<size_t>(edge * in.B + b)] != 0;
}

// bias + weight · v: [rows] from [rows, columns] and [columns].
template <class S>
Vector<S> affine(const Vector<S>& weight, const S* v, const Vector<S>& bias, int64_t rows, int64_t columns) {
    Vector<S> out(static_cast<size_t>(rows));
    for (int64_t r = 0; r < rows; ++r) {
        S sum = bias.empty() ? S(0) : bias[static_cast<size_t>(r)];
        const S* w = weight.data() + r * columns;
        for (int64_t k = 0; k < columns; ++k) sum += w[k] * v[k];
        out[static_cast<size_t>(r)] = sum;
    }
    return out;
}

template <class S>
void compute(const Input<S>& in, int64_t b, Step<S>& s) {
    const auto H = static_cast<size_t>(in.H);
    const int64_t GH = gates(in.cell) * in.H;
    const auto xs = affine(in.weight_ih, in.x.data() + (s.t * in.B + b) * in.I, in.bias_ih, GH, in.I);
    const auto hs = affine(in.weight_hh, s.h_before.data(), in.bias_hh, GH, in.R());
    s.gates.resize(static_cast<size_t>(GH));
    s.h.resize(H);
    if (in.cell == Cell::lstm) s.c.resize(H);
    if (in.cell == Cell::gru) s.hidden_n.assign(hs.begin() + 2 * in.H, hs.end());
    for (size_t j = 0; j < H; ++j) {
        const auto a = [&](size_t gate) { return xs[gate * H + j] + hs[gate * H + j]; };
        if (in.cell == Cell::lstm) {
            const S i = sigmoid(a(0)), f = sigmoid(a(1)), g = std::tanh(a(2)), o = sigmoid(a(3));
            s.c[j] = f * s.c_before[j] + i * g;
            s.h[j] = o * std::tanh(s.c[j]);
            s.gates[j] = i, s.gates[H + j] = f, s.gates[2 * H + j] = g, s.gates[3 * H + j] = o;
        } else if (in.cell == Cell::gru) {
            const S r = sigmoid(a(0)), z = sigmoid(a(1)), n = std::tanh(xs[2 * H + j] + r * hs[2 * H + j]);
            s.h[j] = (1 - z) * n + z * s.h_before[j];
            s.gates[j] = r, s.gates[H + j] = z, s.gates[2 * H + j] = n;
        } else {
            s.gates[j] = a(0);
            s.h[j] = in.cell == Cell::rnn_tanh ? std::tanh(a(0)) : a(0) < 0 ? S(0) : a(0);  // NaN stays
        }
    }
    if (in.projected == 0) return;
    s.unprojected = s.h;
    s.h = affine(in.weight_hr, s.unprojected.data(), Vector<S>{}, in.projected, in.H);
}

template <class S>
Vector<S> row(const Vector<S>& of, int64_t b, int64_t width) {
    if (of.empty()) return Vector<S>(static_cast<size_t>(width), S(0));
    return Vector<S>(of.begin() + b * width, of.begin() + (b + 1) * width);
}

// The row's steps in the order in which they are computed.
template <class S>
Vector<Step<S>> walk(const Input<S>& in, int64_t b) {
    Vector<Step<S>> steps;
    Vector<S> h = row(in.h_0, b, in.R()), c = row(in.c_0, b, in.H);
    const int64_t length = in.length(b);
    for (int64_t turn = 0; turn < length; ++turn) {
        Step<S> s;
        s.t = in.reverse ? length - 1 - turn : turn;
        s.cut = is_cut(in, b, s.t);
        s.h_before = s.cut ? Vector<S>(h.size(), S(0)) : h;
        s.c_before = s.cut ? Vector<S>(c.size(), S(0)) : c;
        compute(in, b, s);
        h = s.h;
        if (in.cell == Cell::lstm) c = s.c;
        steps.push_back(std::move(s));
    }
    return steps;
}

// What flows back through one unit: into the pre-activations from x and from h, and into the state.
template <class S>
struct Flow {
    Vector<S> from_x, from_h, h, c;
};

template <class S>
void back(Cell cell, const Step<S>& s, size_t j, S dh, S dc, bool open, Flow<S>& flow) {
    const size_t H = s.gates.size() / static_cast<size_t>(gates(cell));
    const auto both = [&](size_t gate, S d) { flow.from_x[gate * H + j] = flow.from_h[gate * H + j] = d; };
    flow.h[j] = flow.c[j] = 0;
    if (cell == Cell::lstm) {
        const S i = s.gates[j], f = s.gates[H + j], g = s.gates[2 * H + j], o = s.gates[3 * H + j];
        const S tanh_c = std::tanh(s.c[j]);
        const S into_c = dc + dh * o * (1 - tanh_c * tanh_c);
        both(0, into_c * g * i * (1 - i));
        both(1, into_c * s.c_before[j] * f * (1 - f));
        both(2, into_c * i * (1 - g * g));
        both(3, dh * tanh_c * o * (1 - o));
        flow.c[j] = into_c * f;
    } else if (cell == Cell::gru) {
        const S r = s.gates[j], z = s.gates[H + j], n = s.gates[2 * H + j];
        const S into_n = dh * (1 - z) * (1 - n * n);
        both(0, into_n * s.hidden_n[j] * r * (1 - r));
        both(1, dh * (s.h_before[j] - n) * z * (1 - z));
        flow.from_x[2 * H + j] = into_n;
        flow.from_h[2 * H + j] = into_n * r;
        flow.h[j] = dh * z;
    } else if (cell == Cell::rnn_tanh) {
        both(0, dh * (1 - s.h[j] * s.h[j]));
    } else {
        both(0, open ? dh : S(0));
    }
}

// weight += d ⊗ v, bias += d, and what goes on to v: dv += weightᵀ · d.
template <class S>
void pull(const Vector<S>& d, const Vector<S>& weight, const S* v, size_t columns, S* dv, Vector<S>& dweight,
          Vector<S>& dbias) {
    for (size_t r = 0; r < d.size(); ++r) {
        dbias[r] += d[r];
        for (size_t k = 0; k < columns; ++k) {
            dweight[r * columns + k] += d[r] * v[k];
            dv[k] += weight[r * columns + k] * d[r];
        }
    }
}

template <class S>
void back_through_row(const Input<S>& in, const Adjoint<S>& adjoint, int64_t b, Gradients<S>& out) {
    const auto H = static_cast<size_t>(in.H), GH = static_cast<size_t>(gates(in.cell)) * H;
    const auto R = static_cast<size_t>(in.R());
    Vector<S> dh = row(adjoint.dh_n, b, in.R()), dc = row(adjoint.dc_n, b, in.H);
    const auto steps = walk(in, b);
    for (size_t turn = steps.size(); turn-- > 0;) {
        const Step<S>& s = steps[turn];
        const int64_t at = s.t * in.B + b;
        Flow<S> flow{Vector<S>(GH), Vector<S>(GH), Vector<S>(H), Vector<S>(H)};
        for (size_t r = 0; r < R && !adjoint.dy.empty(); ++r) dh[r] += adjoint.dy[static_cast<size_t>(at) * R + r];
        if (in.projected > 0) {
            Vector<S> before(H, S(0)), unused(R);
            pull(dh, in.weight_hr, s.unprojected.data(), H, before.data(), out.dweight_hr, unused);
            dh = before;
        }
        for (size_t j = 0; j < H; ++j) {
            const size_t here = static_cast<size_t>(at) * H + j;
            const bool open = adjoint.open.empty() ? s.gates[j] > 0 : adjoint.open[here] != 0;
            back(in.cell, s, j, dh[j], dc[j], open, flow);
        }
        flow.h.resize(R, S(0));
        pull(flow.from_x, in.weight_ih, in.x.data() + at * in.I, static_cast<size_t>(in.I),
             out.dx.data() + at * in.I, out.dweight_ih, out.dbias_ih);
        pull(flow.from_h, in.weight_hh, s.h_before.data(), R, flow.h.data(), out.dweight_hh, out.dbias_hh);
        dh = s.cut ? Vector<S>(R, S(0)) : flow.h;
        dc = s.cut ? Vector<S>(H, S(0)) : flow.c;
    }
    std::copy(dh.begin(), dh.end(), out.dh_0.begin() + b * in.R());
    if (in.cell == Cell::lstm) std::copy(dc.begin(), dc.end(), out.dc_0.begin() + b * in.H);
}

}  // namespace

template <class S>
Output<S> forward(const Input<S>& in) {
    const int64_t n = in.T * in.B * in.H, H = in.H, R = in.R();
    const bool lstm = in.cell == Cell::lstm;
    Output<S> out;
    out.y.assign(static_cast<size_t>(in.T * in.B * R), S(0));
    for (int k = 0; k < traces(in.cell); ++k) out.traces[k].assign(static_cast<size_t>(n), S(0));
    out.h_n = in.h_0;
    if (lstm) out.c_n = in.c_0;
    for (int64_t b = 0; b < in.B; ++b) {
        const auto steps = walk(in, b);
        for (const Step<S>& s : steps) {
            const int64_t at = (s.t * in.B + b) * H;
            std::copy(s.h.begin(), s.h.end(), out.y.begin() + (s.t * in.B + b) * R);
            for (int k = 0; k < static_cast<int>(gates(in.cell)); ++k)
                std::copy_n(s.gates.begin() + k * H, H, out.traces[k].begin() + at);
            if (lstm) std::copy(s.c.begin(), s.c.end(), out.traces[4].begin() + at);
        }
        if (steps.empty()) continue;
        std::copy(steps.back().h.begin(), steps.back().h.end(), out.h_n.begin() + b * R);
        if (lstm) std::copy(steps.back().c.begin(), steps.back().c.end(), out.c_n.begin() + b * H);
    }
    return out;
}

template <class S>
Gradients<S> backward(const Input<S>& in, const Adjoint<S>& adjoint) {
    Gradients<S> out;
    const int64_t GH = gates(in.cell) * in.H;
    const auto zeros = [](int64_t n) { return Vector<S>(static_cast<size_t>(n), S(0)); };
    out.dx = zeros(in.T * in.B * in.I);
    out.dh_0 = zeros(in.B * in.R());
    out.dc_0 = in.cell == Cell::lstm ? zeros(in.B * in.H) : Vector<S>{};
    out.dweight_ih = zeros(GH * in.I);
    out.dweight_hh = zeros(GH * in.R());
    out.dweight_hr = zeros(in.projected * in.H);
    out.dbias_ih = zeros(GH);
    out.dbias_hh = zeros(GH);
    for (int64_t b = 0; b < in.B; ++b) back_through_row(in, adjoint, b, out);
    return out;
}

template Output<float> forward(const Input<float>&);
template Output<double> forward(const Input<double>&);
template Gradients<float> backward(const Input<float>&, const Adjoint<float>&);
template Gradients<double> backward(const Input<double>&, const Adjoint<double>&);

}  // namespace naive
