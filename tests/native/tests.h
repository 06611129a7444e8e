// What main runs. Each throws a Failure where a check fails.
#pragma once

#include <string>
#include <vector>

#include "cases.h"

namespace driver {

// The naive backward against finite differences of the naive forward.
void test_naive(uint64_t seed);

// Every instruction set against the naive double: outputs and all gradients.
void test_layer(const Case& one, const std::vector<Isa>& isas);

// Laws that hold bit for bit: thread counts, batch composition, cuts of time, padding, resets, repetition.
void test_bits(const Case& one, const std::vector<Isa>& isas);

// exp, sigmoid and tanh against the C library. `sweep`: over every float there is.
std::string test_activations(const std::vector<Isa>& isas, bool sweep);

// What the entry must refuse before it forms a pointer.
void test_validate(const std::vector<Isa>& isas);

void test_pool();

// What is read of a machine's caches, from folders such as Linux has.
void test_caches();

// Networks that run step by step, drawn from a seed; what they refuse, and what threads and forks do to them.
void test_stream(uint64_t seed, const std::vector<Isa>& isas);
void test_stream_errors(const std::vector<Isa>& isas);

}  // namespace driver
