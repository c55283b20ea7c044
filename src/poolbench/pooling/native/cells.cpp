#include "cells.h"

#include "slab.h"
#include "tensors.h"

template <class A, class Out> struct Grids {
    static constexpr int L = Lanes<A>::count;
    const Cells& task;
    const Slabs<A, Out> slabs{task.maps, task.threads};
    const i64 lanes = slabs.lanes, h = task.maps.h, w = task.maps.w, oh = task.rows.size(), ow = task.columns.size();
    i64 wide = 0;  // columns of the widest cell: a position is so many times its row and its column
    const bool parted = parts(task.rows, h) && parts(task.columns, w);

    explicit Grids(const Cells& task) : task(task) {
        for (auto [first, last] : task.columns) wide = std::max(wide, last - first + 1);
    }
    // Whether each place of an axis lies in one cell.
    static bool parts(const std::vector<std::pair<i64, i64>>& axis, i64 size) {
        i64 next = 0;
        for (auto [first, last] : axis) {
            if (first != next) return false;
            next = last + 1;
        }
        return next == size;
    }
    // The bytes of a slab, and how far one pixel's lie from the next's.
    i64 step() const { return slabs.last ? slabs.c : lanes; }
    template <class B> B* bytes(B* position, i64 slab) const {
        if (!position) return nullptr;
        if (!slabs.last) return position + slab * oh * ow * L;
        return position + slab / slabs.parts * oh * ow * slabs.c + slab % slabs.parts * lanes;
    }
    i64 width(i64 slab) const { return slabs.last ? std::min(lanes, slabs.c - slab % slabs.parts * lanes) : lanes; }

    // Calls f(row and column of the cell, its first row, its number of rows, and so for columns).
    template <class F> INLINE void each(F f) const {
        for (i64 i = 0; i < oh; i++)
            for (i64 j = 0; j < ow; j++) {
                auto [top, bottom] = task.rows[i];
                auto [left, right] = task.columns[j];
                f(i * ow + j, top * w + left, bottom - top + 1, right - left + 1);
            }
    }
    void forward(const A* x, A* y, u8* position, i64 numbers) const {
        each([&](i64 cell, i64 origin, i64 tall, i64 broad) INLINED {
            for (i64 at = 0; at < numbers; at += L) {
                const i64 n = numbers - at;
                Vec<A> largest = splat<A>(-INF);
                Mask<A> found{};
                for (i64 r = 0; r < tall; r++)
                    for (i64 c = 0; c < broad; c++) {
                        Vec<A> v = load<A>(x + (origin + r * w + c) * lanes + at, n);
                        auto wins = (v > largest) | (v != v);
                        largest = wins ? v : largest;
                        found = wins ? number<A>(int(r * wide + c)) : found;
                    }
                store<A>(y + cell * lanes + at, largest, n);
                if (position) store<A>(position + cell * step() + at, found, n);
            }
        });
    }
    void backward(const A* g, const u8* position, A* to, i64 numbers) const {
        if (parted) return scatter<false>(g, position, to, numbers);
        std::memset(to, 0, h * w * lanes * sizeof(A));
        scatter<true>(g, position, to, numbers);
    }
    template <bool Add> void scatter(const A* g, const u8* position, A* to, i64 numbers) const {
        each([&](i64 cell, i64 origin, i64 tall, i64 broad) INLINED {
            for (i64 at = 0; at < numbers; at += L) {
                const i64 n = numbers - at;
                Vec<A> share = load<A>(g + cell * lanes + at, n);
                Mask<A> found = load<A>(position + cell * step() + at, n);
                for (i64 r = 0; r < tall; r++)
                    for (i64 c = 0; c < broad; c++) {
                        A* here = to + (origin + r * w + c) * lanes + at;
                        Vec<A> part = found == int(r * wide + c) ? share : Vec<A>{};
                        if constexpr (Add) part += load<A>(here, n);
                        store<A>(here, part, n);
                    }
            }
        });
    }
};

template <class F> void by_type(const Cells& task, F f) {
    if (task.type == 0) f(Grids<float, float>(task));
    if (task.type == 1) f(Grids<double, double>(task));
    if (task.type == 2) f(Grids<float, bf16>(task));
}

i64 Cells::slabs() const {
    i64 count = 0;
    by_type(*this, [&](const auto& grids) { count = grids.slabs.count(); });
    return count;
}

i64 Cells::positions() const {
    i64 planes = maps.n * maps.c, lanes = type == 1 ? Lanes<double>::count : Lanes<float>::count;
    return i64(rows.size() * columns.size()) * (maps.last ? planes : (planes + lanes - 1) / lanes * lanes);
}

template <class A, class Out>
void forward(const Grids<A, Out>& grids, const void* x, void* y, u8* position, i64 begin, i64 end) {
    const i64 pixels = grids.h * grids.w, cells = grids.oh * grids.ow;
    auto taken = room<A>(grids.slabs.room_of(pixels)), given = room<A>(grids.slabs.room_of(cells));
    for (i64 slab = begin; slab < end; slab++) {
        const A* from = grids.slabs.take(slab, (const Out*)x, pixels, taken.get());
        grids.forward(from, grids.slabs.target(slab, (Out*)y, cells, given.get()), grids.bytes(position, slab),
            grids.width(slab));
        grids.slabs.give(slab, (Out*)y, cells, given.get());
    }
}

template <class A, class Out>
void backward(const Grids<A, Out>& grids, const void* g, const u8* position, void* to, i64 begin, i64 end) {
    const i64 pixels = grids.h * grids.w, cells = grids.oh * grids.ow;
    auto taken = room<A>(grids.slabs.room_of(cells)), given = room<A>(grids.slabs.room_of(pixels));
    for (i64 slab = begin; slab < end; slab++) {
        const A* from = grids.slabs.take(slab, (const Out*)g, cells, taken.get());
        grids.backward(from, grids.bytes(position, slab), grids.slabs.target(slab, (Out*)to, pixels, given.get()),
            grids.width(slab));
        grids.slabs.give(slab, (Out*)to, pixels, given.get());
    }
}

void Cells::forward(const void* x, void* y, u8* position, i64 begin, i64 end) const {
    by_type(*this, [&](const auto& grids) { ::forward(grids, x, y, position, begin, end); });
}

void Cells::backward(const void* g, const u8* position, void* to, i64 begin, i64 end) const {
    by_type(*this, [&](const auto& grids) { ::backward(grids, g, position, to, begin, end); });
}

Cells cells_of(const Tensor& maps, i64 height, i64 width, const Numbers& rows, const Numbers& columns, bool last) {
    Cells cells{{maps.size(0), maps.size(1), height, width, last}, {}, {}, type_of(maps), torch::stable::get_num_threads()};
    i64 tall = 0, wide = 0;
    for (size_t i = 0; i + 1 < rows.size(); i += 2) {
        STD_TORCH_CHECK(0 <= rows[i] && rows[i] <= rows[i + 1] && rows[i + 1] < height, "poolbench: a cell lies in the map");
        cells.rows.push_back({rows[i], rows[i + 1]});
        tall = std::max(tall, rows[i + 1] - rows[i] + 1);
    }
    for (size_t i = 0; i + 1 < columns.size(); i += 2) {
        STD_TORCH_CHECK(0 <= columns[i] && columns[i] <= columns[i + 1] && columns[i + 1] < width,
            "poolbench: a cell lies in the map");
        cells.columns.push_back({columns[i], columns[i + 1]});
        wide = std::max(wide, columns[i + 1] - columns[i] + 1);
    }
    STD_TORCH_CHECK(tall * wide <= NONE, "poolbench: a cell has at most 255 positions");
    return cells;
}

template <class F> void share(const Cells& cells, F f) {
    const i64 count = cells.slabs(), numbers = cells.maps.n * cells.maps.c * cells.maps.h * cells.maps.w;
    torch::stable::parallel_for(0, count, std::max<i64>(1, GRAIN * count / std::max<i64>(1, numbers)), f);
}

Tensor bytes(i64 count) { return empty(count, 1, 1, 1, false, aoti_torch_dtype_uint8()); }

std::tuple<Tensor, Tensor> cells(Tensor x, Numbers rows, Numbers columns, bool last, bool keep) {
    const Cells task = cells_of(x, x.size(2), x.size(3), rows, columns, last);
    Tensor y = empty(x.size(0), x.size(1), task.rows.size(), task.columns.size(), last, code(x.scalar_type()));
    Tensor position = bytes(keep ? task.positions() : 0);
    u8* to = keep ? (u8*)position.data_ptr() : nullptr;
    share(task, [&](i64 begin, i64 end) { task.forward(x.data_ptr(), y.data_ptr(), to, begin, end); });
    return {y, position};
}

Tensor cells_backward(Tensor g, Tensor position, Numbers rows, Numbers columns, i64 height, i64 width, bool last) {
    const Cells task = cells_of(g, height, width, rows, columns, last);
    STD_TORCH_CHECK(position.numel() == task.positions(), "poolbench: a position for each cell");
    Tensor to = empty(g.size(0), g.size(1), height, width, last, code(g.scalar_type()));
    share(task, [&](i64 begin, i64 end) {
        task.backward(g.data_ptr(), (const u8*)position.data_ptr(), to.data_ptr(), begin, end);
    });
    return to;
}

STABLE_TORCH_LIBRARY_FRAGMENT(poolbench, m) {
    m.def("cells(Tensor x, int[] rows, int[] columns, bool last, bool keep) -> (Tensor, Tensor)");
    m.def("cells_backward(Tensor g, Tensor position, int[] rows, int[] columns, int height, int width, bool last) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(poolbench, CPU, m) {
    m.impl("cells", TORCH_BOX(&cells));
    m.impl("cells_backward", TORCH_BOX(&cells_backward));
}
