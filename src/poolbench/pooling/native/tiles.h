// Planes of NCHW that windows of 2x2 tile: each number is read once, straight from the map, and each gradient written once.
// Those in float64 are copied, as for any window.
#pragma once

#include "slide.h"

// The four values of a vector of windows.
template <class A> struct Tile {
    static constexpr int known = 4, most = 4, count = 4;
    Vec<A> value[4];

    INLINE Vec<A> operator[](int t) const { return value[t]; }
    INLINE int place(int t) const { return t; }
    template <class F> INLINE void each(F f) const { times<4>(count, f); }
    INLINE Mask<A> first() const { return Mask<A>{}; }
    INLINE void settle(Mask<A>&) const {}
    INLINE Mask<A> padded() const { return Mask<A>{}; }
    INLINE Mask<A> inside(int) const { return number<A>(-1); }
};

// The first n of two vectors that follow one another.
template <class A, class In> INLINE void load_pair(const In* from, i64 n, Vec<A>& low, Vec<A>& high) {
    constexpr int L = Lanes<A>::count;
    low = load<A>(from, n);
    high = n > L ? load<A>(from + L, n - L) : Vec<A>{};
}
template <class A, class Out> INLINE void write_pair(Out* to, Vec<A> low, Vec<A> high, i64 n, bool past) {
    constexpr int L = Lanes<A>::count;
    write<A>(to, low, n, past);
    if (n > L) write<A>(to + L, high, n - L, past);
}

template <class A, class In> INLINE Tile<A> tile(const In* from, i64 below, i64 n) {
    constexpr int L = Lanes<A>::count;
    Vec<A> a, b, c, d;
    load_pair<A>(from, 2 * n, a, b);
    load_pair<A>(from + below, 2 * n, c, d);
    for (const In* soon : {from + AHEAD, from + AHEAD + below}) {
        __builtin_prefetch(soon);
        __builtin_prefetch(soon + L);
    }
    return {evens(a, b), odds(a, b), evens(c, d), odds(c, d)};
}

// f(row, column, number) for vectors of the windows of a plane.
template <class A, class F> INLINE void each_tile(const Window& k, F f) {
    constexpr int L = Lanes<A>::count;
    const i64 tall = k.oh, wide = k.ow;
    for (i64 i = 0; i < tall; i++) {
        i64 j = 0;
        for (; j + L <= wide; j += L) f(i, j, L);
        if (j < wide) f(i, j, wide - j);
    }
}

template <class Op, class A, class Out>
void forward_tiles(const Task& task, const Members<A>& members, const Out* x, Out* y, u8* position, i64 begin, i64 end) {
    const Window& k = task.window;
    const i64 pixels = task.maps.h * task.maps.w, width = task.maps.w, wide = k.ow, results = k.oh * wide;
    const Vec<A> each = splat<A>(members.each(0, 0));
    const Chance chance = task.chance;
    for (i64 plane = begin; plane < end; plane++) {
        const Out* from = x + plane * pixels;
        Op::typed(task.of<A>(plane / task.maps.c), [&](const auto& options) INLINED {
            each_tile<A>(k, [&](i64 i, i64 j, i64 n) INLINED {
                const i64 place = plane * results + i * wide + j;
                const Tile<A> values = tile<A>(from + 2 * (i * width + j), width, n);
                Vec<A> result, uniform{};
                Mask<A> found{};
                if constexpr (Op::draws) uniform = chance.at<A>(place, n);
                if constexpr (Op::tosses) uniform = chance.coin<A, true>(plane, n);
                Op::template forward<A>(options, values, each, uniform, result, found);
                store<A>(y + place, result, n);
                if (Op::keeps && position) store<A>(position + place, found, n);
            });
        });
    }
}

template <class Op, class A, class Out>
void backward_tiles(const Task& task, const Members<A>& members, const Out* x, const Out* g, const u8* position, Out* to,
    i64 begin, i64 end) {
    const Window& k = task.window;
    const Maps& m = task.maps;
    const i64 width = m.w, wide = k.ow, results = k.oh * wide;
    const bool past = streams<A>(to, m.numbers(), width, Order::in_turn);
    const Vec<A> each = splat<A>(members.each(0, 0));
    for (i64 plane = begin; plane < end; plane++) {
        const i64 start = plane * m.h * width;
        Op::typed(task.of<A>(plane / m.c), [&](const auto& options) INLINED {
            each_tile<A>(k, [&](i64 i, i64 j, i64 n) INLINED {
                const i64 place = plane * results + i * wide + j, origin = start + 2 * (i * width + j);
                Tile<A> values, parts;
                Mask<A> found{};
                if constexpr (Op::looks) values = tile<A>(x + origin, width, n);
                if constexpr (Op::keeps) found = load<A>(position + place, n);
                __builtin_prefetch(g + place + AHEAD);
                Op::template backward<A>(options, values, each, load<A>(g + place, n), found,
                    [&](int t, Vec<A> part) INLINED { parts.value[t] = part; });
                UNROLLED for (int r = 0; r < 2; r++) {
                    const Vec<A> even = parts.value[2 * r], odd = parts.value[2 * r + 1];
                    write_pair<A>(to + origin + r * width, zip_low(even, odd), zip_high(even, odd), 2 * n, past);
                }
            });
        });
        for (i64 y = 0; y < m.h; y++)  // what lies in no window
            for (i64 column = y < 2 * k.oh ? 2 * wide : 0; column < width; column++) to[start + y * width + column] = Out{};
    }
    if (past) settled();
}
