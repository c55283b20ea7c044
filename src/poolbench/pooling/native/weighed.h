// Operators that weigh each value alone, and whose windows add up the products of weights and values, of some the weights
// too: Lp, softpool. The gradient of a value follows from its weight and from sums over the windows that it lies in. So
// where windows of maps in float32 overlap each value is weighed once, not once a window, and nothing is summed in
// memory. Planes and pictures whose sums are out of bounds go the way of slide.h.
#pragma once

#include "gather.h"

// Whether the first sums of all windows lie within bounds, by the least of them and what all add up to.
template <class Op, class A> struct Sound {
    Vec<A> least = splat<A>(INF), all{};
    Mask<A> small{};

    INLINE void weighed(Vec<A> x, Vec<A> product) { small |= Op::template small<A>(x, product); }
    INLINE void summed(Vec<A> sum, i64 n) {
        using I = decltype(+Mask<A>{}[0]);
        if (n < Lanes<A>::count) sum = steps<A>() < I(n) ? sum : splat<A>(1);
        least = smaller<A>(sum, least);
        all += sum;
    }
    bool low() const { return any(least < A(Op::template low<A>)); }
    bool holds() const { return !any(~(all <= A(Op::template high<A>))) && !(any(small) && low()); }
};

// Adds up what lies at N offsets, or at any number of them, in each of S maps that lie `apart`.
template <int S, int N, class A> struct Adder {
    const A* from;
    const i64 apart;
    const int count;
    i64 own[N + 1];
    const i64* offset = own;

    Adder(const A* from, i64 apart, const i64* offsets, i64 count) : from(from), apart(apart), count(count) {
        if (N)  // copied: else whatever is written might change them
            std::copy_n(offsets, N, own);
        else
            offset = offsets;
    }
    INLINE void add(i64 at, i64 n, Vec<A>* sum) const {
        UNROLLED for (int s = 0; s < S; s++) {
            sum[s] = Vec<A>{};
            times<N>(count, [&](int t) INLINED { sum[s] += load<A>(from + s * apart + offset[t] + at, n); });
        }
    }
};

// The windows of a plane of NCHW, and the weights of its values in the order of the map, if they are kept.
template <class Op, bool Keep, class A> struct WeighedPlane {
    static constexpr int S = Op::sums;
    const Task& task;
    const Window& k = task.window;
    const i64 size = task.maps.h * task.maps.w;
    const Grid<A> grid{k, task.maps};
    const std::vector<Rows<A>> rows;
    const Aligned<A> weights{room<A>(Keep ? size : 0)}, sorted{room<A>(S * grid.size())};

    WeighedPlane(const Task& task, const Members<A>& members) : task(task), rows(grid.rows(task.rows(), members)) {}

    // f(row, column, number, each, sums) for all windows.
    template <class F> INLINE bool windows(const A* x, F f) const {
        Sound<Op, A> sound;
        Op::typed(task.options, [&](const auto& options) INLINED {
            grid.template fill<S>(x, sorted.get(), A(0), [&](const A* from, i64 n, Vec<A>* made) INLINED {
                __builtin_prefetch(from + AHEAD);
                const Vec<A> value = load<A>(from, n);
                Vec<A> weight, product;
                Op::template weigh<Keep, A>(options, value, weight, product);
                sound.weighed(value, product);
                if (Keep) store<A>(weights.get() + (from - x), weight, n);
                made[0] = weight;
                made[S - 1] = product;
            });
        });
        for (const auto& row : rows)
            by_count<Op, false, true, A>(row.taps, k, [&](auto count) INLINED {
                const Adder<S, decltype(count)::value, A> adder(
                    sorted.get(), grid.size(), row.taps.offset, row.taps.count);
                for (i64 i = row.i; i < row.i + row.repeat; i++) {
                    const i64 start = (i * k.sh - k.top) * grid.pitch;
                    vectors<A>(k.ow, [&](i64 j, i64 n) INLINED {
                        Vec<A> sum[S];
                        adder.add(start + j, n, sum);
                        sound.summed(sum[0], n);
                        f(i, j, n, load<A>(row.each.get() + j, n), sum);
                    });
                }
            });
        return sound.holds();
    }
};

template <class Op, class A>
void weighed_planes(const Task& task, const Members<A>& members, const A* x, A* y, i64 begin, i64 end) {
    const Window& k = task.window;
    const WeighedPlane<Op, false, A> weighed(task, members);
    for (i64 plane = begin; plane < end; plane++) {
        A* to = y + plane * k.oh * k.ow;
        const bool sound = weighed.windows(x + plane * weighed.size,
            [&](i64 i, i64 j, i64 n, Vec<A> each, const Vec<A>* sum) INLINED {
                store<A>(to + i * k.ow + j, Op::template value<A>(task.options, sum, each), n);
            });
        if (!sound) forward_planes<Op, A, A>(task, members, x, y, nullptr, plane, plane + 1);
    }
}

template <class Op, class A>
void weighed_planes_back(const Task& task, const Members<A>& members, const Gather<A>& gather, const A* x,
    const A* g, A* to, i64 begin, i64 end) {
    constexpr int L = Lanes<A>::count, S = Op::sums;
    const Window& k = task.window;
    const Maps& m = task.maps;
    const i64 pitch = gather.pitch, plain = gather.margin + (k.oh + 1) * pitch + 2 * L;
    const WeighedPlane<Op, true, A> weighed(task, members);
    const Grid<A> grid(k, m, m.h * pitch + 2 * L);
    const auto windows = room<A>(S * plain), made = room<A>(S * grid.size());
    A* const shares = windows.get() + gather.margin;
    const bool past = streams<A>(to, m.numbers(), m.w, Order::in_turn);
    for (i64 plane = begin; plane < end; plane++) {
        const A* from = x + plane * weighed.size;
        const bool sound = weighed.windows(from, [&](i64 i, i64 j, i64 n, Vec<A> each, const Vec<A>* sum) INLINED {
            Vec<A> shared[S];
            const A* from = g + (plane * k.oh + i) * k.ow + j;
            __builtin_prefetch(from + k.oh * k.ow);
            Op::template shares<A>(task.options, sum, each, load<A>(from, n), shared);
            UNROLLED for (int s = 0; s < S; s++)
                store<A>(shares + s * plain + i * pitch + j, shared[s], n);
        });
        if (!sound) {
            backward_planes<Op, true, A, A>(task, members, x, g, nullptr, to, plane, plane + 1);
            continue;
        }
        A* into = made.get();
        for (const auto& kind : gather.kinds) {
            for (const auto& patch : kind.patches)
                by_windows<A>(patch.offset.size(), [&](auto count) INLINED {
                    const Adder<S, decltype(count)::value, A> adder(
                        shares, plain, patch.offset.data(), patch.offset.size());
                    A* row = into + patch.first * grid.plane;
                    for (i64 at = 0; at < kind.number * pitch; at += L) {
                        Vec<A> sum[S];
                        adder.add(at, L, sum);
                        UNROLLED for (int s = 0; s < S; s++) store<A>(row + s * grid.size() + at, sum[s], L);
                    }
                });
            into += kind.number * pitch;  // what was written beyond is written over
        }
        for (i64 y = 0; y < m.h; y++) {
            const A* row = made.get() + gather.rows[y].place * pitch;
            A* line = to + (plane * m.h + y) * m.w;
            grid.template line<S>(row, m.w, [&](i64 at, i64 n, const Vec<A>* shared) INLINED {
                const i64 place = y * m.w + at;
                const Vec<A> weight = load<A>(weighed.weights.get() + place, n);
                write<A>(line + at, Op::template gradient<A>(load<A>(from + place, n), weight, shared), n, past);
            });
        }
    }
    if (past) settled();
}

// Rows of pixels of a channels_last picture, weighed one after the other: as many are kept as a window is high. Of each
// the weights, if they are kept or added up, and the products.
template <class Op, bool Keep, class A> struct WeighedRows {
    static constexpr int S = Op::sums, M = Keep ? 2 : S;
    const Task& task;
    const A* x;
    const i64 channels;
    const Window& k = task.window;
    const Maps& m = task.maps;
    const i64 slots = k.extent_h(), row = m.w * channels, apart = slots * row + Lanes<A>::count;
    const Aligned<A> ring{room<A>(M * apart)};
    i64 done = 0;
    Sound<Op, A> sound{};

    const A* weights(i64 y) const { return ring.get() + y % slots * row; }
    void until(i64 end) {
        const i64 from = done;
        done = std::max(done, std::min(end, m.h));
        Op::typed(task.options, [&](const auto& options) INLINED {
            for (i64 y = from; y < done; y++) line(options, y);
        });
    }
    template <class O> INLINE void line(const O& options, i64 y) {
        A* to = ring.get() + y % slots * row;
        const bool whole = channels == m.c;
        for (i64 pixel = 0; pixel < (whole ? 1 : m.w); pixel++, to += channels)
            vectors<A>(whole ? row : channels, [&](i64 at, i64 n) INLINED {
                const A* from = x + (y * m.w + pixel) * m.c + at;
                __builtin_prefetch(from + AHEAD);
                const Vec<A> value = load<A>(from, n);
                Vec<A> weight, product;
                Op::template weigh<Keep, A>(options, value, weight, product);
                sound.weighed(value, product);
                if (M == 2) store<A>(to + at, weight, n);
                store<A>(to + (M - 1) * apart + at, product, n);
            });
    }
    // f(column, channel, number, each, sums) for the windows of row i.
    template <class F> INLINE void windows(const Members<A>& members, i64 i, F f) {
        until(i * k.sh - k.top + k.extent_h());
        Taps taps;
        along(task.columns(), k.ow, [&](i64 first, i64 repeat) INLINED {
            const i64 origin = first * k.sw - k.left;
            taps_of(task, i, origin, channels, slots, taps);
            const Vec<A> each = splat<A>(members.each(i, first));
            by_count<Op, false, true, A>(taps, k, [&](auto count) INLINED {
                const Adder<S, decltype(count)::value, A> adder(
                    ring.get() + (M - S) * apart, apart, taps.target, taps.count);
                for (i64 j = first; j < first + repeat; j++)
                    vectors<A>(channels, [&](i64 at, i64 n) INLINED {
                        Vec<A> sum[S];
                        adder.add((j * k.sw - k.left) * channels + at, n, sum);
                        sound.summed(sum[0], n);
                        f(j, at, n, each, sum);
                    });
            });
        });
    }
};

template <class Op, class A>
void weighed_pixels(const Task& task, const Members<A>& members, const A* x, A* y, i64 picture, i64 first,
    i64 channels) {
    const Window& k = task.window;
    const Maps& m = task.maps;
    const bool past = streams<A>(y, m.numbers(), m.c, Order::any);
    WeighedRows<Op, false, A> rows{task, x + picture * m.h * m.w * m.c + first, channels};
    A* to = y + picture * k.oh * k.ow * m.c + first;
    for (i64 i = 0; i < k.oh; i++)
        rows.windows(members, i, [&](i64 j, i64 at, i64 n, Vec<A> each, const Vec<A>* sum) INLINED {
            write<A>(to + (i * k.ow + j) * m.c + at, Op::template value<A>(task.options, sum, each), n, past);
        });
    if (past) settled();
    if (!rows.sound.holds())
        forward_pixels<Op, A, A>(task, PixelTaps(task), members, x, y, nullptr, picture, first, channels);
}

template <class Op, class A>
void weighed_pixels_back(const Task& task, const Members<A>& members, const Gather<A>& gather, const A* x,
    const A* g, A* to, i64 picture, i64 first, i64 channels) {
    constexpr int S = Op::sums;
    const Window& k = task.window;
    const Maps& m = task.maps;
    const bool past = streams<A>(to, m.numbers(), m.c, Order::any);
    WeighedRows<Op, true, A> rows{task, x + picture * m.h * m.w * m.c + first, channels};
    // Of rows of windows as many are kept as a place lies in, and some more, so that they are seldom moved.
    const i64 wide = k.ow * m.c, most = (k.extent_h() + k.sh - 1) / k.sh + 8, plain = most * wide + Lanes<A>::count;
    const auto shares = room<A>(S * plain);
    const A* given = g + picture * k.oh * wide + first;
    A* into = to + picture * m.h * m.w * m.c + first;
    i64 oldest = 0, next = 0;
    for (i64 y = 0; y < m.h; y++, into += m.w * m.c) {
        for (; next < k.oh && next * k.sh - k.top <= y; next++) {
            if (next - oldest == most) {
                const i64 kept = std::max<i64>(0, (y + k.top - k.extent_h()) / k.sh);
                for (int s = 0; s < S; s++) {
                    A* from = shares.get() + s * plain;
                    std::memmove(from, from + (kept - oldest) * wide, (next - kept) * wide * sizeof(A));
                }
                oldest = kept;
            }
            rows.windows(members, next, [&](i64 j, i64 at, i64 n, Vec<A> each, const Vec<A>* sum) INLINED {
                Vec<A> shared[S];
                const i64 place = j * m.c + at;
                const A* from = given + next * wide + place;
                __builtin_prefetch(from + AHEAD);
                Op::template shares<A>(task.options, sum, each, load<A>(from, n), shared);
                UNROLLED for (int s = 0; s < S; s++)
                    store<A>(shares.get() + s * plain + (next - oldest) * wide + place, shared[s], n);
            });
        }
        rows.until(y + 1);
        const auto& [windows, kind, _] = gather.rows[y];
        for (const auto& patch : gather.kinds[kind].patches)
            by_windows<A>(patch.offset.size(), [&](auto count) INLINED {
                const Adder<S, decltype(count)::value, A> adder(
                    shares.get() + (windows - oldest) * wide, plain, patch.offset.data(), patch.offset.size());
                for (i64 i = 0; i < patch.number; i++) {
                    const i64 pixel = (patch.first + i * k.sw) * m.c;
                    vectors<A>(channels, [&](i64 at, i64 n) INLINED {
                        Vec<A> shared[S];
                        adder.add(i * m.c + at, n, shared);
                        const Vec<A> value = load<A>(rows.x + y * rows.row + pixel + at, n),
                            weight = load<A>(rows.weights(y) + pixel + at, n);
                        write<A>(into + pixel + at, Op::template gradient<A>(value, weight, shared), n, past);
                    });
                }
            });
    }
    if (past) settled();
    if (!rows.sound.holds())
        backward_pixels<Op, true, A, A>(task, members, x, g, nullptr, to, picture, first, channels);
}
