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
    const std::vector<Picks<A>> columns{Picks<A>::all(inside(task.columns), [](auto& links, size_t count) {
        links.resize(count, links.back());
    })};
    const std::vector<Picks<A>> columns_back{Picks<A>::all(around(task.columns, w), [](auto& links, size_t count) {
        links.resize(count, {links.back().from, NOWHERE});
    })};
    const Linked rows_back{around(task.rows, h)};
    const Aligned<A> maxima{room<A>(h * L)}, found{room<A>(h * L)};
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
    INLINE static void compare(Vec<A> v, Vec<A> place, Vec<A>& largest, Vec<A>& found) {
        auto wins = (v > largest) | (v != v);
        largest = wins ? v : largest;
        found = wins ? place : found;
    }
    void forward(const Out* x, Out* y, u8* position) const {
        for (const auto& block : columns) {
            const Out* from = x + block.from;
            for (i64 row = 0; row < h; row++) {
                Vec<A> low, high;
                block.take([&](i64 at, i64 n) INLINED { return load<A>(from + row * w + at, n); }, low, high);
                if (block.first == 0)
                    for (i64 at = 0; at < w; at += LINE / i64(sizeof(Out))) __builtin_prefetch(from + row * w + at + AHEAD);
                Vec<A> largest = picked(low, high, block.picks[0]), place = block.values[0];
                for (size_t t = 1; t < block.count; t++)
                    compare(picked(low, high, block.picks[t]), block.values[t], largest, place);
                store<A>(maxima.get() + row * L, largest, L);
                store<A>(found.get() + row * L, place, L);
            }
            for (i64 i = 0; i < oh; i++) {
                const auto [top, bottom] = task.rows[i];
                Vec<A> largest = load<A>(maxima.get() + top * L), place = load<A>(found.get() + top * L);
                for (i64 row = top + 1; row <= bottom; row++)
                    compare(load<A>(maxima.get() + row * L), load<A>(found.get() + row * L) + A((row - top) * wide), largest,
                        place);
                const i64 cell = i * ow + block.first;
                store<A>(y + cell, largest, block.number);
                store<A>(places.get() + cell, __builtin_convertvector(place, Mask<A>), block.number);
            }
        }
        if (position) pack(position);
    }
    void backward(const Out* g, const u8* position, Out* to, bool past) const {
        const u8* kept = unpack(position);
        for (const auto& block : columns_back)
            for (i64 row = 0; row < h; row++) {
                Vec<A> sum{};
                for (auto [i, below] : rows_back[row]) {
                    const i64 cell = i * ow + block.from;
                    Vec<A> low, high;
                    Mask<A> low_place, high_place;
                    block.take([&](i64 at, i64 n) INLINED { return load<A>(g + cell + at, n); }, low, high);
                    block.take([&](i64 at, i64 n) INLINED { return load<A>(kept + cell + at, n); }, low_place, high_place);
                    for (size_t t = 0; t < block.count; t++) {
                        const Mask<A> here = __builtin_convertvector(block.values[t] + A(below * wide), Mask<A>);
                        const auto hit = picked(low_place, high_place, block.picks[t]) == here;
                        sum += hit ? picked(low, high, block.picks[t]) : Vec<A>{};
                    }
                }
                write<A>(to + row * w + block.first, block.linked ? sum : Vec<A>{}, block.number, past);
            }
    }
    // Of each cell what lies in a map where its maximum was found.
    void taken(const Out* x, const u8* position, Out* y) const {
        const u8* kept = unpack(position);
        for (const auto& block : columns)
            for (i64 i = 0; i < oh; i++) {
                const i64 cell = i * ow + block.first;
                const Mask<A> place = load<A>(kept + cell, block.number);
                Vec<A> value{};
                for (i64 row = task.rows[i].first; row <= task.rows[i].second; row++) {
                    Vec<A> low, high;
                    block.take([&](i64 at, i64 n) INLINED { return load<A>(x + row * w + block.from + at, n); }, low, high);
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
