#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace driver {
namespace {

size_t page() {
    static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    return size;
}

}  // namespace

Memory::Memory(size_t bytes, bool at_end, size_t shift) {
    pages_ = (bytes + shift + page() - 1) / page() + 3;
    void* map = mmap(nullptr, pages_ * page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) throw std::bad_alloc();
    map_ = static_cast<unsigned char*>(map);
    unsigned char* begin = map_ + page();
    const size_t open = (pages_ - 2) * page();
    if (mprotect(begin, open, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    std::fill_n(reinterpret_cast<uint32_t*>(begin), open / sizeof(uint32_t), kCanary);
    data_ = at_end ? begin + open - bytes - shift : begin + shift;
}

Memory::~Memory() {
    if (map_) munmap(map_, pages_ * page());
}

Memory::Memory(Memory&& other) noexcept { *this = std::move(other); }

Memory& Memory::operator=(Memory&& other) noexcept {
    std::swap(map_, other.map_);
    std::swap(pages_, other.pages_);
    std::swap(data_, other.data_);
    return *this;
}

bool Memory::all_canary() const {
    const auto* begin = reinterpret_cast<const uint32_t*>(map_ + page());
    const size_t words = (pages_ - 2) * page() / sizeof(uint32_t);
    return std::all_of(begin, begin + words, [](uint32_t word) { return word == kCanary; });
}

}  // namespace driver
