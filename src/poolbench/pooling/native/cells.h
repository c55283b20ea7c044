// The maximum of each cell of a grid of rows and columns, first and last both inside; cells may overlap.
#pragma once

#include "slide.h"

struct Cells {
    Maps maps;
    std::vector<std::pair<i64, i64>> rows, columns;
    int type;  // 0: float32, 1: float64, 2: bfloat16
    i64 threads;
    bool halves;  // no cell has more than 16 positions: two to a byte

    i64 slabs() const;
    // Bytes that positions take. In NCHW they lie as in a slab: a pixel's planes side by side.
    i64 bytes() const;
    void forward(const void* x, void* y, u8* position, i64 begin, i64 end) const;
    void backward(const void* g, const u8* position, void* to, i64 begin, i64 end) const;
};
