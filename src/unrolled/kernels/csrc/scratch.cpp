#include "scratch.h"

#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace unrolled {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kLargePage = size_t{2} << 20;
constexpr size_t kMostKept = size_t{32} << 20;

std::atomic<bool> slab_taken{false};
char* slab = nullptr;   // these three belong to whoever has set slab_taken
size_t slab_size = 0;
size_t slab_wanted = 0;  // what the last call would have needed

}  // namespace

Scratch::Scratch() {
    has_slab_ = !slab_taken.exchange(true, std::memory_order_acquire);
    if (!has_slab_ || slab_wanted <= slab_size) return;
    std::free(slab);
    slab = static_cast<char*>(std::aligned_alloc(kAlignment, slab_wanted));
    slab_size = slab != nullptr ? slab_wanted : 0;
    prefer_large_pages(slab, slab_size);
}

Scratch::~Scratch() {
    for (int i = 0; i < count_; ++i) std::free(held_[i]);
    if (!has_slab_) return;
    if (asked_ > slab_wanted && asked_ <= kMostKept) slab_wanted = asked_;
    slab_taken.store(false, std::memory_order_release);
}

void* Scratch::bytes(size_t size) {
    if (size > SIZE_MAX / 4) throw std::bad_alloc();
    // A line more than asked for: what follows is never on the last line of this.
    size = (size + 2 * kAlignment - 1) / kAlignment * kAlignment;
    asked_ += size;
    if (has_slab_ && slab_size - used_ >= size) {
        used_ += size;
        return slab + used_ - size;
    }
    if (count_ == kMost) throw std::bad_alloc();
    void* p = std::aligned_alloc(kAlignment, size);
    if (p == nullptr) throw std::bad_alloc();
    return held_[count_++] = p;
}

void prefer_large_pages(void* p, size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(p) + kLargePage - 1) / kLargePage * kLargePage;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(p) + size) / kLargePage * kLargePage;
    if (p == nullptr || end < begin + 2 * kLargePage) return;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a wish; refusal is no matter
#else
    (void)p, (void)size;
#endif
}

}  // namespace unrolled
