// From an instruction set to its kernels. For the entry and for tests; callers use engine.h.
#pragma once

#include "isa.h"

namespace unrolled {

// The kernels of one instruction set; null where this build does not hold them.
const Kernels* kernels_of(Isa isa);

}  // namespace unrolled
