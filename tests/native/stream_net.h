// Random networks that run step by step: drawn from a seed, and packed from walled memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cases.h"
#include "network.h"
#include "tensor.h"

namespace driver {

using unrolled::Network;
using unrolled::Stepped;
using unrolled::Storage;
using unrolled::Streams;
using Floats = std::vector<float>;

const char* type_of(Storage storage);
float to_bf16(float value);  // to the nearest, ties to even

// A matrix in float32 and as it is stored, in walled memory.
struct Stored {
    int64_t rows = 0, K = 0;
    Floats plain;   // as drawn
    Floats stands;  // what the stored one stands for
    Tensor<float> f32, scales;
    Tensor<uint16_t> bf16;
    Tensor<int8_t> i8;

    Stored() = default;
    Stored(int64_t rows, int64_t K, Storage storage, Random& random);
    unrolled::Matrix matrix() const;

  private:
    void round(Random& random);
    void quantise(Random& random);
};

struct Layer {
    Cell cell;
    int64_t I, H, P;
    Stored ih, hh, hr;
    Floats bias_ih, bias_hh;
    Tensor<float> placed_ih, placed_hh;
};

struct Net {
    Storage storage;
    std::vector<Layer> layers;
    int64_t V = 0, O = 0;
    Floats embedding, head_bias;
    Stored head;
    bool projects = false, grows = false;  // a layer has a projection, a state that no tanh keeps small

    Net(Random& random, Storage storage);
    std::shared_ptr<Network> pack(Isa isa, Random& random) const;
    int64_t width() const { return V > 0 ? 1 : layers[0].I; }
    std::string line(Isa isa) const;

  private:
    Layer layer(int64_t input, Random& random);
};

// Rows of input: numbers, or ids where the network takes them.
struct Given {
    int64_t rows, width;
    Floats x;
    std::vector<int64_t> ids;

    Given(const Net& net, int64_t rows, Random& random);
};

void well(Stepped result);
Floats state_of(const Streams& streams, int64_t stream = 0);

}  // namespace driver
