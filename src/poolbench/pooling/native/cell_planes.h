// Cells of planes of NCHW, none of them wide: the maxima along the rows first, then those of rows. Where each was found is
// kept plane by plane.
#pragma once

#include "cells.h"
#include "picks.h"

template <class A, class Out> struct CellPlanes {
    static constexpr int L = Lanes<A>::count;
    static constexpr double NOWHERE = -1000;  // no position, whatever the row
    const Cells& task;
    const i64 h = task.maps.h, w = task.maps.w, oh = task.rows.size(), ow = task.columns.size(), count = oh * ow;
    const i64 wide = task.widest(), bytes = task.bytes_of(count);
    const std::vector<Picks<A>> columns{Picks<A>::all(inside(task.columns), 0, [](auto& links, size_t count) {
        links.resize(count, links.back());
    })};
    const std::vector<Picks<A>> columns_back{Picks<A>::all(around(task.columns, w), NOWHERE, [](auto& links, size_t count) {
        links.resize(count, {links.back().from, NOWHERE});
    })};
    const Aligned<A> maxima{room<A>(h * L)}, found{room<A>(h * L)};
    // Whether a block of places is written when it is done: its lines of the cache are whole ones.
    const bool lines = w * sizeof(Out) % LINE == 0 && Picks<A>::stream(columns_back);
    const i64 pitch = lines ? L : (w + L - 1) / L * L;
    const Aligned<A> sums{room<A>(h * pitch)};
    const Aligned<u8> places{room<u8>(2 * bytes + L)};  // an odd one beyond the last stays 0

    explicit CellPlanes(const Cells& task) : task(task) {}
    // Of each cell of an axis its places, and which one each is; of each place the cells.
    static Linked inside(const Edges& axis) {
        Linked made(axis.size());
        for (size_t i = 0; i < axis.size(); i++)
            for (i64 place = axis[i].first; place <= axis[i].second; place++)
                made[i].push_back({place, double(place - axis[i].first)});
        return made;
    }
    static Linked around(const Edges& axis, i64 size) {
        Linked made(size);
        for (size_t i = 0; i < axis.size(); i++)
            for (i64 place = axis[i].first; place <= axis[i].second; place++)
                made[place].push_back({i64(i), double(place - axis[i].first)});
        return made;
    }
    void forward(const Out* x, Out* y, u8* position) const {
        if (!find<false>(x, y)) find<true>(x, y);
        if (position) pack(position);
    }
    // Whether that is all, or there are numbers that only `Any` compares.
    template <bool Any> bool find(const Out* x, Out* y) const {
        bool sound = true;
        for (const auto& block : columns)
            by_links(block, [&](auto count) INLINED {
                const Chosen<A, decltype(count)::value> chosen(block);
                sound &= find<Any>(block, chosen, x + block.from, y + block.first);
            });
        return Any || sound;
    }
    template <bool Any, int N> INLINE bool find(const Picks<A>& block, const Chosen<A, N>& chosen, const Out* x, Out* y) const {
        auto compare = [](Vec<A> v, Vec<A> place, Vec<A>& largest, Vec<A>& found) INLINED {
            auto wins = v > largest;
            if constexpr (Any) wins |= v != v;
            largest = wins ? v : largest;
            found = wins ? place : found;
        };
        const i64 height = h, width = w, reach = block.width, number = block.number, across = ow;
        const bool ahead = block.first == 0;
        A *largest_of = maxima.get(), *found_of = found.get();
        Mask<A> odd{};
        for (i64 row = 0; row < height; row++, x += width, largest_of += L, found_of += L) {
            const Vec<A> low = load<A>(x, reach), high = reach > L ? load<A>(x + L, reach - L) : low;
            odd |= (low != low) | (high != high);
            if (ahead)
                for (i64 at = 0; at < width; at += LINE / i64(sizeof(Out))) __builtin_prefetch(x + at + AHEAD);
            Vec<A> largest = picked(low, high, chosen.picks[0]), place = chosen.values[0];
            chosen.template each<1>(low, high, [&](Vec<A> which, Vec<A> v) INLINED { compare(v, which, largest, place); });
            store<A>(largest_of, largest, L);
            store<A>(found_of, place, L);
        }
        u8* to = places.get() + block.first;
        for (const auto [top, bottom] : task.rows) {
            largest_of = maxima.get() + top * L;
            found_of = found.get() + top * L;
            Vec<A> largest = load<A>(largest_of), place = load<A>(found_of);
            for (i64 row = 1; row <= bottom - top; row++)
                compare(load<A>(largest_of + row * L), load<A>(found_of + row * L) + A(row * wide), largest, place);
            store<A>(y, largest, number);
            store<A>(to, __builtin_convertvector(place, Mask<A>), number);
            y += across;
            to += across;
        }
        return !any(odd);
    }
    template <class F> INLINE static void by_links(const Picks<A>& block, F f) {
        if constexpr (std::is_same_v<A, float>) {
            if (block.count == 2) return f(std::integral_constant<int, 2>{});
            if (block.count == 3) return f(std::integral_constant<int, 3>{});
        }
        f(std::integral_constant<int, 0>{});
    }
    // Row by row of cells: what each gives to its places, whose sums are kept until all are.
    void backward(const Out* g, const u8* position, Out* to, bool past) const {
        const u8* kept = unpack(position);
        auto clear = [&] { std::memset(sums.get(), 0, h * pitch * sizeof(A)); };
        auto give = [&](i64 first, i64 number) INLINED {
            for (i64 y = 0; y < h; y++)
                vectors<A>(number, [&](i64 at, i64 n) INLINED {
                    write<A>(to + y * w + first + at, load<A>(sums.get() + y * pitch + at), n, past);
                });
        };
        if (!lines) clear();
        for (const auto& block : columns_back) {
            if (lines) clear();
            by_links(block, [&](auto count) INLINED {
                spread(block, Chosen<A, decltype(count)::value>(block), g + block.from, kept + block.from,
                    sums.get() + (lines ? 0 : block.first));
            });
            if (lines) give(block.first, block.number);
        }
        if (!lines) give(0, w);
    }
    template <int N>
    INLINE void spread(const Picks<A>& block, const Chosen<A, N>& chosen, const Out* g, const u8* kept, A* column) const {
        const i64 width = pitch, across = ow, reach = block.width;
        for (const auto [top, bottom] : task.rows) {
            const Vec<A> low = load<A>(g, reach), high = reach > L ? load<A>(g + L, reach - L) : low;
            const Mask<A> low_place = load<A>(kept, reach), high_place = reach > L ? load<A>(kept + L, reach - L) : low_place;
            __builtin_prefetch(g + AHEAD);
            auto share = [&](size_t t) INLINED { return picked(low, high, chosen.picks[t]); };
            auto place = [&](size_t t) INLINED {
                return picked(low_place, high_place, chosen.picks[t]) - __builtin_convertvector(chosen.values[t], Mask<A>);
            };
            Vec<A> shares[N + 1];
            Mask<A> places[N + 1];
            UNROLLED for (size_t t = 0; t < N; t++) {
                shares[t] = share(t);
                places[t] = place(t);
            }
            for (i64 row = 0; row <= bottom - top; row++) {
                A* const into = column + (top + row) * width;
                Vec<A> sum = load<A>(into);
                times<N>(chosen.number, [&](int t) INLINED {
                    sum += (N ? places[t] : place(t)) == number_of(row) ? (N ? shares[t] : share(t)) : Vec<A>{};
                });
                store<A>(into, sum, L);
            }
            g += across;
            kept += across;
        }
    }
    INLINE Mask<A> number_of(i64 row) const { return ::number<A>(int(row * wide)); }
    // Of each cell what lies in a map where its maximum was found.
    void taken(const Out* x, const u8* position, Out* y) const {
        const u8* kept = unpack(position);
        for (const auto& block : columns)
            for (i64 i = 0; i < oh; i++) {
                const i64 cell = i * ow + block.first, reach = block.width;
                const Mask<A> place = load<A>(kept + cell, block.number);
                Vec<A> value{};
                for (i64 row = task.rows[i].first; row <= task.rows[i].second; row++) {
                    const Out* from = x + row * w + block.from;
                    const Vec<A> low = load<A>(from, reach), high = reach > L ? load<A>(from + L, reach - L) : low;
                    for (size_t t = 0; t < block.count; t++) {
                        const Vec<A> here = block.values[t] + A((row - task.rows[i].first) * wide);
                        const auto hit = place == __builtin_convertvector(here, Mask<A>);
                        value = hit ? picked(low, high, block.picks[t]) : value;
                    }
                }
                store<A>(y + cell, value, block.number);
            }
    }
    // Two to a byte: those of the first half of a plane's cells and of the second.
    void pack(u8* position) const {
        if (!task.halves) return (void)std::memcpy(position, places.get(), count);
        const u8 *low = places.get(), *high = low + bytes;
        i64 i = 0;
        for (; i + i64(sizeof(Bytes)) <= bytes; i += sizeof(Bytes)) {
            const Bytes both = read(low + i) | read(high + i) << 4;
            std::memcpy(position + i, &both, sizeof both);
        }
        for (; i < bytes; i++) position[i] = low[i] | high[i] << 4;
    }
    const u8* unpack(const u8* position) const {
        if (!task.halves) return position;
        u8 *low = places.get(), *high = low + bytes;
        i64 i = 0;
        for (; i + i64(sizeof(Bytes)) <= bytes; i += sizeof(Bytes)) {
            const Bytes both = read(position + i), first = both & 15, second = both >> 4;
            std::memcpy(low + i, &first, sizeof first);
            std::memcpy(high + i, &second, sizeof second);
        }
        for (; i < bytes; i++) {
            low[i] = position[i] & 15;
            high[i] = position[i] >> 4;
        }
        return low;
    }
    typedef u8 Bytes __attribute__((vector_size(16)));
    INLINE static Bytes read(const u8* from) {
        Bytes bytes;
        std::memcpy(&bytes, from, sizeof bytes);
        return bytes;
    }
};
