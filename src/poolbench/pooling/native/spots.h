// From positions in windows or cells (u8), each counted row by row, to those in the map (i64).
#pragma once

#include <vector>

#include "slide.h"

struct Spots {
    static constexpr int L = Lanes<double>::count;
    using V = Mask<double>;  // of i64

    i64 offset[NONE + 1]{};  // of each position, from the first
    const bool few;

    // Of windows so wide, with so many places of the map between their rows and their columns.
    Spots(i64 positions, i64 wide, i64 down, i64 right) : few(positions <= 2 * L) {
        for (i64 p = 0; p < positions; p++) offset[p] = p / wide * down + p % wide * right;
    }
    // Of so many windows, whose first positions lie `start` behind `firsts`.
    void write(const u8* from, i64* to, i64 count, i64 start, const i64* firsts) const {
        i64 n = 0;
        if (few) {
            const V low = numbers(offset), high = numbers(offset + L);
            for (; n + L <= count; n += L) {
                const V found = load<double>(from + n, L) & (2 * L - 1);  // as NONE too picks one
                const V place = picked(low, high, found) + numbers(firsts + n) + start;
                std::memcpy(to + n, &place, sizeof place);
            }
        }
        for (; n < count; n++) to[n] = start + firsts[n] + offset[from[n]];
    }
    INLINE static V numbers(const i64* from) {
        V numbers;
        std::memcpy(&numbers, from, sizeof numbers);
        return numbers;
    }
};
