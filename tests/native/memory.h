// Memory between walls: a page that nobody may touch lies right before and right behind it, so that a
// read too far is a fault, and every byte that is not yet written is a NaN that gives itself away.
#pragma once

#include <cstddef>
#include <cstdint>

namespace driver {

constexpr uint32_t kCanary = 0x7FF8DEADu;  // a quiet NaN as float, and as double when repeated

class Memory {
  public:
    Memory() = default;
    // `bytes` of it, up to `shift` bytes from the far wall or else from the near one.
    Memory(size_t bytes, bool at_end, size_t shift);
    ~Memory();
    Memory(Memory&& other) noexcept;
    Memory& operator=(Memory&& other) noexcept;

    unsigned char* data() const { return data_; }
    bool all_canary() const;

  private:
    unsigned char* map_ = nullptr;
    size_t pages_ = 0;  // with the walls
    unsigned char* data_ = nullptr;
};

}  // namespace driver
