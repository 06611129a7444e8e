// How near is near enough, and the largest error seen.
#pragma once

#include <vector>

#include "cases.h"

namespace driver {

enum class Kind { state, input_gradient, weight_gradient };

// Accepts |got - want| <= units · eps · scale, where eps is the dtype's rounding (2^-24, 2^-53); the
// largest share of that which was used is kept for the summary. `want` was computed in double from the
// same numbers. A NaN in `got` is never near.
template <class S>
void near(const char* name, const std::vector<S>& got, const std::vector<double>& want, Kind kind,
          double scale);

// One line per kind and dtype: the largest error so far, as a share of the tolerance.
std::string margins();

}  // namespace driver
