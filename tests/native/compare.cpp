#include "compare.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "check.h"

namespace driver {
namespace {

// The tolerances, in units of the dtype's rounding. float64 is measured against a double that rounds
// just as often, in another order, hence the room of two.
//   states: a pre-activation is a chain of up to I + H + 1 roundings (about 200), whose errors add like
//     a random walk and are carried through T steps by a map that contracts.
//   gradients of inputs and initial states: the same, twice as long, and without a bound on their size.
//   gradients of weights: a further sum over every valid step, whose error grows with its root.
struct Row {
    Kind kind;
    const char* name;
    double f32_units, f64_units;
};
constexpr Row kTolerances[] = {
    {Kind::state, "states", 64, 128},
    {Kind::input_gradient, "gradients of inputs", 128, 256},
    {Kind::weight_gradient, "gradients of weights", 256, 512},
};

double used[3][2] = {};

}  // namespace

template <class S>
void near(const char* name, const std::vector<S>& got, const std::vector<double>& want, Kind kind,
          double scale) {
    constexpr bool single = sizeof(S) == sizeof(float);
    const Row& row = kTolerances[static_cast<int>(kind)];
    const double limit = (single ? row.f32_units * 0x1p-24 : row.f64_units * 0x1p-53) * scale;
    check(got.size() == want.size(), std::string(name) + ": sizes disagree");
    double largest = 0;
    for (size_t n = 0; n < got.size(); ++n) {
        const double error = std::abs(static_cast<double>(got[n]) - want[n]);
        if (!(error <= limit)) {
            std::ostringstream message;
            message.precision(9);
            message << name << "[" << n << "]: expected " << want[n] << ", got " << got[n] << ", off by "
                    << error << " where " << limit << " is allowed";
            throw Failure(message.str());
        }
        largest = std::max(largest, error);
    }
    double& so_far = used[static_cast<int>(kind)][single ? 0 : 1];
    so_far = std::max(so_far, largest / limit);
}

template void near(const char*, const std::vector<float>&, const std::vector<double>&, Kind, double);
template void near(const char*, const std::vector<double>&, const std::vector<double>&, Kind, double);

std::string margins() {
    std::ostringstream out;
    out.precision(2);
    for (const Row& row : kTolerances)
        for (int d = 0; d < 2; ++d)
            out << "  " << row.name << (d == 0 ? ", f32" : ", f64") << ": at most "
                << used[static_cast<int>(row.kind)][d] << " of the tolerance ("
                << (d == 0 ? row.f32_units : row.f64_units) << " roundings)\n";
    return out.str();
}

}  // namespace driver
