// The register tiles that every matrix product of the engine is made of.
//
// A tile holds R rows x N vectors of accumulators in registers and runs over the whole of K. Each
// accumulator is one chain of multiply-adds in rising k: the canonical order. `O` is the type of the
// operands (operand.h), `K` counts their words, and sums are numbers of the vector `V`.
#pragma once

#include <cstdint>

namespace unrolled {
namespace UNROLLED_ISA {

enum class Start { zero, bias, stored };  // what a chain begins with

// How many rows a tile of n vectors has at most: the accumulators must stay in registers.
template <class V>
constexpr int tile_rows(int n) {
    return V::registers / n < 8 ? V::registers / n : 8;
}

// GCC takes a function that only prefetches for one without effects and leaves its calls out, unless it has become
// part of its caller before.
#define UNROLLED_PREFETCHES inline __attribute__((always_inline))

// `count` numbers from a row that is read soon.
template <class S>
UNROLLED_PREFETCHES void prefetch_row(const S* row, int64_t count) {
    constexpr int64_t kLine = 64 / sizeof(S);
    for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(row + i);
}

// What a tile will add to or continue, fetched while other work goes on.
template <class S>
UNROLLED_PREFETCHES void prefetch(const S* const* c, int64_t rows, int64_t at, int64_t cols) {
    constexpr int64_t kLine = 64 / sizeof(S);
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < cols; i += kLine) __builtin_prefetch(c[r] + at + i, 1);
}

template <class V, int R, int N>
inline void put(const V (&acc)[R][N], typename V::Scalar* const* c, int64_t at, int cols) {
    constexpr int L = V::lanes;
    if (cols == N * L) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) acc[r][n].store(c[r] + at + n * L);
        return;
    }
    for (int n = 0; n < N; ++n) {
        const int left = cols - n * L < L ? cols - n * L : L;
        for (int r = 0; r < R && left > 0; ++r) acc[r][n].store(c[r] + at + n * L, left);
    }
}

template <class V, int R, int N>
inline void get(V (&acc)[R][N], typename V::Scalar* const* c, int64_t at, int cols) {
    constexpr int L = V::lanes;
    for (int n = 0; n < N; ++n) {
        const int left = cols - n * L < L ? cols - n * L : L;
        for (int r = 0; r < R; ++r) acc[r][n] = left > 0 ? V::load(c[r] + at + n * L, left) : V::zero();
    }
}

// What is prefetched during a product, since it may lie in a far cache: two vectors for each k, and then `step`
// numbers further on.
struct Ahead {
    const void* from;
    int64_t step;  // bytes
};

// acc[r][first + ·] += Σ_k a[r][from + k] · w[k][·]; w is packed [K][N · lanes].
template <class V, class O, int R, int N, int first = 0, int M>
inline void chains(V (&acc)[R][M], const typename O::Word* const* a, int64_t from, int64_t K,
                   const typename O::Word* w, Ahead ahead) {
    constexpr int L = V::lanes;
    const typename O::Word* row[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) row[r] = a[r] + from;
    const char* next = static_cast<const char*>(ahead.from);
    for (int64_t k = 0; k < K; ++k, w += N * L, next += ahead.step) {
        typename O::Vector column[N];
        if (R >= 3) {  // fewer rows wait for their own panel anyway
            __builtin_prefetch(next, 0, 2);
            __builtin_prefetch(next + L * sizeof(*w), 0, 2);
        }
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) column[n] = O::load(w + n * L);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const typename O::Vector s = O::all(row[r][k]);
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) acc[r][first + n] = O::dot(s, column[n], acc[r][first + n]);
        }
    }
}

// c[r][at .. at + cols) = start + Σ_k a[r][from + k] · w[k][·].
template <class V, class O, int R, int N>
void tile(const typename O::Word* const* a, int64_t from, int64_t K, const typename O::Word* w,
          Ahead next, Start start, const typename V::Scalar* bias,
          typename V::Scalar* const* c, int64_t at, int cols) {
    constexpr int L = V::lanes;
    V acc[R][N];
    if (start == Start::stored && cols < N * L) {
        get<V, R, N>(acc, c, at, cols);
    } else if (start == Start::stored) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) acc[r][n] = V::load(c[r] + at + n * L);
    } else {
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) {
            const V first = start == Start::bias ? V::load(bias + n * L) : V::zero();
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) acc[r][n] = first;
        }
    }
    chains<V, O, R, N>(acc, a, from, K, w, next);
    put<V, R, N>(acc, c, at, cols);
}

// Operands of two chains in turn: those of x and its weights, then those of h.
template <class Word>
struct Factor {
    const Word* const* rows;
    int64_t K;
    const Word* w;  // a packed panel
    Ahead next;
};

// sums [R][(N + first) · lanes]: the bias, then x's products, then h's, each sum one chain that never leaves its
// register. h's panel begins `first` vectors further on than x's; where they do not overlap chains begin with
// `second`.
template <class V, class O, int R, int N, int first>
void both_products(const Factor<typename O::Word>& x, const Factor<typename O::Word>& h,
                   const typename V::Scalar* bias, const typename V::Scalar* second, typename V::Scalar* sums) {
    constexpr int L = V::lanes, M = N + first;
    V acc[R][M];
#pragma GCC unroll 8
    for (int n = 0; n < M; ++n) {
        const V start = n < N ? V::load(bias + n * L) : V::load(second + (n - N) * L);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) acc[r][n] = start;
    }
    chains<V, O, R, N>(acc, x.rows, 0, x.K, x.w, x.next);
    chains<V, O, R, N, first>(acc, h.rows, 0, h.K, h.w, h.next);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int n = 0; n < M; ++n) acc[r][n].store(sums + (r * M + n) * L);
}

// c[r][at .. at + cols) += Σ_m a[m][from + r] · b[m][·]; b is packed [M][N · lanes]. What will be wanted next of
// the same rows, at a[m][next], is prefetched. The sum over m is made apart and added at the end: long sums
// stay accurate.
template <class V, class O, int R, int N>
void outer(const typename O::Word* const* a, int64_t from, int64_t next, int64_t M, const typename O::Word* b,
           typename V::Scalar* const* c, int64_t at, int cols) {
    constexpr int L = V::lanes;
    prefetch(c, R, at, cols);
    V acc[R][N];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) acc[r][n] = V::zero();
    for (int64_t m = 0; m < M; ++m, b += N * L) {
        typename O::Vector column[N];
        const typename O::Word* const row = a[m] + from;
        __builtin_prefetch(a[m] + next, 0, 2);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) column[n] = O::load(b + n * L);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const typename O::Vector s = O::all(row[r]);
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) acc[r][n] = O::dot(s, column[n], acc[r][n]);
        }
    }
    for (int n = 0; n < N; ++n) {
        const int left = cols - n * L < L ? cols - n * L : L;
        for (int r = 0; r < R && left > 0; ++r) {
            typename V::Scalar* to = c[r] + at + n * L;
            if (left == L) (acc[r][n] + V::load(to)).store(to);
            else (acc[r][n] + V::load(to, left)).store(to, left);
        }
    }
}

// The same with the sizes of the tile known at run time. `Which<R, N>::run(args...)` is instantiated
// for every size that fits the registers.
template <class V, class O, template <class, class, int, int> class Which, int N, class... Args>
inline void with_rows(int rows, Args... args) {
    constexpr int most = tile_rows<V>(N);
    switch (rows) {
        case 1: return Which<V, O, 1, N>::run(args...);
        case 2: return Which<V, O, most < 2 ? most : 2, N>::run(args...);
        case 3: return Which<V, O, most < 3 ? most : 3, N>::run(args...);
        case 4: return Which<V, O, most < 4 ? most : 4, N>::run(args...);
        case 5: return Which<V, O, most < 5 ? most : 5, N>::run(args...);
        case 6: return Which<V, O, most < 6 ? most : 6, N>::run(args...);
        case 7: return Which<V, O, most < 7 ? most : 7, N>::run(args...);
        default: return Which<V, O, most, N>::run(args...);
    }
}

template <class V, class O, template <class, class, int, int> class Which, class... Args>
inline void with_size(int rows, int vectors, Args... args) {
    switch (vectors) {
        case 1: return with_rows<V, O, Which, 1>(rows, args...);
        case 2: return with_rows<V, O, Which, 2>(rows, args...);
        case 3: return with_rows<V, O, Which, 3>(rows, args...);
        default: return with_rows<V, O, Which, 4>(rows, args...);
    }
}

template <class V, class O, int R, int N>
struct Tile {
    template <class... Args>
    static void run(Args... args) { tile<V, O, R, N>(args...); }
};

template <int first>
struct Both {
    template <class V, class O, int R, int N>
    struct Tile {
        template <class... Args>
        static void run(Args... args) {
            if constexpr (R * (N + first) <= V::registers) both_products<V, O, R, N, first>(args...);
        }
    };
};

template <class V, class O, int R, int N>
struct Outer {
    template <class... Args>
    static void run(Args... args) { outer<V, O, R, N>(args...); }
};

// A panel of packed weights: `vectors` vectors wide, K words deep.
template <class Word>
struct Panel {
    const Word* w;
    int64_t K;
    int vectors;
};

constexpr int64_t kDeep = 768;  // words of a row that a tile goes through at once

// Half of the panel that follows one of K words and some vectors; two tiles take one half each.
template <class V, class Word>
inline Ahead panel_after(const Word* w, int64_t K, int vectors, int64_t tile) {
    constexpr int64_t L = V::lanes;
    return {w + K * (vectors + 2 * (tile & 1)) * L, 2 * L * static_cast<int64_t>(sizeof(Word))};
}

// Rows that are read or written after each tile, one more than there are, `bytes` apart as a rule: those of the next
// tile are fetched during a tile of K words.
struct Following {
    const void* const* rows = nullptr;  // null: none
    int64_t bytes = 0;
    Ahead of(int64_t row, int64_t count, int64_t K) const { return {rows[row], (count * bytes + K - 1) / K}; }
};

// One panel against rows a[0 .. rows), in tiles of about equal size; after(begin, end) follows each
// tile while its results are in the nearest cache. Deep panels are gone through in parts, so that the
// rows of a tile stay there too; a chain that was stored continues, with the same bits.
template <class V, class O, class After>
inline void through_rows(Panel<typename O::Word> panel, const typename O::Word* const* a, int64_t rows,
                         Start start, const typename V::Scalar* bias, typename V::Scalar* const* c,
                         int64_t at, int cols, After after, Following following = {}) {
    const int64_t most = tile_rows<V>(panel.vectors), parts = (panel.K + kDeep - 1) / kDeep;
    const int64_t tiles = (rows + most - 1) / most;
    for (int64_t part = 0; part < parts; ++part) {
        const int64_t from = panel.K * part / parts, K = panel.K * (part + 1) / parts - from;
        const typename O::Word* w = panel.w + from * panel.vectors * V::lanes;
        int64_t begin = 0;
        for (int64_t i = 1; i <= tiles; ++i) {
            const int64_t end = rows * i / tiles;
            if (i < tiles) prefetch(c + end, rows * (i + 1) / tiles - end, at, cols);
            const Ahead next = following.rows != nullptr ? following.of(end, most, K)
                                                         : panel_after<V>(w, K, panel.vectors, i);
            with_size<V, O, Tile>(static_cast<int>(end - begin), panel.vectors, a + begin, from, K, w, next,
                               part == 0 ? start : Start::stored, bias, c + begin, at, cols);
            if (part == parts - 1) after(begin, end);
            begin = end;
        }
    }
}

}  // namespace UNROLLED_ISA
}  // namespace unrolled
