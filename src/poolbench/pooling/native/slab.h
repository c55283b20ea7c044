// Maps as slabs: pixels of some channels side by side, whatever the layout and the number format. In NCHW so many planes
// as a vector has lanes are transposed; in channels_last a picture is its own slab, or channels of it are copied.
#pragma once

#include <vector>

#include "slide.h"

// The lower halves of each 16 bytes of two vectors, numbers of one and the other in turn; and the upper ones.
template <int from, int width, class V> INLINE V woven(V a, V b) {
    return shuffled(a, b, [](int i, int lanes) {
        constexpr int E = 16 / sizeof(a[0]);
        return i / E * E + from * E / 2 + i % E / (2 * width) * width + i % width + i / width % 2 * lanes;
    });
}
// Every second 16 bytes of two vectors that follow one another.
template <int from, class V> INLINE V every_second(V a, V b) {
    return shuffled(a, b, [](int i, int) {
        constexpr int E = 16 / sizeof(a[0]);
        return (i / E * 2 + from) * E + i % E;
    });
}
// Rows and columns of a square of L x L change places: within each 16 bytes, which processors shuffle fastest, then these.
template <class A> INLINE void transpose(Vec<A>* square) {
    constexpr int L = Lanes<A>::count, E = 16 / sizeof(A);
    Vec<A> other[L];
    auto weave = [&]<int width>() INLINED {
        UNROLLED for (int i = 0; i < L; i += 2 * width)
            UNROLLED for (int t = 0; t < width; t++) {
                other[i + 2 * t] = woven<0, width>(square[i + t], square[i + t + width]);
                other[i + 2 * t + 1] = woven<1, width>(square[i + t], square[i + t + width]);
            }
        UNROLLED for (int i = 0; i < L; i++) square[i] = other[i];
    };
    weave.template operator()<1>();
    if constexpr (E == 4) weave.template operator()<2>();
    UNROLLED for (int round = E; round < L; round *= 2) {
        UNROLLED for (int i = 0; i < L / 2; i++) {
            const int first = i / E * 2 * E + i % E;
            other[i] = every_second<0>(square[first], square[first + E]);
            other[L / 2 + i] = every_second<1>(square[first], square[first + E]);
        }
        UNROLLED for (int i = 0; i < L; i++) square[i] = other[i];
    }
}

// How the channels of maps are cut into slabs. Alike: numbers are computed as they are kept.
template <class A> struct Cut {
    static constexpr int L = Lanes<A>::count;
    static constexpr i64 CACHED = 1 << 17;  // bytes of a slab that is a copy
    i64 n, c, size, lanes, parts;
    bool last, whole;

    Cut(const Maps& m, i64 threads, bool alike) : n(m.n), c(m.c), size(m.h * m.w), last(m.last) {
        whole = last && alike && n >= threads;
        i64 fit = std::max<i64>(1, CACHED / i64(sizeof(A)) / size / L) * L;
        lanes = !last ? L : whole ? c : std::min(fit, c);
        parts = last ? (c + lanes - 1) / lanes : 1;
    }
    i64 count() const { return last ? n * parts : (n * c + lanes - 1) / lanes; }
    // Numbers that a copy takes: whole squares are written.
    i64 room_of(i64 pixels) const { return whole ? 0 : (pixels + L) * lanes; }
};

template <class A, class Out> struct Slabs : Cut<A> {
    using Cut<A>::L, Cut<A>::n, Cut<A>::c, Cut<A>::size, Cut<A>::lanes, Cut<A>::parts, Cut<A>::last, Cut<A>::whole;

    Slabs(const Maps& m, i64 threads) : Cut<A>(m, threads, std::is_same_v<A, Out>) {}

    // A slab of a map of so many pixels: the map itself, or a copy in `room`.
    const A* take(i64 slab, const Out* from, i64 pixels, A* room) const {
        take(slab, from, pixels, room, pixels, 0, pixels);
        return target(slab, (Out*)from, pixels, room);
    }
    // Copies pixels from `at` on until so many are there, or more, and tells how many. The room is for `held` of them: a
    // pixel takes the place of one so many before.
    i64 take(i64 slab, const Out* from, i64 pixels, A* room, i64 held, i64 at, i64 until) const {
        if (whole) return pixels;
        if (last) {
            i64 first = slab % parts * lanes;
            from += slab / parts * pixels * c + first;
            for (; at < until; at++)
                for (i64 lane = 0; lane < std::min(lanes, c - first); lane += L)
                    store<A>(room + at % held * lanes + lane, load<A>(from + at * c + lane, c - first - lane), lanes - lane);
            return at;
        }
        i64 planes = std::min<i64>(L, n * c - slab * L);
        from += slab * L * pixels;
        i64 place = at < held ? at : at % held;
        auto block = [&](i64 at, auto full) INLINED {
            Vec<A> square[L];
            UNROLLED for (int i = 0; i < L; i++) {
                __builtin_prefetch(from + (L + i) * pixels + at, 0, 2);  // of the next slab
                if constexpr (full)
                    square[i] = load<A>(from + i * pixels + at);
                else
                    square[i] = i < planes ? load<A>(from + i * pixels + at, pixels - at) : Vec<A>{};
            }
            transpose<A>(square);
            UNROLLED for (int i = 0; i < L; i++) store<A>(room + (place + i) * L, square[i], L);
            place += L;
            if (place == held) place = 0;
        };
        for (; at < until && planes == L && at + L <= pixels; at += L) block(at, std::true_type{});
        for (; at < until; at += L) block(at, std::false_type{});
        return at;
    }
    // Where a slab is to be written, and, if that is not the map itself, the copy that `give` makes of it.
    A* target(i64 slab, Out* to, i64 pixels, A* room) const { return whole ? (A*)to + slab * pixels * c : room; }
    void give(i64 slab, Out* to, i64 pixels, const A* room) const { give(slab, to, pixels, room, pixels, 0, pixels); }
    // Gives pixels from `at` on, of which there are so many, and tells until where: to the last one, or less.
    i64 give(i64 slab, Out* to, i64 pixels, const A* room, i64 held, i64 at, i64 until) const {
        if (whole) return pixels;
        if (last) {
            i64 first = slab % parts * lanes;
            to += slab / parts * pixels * c + first;
            for (; at < until; at++)
                for (i64 lane = 0; lane < std::min(lanes, c - first); lane += L)
                    store<A>(to + at * c + lane, load<A>(room + at % held * lanes + lane), std::min(lanes, c - first) - lane);
            return at;
        }
        i64 planes = std::min<i64>(L, n * c - slab * L);
        const bool past = ::streams<A>(to, n * c * size, pixels, Order::in_turn);
        to += slab * L * pixels;
        i64 place = at < held ? at : at % held;
        auto block = [&](i64 at, auto full) INLINED {
            Vec<A> square[L];
            UNROLLED for (int i = 0; i < L; i++) square[i] = load<A>(room + (place + i) * L);
            place += L;
            if (place == held) place = 0;
            transpose<A>(square);
            UNROLLED for (int i = 0; i < L; i++)
                if (full || i < planes) write<A>(to + i * pixels + at, square[i], full ? L : pixels - at, past);
        };
        for (; planes == L && at + L <= until; at += L) block(at, std::true_type{});
        for (; at < until && (until == pixels || at + L <= until); at += L) block(at, std::false_type{});
        if (past && until == pixels) settled();
        return at;
    }
    // Whether what comes out is written past the caches.
    bool streams(const Out* to) const { return whole && ::streams<A>(to, n * c * size, c, Order::any); }
};
