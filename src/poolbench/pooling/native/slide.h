// Slides a window over maps, forward and backward, in either layout. Vectors lie along what is contiguous: the channels
// of a pixel (channels_last), or a row of outputs (NCHW), for which a plane is first copied with its columns sorted by
// their remainder by the stride, so that a position of the kernel meets neighbours in neighbouring outputs.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "operators.h"

struct Window {
    i64 kh, kw, sh, sw, dh, dw, top, left, oh, ow;
    i64 padding[4];  // above, below, before, after: how much of the padding an average counts
    i64 centre;      // the one position that is looked at, or -1

    i64 extent_h() const { return dh * (kh - 1) + 1; }
    i64 extent_w() const { return dw * (kw - 1) + 1; }
};

struct Maps {
    i64 n, c, h, w;
    bool last;
};

template <class A> using Aligned = std::unique_ptr<A[], decltype(&std::free)>;

template <class A> Aligned<A> room(i64 size) {
    i64 bytes = (size * sizeof(A) + 2 * 64 + 63) / 64 * 64;
    Aligned<A> memory((A*)std::aligned_alloc(64, bytes), &std::free);
    std::memset(memory.get(), 0, bytes);
    return memory;
}

// How many positions of each window an average counts, along one axis; at least 1.
template <class A> Aligned<A> members(i64 count, i64 stride, i64 before, i64 kernel, i64 spread, i64 low, i64 high) {
    auto found = room<A>(count + Lanes<A>::count);
    for (i64 i = 0; i < count + Lanes<A>::count; i++) {
        i64 inside = 0;
        for (i64 k = 0; k < kernel; k++) {
            i64 place = i * stride - before + k * spread;
            inside += low <= place && place < high;
        }
        found[i] = std::max<i64>(inside, 1);
    }
    return found;
}

// The positions of a window that lie in the map: where each lies from the window's origin, and its number.
struct Taps {
    int count = 0;
    i64 offset[NONE], target[NONE];  // in what is read, and in what the gradient is written to
    u8 number[NONE];

    void add(i64 from, i64 to, int place) {
        offset[count] = from;
        target[count] = to;
        number[count++] = u8(place);
    }
};

template <class A> INLINE Mask<A> steps() {
    Mask<A> lane;
    for (int i = 0; i < Lanes<A>::count; i++) lane[i] = i;
    return lane;
}

// One vector of windows, N positions each (0: as many as `taps` has).
template <class A, class In, int N, bool Whole> struct Windows {
    static constexpr int known = N;
    const In* base;
    const Taps& taps;
    i64 n;  // how many of its lanes are windows
    const Window* row;  // of NCHW with padding: to tell what lies inside
    i64 column, width;
    const int count = N ? N : taps.count;

    INLINE Vec<A> operator[](int t) const {
        return Whole ? load<A>(base + taps.offset[t]) : load<A>(base + taps.offset[t], n);
    }
    INLINE int place(int t) const { return taps.number[t]; }
    // The position of the maximum of a window that holds nothing above -inf: as torch, the first in the map.
    INLINE Mask<A> first() const { return number<A>(!row && count ? place(0) : NONE); }
    INLINE void settle(Mask<A>& position) const {
        if (!row || !any(position == NONE)) return;
        Mask<A> open = position == NONE;
        for (int t = count - 1; t >= 0; t--) position = open & inside(t) ? number<A>(place(t)) : position;
    }
    INLINE Mask<A> inside(int t) const {
        if (!row) return number<A>(-1);
        using I = decltype(+Mask<A>{}[0]);
        I first = I(column * row->sw - row->left + place(t) % row->kw * row->dw);
        Mask<A> here = steps<A>() * I(row->sw) + first;
        return (here >= 0) & (here < I(width));
    }
};

// Uniform numbers in [0, 1), a function of the seed and of the output's place alone, so that threads do not matter.
struct Chance {
    const void* given = nullptr;  // numbers handed in instead
    std::uint64_t seed = 0;

    template <class A> INLINE Vec<A> at(i64 place, i64 n) const {
        if (given) return load<A>((const A*)given + place, n);
        using U = typename Lanes<A>::U;
        U x;
        for (int lane = 0; lane < Lanes<A>::count; lane++) x[lane] = lane;
        x += std::uint32_t(place);
        x = mix(U(x * 0x9e3779b9u ^ std::uint32_t(seed)));
        x = mix(U(x + std::uint32_t(seed >> 32) + std::uint32_t(std::uint64_t(place) >> 32) * 0x85ebca6bu));
        typedef std::int32_t S __attribute__((vector_size(sizeof(U))));
        return __builtin_convertvector((S)(x >> 9), Vec<A>) * A(0x1p-23);
    }
    template <class U> INLINE static U mix(U x) {
        x = (x ^ (x >> 16)) * 0x21f0aaadu;
        x = (x ^ (x >> 15)) * 0x735a2d97u;
        return x ^ (x >> 15);
    }
};

// A run of windows that are neighbours in memory.
template <class A, class In, class Out> struct Line {
    const In* x;
    Out* y;
    u8* position;
    i64 length;
    A along;          // members of a window: this times `across`, one number for each window, if there is such
    const A* across;
    i64 place;        // of the first output
    const Window* row;
    i64 width;

    INLINE Vec<A> members(i64 at) const { return across ? load<A>(across + at) * along : splat<A>(along); }
};

template <class Op, int N, class A, class In, class Out>
INLINE void forward_line(const Options& options, const Chance& chance, const Taps& taps, const Line<A, In, Out>& line) {
    constexpr int L = Lanes<A>::count;
    auto block = [&](i64 at, i64 n, auto whole) INLINED {
        Windows<A, In, N, decltype(whole)::value> x{line.x + at, taps, n, line.row, at, line.width};
        Vec<A> y, uniform{};
        Mask<A> position{};
        if constexpr (Op::draws) uniform = chance.at<A>(line.place + at, n);
        Op::template forward<A>(options, x, line.members(at), uniform, y, position);
        store<A>(line.y + at, y, n);
        if (Op::keeps && line.position) store<A>(line.position + at, position, n);
    };
    i64 at = 0;
    for (; at + L <= line.length; at += L) block(at, L, std::true_type{});
    if (at < line.length) {
        // NCHW reads from a copy that goes on beyond the row.
        if constexpr (std::is_same_v<In, A>) {
            if (line.across) return block(at, line.length - at, std::true_type{});
        }
        block(at, line.length - at, std::false_type{});
    }
}

template <class A, class In, class Out, class Gradient> struct BackLine {
    const In* x;
    const Out* y_gradient;
    const u8* position;
    Gradient* gradient;
    i64 length;
    A along;
    const A* across;
    const Window* row;
    i64 width;
};

template <class Op, int N, bool Add, class A, class In, class Out, class Gradient>
INLINE void backward_line(const Options& options, const Taps& taps, const BackLine<A, In, Out, Gradient>& line) {
    constexpr int L = Lanes<A>::count;
    auto block = [&](i64 at, i64 n, auto whole) INLINED {
        Windows<A, In, N, decltype(whole)::value> x{line.x + at, taps, n, line.row, at, line.width};
        Vec<A> members = line.across ? load<A>(line.across + at) * line.along : splat<A>(line.along);
        Mask<A> position{};
        if constexpr (Op::keeps) position = load<A>(line.position + at, n);
        Op::template backward<A>(options, x, members, load<A>(line.y_gradient + at, n), position,
            [&](int t, Vec<A> part) INLINED {
                Gradient* to = line.gradient + taps.target[t] + at;
                if constexpr (Add) part += load<A>(to, n);
                store<A>(to, part, n);
            });
    };
    i64 at = 0;
    for (; at + L <= line.length; at += L) block(at, L, std::true_type{});
    if (at < line.length) block(at, line.length - at, std::false_type{});
}

// 2x2 and 3x3 windows in float32 are unrolled.
template <class A, class F> INLINE void by_count(int count, F f) {
    if constexpr (std::is_same_v<A, double>)
        f(std::integral_constant<int, 0>{});
    else if (count == 4)
        f(std::integral_constant<int, 4>{});
    else if (count == 9)
        f(std::integral_constant<int, 9>{});
    else
        f(std::integral_constant<int, 0>{});
}


// A plane of NCHW copied: columns sorted by their remainder by the stride, padding beside them.
template <class A> struct Grid {
    static constexpr int L = Lanes<A>::count;
    const Window& window;
    i64 h, w, pitch, plane;
    bool flat;  // rows follow one another without a gap, so that the plane is one long row

    Grid(const Window& window, const Maps& maps) : window(window), h(maps.h), w(maps.w) {
        i64 needed = std::max(window.left + w, (window.ow - 1) * window.sw + window.extent_w());
        pitch = (needed + window.sw - 1) / window.sw;
        plane = h * pitch + 2 * L;
        flat = w == window.sw * pitch;
    }
    i64 size() const { return window.sw * plane; }
    bool padded() const { return window.left > 0 || needed_right() > 0; }
    i64 needed_right() const { return (window.ow - 1) * window.sw + window.extent_w() - window.left - w; }
    i64 at(i64 column) const { return column % window.sw * plane + column / window.sw; }  // of a padded column

    template <class In> void fill(const In* from, A* to, A padding) const {
        if (flat) return row(from, to, h * w);
        for (i64 y = 0; y < h; y++, from += w, to += pitch) {
            row(from, to, w);
            for (i64 column = 0; column < window.left; column++) to[at(column)] = padding;
            for (i64 column = window.left + w; column < window.sw * pitch; column++) to[at(column)] = padding;
        }
    }
    // What lies beyond the row is overwritten by the next.
    template <class In> INLINE void row(const In* from, A* to, i64 length) const {
        A *even = to + at(window.left), *odd = to + at(window.left + 1);
        if (window.sw == 1) {
            for (i64 i = 0; i < length; i += L) store<A>(even + i, load<A>(from + i, length - i), L);
        } else if (window.sw == 2) {
            for (i64 i = 0; i < length; i += 2 * L) {
                Vec<A> a = load<A>(from + i, length - i), b{};
                if (length - i > L) b = load<A>(from + i + L, length - i - L);
                store<A>(even + i / 2, evens(a, b), L);
                store<A>(odd + i / 2, odds(a, b), L);
            }
        } else {
            for (i64 i = 0; i < length; i++) to[at(window.left + i)] = one(from[i]);
        }
    }
    template <class Out> void empty(const A* from, Out* to) const {
        if (flat) return line(from, to, h * w);
        for (i64 y = 0; y < h; y++, from += pitch, to += w) line(from, to, w);
    }
    template <class Out> INLINE void line(const A* from, Out* to, i64 length) const {
        const A *even = from + at(window.left), *odd = from + at(window.left + 1);
        if (window.sw == 1) {
            for (i64 i = 0; i < length; i += L) store<A>(to + i, load<A>(even + i), length - i);
        } else if (window.sw == 2) {
            for (i64 i = 0; i < length; i += 2 * L) {
                Vec<A> a = load<A>(even + i / 2), b = load<A>(odd + i / 2);
                store<A>(to + i, zip_low(a, b), length - i);
                if (length - i > L) store<A>(to + i + L, zip_high(a, b), length - i - L);
            }
        } else {
            for (i64 i = 0; i < length; i++) set(to + i, from[at(window.left + i)]);
        }
    }
    // The positions of the windows of row i that lie in the map.
    void taps(i64 i, Taps& found) const {
        found.count = 0;
        for (i64 r = 0; r < window.kh; r++) {
            i64 y = i * window.sh - window.top + r * window.dh;
            if (y < 0 || y >= h) continue;
            for (i64 c = 0; c < window.kw; c++) {
                i64 place = r * window.kw + c, offset = y * pitch + at(c * window.dw);
                if (window.centre < 0 || place == window.centre) found.add(offset, offset, int(place));
            }
        }
    }
};

struct Task {
    Window window;
    Maps maps;
    Options options;
    Chance chance;

    // Members of the windows by row and by column.
    template <class A> Aligned<A> rows() const {
        const Window& k = window;
        return members<A>(k.oh, k.sh, k.top, k.kh, k.dh, -k.padding[0], maps.h + k.padding[1]);
    }
    template <class A> Aligned<A> columns() const {
        const Window& k = window;
        return members<A>(k.ow, k.sw, k.left, k.kw, k.dw, -k.padding[2], maps.w + k.padding[3]);
    }
    bool apart() const { return window.sh >= window.extent_h() && window.sw >= window.extent_w(); }
    bool covered() const {
        const Window& k = window;
        return k.centre < 0 && k.kh == k.sh && k.kw == k.sw && k.dh == 1 && k.dw == 1 &&
               k.oh * k.sh - k.top >= maps.h && k.ow * k.sw - k.left >= maps.w;
    }
};

template <class Op, class A, class Out>
void forward_planes(const Task& task, const Out* x, Out* y, u8* position, i64 begin, i64 end) {
    const Window& k = task.window;
    const Maps& m = task.maps;
    Grid<A> grid(k, m);
    auto copy = room<A>(grid.size());
    auto rows = task.rows<A>(), columns = task.columns<A>();
    Taps taps;
    const Window* padded = grid.padded() ? &k : nullptr;
    for (i64 plane = begin; plane < end; plane++) {
        grid.fill(x + plane * m.h * m.w, copy.get(), A(Op::padding));
        for (i64 i = 0; i < k.oh; i++) {
            grid.taps(i, taps);
            i64 place = (plane * k.oh + i) * k.ow;
            Line<A, A, Out> line{copy.get(), y + place, position ? position + place : nullptr, k.ow,
                rows[i], columns.get(), place, padded, m.w};
            by_count<A>(taps.count, [&](auto n) INLINED {
                forward_line<Op, decltype(n)::value>(task.options, task.chance, taps, line);
            });
        }
    }
}

template <class Op, bool Add, class A, class Out>
void backward_planes(const Task& task, const Out* x, const Out* g, const u8* position, Out* to, i64 begin, i64 end) {
    const Window& k = task.window;
    const Maps& m = task.maps;
    Grid<A> grid(k, m);
    auto copy = room<A>(Op::looks ? grid.size() : 0), sum = room<A>(grid.size());
    auto rows = task.rows<A>(), columns = task.columns<A>();
    Taps taps;
    for (i64 plane = begin; plane < end; plane++) {
        if (Op::looks) grid.fill(x + plane * m.h * m.w, copy.get(), A(Op::padding));
        if (Add) std::memset(sum.get(), 0, grid.size() * sizeof(A));
        for (i64 i = 0; i < k.oh; i++) {
            grid.taps(i, taps);
            i64 place = (plane * k.oh + i) * k.ow;
            BackLine<A, A, Out, A> line{copy.get(), g + place, position ? position + place : nullptr, sum.get(), k.ow,
                rows[i], columns.get(), nullptr, m.w};
            by_count<A>(taps.count, [&](auto n) INLINED {
                backward_line<Op, decltype(n)::value, Add>(task.options, taps, line);
            });
        }
        grid.empty(sum.get(), to + plane * m.h * m.w);
    }
}

// The positions in the map of the windows of one row of a channels_last picture. `slots`: rows that `target` counts.
struct Pixels {
    const Task& task;
    i64 i, row, slots;
    Taps inner, edge;

    Pixels(const Task& task, i64 row, i64 slots) : task(task), row(row), slots(slots) {}

    void start(i64 output_row) {
        i = output_row;
        collect(inner, 0, task.window.kw * task.window.dw + task.maps.w);
    }
    void collect(Taps& taps, i64 origin, i64 width) const {
        const Window& k = task.window;
        taps.count = 0;
        for (i64 r = 0; r < k.kh; r++) {
            i64 y = i * k.sh - k.top + r * k.dh;
            if (y < 0 || y >= task.maps.h) continue;
            for (i64 c = 0; c < k.kw; c++) {
                i64 place = r * k.kw + c, column = origin + c * k.dw;
                if (column < 0 || column >= width || (k.centre >= 0 && place != k.centre)) continue;
                i64 along = c * k.dw * task.maps.c;
                taps.add(y * task.maps.w * task.maps.c + along, y % slots * row + c * k.dw * (row / task.maps.w),
                    int(place));
            }
        }
    }
    const Taps& at(i64 origin) {
        if (origin >= 0 && origin + task.window.extent_w() <= task.maps.w) return inner;
        collect(edge, origin, task.maps.w);
        return edge;
    }
};

template <class Op, class A, class Out>
void forward_pixels(const Task& task, const Out* x, Out* y, u8* position, i64 picture, i64 first, i64 channels) {
    const Window& k = task.window;
    const Maps& m = task.maps;
    auto rows = task.rows<A>(), columns = task.columns<A>();
    Pixels pixels(task, m.w * m.c, m.h);
    x += picture * m.h * m.w * m.c + first;
    for (i64 i = 0; i < k.oh; i++) {
        pixels.start(i);
        for (i64 j = 0; j < k.ow; j++) {
            i64 origin = j * k.sw - k.left, place = ((picture * k.oh + i) * k.ow + j) * m.c + first;
            const Taps& taps = pixels.at(origin);
            Line<A, Out, Out> line{x + origin * m.c, y + place, position ? position + place : nullptr, channels,
                rows[i] * columns[j], nullptr, place, nullptr, m.w};
            by_count<A>(taps.count, [&](auto n) INLINED {
                forward_line<Op, decltype(n)::value>(task.options, task.chance, taps, line);
            });
        }
    }
}

// Windows apart write to the map; others are summed in as many rows as a window is high, each written when it is done.
template <class Op, bool Add, class A, class Out>
void backward_pixels(const Task& task, const Out* x, const Out* g, const u8* position, Out* to, i64 picture, i64 first,
    i64 channels) {
    using Gradient = std::conditional_t<Add, A, Out>;
    constexpr int L = Lanes<A>::count;
    const Window& k = task.window;
    const Maps& m = task.maps;
    auto rows = task.rows<A>(), columns = task.columns<A>();
    i64 slots = Add ? k.extent_h() : m.h, pixel = Add ? channels : m.c, row = m.w * pixel, done = 0;
    auto sum = room<A>(Add ? slots * row : 0);
    Pixels pixels(task, row, slots);
    if (Op::looks) x += picture * m.h * m.w * m.c + first;
    to += picture * m.h * m.w * m.c + first;
    auto finish = [&](i64 until) {
        for (; done < until; done++) {
            A* from = sum.get() + done % slots * row;
            for (i64 column = 0; column < m.w; column++)
                for (i64 c = 0; c < channels; c += L)
                    store<A>(to + (done * m.w + column) * m.c + c, load<A>(from + column * channels + c),
                        channels - c);
            std::memset(from, 0, row * sizeof(A));
        }
    };
    if (!Add && !task.covered())
        for (i64 place = 0; place < m.h * m.w; place++) std::memset(to + place * m.c, 0, channels * sizeof(Out));
    for (i64 i = 0; i < k.oh; i++) {
        if (Add) finish(std::clamp<i64>(i * k.sh - k.top, done, m.h));
        pixels.start(i);
        for (i64 j = 0; j < k.ow; j++) {
            i64 origin = j * k.sw - k.left, place = ((picture * k.oh + i) * k.ow + j) * m.c + first;
            const Taps& taps = pixels.at(origin);
            Gradient* into;
            if constexpr (Add)
                into = sum.get() + origin * pixel;
            else
                into = to + origin * pixel;
            BackLine<A, Out, Out, Gradient> line{Op::looks ? x + origin * m.c : x, g + place, position ? position + place : nullptr,
                into, channels, rows[i] * columns[j], nullptr, nullptr, m.w};
            by_count<A>(taps.count, [&](auto n) INLINED {
                backward_line<Op, decltype(n)::value, Add>(task.options, taps, line);
            });
        }
    }
    if (Add) finish(m.h);
}
