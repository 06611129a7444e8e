// Subnormal results and operands count as zero while this lives: they cost a hundred cycles each.
#pragma once

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace unrolled {
namespace UNROLLED_ISA {

class Flush {
  public:
#if defined(__SSE__)
    Flush() : before(_mm_getcsr()) { _mm_setcsr(before | 0x8040); }
    ~Flush() { _mm_setcsr(before); }

  private:
    unsigned before;
#else
    Flush() {}
    ~Flush() {}
#endif
};

}  // namespace UNROLLED_ISA
}  // namespace unrolled
