// The sizes of this machine's data caches. Blocks, panels and the way in which threads share work follow
// them; what decides bits does not.
#pragma once

#include <cstdint>

namespace unrolled {

struct Caches {
    int64_t first = 32 << 10;    // bytes that one core has
    int64_t second = 512 << 10;  // of a cache that several cores share: one core's part
    int64_t third = 0;           // of the whole; 0: none
    bool read = false;           // false: the system does not say, and these are small guesses
};

// Read once, from the system; the first call may come from any thread.
const Caches& caches();

// From a folder such as /sys/devices/system/cpu/cpu0/cache. What is missing or makes no sense keeps its guess.
Caches read_caches(const char* folder);

}  // namespace unrolled
