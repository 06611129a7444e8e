// A check that fails ends its case: main prints one line with the case's seed and goes on to the next.
#pragma once

#include <stdexcept>
#include <string>

namespace driver {

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// What is being tested, in one line; kept where a signal handler can read it.
void now_testing(const std::string& line);
const char* under_test();

inline void check(bool holds, const std::string& otherwise) {
    if (!holds) throw Failure(otherwise);
}

// For what is checked millions of times: the message is put together only on failure.
#define CHECK(holds, otherwise)                                  \
    do {                                                         \
        if (!(holds)) throw ::driver::Failure(otherwise);        \
    } while (false)

}  // namespace driver
