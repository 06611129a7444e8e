#pragma once

#include <nanobind/nanobind.h>

#include <cstring>

namespace nb = nanobind;

namespace unrolled {

// Adds networks and streams to the module.
void bind_streams(nb::module_& m);

}  // namespace unrolled
