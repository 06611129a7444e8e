// One step of RTNeural's LSTM layer, for bench/c_export.py: prints the microseconds of 32, 64 and 128 units.
#include <RTNeural/RTNeural.h>

#include <cstdio>
#include <ctime>
#include <random>
#include <vector>

using Rows = std::vector<std::vector<float>>;

template <int size>
void measure() {
    static RTNeural::ModelT<float, size, size, RTNeural::LSTMLayerT<float, size, size>> model;
    std::mt19937 random(0);
    std::normal_distribution<float> normal(0.0f, 0.1f);
    const auto rows = [&](int count) {
        Rows made(count, std::vector<float>(4 * size));
        for (auto& row : made)
            for (auto& value : row) value = normal(random);
        return made;
    };
    auto& layer = model.template get<0>();
    layer.setWVals(rows(size));
    layer.setUVals(rows(size));
    auto bias = rows(1)[0];
    layer.setBVals(bias);
    model.reset();
    alignas(64) float x[size] = {};
    volatile float sink = 0;
    double best = 1e9;
    for (int repeat = 0; repeat < 20; ++repeat) {
        const std::clock_t begin = std::clock();
        for (int i = 0; i < 1000; ++i) {
            x[i % size] = normal(random);
            model.forward(x);
            sink = sink + model.getOutputs()[0];
        }
        const double took = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC / 1000 * 1e6;
        if (took < best) best = took;
    }
    std::printf("%d %.3f\n", size, best);
}

int main() {
    measure<32>();
    measure<64>();
    measure<128>();
}
