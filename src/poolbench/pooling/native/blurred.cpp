#include "blurred.h"

#include <utility>

#include "slab.h"

// Along an axis: which places, by which weights, make each place of what comes out.
struct Links {
    struct Link {
        i64 from;
        double weight;
    };
    std::vector<std::vector<Link>> of;

    Links(i64 count, i64 stride, i64 before, const std::vector<double>& taps, const Window& window, i64 size)
        : of(count) {
        for (i64 i = 0; i < count; i++)
            for (i64 t = 0; t < i64(taps.size()); t++) {
                i64 from = window.source(i * stride - before + t, size);
                if (from >= 0) of[i].push_back({from, taps[t]});
            }
    }
    // The other way round, to `size` places.
    Links(const Links& links, i64 size) : of(size) {
        for (i64 i = 0; i < i64(links.of.size()); i++)
            for (auto [from, weight] : links.of[i]) of[from].push_back({i, weight});
    }
};

// Weighted sums of numbers that lie so far from `from`: `length` of them side by side, and so again `repeat` times.
template <class A> struct Sums {
    const A* from;
    A* to;
    i64 length, repeat, from_step, to_step;
    int count = 0;
    i64 offset[NONE];
    A weight[NONE];
    i64 next = 0, rows = 0;  // from where on so many rows of this length are to be read soon
    bool past = false;       // the caches

    // Not an aggregate: that would zero both arrays for each sum.
    Sums(const A* from, A* to, i64 length, i64 repeat, i64 from_step, i64 to_step)
        : from(from), to(to), length(length), repeat(repeat), from_step(from_step), to_step(to_step) {}
    void add(i64 at, double by) {
        offset[count] = at;
        weight[count++] = A(by);
    }
    void run() {
        if (count == 1) return each<1>();
        if (count == 2) return each<2>();
        if (count == 3) return each<3>();
        each<0>();
    }
    template <int N> void each() const {
        constexpr int L = Lanes<A>::count;
        const A *source = from, *weights = weight;
        const i64* offsets = offset;
        i64 own_offsets[N + 1];
        A own_weights[N + 1];
        if (N) {  // else whatever is written might change them
            std::copy(offset, offset + N, own_offsets);
            std::copy(weight, weight + N, own_weights);
            offsets = own_offsets;
            weights = own_weights;
        }
        A* target = to;
        const i64 numbers = length, turns = repeat, source_step = from_step, target_step = to_step;
        const i64 soon = next, ahead = rows;
        const bool streams = past;
        const int terms = N ? N : count;
        auto block = [&](i64 at, i64 n) INLINED {
            for (i64 i = 0; i < ahead; i++) __builtin_prefetch(source + soon + i * numbers + at);
            Vec<A> sum{};
            UNROLLED for (int t = 0; t < terms; t++) sum += load<A>(source + offsets[t] + at, n) * weights[t];
            write<A>(target + at, sum, n, streams);
        };
        for (i64 i = 0; i < turns; i++, source += source_step, target += target_step) {
            i64 at = 0;
            for (; at + L <= numbers; at += L) block(at, L);
            if (at < numbers) block(at, numbers - at);
        }
    }
};

// The places of an axis that are made in the same way, each so far from the one before: all but those at its ends.
struct Group {
    i64 first, number;
    const std::vector<Links::Link>& links;
};

// `period` places on, a place is made of what lies `shift` further.
inline std::vector<Group> grouped(const Links& links, i64 period, i64 shift) {
    std::vector<Group> found;
    const i64 count = links.of.size();
    auto alike = [&](i64 i) {
        const auto &one = links.of[i], &other = links.of[i + period];
        return std::equal(one.begin(), one.end(), other.begin(), other.end(), [&](auto a, auto b) {
            return a.from + shift == b.from && a.weight == b.weight;
        });
    };
    for (i64 phase = 0; phase < std::min(period, count); phase++)
        for (i64 i = phase; i < count; i += period) {
            found.push_back({i, 1, links.of[i]});
            for (; i + period < count && alike(i); i += period) found.back().number++;
        }
    return found;
}

// The last rows that were asked for.
template <class A> struct Ring {
    i64 slots, row;
    Aligned<A> memory;
    std::vector<i64> held;

    Ring(i64 slots, i64 row) : slots(slots), row(row), memory(room<A>(slots * row)), held(slots, -1) {}
    i64 place(i64 i) const { return i % slots * row; }
    A* at(i64 i) { return memory.get() + place(i); }
    bool missing(i64 i) { return std::exchange(held[i % slots], i) != i; }
    void clear() { std::fill(held.begin(), held.end(), -1); }
};

template <class Op, class A> struct Fused {
    const Blurred& task;
    const Maps& m = task.dense.maps;
    const Window& k = task.dense.window;
    const Window& f = task.blur.window;
    const i64 lanes;
    const bool past;  // what comes out is written past the caches
    const bool plain = k.oh == m.h && k.ow == m.w && k.kh * k.kw == 1;  // windows of one pixel: a blur alone
    const Members<A> members{k, m};
    const Links rows{f.oh, f.sh, f.top, task.taps, f, k.oh}, columns{f.ow, f.sw, f.left, task.taps, f, k.ow};
    const Links rows_back{rows, k.oh}, columns_back{columns, k.ow};
    const std::vector<Group> across{grouped(columns, 1, f.sw)}, across_back{grouped(columns_back, f.sw, 1)};
    Task slid = task.dense;

    Fused(const Blurred& task, i64 lanes, bool past) : task(task), lanes(lanes), past(past) {
        slid.maps = {1, lanes, m.h, m.w, true};
    }
    // A filter meets rows beside each other; on a torus, or a map smaller than it, any.
    i64 slots() const { return f.border == 3 ? k.oh : std::min<i64>(k.oh, task.taps.size()); }

    // Row i of the map between, and where each maximum lies.
    INLINE void row(const A* x, i64 i, A* y, u8* position) const {
        Taps taps;
        along(slid.columns(), k.ow, [&](i64 j, i64 number) INLINED {
            i64 origin = j - k.left;
            taps_of(slid, i, origin, lanes, m.h, taps);
            Run<A, A, A> run{x + origin * lanes, y + j * lanes, position ? position + j * lanes : nullptr, nullptr,
                number * lanes, 1, 0, 0, 0, members.each(i, j), nullptr, 0, nullptr, m.w};
            by_count<Op, true, true, A>(taps, k, [&](auto n) INLINED {
                forward_run<Op, decltype(n)::value, false>(slid.options, slid.chance, taps, run);
            });
        });
    }
    // Columns of a row by their groups, whose places lie `period` apart and are made of what lies `shift` apart.
    void along_row(const std::vector<Group>& groups, i64 period, i64 shift, const A* from, A* to, bool out) const {
        for (const auto& [first, number, links] : groups) {
            Sums<A> sums{from, to + first * lanes, lanes, number, shift * lanes, period * lanes};
            sums.past = out && past;
            for (auto [place, weight] : links) sums.add(place * lanes, weight);
            sums.run();
        }
    }
    void forward(const A* x, A* y, Ring<A>& ring, A* between) const {
        ring.clear();
        for (i64 i = 0; i < f.oh; i++, y += f.ow * lanes) {
            Sums<A> sums{ring.memory.get(), between, k.ow * lanes, 1, 0, 0};
            if (plain) {
                sums.from = x;
                sums.next = (rows.of[i].back().from + 1) * m.w * lanes;
                sums.rows = f.sh;
            }
            for (auto [from, weight] : rows.of[i]) {
                if (!plain && ring.missing(from)) row(x, from, ring.at(from), nullptr);
                sums.add(plain ? from * m.w * lanes : ring.place(from), weight);
            }
            sums.run();
            along_row(across, 1, f.sw, between, y, true);
        }
    }
    // The gradient of the map between is made row by row, and each of the input's positions gathers its own from it.
    void backward(const A* x, const A* g, A* to, Ring<A>& ring, Ring<u8>& positions, A* between) const {
        ring.clear();
        for (i64 i = 0; i < m.h; i++, to += m.w * lanes) {
            if (plain) {
                row_back(x, g, i, to, nullptr, between);
                continue;
            }
            for (i64 r = k.kh - 1; r >= 0; r--) {
                i64 from = i + k.top - r;
                if (0 <= from && from < k.oh && ring.missing(from))
                    row_back(x, g, from, ring.at(from), positions.at(from), between);
            }
            Taps taps;
            along({m.w, 1, k.kw - 1 - k.left, k.kw, k.ow}, m.w, [&](i64 j, i64 number) INLINED {
                taps.count = 0;
                for (i64 r = 0; r < k.kh; r++)
                    for (i64 c = 0; c < k.kw; c++) {
                        i64 row = i + k.top - r, column = j + k.left - c;
                        if (0 <= row && row < k.oh && 0 <= column && column < k.ow)
                            taps.add(ring.place(row) + column * lanes, 0, 0, int(r * k.kw + c));
                    }
                by_count<Op, true, true, A>(taps, k, [&](auto n) INLINED {
                    gather<decltype(n)::value>(taps, ring.memory.get(), positions.memory.get(), to + j * lanes,
                        number * lanes);
                });
            });
        }
    }
    INLINE void row_back(const A* x, const A* g, i64 i, A* y, u8* position, A* between) const {
        Sums<A> sums{g, between, f.ow * lanes, 1, 0, 0};
        for (auto [from, weight] : rows_back.of[i]) sums.add(from * f.ow * lanes, weight);
        if (sums.count) {
            sums.next = sums.offset[sums.count - 1] + sums.length;
            sums.rows = 1;
        }
        sums.run();
        along_row(across_back, f.sw, 1, between, y, plain);
        if constexpr (Op::keeps) {
            row(x, i, between, position);
        } else if (!plain) {
            constexpr int L = Lanes<A>::count;
            for (i64 j = 0; j < k.ow; j++) {
                const A each = members.each(i, j);
                for (i64 at = j * lanes; at < (j + 1) * lanes; at += L)
                    store<A>(y + at, load<A>(y + at) * each, (j + 1) * lanes - at);
            }
        }
    }
    template <int N> INLINE void gather(const Taps& taps, const A* from, const u8* position, A* to, i64 length) const {
        constexpr int L = Lanes<A>::count;
        const Offsets<N> offsets(taps, taps.offset);
        for (i64 at = 0; at < length; at += L) {
            Vec<A> sum{};
            UNROLLED for (int t = 0; t < offsets.count; t++) {
                Vec<A> part = load<A>(from + offsets.offset[t] + at);
                if constexpr (Op::keeps) {
                    auto here = load<A>(position + offsets.offset[t] + at, L) == offsets.place(t);
                    part = here ? part : Vec<A>{};
                }
                sum += part;
            }
            write<A>(to + at, sum, length - at, past);
        }
    }
};

template <class F> void by_kind(const Blurred& task, F f) {
    auto by_type = [&](auto op) {
        if (task.type == 0) f(op, float{}, float{});
        if (task.type == 1) f(op, double{}, double{});
        if (task.type == 2) f(op, float{}, bf16{});
    };
    if (task.maximum)
        by_type(Max{});
    else
        by_type(Average{});
}

i64 Blurred::slabs() const {
    i64 count = 0;
    by_kind(*this, [&](auto, auto a, auto out) {
        count = Slabs<decltype(a), decltype(out)>(dense.maps, threads).count();
    });
    return count;
}

void Blurred::forward(const void* x, void* y, i64 begin, i64 end) const {
    by_kind(*this, [&](auto op, auto a, auto out) {
        using A = decltype(a);
        using Out = decltype(out);
        const Slabs<A, Out> slabs(dense.maps, threads);
        const i64 pixels = dense.maps.h * dense.maps.w, results = blur.window.oh * blur.window.ow;
        const Fused<decltype(op), A> fused(*this, slabs.lanes, slabs.streams((Out*)y, results));
        const i64 row = dense.window.ow * slabs.lanes;
        Ring<A> ring(fused.slots(), row);
        auto taken = room<A>(slabs.room_of(pixels)), given = room<A>(slabs.room_of(results)), between = room<A>(row);
        for (i64 slab = begin; slab < end; slab++) {
            const A* from = slabs.take(slab, (const Out*)x, pixels, taken.get());
            fused.forward(from, slabs.target(slab, (Out*)y, results, given.get()), ring, between.get());
            slabs.give(slab, (Out*)y, results, given.get());
        }
        if (fused.past) settled();
    });
}

void Blurred::backward(const void* x, const void* g, void* to, i64 begin, i64 end) const {
    by_kind(*this, [&](auto op, auto a, auto out) {
        using A = decltype(a);
        using Out = decltype(out);
        const Slabs<A, Out> slabs(dense.maps, threads);
        const i64 pixels = dense.maps.h * dense.maps.w, results = blur.window.oh * blur.window.ow;
        const Fused<decltype(op), A> fused(*this, slabs.lanes, slabs.streams((Out*)to, pixels));
        const i64 row = std::max(dense.window.ow, blur.window.ow) * slabs.lanes, slots = dense.window.kh;
        Ring<A> ring(slots, row);
        Ring<u8> positions(slots, row);
        auto taken = room<A>(slabs.room_of(pixels)), gradient = room<A>(slabs.room_of(results)),
             given = room<A>(slabs.room_of(pixels)), between = room<A>(row);
        for (i64 slab = begin; slab < end; slab++) {
            const A* from = decltype(op)::keeps ? slabs.take(slab, (const Out*)x, pixels, taken.get()) : nullptr;
            const A* back = slabs.take(slab, (const Out*)g, results, gradient.get());
            fused.backward(from, back, slabs.target(slab, (Out*)to, pixels, given.get()), ring, positions,
                between.get());
            slabs.give(slab, (Out*)to, pixels, given.get());
        }
        if (fused.past) settled();
    });
}
