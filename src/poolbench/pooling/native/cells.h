// The maximum of each cell of a grid of rows and columns, first and last both inside; cells may overlap.
#pragma once

#include "slide.h"

using Edges = std::vector<std::pair<i64, i64>>;

struct Cells {
    Maps maps;
    Edges rows, columns;
    int type;  // 0: float32, 1: float64, 2: bfloat16
    i64 threads;
    bool halves;  // no cell has more than 16 positions: two to a byte

    // A position is so many times its row and its column.
    i64 widest() const {
        i64 wide = 0;
        for (auto [first, last] : columns) wide = std::max(wide, last - first + 1);
        return wide;
    }
    i64 bytes_of(i64 positions) const { return halves ? (positions + 1) / 2 : positions; }
    bool planar() const;  // each plane of NCHW is a slab
    i64 slabs() const;
    i64 bytes() const;  // that positions take
    void forward(const void* x, void* y, u8* position, i64 begin, i64 end) const;
    void backward(const void* g, const u8* position, void* to, i64 begin, i64 end) const;
    // Of each cell what lies in the map x where its maximum was found.
    void taken(const void* x, const u8* position, void* y, i64 begin, i64 end) const;
    // Where in the map that is.
    void switches(const u8* position, i64* to, i64 begin, i64 end) const;
};
