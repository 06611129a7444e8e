// Validation of arguments: each check writes the first complaint it has, and is silent after it.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include "engine.h"

namespace unrolled {

// No address space is larger, so what lies beyond cannot exist; and the kernels may add up and multiply
// out a few sizes that passed here without a thought for overflow.
constexpr int64_t most_bytes = int64_t{1} << 57;

enum class Need { required, optional, unused };

class Validation {
  public:
    // The line that the caller gets, or null. It stays until the thread's next complaint.
    const char* complaint = nullptr;

    // For the sizes that complaints name; `element` in bytes.
    Validation(int64_t T, int64_t B, int64_t I, int64_t H, int64_t element)
        : T(T), B(B), I(I), H(H), element(element) {}

    void refuse(const char* format, ...) __attribute__((format(printf, 2, 3))) {
        static thread_local char line[256];
        if (complaint) return;
        va_list values;
        va_start(values, format);
        std::vsnprintf(line, sizeof line, format, values);
        va_end(values);
        complaint = line;
    }

    void within(const char* name, int64_t value, int64_t low, int64_t high) {
        if (value < low || value > high)
            refuse("%s: expected %lld to %lld, got %lld", name, (long long)low, (long long)high,
                   (long long)value);
    }

    // Sizes, each at least 0, whose product is the extent of something that must be able to exist.
    void bytes(const char* what, std::initializer_list<int64_t> sizes) {
        int64_t product = element;
        for (int64_t size : sizes)
            if (size == 0) return;
        for (int64_t size : sizes)
            if (__builtin_mul_overflow(product, size, &product) || product > most_bytes)
                return refuse("%s: expected at most 2^57 bytes, got T %lld, B %lld, I %lld, H %lld", what,
                              (long long)T, (long long)B, (long long)I, (long long)H);
    }

    void address(const char* name, const void* data, Need need, int64_t alignment) {
        if (!data && need == Need::required) refuse("%s: expected an address, got null", name);
        if (data && need == Need::unused) refuse("%s: expected null for this cell, got an address", name);
        if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(alignment) != 0)
            refuse("%s: expected an address divisible by %d, got %p", name, (int)alignment, data);
    }
    void address(const char* name, const void* data, Need need) { address(name, data, need, element); }

    // The strides of a tensor [T, B, width] with T * B > 0.
    template <class Element>
    void strides(const char* name, const Strided<Element>& a, int64_t width) {
        const int64_t reach = span(T, a.t, span(B, a.b, width));
        if (reach < 0 || reach > most_bytes / bytes_of<Element>())
            refuse("%s: expected strides within 2^57 bytes, got %lld and %lld", name, (long long)a.t,
                   (long long)a.b);
    }

    // The stride b of `count` > 0 rows of a width; those of an output must not overlap.
    template <class Element>
    void rows(const char* name, const Strided<Element>& a, int64_t count, int64_t width) {
        const int64_t reach = span(count, a.b, width);
        const bool overlap = !std::is_const<Element>::value && count > 1 && a.b > -width && a.b < width;
        if (reach < 0 || reach > most_bytes / bytes_of<Element>() || overlap)
            refuse("%s: expected a stride that keeps rows apart, within 2^57 bytes, got %lld", name, (long long)a.b);
    }

    // The same for an output, whose rows must not overlap each other: threads write them.
    void output_strides(const char* name, const Strided<void>& a, int64_t width) {
        strides(name, a, width);
        if (complaint) return;
        std::pair<int64_t, int64_t> axes[] = {{a.t < 0 ? -a.t : a.t, T}, {a.b < 0 ? -a.b : a.b, B}};
        if (axes[0] > axes[1]) std::swap(axes[0], axes[1]);
        for (const auto& [stride, count] : axes) {
            if (count > 1 && stride < width)
                refuse("%s: expected strides that keep rows apart, got %lld and %lld", name, (long long)a.t,
                       (long long)a.b);
            width = span(count, stride, width);
        }
    }

  private:
    const int64_t T, B, I, H, element;

    template <class Element>
    int64_t bytes_of() const {
        if constexpr (std::is_void<Element>::value) return element;
        else return sizeof(Element);
    }

    // How far `count` rows reach that lie `stride` elements apart, the last one `row` long; -1: too far.
    static int64_t span(int64_t count, int64_t stride, int64_t row) {
        int64_t reach;
        if (row < 0 || stride == INT64_MIN) return -1;
        if (__builtin_mul_overflow(count - 1, stride < 0 ? -stride : stride, &reach)) return -1;
        if (__builtin_add_overflow(reach, row, &reach)) return -1;
        return reach;
    }
};

}  // namespace unrolled
