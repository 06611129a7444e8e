// Memory for one call: taken before the time loop, given back when the call ends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace unrolled {

// Between calls one slab of up to 32 MB is kept for the next: fresh pages cost more than the work on
// them. A call that finds the slab taken by another thread, or too small, takes memory of its own.
class Scratch {
  public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    // count elements, aligned to 64 bytes, not initialised; never null. Throws std::bad_alloc.
    template <class T>
    T* take(int64_t count) {
        return static_cast<T*>(bytes(static_cast<size_t>(count) * sizeof(T)));
    }

  private:
    void* bytes(size_t size);
    static constexpr int kMost = 256;
    void* held_[kMost] = {};
    int count_ = 0;
    size_t asked_ = 0;    // bytes, in all
    size_t used_ = 0;     // of the slab
    bool has_slab_ = false;
};

// Asks the system for large pages where `size` bytes at p are many: touching a fresh page of 4 KB costs
// as much as the work on it, and a long sequence touches a hundred thousand.
void prefer_large_pages(void* p, size_t size);

}  // namespace unrolled
