// Where the maximum of each cell of each box lies. Vectors lie along the channels of a pixel.
#include "tensors.h"

struct Boxes {
    const i64 *picture, *rows, *columns;  // rows and columns: where each cell starts, then where each ends
    i64 count, oh, ow;
};

// The places in the map of so many channels' first maxima in rows and columns that are not empty; NaN is one.
template <class A, class In>
INLINE Mask<A> maximum(const In* x, const Maps& m, i64 top, i64 bottom, i64 left, i64 right, i64 channels) {
    Vec<A> largest = splat<A>(-INF);
    Mask<A> found = number<A>(int(top * m.w + left));
    for (i64 row = top; row < bottom; row++)
        for (i64 column = left; column < right; column++) {
            Vec<A> v = load<A>(x + (row * m.w + column) * m.c, channels);
            auto wins = (v > largest) | (v != v);
            largest = wins ? v : largest;
            found = wins ? number<A>(int(row * m.w + column)) : found;
        }
    return found;
}

// Places in maps in NCHW; these here are channels_last.
template <class A, class In>
void places(const Maps& m, const Boxes& boxes, const In* x, i64* to, i64 begin, i64 end) {
    constexpr int L = Lanes<A>::count;
    const i64 size = m.h * m.w, high = boxes.count * boxes.oh, wide = boxes.count * boxes.ow;
    for (i64 box = begin; box < end; box++) {
        const i64 start = boxes.picture[box] * size * m.c;
        for (i64 i = box * boxes.oh; i < (box + 1) * boxes.oh; i++)
            for (i64 j = box * boxes.ow; j < (box + 1) * boxes.ow; j++) {
                const i64 top = boxes.rows[i], bottom = boxes.rows[high + i];
                const i64 left = boxes.columns[j], right = boxes.columns[wide + j];
                i64* here = to + (i * boxes.ow + j - box * boxes.ow) * m.c;
                if (top >= bottom || left >= right) {
                    std::fill(here, here + m.c, 0);
                    continue;
                }
                for (i64 c = 0; c < m.c; c += L) {
                    const i64 lanes = std::min<i64>(L, m.c - c);
                    auto found = maximum<A>(x + start + c, m, top, bottom, left, right, lanes);
                    for (i64 lane = 0; lane < lanes; lane++)
                        here[c + lane] = start + (c + lane) * size + found[lane];
                }
            }
    }
}

void check(const Tensor& edges, i64 count, i64 size) {
    const i64* edge = (const i64*)edges.data_ptr();
    STD_TORCH_CHECK(edges.size(1) == count, "poolbench: cells for each box");
    for (i64 i = 0; i < edges.numel(); i++)
        STD_TORCH_CHECK(0 <= edge[i] && edge[i] <= size, "poolbench: a cell lies in the map");
}

Tensor region_maxima(Tensor x, Tensor picture, Tensor rows, Tensor columns) {
    const Maps m{x.size(0), x.size(1), x.size(2), x.size(3), true};
    const Boxes boxes{(const i64*)picture.data_ptr(), (const i64*)rows.data_ptr(), (const i64*)columns.data_ptr(),
        picture.size(0), rows.size(2), columns.size(2)};
    check(rows, boxes.count, m.h);
    check(columns, boxes.count, m.w);
    for (i64 i = 0; i < boxes.count; i++)
        STD_TORCH_CHECK(0 <= boxes.picture[i] && boxes.picture[i] < m.n, "a box names a picture that is not in the batch");
    Tensor to = empty(boxes.count, boxes.oh, boxes.ow, m.c, false, aoti_torch_dtype_int64());
    torch::stable::parallel_for(0, boxes.count, 1, [&](i64 begin, i64 end) {
        i64* out = (i64*)to.data_ptr();
        if (type_of(x) == 0) places<float>(m, boxes, (const float*)x.data_ptr(), out, begin, end);
        if (type_of(x) == 1) places<double>(m, boxes, (const double*)x.data_ptr(), out, begin, end);
        if (type_of(x) == 2) places<float>(m, boxes, (const bf16*)x.data_ptr(), out, begin, end);
    });
    return to;
}

STABLE_TORCH_LIBRARY_FRAGMENT(poolbench, m) {
    m.def("region_maxima(Tensor x, Tensor picture, Tensor rows, Tensor columns) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(poolbench, CPU, m) { m.impl("region_maxima", TORCH_BOX(&region_maxima)); }
