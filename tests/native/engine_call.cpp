#include "engine_call.h"

#include <algorithm>

namespace driver {
namespace {

template <class S>
constexpr Type type_of = sizeof(S) == 4 ? Type::f32 : Type::f64;

template <class Element, class S>
unrolled::Strided<Element> strided(const Tensor<S>& tensor) {
    return {tensor.data(), tensor.t_stride(), tensor.b_stride()};
}

void accepted(const char* error, const char* call) {
    check(error == nullptr, std::string(call) + " refused: " + (error ? error : ""));
}

// The rows of [T, B, N], the last one first: of the symbols that steps of a row name.
template <class S>
std::vector<S> backwards(const std::vector<S>& rows, int64_t N) {
    std::vector<S> out(rows.size());
    const auto count = static_cast<int64_t>(rows.size()) / (N > 0 ? N : 1);
    for (int64_t n = 0; n < count; ++n) std::copy_n(rows.begin() + n * N, N, out.begin() + (count - 1 - n) * N);
    return out;
}

// Whether rows are packed: every step has one, and the first row is the longest.
template <class S>
bool is_packed(const naive::Input<S>& in, const Setting& setting) {
    if (!setting.rows_packed || in.T * in.B == 0 || in.length(0) < in.T) return false;
    return std::is_sorted(in.lengths.rbegin(), in.lengths.rend());
}

template <class S>
bool has_symbols(const naive::Input<S>& in, const Setting& setting) {
    return setting.symbols && in.T * in.B > 0 && !is_packed(in, setting);
}

// f(offset in [T, B, N], offset in [n, N]) of every row of every step that it has.
template <class S, class F>
void each_packed(const naive::Input<S>& in, int64_t N, F f) {
    int64_t n = 0;
    for (int64_t t = 0; t < in.T; ++t)
        for (int64_t b = 0; b < in.B && t < in.length(b); ++b) f((t * in.B + b) * N, n++ * N);
}

// [T, B, N], without what lies past a row's length where rows are packed.
template <class S>
Tensor<S> steps(const std::vector<S>& padded, const naive::Input<S>& in, int64_t N, const Setting& setting,
                Random& random) {
    if (!is_packed(in, setting)) return Tensor<S>::input(padded, in.T, in.B, N, random);
    std::vector<S> rows(static_cast<size_t>(valid_steps(in) * N));
    each_packed(in, N, [&](int64_t from, int64_t to) { std::copy_n(padded.begin() + from, N, rows.begin() + to); });
    return Tensor<S>::input(rows, 1, valid_steps(in), N, random);
}

template <class S>
Tensor<S> room_for_steps(const naive::Input<S>& in, int64_t N, const Setting& setting, Random& random) {
    return is_packed(in, setting) ? Tensor<S>::strided(1, valid_steps(in), N, random)
                                  : Tensor<S>::strided(in.T, in.B, N, random);
}

// [T, B, N] again, zero past a row's length.
template <class S>
std::vector<S> padded(const std::vector<S>& taken, const naive::Input<S>& in, int64_t N, const Setting& setting) {
    if (!is_packed(in, setting) || taken.empty()) return taken;
    std::vector<S> out(static_cast<size_t>(in.T * in.B * N));
    each_packed(in, N, [&](int64_t to, int64_t from) { std::copy_n(taken.begin() + from, N, out.begin() + to); });
    return out;
}

// The arguments, where the engine finds them.
template <class S>
struct Placed {
    Tensor<int64_t> lengths, ids, batch_sizes;
    Tensor<uint8_t> resets;
    Tensor<S> x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr;
    unrolled::Weights weights;
    unrolled::Format format;
    unrolled::Sequences sequences;

    Placed(const naive::Input<S>& in, const Setting& setting, Random& random) {
        const int64_t GH = naive::gates(in.cell) * in.H;
        if (is_packed(in, setting)) {
            std::vector<int64_t> sizes(static_cast<size_t>(in.T));
            for (int64_t b = 0; b < in.B; ++b)
                for (int64_t t = 0; t < in.length(b); ++t) ++sizes[static_cast<size_t>(t)];
            batch_sizes = Tensor<int64_t>::dense_input(sizes, 1, 1, in.T, random);
        } else if (!in.lengths.empty()) lengths = Tensor<int64_t>::dense_input(in.lengths, 1, 1, in.B, random);
        if (!in.resets.empty()) resets = Tensor<uint8_t>::input(in.resets, in.T, in.B, 1, random);
        const int64_t V = has_symbols(in, setting) ? in.T * in.B : 0;
        if (V > 0) {
            std::vector<int64_t> names;
            for (int64_t t = 0; t < in.T; ++t)
                for (int64_t b = 0; b < in.B; ++b) names.push_back(t < in.length(b) ? V - 1 - (t * in.B + b) : -7);
            ids = Tensor<int64_t>::input(names, in.T, in.B, 1, random);
            x = Tensor<S>::input(backwards(in.x, in.I), 1, V, in.I, random);
        } else {
            x = steps(in.x, in, in.I, setting, random);
        }
        h_0 = Tensor<S>::dense_input(in.h_0, 1, in.B, in.R(), random);
        if (in.cell == Cell::lstm) c_0 = Tensor<S>::dense_input(in.c_0, 1, in.B, in.H, random);
        weight_ih = Tensor<S>::dense_input(in.weight_ih, 1, GH, in.I, random);
        weight_hh = Tensor<S>::dense_input(in.weight_hh, 1, GH, in.R(), random);
        if (in.projected > 0) weight_hr = Tensor<S>::dense_input(in.weight_hr, 1, in.projected, in.H, random);
        if (!in.bias_ih.empty()) bias_ih = Tensor<S>::dense_input(in.bias_ih, 1, 1, GH, random);
        if (!in.bias_hh.empty()) bias_hh = Tensor<S>::dense_input(in.bias_hh, 1, 1, GH, random);
        weights = {in.cell, in.I, in.H, weight_ih.data(), weight_hh.data(), bias_ih.data(), bias_hh.data(),
                   weight_hr.data(), in.projected};
        format = {setting.isa, type_of<S>, setting.bf16 ? Type::bf16 : type_of<S>, type_of<S>};
        sequences = {setting.threads, in.reverse, in.T, in.B, lengths.data(), strided<const uint8_t>(resets),
                     strided<const void>(x), h_0.data(), c_0.data(), strided<const int64_t>(ids), V, batch_sizes.data()};
    }

    // Of a handle that has packed them, the weights may go.
    unrolled::Handle handle(bool packed) {
        unrolled::Handle made;
        accepted(unrolled::pack(weights, format, packed, made), "pack");
        for (Tensor<S>* gone : {&weight_ih, &weight_hh, &bias_ih, &bias_hh, &weight_hr})
            if (packed) *gone = Tensor<S>();
        return made;
    }
};

template <class S>
void few_rows_touched(const naive::Input<S>& in, const Tensor<S>& kept) {
    const int64_t most = unrolled::format_width + valid_steps(in) * unrolled::kept_width(in.cell, in.H);
    const int64_t touched = kept.elements_touched();
    check(touched <= most, "kept: expected at most " + std::to_string(most) + " elements touched, got " +
                               std::to_string(touched));
}

template <class S>
struct GradientTensors {
    Tensor<S> dx, dh_0, dc_0, dweight_ih, dweight_hh, dbias_ih, dbias_hh, dweight_hr;

    const naive::Input<S>& in;
    const Setting& setting;

    GradientTensors(const naive::Input<S>& in, const Setting& setting, unsigned wanted, Random& random)
        : in(in), setting(setting) {
        const int64_t GH = naive::gates(in.cell) * in.H;
        const auto output = [&](unsigned which, int64_t rows, int64_t columns) {
            return wanted & which ? Tensor<S>::contiguous(1, rows, columns, random) : Tensor<S>();
        };
        if (wanted & want_dx)
            dx = has_symbols(in, setting) ? Tensor<S>::strided(1, in.T * in.B, in.I, random)
                                          : room_for_steps(in, in.I, setting, random);
        dh_0 = output(want_dh_0, in.B, in.R());
        if (in.cell == Cell::lstm) dc_0 = output(want_dc_0, in.B, in.H);
        dweight_ih = output(want_dweight_ih, GH, in.I);
        dweight_hh = output(want_dweight_hh, GH, in.R());
        if (in.projected > 0) dweight_hr = output(want_dweight_hr, in.projected, in.H);
        dbias_ih = output(want_dbias_ih, 1, GH);
        dbias_hh = output(want_dbias_hh, 1, GH);
    }

    unrolled::BackwardOut addresses() const {
        return {strided<void>(dx),   dh_0.data(),       dc_0.data(),    dweight_ih.data(),
                dweight_hh.data(), dbias_ih.data(), dbias_hh.data(), dweight_hr.data()};
    }

    naive::Gradients<S> take() {
        return {has_symbols(in, setting) ? backwards(dx.take("dx"), in.I)
                                         : padded(dx.take("dx"), in, in.I, setting),
                dh_0.take("dh_0"),
                dc_0.take("dc_0"),
                dweight_ih.take("dweight_ih"),
                dweight_hh.take("dweight_hh"),
                dbias_ih.take("dbias_ih"),
                dbias_hh.take("dbias_hh"),
                dweight_hr.take("dweight_hr")};
    }
};

}  // namespace

template <class S>
Forwarded<S> forward(const Problem<S>& problem, const Setting& setting) {
    const naive::Input<S>& in = problem.in;
    Random random(setting.layout);
    Placed<S> placed(in, setting, random);
    Forwarded<S> result;
    auto y = room_for_steps(in, in.R(), setting, random);
    auto h_n = Tensor<S>::contiguous(1, in.B, in.R(), random);
    Tensor<S> c_n, traces[5];
    if (in.cell == Cell::lstm) c_n = Tensor<S>::contiguous(1, in.B, in.H, random);
    const int64_t rows = is_packed(in, setting) ? valid_steps(in) : in.T * in.B;
    const int64_t size = unrolled::kept_size(in.cell, rows, 1, in.H);
    if (setting.keep) result.kept = Tensor<S>::contiguous(1, 1, size, random);
    if (setting.traces)
        for (int k = 0; k < naive::traces(in.cell); ++k)
            traces[k] = Tensor<S>::contiguous(in.T, in.B, in.H, random);

    unrolled::ForwardOut out{strided<void>(y), h_n.data(), c_n.data(), result.kept.data(), {}};
    for (int k = 0; k < 5; ++k) out.traces[k] = traces[k].data();
    const unrolled::Handle handle = placed.handle(setting.packed);
    accepted(unrolled::forward(handle, placed.sequences, out), "forward");

    result.out.y = padded(y.take("y"), in, in.R(), setting);
    result.out.h_n = h_n.take("h_n");
    result.out.c_n = c_n.take("c_n");
    static const char* const names[] = {"traces[0]", "traces[1]", "traces[2]", "traces[3]", "traces[4]"};
    for (int k = 0; k < 5; ++k) result.out.traces[k] = traces[k].take(names[k]);
    result.kept.take("kept");
    few_rows_touched(in, result.kept);
    return result;
}

template <class S>
naive::Gradients<S> backward(const Problem<S>& problem, const Forwarded<S>& forwarded, const Setting& setting,
                             unsigned wanted) {
    const naive::Input<S>& in = problem.in;
    const naive::Adjoint<S>& adjoint = problem.adjoint;
    Random random(setting.layout ^ 0x5DEECE66Du);
    Placed<S> placed(in, setting, random);
    const auto y = steps(forwarded.out.y, in, in.R(), setting, random);
    Tensor<S> dy, dh_n, dc_n;
    if (!adjoint.dy.empty()) dy = steps(adjoint.dy, in, in.R(), setting, random);
    if (!adjoint.dh_n.empty()) dh_n = Tensor<S>::dense_input(adjoint.dh_n, 1, in.B, in.R(), random);
    if (!adjoint.dc_n.empty()) dc_n = Tensor<S>::dense_input(adjoint.dc_n, 1, in.B, in.H, random);

    const unrolled::BackwardIn back{strided<const void>(y), forwarded.kept.data(), strided<const void>(dy),
                                    dh_n.data(), dc_n.data()};
    GradientTensors<S> made(in, setting, wanted, random);
    const auto kept = forwarded.kept.values();
    accepted(unrolled::backward(placed.handle(false), placed.sequences, back, made.addresses()), "backward");
    check(same_bits(kept, forwarded.kept.values()), "kept: changed by backward");
    return made.take();
}

template Forwarded<float> forward(const Problem<float>&, const Setting&);
template Forwarded<double> forward(const Problem<double>&, const Setting&);
template naive::Gradients<float> backward(const Problem<float>&, const Forwarded<float>&, const Setting&,
                                          unsigned);
template naive::Gradients<double> backward(const Problem<double>&, const Forwarded<double>&, const Setting&,
                                           unsigned);

}  // namespace driver
