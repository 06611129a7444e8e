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
// With bfloat16 operands h and the gradients of pre-activations are rounded once where they are multiplied (x
// and weights come rounded): one rounding for each number of a sum, so that few units are enough.
struct Row {
    Kind kind;
    const char* name;
    double units[3];  // by Type
};
constexpr Row kTolerances[] = {
    {Kind::state, "states", {64, 128, 4}},
    {Kind::input_gradient, "gradients of inputs", {128, 256, 8}},
    {Kind::weight_gradient, "gradients of weights", {256, 512, 8}},
};
constexpr double kRounding[] = {0x1p-24, 0x1p-53, 0x1p-9};
constexpr const char* kNames[] = {"f32", "f64", "bf16"};

double used[3][3] = {};

}  // namespace

template <class S>
void near(const char* name, const std::vector<S>& got, const std::vector<double>& want, Kind kind,
          Type operand, double scale) {
    const int type = static_cast<int>(operand);
    const Row& row = kTolerances[static_cast<int>(kind)];
    const double limit = row.units[type] * kRounding[type] * scale;
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
    double& so_far = used[static_cast<int>(kind)][type];
    so_far = std::max(so_far, largest / limit);
}

template void near(const char*, const std::vector<float>&, const std::vector<double>&, Kind, Type, double);
template void near(const char*, const std::vector<double>&, const std::vector<double>&, Kind, Type, double);

std::string margins() {
    std::ostringstream out;
    out.precision(2);
    for (const Row& row : kTolerances)
        for (int d = 0; d < 3; ++d)
            out << "  " << row.name << ", " << kNames[d] << ": at most " << used[static_cast<int>(row.kind)][d]
                << " of the tolerance (" << row.units[d] << " roundings)\n";
    return out.str();
}

}  // namespace driver
