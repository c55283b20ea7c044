// A matrix for the rows of every map, and one for its columns: spectral pooling.
#include "slab.h"
#include "tensors.h"

// A product of a matrix and of rows of numbers, `step` from one to the next, of which `length` are taken.
template <class A> struct Product {
    const A* matrix;
    i64 rows, columns, step, length;

    // To rows that lie as far apart.
    void run(const A* from, A* to) const {
        constexpr int L = Lanes<A>::count;
        i64 at = 0;
        for (; at + 2 * L <= length; at += 2 * L) strip<2>(from + at, to + at, 2 * L);
        for (; at + L <= length; at += L) strip<1>(from + at, to + at, L);
        if (at < length) strip<1>(from + at, to + at, length - at);
    }
    template <int V> INLINE void strip(const A* from, A* to, i64 n) const {
        i64 row = 0;  // so many as registers hold sums of; maps often have a multiple of 7
        for (; row + 7 <= rows; row += 7) block<7, V>(row, from, to, n);
        for (; row + 4 <= rows; row += 4) block<4, V>(row, from, to, n);
        for (; row < rows; row++) block<1, V>(row, from, to, n);
    }
    template <int R, int V> INLINE void block(i64 row, const A* from, A* to, i64 n) const {
        constexpr int L = Lanes<A>::count;
        Vec<A> sum[R][V]{};
        for (i64 k = 0; k < columns; k++) {
            Vec<A> value[V];
            UNROLLED for (int v = 0; v < V; v++) value[v] = load<A>(from + k * step + v * L, n);
            UNROLLED for (int r = 0; r < R; r++)
                UNROLLED for (int v = 0; v < V; v++) sum[r][v] += value[v] * matrix[(row + r) * columns + k];
        }
        UNROLLED for (int r = 0; r < R; r++)
            UNROLLED for (int v = 0; v < V; v++) store<A>(to + (row + r) * step + v * L, sum[r][v], n);
    }
};

template <class A, class Out>
void multiply(const Maps& from, const Maps& to, const A* rows, const A* columns, const Out* x, Out* y) {
    const Slabs<A, Out> slabs(from, torch::stable::get_num_threads());
    const i64 pixels = from.h * from.w, results = to.h * to.w;
    const bool rows_first = to.h * from.w * (from.h + to.w) <= from.h * to.w * (from.w + to.h);  // multiplications
    const i64 between = rows_first ? to.h * from.w : from.h * to.w;
    const i64 count = slabs.count(), grain = std::max<i64>(1, GRAIN * count / (from.n * from.c * pixels));
    torch::stable::parallel_for(0, count, grain, [&](i64 begin, i64 end) {
        const i64 lanes = slabs.lanes;
        auto taken = room<A>(slabs.room_of(pixels)), given = room<A>(slabs.room_of(results)),
             half = room<A>(between * lanes);
        auto across = [&](i64 tall, const A* in, A* out) {
            for (i64 i = 0; i < tall; i++)
                Product<A>{columns, to.w, from.w, lanes, lanes}.run(in + i * from.w * lanes, out + i * to.w * lanes);
        };
        auto along = [&](i64 wide, const A* in, A* out) {
            Product<A>{rows, to.h, from.h, wide * lanes, wide * lanes}.run(in, out);
        };
        for (i64 slab = begin; slab < end; slab++) {
            const A* in = slabs.take(slab, x, pixels, taken.get());
            A* out = slabs.target(slab, y, results, given.get());
            if (rows_first) {
                along(from.w, in, half.get());
                across(to.h, half.get(), out);
            } else {
                across(from.h, in, half.get());
                along(to.w, half.get(), out);
            }
            slabs.give(slab, y, results, given.get());
        }
    });
}

Tensor separable(Tensor x, Tensor rows, Tensor columns, bool last) {
    const Maps from{x.size(0), x.size(1), x.size(2), x.size(3), last};
    const Maps to{from.n, from.c, rows.size(0), columns.size(0), last};
    const auto wanted = x.scalar_type() == Type::Double ? Type::Double : Type::Float;
    STD_TORCH_CHECK(rows.size(1) == from.h && columns.size(1) == from.w && rows.scalar_type() == wanted &&
            columns.scalar_type() == wanted, "poolbench: a matrix for rows and one for columns, as wide as the map");
    Tensor y = empty(to.n, to.c, to.h, to.w, last, code(x.scalar_type()));
    by_type(x.scalar_type(), [&](auto a, auto out) {
        using A = decltype(a);
        using Out = decltype(out);
        multiply<A, Out>(from, to, (const A*)rows.data_ptr(), (const A*)columns.data_ptr(), (const Out*)x.data_ptr(),
            (Out*)y.data_ptr());
    });
    return y;
}

STABLE_TORCH_LIBRARY_FRAGMENT(poolbench, m) {
    m.def("separable(Tensor x, Tensor rows, Tensor columns, bool last) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(poolbench, CPU, m) { m.impl("separable", TORCH_BOX(&separable)); }
