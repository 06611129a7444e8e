// One call of the engine: arguments placed in walled memory, outputs poisoned, and what comes out taken.
#pragma once

#include "cases.h"
#include "tensor.h"

namespace driver {

struct Setting {
    Isa isa = Isa::baseline;
    bool bf16 = false;  // multiply float32 as bfloat16
    int threads = 1;
    bool keep = true;     // ask for what backward needs
    bool traces = false;  // ask for the trajectory
    bool packed = false;  // forward, by a handle that has packed its weights
    bool rows_packed = false;  // steps without padding, where lengths fall
    bool symbols = false; // every step's x is a symbol of its own, the last step's the first
    uint64_t layout = 0;  // seed of where things lie in memory
};

// Bits of `wanted`, in the order of BackwardOut.
enum : unsigned { want_dx = 1, want_dh_0 = 2, want_dc_0 = 4, want_dweight_ih = 8, want_dweight_hh = 16,
                  want_dbias_ih = 32, want_dbias_hh = 64, want_dweight_hr = 128, want_all = 255 };

template <class S>
struct Forwarded {
    naive::Output<S> out;
    Tensor<S> kept;
};

template <class S>
Forwarded<S> forward(const Problem<S>& problem, const Setting& setting);

// What is not wanted comes back empty. `forwarded` is left as it is, which is checked.
template <class S>
naive::Gradients<S> backward(const Problem<S>& problem, const Forwarded<S>& forwarded, const Setting& setting,
                             unsigned wanted = want_all);

}  // namespace driver
