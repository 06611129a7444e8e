// How near is near enough, and the largest error seen.
#pragma once

#include <vector>

#include "cases.h"

namespace driver {

enum class Kind { state, input_gradient, weight_gradient };

// Accepts |got - want| <= units · eps · scale, where eps is the rounding of the operands' type (2^-24, 2^-53,
// of bfloat16 2^-9); the largest share of that which was used is kept for the summary. `want` was computed in double from the
// same numbers. A NaN in `got` is never near.
template <class S>
void near(const char* name, const std::vector<S>& got, const std::vector<double>& want, Kind kind,
          Type operand, double scale);

// One line per kind and type: the largest error so far, as a share of the tolerance.
std::string margins();

}  // namespace driver
