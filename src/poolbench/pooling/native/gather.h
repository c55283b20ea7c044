// The way back of windows that overlap, of operators that do not look at the input again: each place of the map gathers
// its parts from the windows that it lies in, is written once, and nothing is summed in memory.
#pragma once

#include "tiles.h"

// A window that a place of an axis lies in, which of its positions it is, and how many positions an average of it counts.
template <class A> struct Cover {
    i64 window, position;
    A members;
};

// Places `stride` apart along an axis; the windows of each are those of the first, shifted.
template <class A> struct Covered {
    i64 first, number;
    std::vector<Cover<A>> by;
};

template <class A>
std::vector<Covered<A>> covered(i64 size, i64 count, i64 stride, i64 before, i64 kernel, i64 spread, const A* members) {
    std::vector<std::vector<Cover<A>>> by(size);
    for (i64 i = 0; i < count; i++)
        for (i64 k = 0; k < kernel; k++) {
            i64 place = i * stride - before + k * spread;
            if (0 <= place && place < size) by[place].push_back({i, k, members[i]});
        }
    auto alike = [&](i64 place) {
        const auto &one = by[place], &other = by[place + stride];
        return std::equal(one.begin(), one.end(), other.begin(), other.end(), [](auto a, auto b) {
            return a.window + 1 == b.window && a.position == b.position && a.members == b.members;
        });
    };
    std::vector<Covered<A>> found;
    for (i64 phase = 0; phase < std::min(stride, size); phase++)
        for (i64 place = phase; place < size; place += stride) {
            found.push_back({place, 1, by[place]});
            for (; place + stride < size && alike(place); place += stride) found.back().number++;
        }
    return found;
}

// Places of a row, a stride apart, and what each gathers from: windows, from the first of the row's, and which of their
// positions it is.
template <class A> struct Patch {
    i64 first, number;
    std::vector<i64> offset;
    std::vector<u8> place;
    std::vector<A> each;  // the part of the position in an average

    void add(const Window& window, i64 from, i64 position, A part) {
        if (window.centre >= 0 && position != window.centre) return;
        offset.push_back(from);
        place.push_back(u8(position));
        each.push_back(part);
    }
};

// Which windows each place gathers from.
template <class A> struct Gather {
    struct Row {
        i64 windows, kind, place;  // its first row of windows, its kind, and which row it is when they are sorted by kind
    };
    struct Kind {
        i64 first, number;  // rows, a stride apart
        std::vector<Patch<A>> patches;
    };
    const Members<A>& members;
    std::vector<Row> rows;
    std::vector<Kind> kinds;
    // In NCHW rows of windows are copied, each `pitch` from the one before, with at least so many numbers of none before
    // each row, and a margin of whole vectors before the first.
    const i64 before, pitch, margin;

    Gather(const Task& task, const Members<A>& members)
        : members(members), rows(task.maps.h), before((task.window.extent_w() - 1) / task.window.sw),
          pitch(whole_vectors<A>(before + std::max(task.window.ow, (task.window.left + task.maps.w - 1) / task.window.sw + 1))),
          margin((before + Lanes<A>::count - 1) / Lanes<A>::count * Lanes<A>::count) {
        const Window& k = task.window;
        const Maps& m = task.maps;
        const auto columns = covered<A>(m.w, k.ow, k.sw, k.left, k.kw, k.dw, members.columns.get());
        i64 place = 0;
        for (const auto& row : covered<A>(m.h, k.oh, k.sh, k.top, k.kh, k.dh, members.rows.get())) {
            for (i64 y = 0; y < row.number; y++) rows[row.first + y * k.sh] = {y, i64(kinds.size()), place++};
            auto& patches = kinds.emplace_back(Kind{row.first, row.number, {}}).patches;
            if (m.last) {
                for (const auto& column : columns) {
                    auto& patch = patches.emplace_back(Patch<A>{column.first, column.number});
                    for (auto [i, r, tall] : row.by)
                        for (auto [j, c, wide] : column.by)
                            patch.add(k, (i * k.ow + j) * m.c, r * k.kw + c, 1 / (tall * wide));
                }
                continue;
            }
            for (i64 phase = 0; phase < k.sw; phase++) {
                auto& patch = patches.emplace_back(Patch<A>{phase, pitch});
                for (auto [i, r, tall] : row.by)
                    for (i64 c = k.kw - 1; c >= 0; c--)
                        if (i64 back = c * k.dw - phase; back >= 0 && back % k.sw == 0)
                            patch.add(k, i * pitch - back / k.sw, r * k.kw + c, 0);
            }
        }
    }
};

// f(kind, patch, patch, how many windows each gathers from, where that is known) for the rows of a plane of NCHW at a
// stride of 2 by their kinds: the patch of the columns that are even in the map, and that of those that are odd.
template <class A, class F> INLINE void by_pairs(const Gather<A>& gather, const Window& k, F f) {
    using std::integral_constant;
    for (const auto& kind : gather.kinds) {
        const auto &even = kind.patches[k.left % 2], &odd = kind.patches[(k.left + 1) % 2];
        const auto is = [&](size_t some, size_t others) { return even.offset.size() == some && odd.offset.size() == others; };
        if constexpr (std::is_same_v<A, float>) {
            if (is(1, 2)) {
                f(kind, even, odd, integral_constant<int, 1>{}, integral_constant<int, 2>{});
                continue;
            }
            if (is(2, 4)) {
                f(kind, even, odd, integral_constant<int, 2>{}, integral_constant<int, 4>{});
                continue;
            }
        }
        f(kind, even, odd, integral_constant<int, 0>{}, integral_constant<int, 0>{});
    }
}

// f(how many windows) where that is known: 1, 2 or 4 in float32.
template <class A, class F> INLINE void by_windows(size_t count, F f) {
    if constexpr (std::is_same_v<A, float>) {
        if (count == 1) return f(std::integral_constant<int, 1>{});
        if (count == 2) return f(std::integral_constant<int, 2>{});
        if (count == 4) return f(std::integral_constant<int, 4>{});
    }
    f(std::integral_constant<int, 0>{});
}

// What a vector of places gathers. In NCHW the part of each position differs from window to window.
template <class Op, int N, class A> struct Gathered {
    const Options& options;
    const int count;
    i64 own_offset[N + 1];
    u8 own_place[N + 1];
    A own_each[N + 1];
    const i64* offset = own_offset;
    const u8* place = own_place;
    const A* each = own_each;

    Gathered(const Options& options, const Patch<A>& patch) : options(options), count(patch.offset.size()) {
        if (N) {  // copied: else whatever is written might change them
            std::copy_n(patch.offset.data(), N, own_offset);
            std::copy_n(patch.place.data(), N, own_place);
            std::copy_n(patch.each.data(), N, own_each);
        } else {
            offset = patch.offset.data();
            place = patch.place.data();
            each = patch.each.data();
        }
    }
    template <class In> INLINE Vec<A> sum(const In* g, const u8* position, const A* by_window, i64 n) const {
        Vec<A> sum{};
        times<N>(count, [&](int t) INLINED {
            Mask<A> found{};
            if constexpr (Op::keeps) found = load<A>(position + offset[t], n);
            Vec<A> part = by_window ? load<A>(by_window + offset[t]) : splat<A>(each[t]);
            sum += Op::template part<A>(options, part, load<A>(g + offset[t], n), found, place[t]);
        });
        return sum;
    }
};

template <class Op, class A, class Out>
void gather_pixels(const Task& task, const Gather<A>& gather, const Out* g, const u8* position, Out* to, i64 picture,
    i64 first, i64 channels) {
    const Window& k = task.window;
    const Maps& m = task.maps;
    const Options options = task.of<A>(picture);
    const bool past = streams<A>(to, m.numbers(), m.c, Order::any);
    constexpr int L = Lanes<A>::count;
    const i64 row = m.w * m.c;
    to += picture * m.h * row + first;
    for (auto [windows, kind, _] : gather.rows) {
        const i64 start = (picture * k.oh + windows) * k.ow * m.c + first;
        for (const auto& patch : gather.kinds[kind].patches)
            by_windows<A>(patch.offset.size(), [&](auto count) INLINED {
                const Gathered<Op, decltype(count)::value, A> gathered(options, patch);
                const Out* from = g + start;
                const u8* found = Op::keeps ? position + start : nullptr;
                Out* into = to + patch.first * m.c;
                auto block = [&](i64 at, i64 n) INLINED {
                    Vec<A> sum = gathered.sum(from + at, found + at, nullptr, n);
                    if (!past) __builtin_prefetch(into + at + row, 1);  // of the row below
                    write<A>(into + at, sum, n, past);
                };
                for (i64 i = 0; i < patch.number; i++, from += m.c, found += m.c, into += k.sw * m.c) {
                    i64 at = 0;
                    for (; at + L <= channels; at += L) block(at, L);
                    if (at < channels) block(at, channels - at);
                }
            });
        to += row;
    }
    if (past) settled();
}

// What the planes of NCHW gather.
template <class Op, class A> struct GatheredPlane {
    static constexpr int L = Lanes<A>::count;
    const Task& task;
    const Gather<A>& gather;
    const Window& k = task.window;
    const Maps& m = task.maps;
    const i64 pitch = gather.pitch, windows = gather.margin + (k.oh + 1) * pitch + 2 * L;
    const Aligned<A> all_values{room<A>(windows)}, all_each{room<A>(windows)};
    std::vector<u8> all_places = std::vector<u8>(windows, NONE);
    A *const values = all_values.get() + gather.margin, *const each = all_each.get() + gather.margin;
    u8* const places = all_places.data() + gather.margin;
    const Grid<A> grid{k, m, m.h * pitch + 2 * L};
    const Aligned<A> made{room<A>(grid.size())};

    GatheredPlane(const Task& task, const Gather<A>& gather) : task(task), gather(gather) {
        std::fill_n(all_each.get(), windows, A(1));
        for (i64 i = 0; i < k.oh; i++)
            for (i64 j = 0; j < k.ow; j++) each[i * pitch + j] = gather.members.each(i, j);
    }
    void run(const Options& options, const A* g, const u8* position, A* to, bool past) const {
        for (i64 i = 0; i < k.oh; i++)
            for (i64 j = 0; j < k.ow; j += L) {
                const i64 from = i * k.ow + j, into = i * pitch + j, soon = from + k.oh * k.ow;  // in the next plane
                __builtin_prefetch(g + soon);
                if constexpr (Op::keeps) __builtin_prefetch(position + soon);
                store<A>(values + into, load<A>(g + from, k.ow - j), k.ow - j);
                if constexpr (Op::keeps) store<A>(places + into, load<A>(position + from, k.ow - j), k.ow - j);
            }
        if (k.sw == 2)
            return by_pairs(gather, k, [&](const auto& kind, const auto& even, const auto& odd, auto some, auto others) INLINED {
                const Gathered<Op, decltype(some)::value, A> first(options, even);
                const Gathered<Op, decltype(others)::value, A> second(options, odd);
                const i64 width = m.w, left = k.left, step = k.sh * width, wide = pitch;
                A* line = to + kind.first * width;
                for (i64 i = 0; i < kind.number; i++, line += step)
                    for (i64 at = 0; 2 * at < width; at += L) {
                        const i64 from = i * wide + left / 2 + at, next = i * wide + (left + 1) / 2 + at;
                        const Vec<A> a = first.sum(values + from, places + from, each + from, L);
                        const Vec<A> b = second.sum(values + next, places + next, each + next, L);
                        write_pair<A>(line + 2 * at, zip_low(a, b), zip_high(a, b), width - 2 * at, past);
                    }
            });
        A* into = made.get();
        for (const auto& kind : gather.kinds) {
            for (const auto& patch : kind.patches) {
                const Gathered<Op, 0, A> gathered(options, patch);
                A* row = into + patch.first * grid.plane;
                for (i64 at = 0; at < kind.number * pitch; at += L)
                    store<A>(row + at, gathered.sum(values + at, places + at, each + at, L), L);
            }
            into += kind.number * pitch;  // what was written beyond is written over
        }
        for (i64 y = 0; y < m.h; y++) grid.line(made.get() + gather.rows[y].place * pitch, to + y * m.w, m.w, past);
    }
};

template <class Op, class A, class Out>
void gather_planes(const Task& task, const Gather<A>& gather, const Out* g, const u8* position, Out* to, i64 begin,
    i64 end) {
    const Maps& m = task.maps;
    const i64 size = m.h * m.w, results = task.window.oh * task.window.ow;
    const bool past = std::is_same_v<A, Out> && streams<A>(to, m.numbers(), m.w, Order::in_turn);
    const GatheredPlane<Op, A> gathered(task, gather);
    const Plane<A, Out> given{results}, made{size};
    for (i64 plane = begin; plane < end; plane++) {
        gathered.run(task.of<A>(plane / m.c), given.read(g + plane * results),
            Op::keeps ? position + plane * results : nullptr, made.target(to + plane * size), past);
        made.write(to + plane * size);
    }
    if (past) settled();
}
