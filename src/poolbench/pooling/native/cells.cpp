#include "cell_planes.h"
#include "slab.h"
#include "spots.h"
#include "tensors.h"

template <class A> struct Grids {
    static constexpr int L = Lanes<A>::count, TOGETHER = 4;  // vectors whose maxima all have registers
    const Cells& task;
    const Cut<A> cut;
    const i64 lanes = cut.lanes, h = task.maps.h, w = task.maps.w, oh = task.rows.size(), ow = task.columns.size();
    const i64 wide = task.widest();
    const bool parted = parts(task.rows, h) && parts(task.columns, w);

    Grids(const Cells& task, const Cut<A>& cut) : task(task), cut(cut) {}
    // Whether each place of an axis lies in one cell.
    static bool parts(const std::vector<std::pair<i64, i64>>& axis, i64 size) {
        i64 next = 0;
        for (auto [first, last] : axis) {
            if (first != next) return false;
            next = last + 1;
        }
        return next == size;
    }
    // What so many positions side by side take, and those of a cell, of a slab, of all: as many as planes on their own.
    i64 bytes_of(i64 numbers) const { return task.bytes_of(task.halves ? (numbers + L - 1) / L * L : numbers); }
    i64 step() const { return bytes_of(cut.last ? cut.c : lanes); }
    template <class B> B* positions(B* position, i64 slab) const {
        if (!position) return nullptr;
        return position + slab / cut.parts * oh * ow * step() + bytes_of(slab % cut.parts * lanes);
    }
    i64 bytes() const {
        return cut.last ? cut.n * oh * ow * step() : cut.count() * lanes * task.bytes_of(oh * ow);
    }
    // Those of a vector.
    INLINE void keep(u8* cell, i64 at, Mask<A> position, i64 n) const {
        if (task.halves)
            store_halves<A>(cell + at / 2, position);
        else
            store<A>(cell + at, position, n);
    }
    INLINE Mask<A> kept(const u8* cell, i64 at, i64 n) const {
        return task.halves ? load_halves<A>(cell + at / 2) : load<A>(cell + at, n);
    }
    INLINE int kept(const u8* cell, i64 lane) const {
        return task.halves ? cell[lane % (L / 2)] >> lane / (L / 2) * 4 & 15 : cell[lane];
    }
    i64 width(i64 slab) const { return cut.last ? std::min(lanes, cut.c - slab % cut.parts * lanes) : lanes; }

    // Calls f(cell, pixels), where pixels(f) calls f(where a pixel of the cell lies, which one it is).
    template <class F> INLINE void each(F f) const {
        const i64 row = w * lanes, step = lanes;
        const int below = int(wide);
        for (i64 i = 0; i < oh; i++)
            for (i64 j = 0; j < ow; j++) {
                auto [top, bottom] = task.rows[i];
                auto [left, right] = task.columns[j];
                if (bottom == top && right == left) {
                    f(i * ow + j, [&](auto pixel) INLINED { pixel(top * row + left * step, 0); });
                    continue;
                }
                if (bottom == top + 1 && right == left + 1) {
                    const i64 first = top * row + left * step;
                    f(i * ow + j, [&](auto pixel) INLINED {
                        pixel(first, 0);
                        pixel(first + step, 1);
                        pixel(first + row, below);
                        pixel(first + row + step, below + 1);
                    });
                    continue;
                }
                f(i * ow + j, [&](auto pixel) INLINED {
                    for (i64 y = top; y <= bottom; y++)
                        for (i64 x = left; x <= right; x++)
                            pixel((y * w + x) * lanes, int((y - top) * wide + x - left));
                });
            }
    }
    // Whether a vector meets all pixels of a cell before the next does: else memory is gone through from front to back.
    bool at_once(i64 numbers) const { return numbers <= L || task.halves; }
    template <class Pixels, class F> INLINE void in_order(i64 numbers, Pixels pixels, F pass) const {
        if (at_once(numbers)) return vectors<A>(numbers, [&](i64 at, i64 n) INLINED { pass(at, n, pixels); });
        pixels([&](i64 pixel, int which) INLINED {
            vectors<A>(numbers, [&](i64 at, i64 n) INLINED { pass(at, n, [&](auto f) INLINED { f(pixel, which); }); });
        });
    }
    // Of a cell so many vectors side by side, the last of which may be shorter: their maxima stay in registers.
    template <int N, class Pixels> INLINE void largest(const A* x, A* y, u8* kept, i64 at, i64 n, Pixels pixels) const {
        Vec<A> largest[N], sum[N]{};
        Mask<A> found[N]{};
        UNROLLED for (int t = 0; t < N; t++) largest[t] = splat<A>(-INF);
        pixels([&](i64 pixel, int which) INLINED {
            UNROLLED for (int t = 0; t < N; t++) {
                const A* const from = x + pixel + at + t * L;
                __builtin_prefetch(from + AHEAD);
                const Vec<A> v = load<A>(from, n - t * L);
                found[t] = v > largest[t] ? number<A>(which) : found[t];
                largest[t] = larger<A>(v, largest[t]);
                sum[t] += v;
            }
        });
        UNROLLED for (int t = 0; t < N; t++) {
            if (any_nan<A>(sum[t]))  // or infinities of both signs
                pixels([&](i64 pixel, int which) INLINED {
                    const Vec<A> v = load<A>(x + pixel + at + t * L, n - t * L);
                    found[t] = v != v ? number<A>(which) : found[t];
                    largest[t] = v != v ? v : largest[t];
                });
            store<A>(y + at + t * L, largest[t], n - t * L);
            if (kept) keep(kept, at + t * L, found[t], n - t * L);
        }
    }
    void forward(const A* x, A* y, u8* position, i64 numbers) const {
        if (numbers < TOGETHER * L) return forward<1>(x, y, position, numbers);
        forward<TOGETHER>(x, y, position, numbers);
    }
    template <int N> void forward(const A* x, A* y, u8* position, i64 numbers) const {
        const i64 whole = numbers / (N * L) * (N * L);
        each([&](i64 cell, auto pixels) INLINED {
            A* maxima = y + cell * lanes;
            u8* kept = position ? position + cell * step() : nullptr;
            for (i64 at = 0; at < whole; at += N * L) largest<N>(x, maxima, kept, at, N * L, pixels);
            vectors<A>(numbers - whole, [&](i64 at, i64 n) INLINED {
                largest<1>(x, maxima, kept, whole + at, n, pixels);
            });
        });
    }
    void backward(const A* g, const u8* position, A* to, i64 numbers, bool past) const {
        if (parted) return scatter<false>(g, position, to, numbers, past);
        std::memset(to, 0, h * w * lanes * sizeof(A));
        scatter<true>(g, position, to, numbers, false);
    }
    template <bool Add> void scatter(const A* g, const u8* position, A* to, i64 numbers, bool past) const {
        each([&](i64 cell, auto pixels) INLINED {
            auto pass = [&](i64 at, i64 n, auto some) INLINED {
                Vec<A> share = load<A>(g + cell * lanes + at, n);
                Mask<A> found = kept(position + cell * step(), at, n);
                some([&](i64 pixel, int which) INLINED {
                    Vec<A> part = found == which ? share : Vec<A>{};
                    if constexpr (Add) part += load<A>(to + pixel + at, n);
                    write<A>(to + pixel + at, part, n, past);
                });
            };
            in_order(numbers, pixels, pass);
        });
    }
    void taken(const A* x, const u8* position, A* y, i64 numbers) const {
        each([&](i64 cell, auto pixels) INLINED {
            vectors<A>(numbers, [&](i64 at, i64 n) INLINED {
                const Mask<A> found = kept(position + cell * step(), at, n);
                Vec<A> value{};
                pixels([&](i64 pixel, int which) INLINED {
                    value = found == which ? load<A>(x + pixel + at, n) : value;
                });
                store<A>(y + cell * lanes + at, value, n);
            });
        });
    }
    // Planes of NCHW where no place lies in two cells: each gradient is written to its place.
    template <class Out> void place(const Out* g, const u8* position, Out* to, i64 slab) const {
        const i64 first = slab * L, planes = std::min<i64>(L, cut.n * cut.c - first), cells = oh * ow;
        const u8* found = positions(position, slab);
        to += first * h * w;
        g += first * cells;
        std::memset((void*)to, 0, planes * h * w * sizeof(Out));
        for (i64 plane = 0; plane < planes; plane++, to += h * w)
            for (i64 i = 0; i < oh; i++)
                for (i64 j = 0; j < ow; j++) {
                    const int which = kept(found + (i * ow + j) * step(), plane);
                    to[(task.rows[i].first + which / int(wide)) * w + task.columns[j].first + which % int(wide)] = *g++;
                }
    }
};

template <class F> void by_type(const Cells& task, F f) {
    auto run = [&](auto a, auto out) {
        const Slabs<decltype(a), decltype(out)> slabs(task.maps, task.threads);
        f(Grids<decltype(a)>(task, slabs), slabs);
    };
    if (task.type == 0) run(float{}, float{});
    if (task.type == 1) run(double{}, double{});
    if (task.type == 2) run(float{}, bf16{});
}

// Narrow planes and wide cells are sooner transposed; of more cells than places too many share one.
bool Cells::planar() const { return !maps.last && maps.w > 16 && widest() <= 4 && i64(columns.size()) <= maps.w; }

i64 Cells::slabs() const {
    i64 count = maps.n * maps.c;
    if (!planar()) by_type(*this, [&](const auto&, const auto& slabs) { count = slabs.count(); });
    return count;
}

i64 Cells::bytes() const {
    i64 count = 0;
    by_type(*this, [&](const auto& grids, const auto&) { count = grids.bytes(); });
    return count;
}

template <class A, class Out>
void forward(const Grids<A>& grids, const Slabs<A, Out>& slabs, const Out* x, Out* y, u8* position, i64 begin, i64 end) {
    const i64 pixels = grids.h * grids.w, cells = grids.oh * grids.ow;
    if (grids.task.planar()) {
        const CellPlanes<A, Out> planes(grids.task);
        for (i64 i = begin; i < end; i++)
            planes.forward(x + i * pixels, y + i * cells, position ? position + i * planes.bytes : nullptr);
        return;
    }
    auto taken = room<A>(slabs.room_of(pixels)), given = room<A>(slabs.room_of(cells));
    for (i64 slab = begin; slab < end; slab++) {
        const A* from = slabs.take(slab, x, pixels, taken.get());
        grids.forward(from, slabs.target(slab, y, cells, given.get()), grids.positions(position, slab),
            grids.width(slab));
        slabs.give(slab, y, cells, given.get());
    }
}

template <class A, class Out>
void backward(const Grids<A>& grids, const Slabs<A, Out>& slabs, const Out* g, const u8* position, Out* to, i64 begin,
    i64 end) {
    const Maps& m = grids.task.maps;
    const i64 pixels = grids.h * grids.w, cells = grids.oh * grids.ow;
    if (grids.task.planar()) {
        const CellPlanes<A, Out> planes(grids.task);
        const bool past = streams<A>(to, m.numbers(), m.w, Order::in_turn);
        for (i64 i = begin; i < end; i++)
            planes.backward(g + i * cells, position + i * planes.bytes, to + i * pixels, past);
        if (past) settled();
        return;
    }
    const bool past = grids.parted && slabs.streams(to);
    auto taken = room<A>(slabs.room_of(cells)), given = room<A>(slabs.room_of(pixels));
    for (i64 slab = begin; slab < end; slab++) {
        if (!slabs.last && grids.parted) {
            grids.place(g, position, to, slab);
            continue;
        }
        const A* from = slabs.take(slab, g, cells, taken.get());
        grids.backward(from, grids.positions(position, slab), slabs.target(slab, to, pixels, given.get()),
            grids.width(slab), past);
        slabs.give(slab, to, pixels, given.get());
    }
    if (past) settled();
}

template <class A, class Out>
void taken(const Grids<A>& grids, const Slabs<A, Out>& slabs, const Out* x, const u8* position, Out* y, i64 begin, i64 end) {
    const i64 pixels = grids.h * grids.w, cells = grids.oh * grids.ow;
    if (grids.task.planar()) {
        const CellPlanes<A, Out> planes(grids.task);
        for (i64 i = begin; i < end; i++) planes.taken(x + i * pixels, position + i * planes.bytes, y + i * cells);
        return;
    }
    auto taken = room<A>(slabs.room_of(pixels)), given = room<A>(slabs.room_of(cells));
    for (i64 slab = begin; slab < end; slab++) {
        const A* from = slabs.take(slab, x, pixels, taken.get());
        grids.taken(from, grids.positions(position, slab), slabs.target(slab, y, cells, given.get()),
            grids.width(slab));
        slabs.give(slab, y, cells, given.get());
    }
}

template <class A, class Out>
void switches(const Grids<A>& grids, const Slabs<A, Out>& slabs, const u8* position, i64* to, i64 begin, i64 end) {
    const Cells& task = grids.task;
    const i64 cells = grids.oh * grids.ow, w = grids.w, channels = slabs.c;
    const Spots spots(task.halves ? 16 : NONE, task.widest(), w, 1);
    std::vector<i64> lefts;
    for (auto [first, last] : task.columns) lefts.push_back(first);
    auto plane = [&](const u8* found, i64* to) {
        for (auto [top, bottom] : task.rows) {
            spots.write(found, to, grids.ow, top * w, lefts.data());
            found += grids.ow;
            to += grids.ow;
        }
    };
    if (task.planar()) {
        const CellPlanes<A, Out> planes(task);
        for (i64 i = begin; i < end; i++) plane(planes.unpack(position + i * planes.bytes), to + i * cells);
        return;
    }
    const auto found = room<u8>(std::max(cells, slabs.lanes) + Lanes<A>::count);
    const std::vector<i64> together(slabs.lanes);
    for (i64 slab = begin; slab < end; slab++) {
        const u8* kept = grids.positions(position, slab);
        if (!slabs.last) {
            const i64 first = slab * slabs.lanes, planes = std::min(slabs.lanes, slabs.n * channels - first);
            for (i64 lane = 0; lane < planes; lane++) {
                for (i64 cell = 0; cell < cells; cell++) found[cell] = grids.kept(kept + cell * grids.step(), lane);
                plane(found.get(), to + (first + lane) * cells);
            }
            continue;
        }
        i64* pixel = to + slab / slabs.parts * cells * channels + slab % slabs.parts * slabs.lanes;
        const i64 width = grids.width(slab), step = grids.step();
        for (auto [top, bottom] : task.rows)
            for (const i64 left : lefts) {
                vectors<A>(width, [&](i64 at, i64 n) INLINED { store<A>(found.get() + at, grids.kept(kept, at, n), n); });
                spots.write(found.get(), pixel, width, top * w + left, together.data());
                kept += step;
                pixel += channels;
            }
    }
}

void Cells::forward(const void* x, void* y, u8* position, i64 begin, i64 end) const {
    by_type(*this, [&]<class A, class Out>(const Grids<A>& grids, const Slabs<A, Out>& slabs) {
        ::forward(grids, slabs, (const Out*)x, (Out*)y, position, begin, end);
    });
}

void Cells::backward(const void* g, const u8* position, void* to, i64 begin, i64 end) const {
    by_type(*this, [&]<class A, class Out>(const Grids<A>& grids, const Slabs<A, Out>& slabs) {
        ::backward(grids, slabs, (const Out*)g, position, (Out*)to, begin, end);
    });
}

void Cells::taken(const void* x, const u8* position, void* y, i64 begin, i64 end) const {
    by_type(*this, [&]<class A, class Out>(const Grids<A>& grids, const Slabs<A, Out>& slabs) {
        ::taken(grids, slabs, (const Out*)x, position, (Out*)y, begin, end);
    });
}

void Cells::switches(const u8* position, i64* to, i64 begin, i64 end) const {
    by_type(*this, [&](const auto& grids, const auto& slabs) { ::switches(grids, slabs, position, to, begin, end); });
}

// Along an axis of that size; `longest` becomes the length of the longest.
Edges edges_of(const std::string& text, i64 size, i64& longest) {
    const Numbers numbers = numbers_of(text);
    Edges edges;
    for (size_t i = 0; i + 1 < numbers.size(); i += 2) {
        const i64 first = numbers[i], last = numbers[i + 1];
        STD_TORCH_CHECK(0 <= first && first <= last && last < size, "poolbench: a cell lies in the map");
        edges.push_back({first, last});
        longest = std::max(longest, last - first + 1);
    }
    return edges;
}

Cells cells_of(const Tensor& maps, i64 height, i64 width, const std::string& rows, const std::string& columns, bool last) {
    i64 tall = 0, wide = 0;
    Cells cells{{maps.size(0), maps.size(1), height, width, last}, edges_of(rows, height, tall),
        edges_of(columns, width, wide), type_of(maps), torch::stable::get_num_threads(), false};
    STD_TORCH_CHECK(tall * wide <= NONE, "poolbench: a cell has at most 255 positions");
    cells.halves = tall * wide <= 16;
    return cells;
}

template <class F> void share(const Cells& cells, F f) {
    const i64 count = cells.slabs(), numbers = cells.maps.numbers();
    torch::stable::parallel_for(0, count, std::max<i64>(1, GRAIN * count / std::max<i64>(1, numbers)), f);
}

// A number for each cell.
Tensor map_of(const Cells& cells, int32_t type) {
    return empty(cells.maps.n, cells.maps.c, cells.rows.size(), cells.columns.size(), cells.maps.last, type);
}

std::tuple<Tensor, Tensor> cells(Tensor x, std::string rows, std::string columns, bool last, bool keep) {
    const Cells task = cells_of(x, x.size(2), x.size(3), rows, columns, last);
    Tensor y = map_of(task, code(x.scalar_type()));
    Tensor position = empty(keep ? task.bytes() : 0, 1, 1, 1, false, aoti_torch_dtype_uint8());
    u8* to = keep ? (u8*)position.data_ptr() : nullptr;
    share(task, [&](i64 begin, i64 end) { task.forward(x.data_ptr(), y.data_ptr(), to, begin, end); });
    return {y, position};
}

// The maxima, their positions in the cells and in the map.
std::tuple<Tensor, Tensor, Tensor> cell_switches(Tensor x, std::string rows, std::string columns, bool last) {
    const Cells task = cells_of(x, x.size(2), x.size(3), rows, columns, last);
    Tensor y = map_of(task, code(x.scalar_type())), index = map_of(task, aoti_torch_dtype_int64());
    Tensor position = empty(task.bytes(), 1, 1, 1, false, aoti_torch_dtype_uint8());
    u8* const places = (u8*)position.data_ptr();
    share(task, [&](i64 begin, i64 end) {
        task.forward(x.data_ptr(), y.data_ptr(), places, begin, end);
        task.switches(places, (i64*)index.data_ptr(), begin, end);
    });
    return {y, position, index};
}

Tensor cells_backward(Tensor g, Tensor position, std::string rows, std::string columns, i64 height, i64 width, bool last) {
    const Cells task = cells_of(g, height, width, rows, columns, last);
    STD_TORCH_CHECK(position.numel() == task.bytes(), "poolbench: a position for each cell");
    Tensor to = empty(g.size(0), g.size(1), height, width, last, code(g.scalar_type()));
    share(task, [&](i64 begin, i64 end) {
        task.backward(g.data_ptr(), (const u8*)position.data_ptr(), to.data_ptr(), begin, end);
    });
    return to;
}

Tensor cells_taken(Tensor x, Tensor position, std::string rows, std::string columns, bool last) {
    const Cells task = cells_of(x, x.size(2), x.size(3), rows, columns, last);
    STD_TORCH_CHECK(position.numel() == task.bytes(), "poolbench: a position for each cell");
    Tensor y = map_of(task, code(x.scalar_type()));
    share(task, [&](i64 begin, i64 end) {
        task.taken(x.data_ptr(), (const u8*)position.data_ptr(), y.data_ptr(), begin, end);
    });
    return y;
}

i64 vector_bytes() { return WIDTH; }

STABLE_TORCH_LIBRARY_FRAGMENT(poolbench, m) {
    m.def("vector_bytes() -> int");
    m.def("cells(Tensor x, str rows, str columns, bool last, bool keep) -> (Tensor, Tensor)");
    m.def("cell_switches(Tensor x, str rows, str columns, bool last) -> (Tensor, Tensor, Tensor)");
    m.def("cells_taken(Tensor x, Tensor position, str rows, str columns, bool last) -> Tensor");
    m.def("cells_backward(Tensor g, Tensor position, str rows, str columns, int height, int width, bool last) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(poolbench, CompositeExplicitAutograd, m) { m.impl("vector_bytes", TORCH_BOX(&vector_bytes)); }

STABLE_TORCH_LIBRARY_IMPL(poolbench, CPU, m) {
    m.impl("cells", TORCH_BOX(&cells));
    m.impl("cell_switches", TORCH_BOX(&cell_switches));
    m.impl("cells_backward", TORCH_BOX(&cells_backward));
    m.impl("cells_taken", TORCH_BOX(&cells_taken));
}
