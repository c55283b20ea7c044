// An operator slid at stride 1, then a filter at a stride, without the map between them: of it a few rows are kept.
#pragma once

#include "slide.h"

struct Blurred {
    Task dense, blur;
    std::vector<double> taps;  // the filter, for rows and columns alike
    bool maximum;              // of each window, or their mean
    int type;                  // 0: float32, 1: float64, 2: bfloat16
    i64 threads;

    bool planar() const;  // each plane of NCHW is a slab
    i64 slabs() const;
    void forward(const void* x, void* y, i64 begin, i64 end) const;
    void backward(const void* x, const void* g, void* to, i64 begin, i64 end) const;
};
