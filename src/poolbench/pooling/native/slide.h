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
    i64 border;      // what lies beyond the map: see `source`

    i64 extent_h() const { return dh * (kh - 1) + 1; }
    i64 extent_w() const { return dw * (kw - 1) + 1; }

    // The place in a map of this size that stands for place `i`, or -1: nothing lies there.
    i64 source(i64 i, i64 size) const {
        if (0 <= i && i < size) return i;
        auto modulo = [](i64 i, i64 period) { return (i % period + period) % period; };
        i64 period = std::max<i64>(2 * (size - 1), 1);
        switch (border) {
            case 1: return std::min(modulo(i, period), modulo(-i, period));  // reflect
            case 2: return std::clamp<i64>(i, 0, size - 1);                  // replicate
            case 3: return modulo(i, size);                                  // circular
            default: return -1;
        }
    }
};

struct Maps {
    i64 n, c, h, w;
    bool last;

    i64 numbers() const { return n * c * h * w; }
};

constexpr i64 LINE = 64;        // bytes of a cache line
constexpr i64 AHEAD = 4096;     // numbers; so much earlier than it is needed memory is asked for
constexpr i64 LARGE = 1 << 24;  // bytes; a pass over more gains by streams what the next to read loses by the caches
enum class Order { in_turn, any };  // of the rows that come out: out of turn, part of a line costs more than all of it

// Whether of maps of so many numbers what comes out, in rows of `row`, is written past the caches.
template <class A, class Out> bool streams(const Out* to, i64 numbers, i64 row, Order order) {
    const i64 unit = order == Order::any ? LINE : Lanes<A>::count / 2 * i64(sizeof(Out));
    return numbers * i64(sizeof(Out)) >= LARGE && row * i64(sizeof(Out)) % unit == 0 && std::uintptr_t(to) % unit == 0;
}

template <class A> using Aligned = std::unique_ptr<A[], decltype(&std::free)>;

template <class A> Aligned<A> room(i64 size) {
    if (size == 0) return {nullptr, &std::free};
    i64 bytes = (size * sizeof(A) + 2 * 64 + 63) / 64 * 64;
    Aligned<A> memory((A*)std::aligned_alloc(64, bytes), &std::free);
    std::memset(memory.get(), 0, bytes);
    return memory;
}

// So many numbers, or as many as whole vectors hold where these are not many more: rows of vectors are read and written
// without meeting two lines of the cache.
template <class A> i64 whole_vectors(i64 numbers) {
    constexpr i64 L = Lanes<A>::count;
    const i64 whole = (numbers + L - 1) / L * L;
    return whole * 7 <= numbers * 8 ? whole : numbers;
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
    int count = 0, news = 0;
    i64 offset[NONE], target[NONE];  // in what is read, and in what the gradient is written to
    i64 fresh[NONE];                 // what a window further down reads that no window has read before
    i64 column[NONE];                // from the window's first
    u8 number[NONE];

    void add(i64 from, i64 to, i64 along, int place) {
        offset[count] = from;
        target[count] = to;
        column[count] = along;
        number[count++] = u8(place);
    }
    void shift(i64 distance) {
        for (int t = 0; t < count; t++) offset[t] += distance;
        for (int t = 0; t < news; t++) fresh[t] += distance;
    }
};

// The offsets of the positions, and their numbers: known where a window of N positions lies wholly in the map.
template <int N> struct Offsets {
    static constexpr int count = N;
    i64 offset[N];
    explicit Offsets(const Taps&, const i64* from) { std::copy(from, from + N, offset); }
    INLINE int place(int t) const { return t; }
};
template <> struct Offsets<0> {
    int count;
    const i64* offset;
    const u8* number;
    Offsets(const Taps& taps, const i64* from) : count(taps.count), offset(from), number(taps.number) {}
    INLINE int place(int t) const { return number[t]; }
};

// Of windows of N positions those of whole vectors; what is less is not worth compiling apart.
template <int N> struct Unrolled {
    Offsets<N> whole;
    Offsets<0> any;
    Unrolled(const Taps& taps, const i64* from) : whole(taps, from), any(taps, from) {}
    template <bool Whole> INLINE const auto& of() const {
        if constexpr (Whole)
            return whole;
        else
            return any;
    }
};

// One vector of windows: `lanes` of them, or, where what is read goes on beyond them, Whole.
template <class A, class In, int N, bool Whole> struct Windows {
    static constexpr int known = N, most = N ? N : NONE;  // positions
    const In* base;
    const Offsets<N>& taps;
    i64 lanes;
    const Window* row;  // of NCHW with padding: to tell what lies inside
    const i64* columns;
    i64 column, width, low, high;
    const int count = taps.count;

    INLINE Vec<A> operator[](int t) const {
        return Whole ? load<A>(base + taps.offset[t]) : load<A>(base + taps.offset[t], lanes);
    }
    INLINE int place(int t) const { return taps.place(t); }
    template <class F> INLINE void each(F f) const { times<N>(count, f); }
    // Rows of pixels lie too far apart for the processor to foresee the next.
    INLINE void fetch(const Taps& all) const {
        for (int t = 0; t < all.news; t++) __builtin_prefetch(base + all.fresh[t]);
    }
    INLINE void fetch() const {
        each([&](int t) INLINED { __builtin_prefetch(base + taps.offset[t] + AHEAD); });
    }
    // The position of the maximum of a window that holds nothing above -inf: as torch, the first in the map.
    INLINE Mask<A> first() const { return number<A>(!row && count ? place(0) : NONE); }
    INLINE void settle(Mask<A>& position) const {
        if (!row || !any(position == NONE)) return;
        Mask<A> open = position == NONE;
        for (int t = count - 1; t >= 0; t--) position = open & inside(t) ? number<A>(place(t)) : position;
    }
    using I = decltype(+Mask<A>{}[0]);
    // Windows that padding lies in beside the map.
    INLINE Mask<A> padded() const {
        if (!row) return Mask<A>{};
        const Mask<A> here = steps<A>() + I(column);
        return (here < I(low)) | (here >= I(high));
    }
    INLINE Mask<A> inside(int t) const {
        if (!row) return number<A>(-1);
        const Mask<A> here = steps<A>() * I(row->sw) + I(column * row->sw - row->left + columns[t]);
        return (here >= 0) & (here < I(width));
    }
};

// Uniform numbers in [0, 1), a function of the seed and of the output's place alone, so that threads do not matter.
struct Chance {
    const void* given = nullptr;  // numbers handed in instead, or coins
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
    // The coin of a plane of NCHW, or those of channels side by side.
    template <class A, bool Planar> INLINE Vec<A> coin(i64 plane, i64 n) const {
        const A* first = (const A*)given + plane;
        return Planar ? splat<A>(*first) : load<A>(first, n);
    }
    template <class U> INLINE static U mix(U x) {
        x = (x ^ (x >> 16)) * 0x21f0aaadu;
        x = (x ^ (x >> 15)) * 0x735a2d97u;
        return x ^ (x >> 15);
    }
};

// Windows side by side, `length` of them, and so again `repeat` times: the channels of pixels, or rows of outputs.
template <class A, class In, class Out, class Gradient = A> struct Run {
    const In* x;
    Out* y;  // forward: the output; backward: its gradient
    u8* position;
    Gradient* gradient;
    i64 length, repeat, x_step, y_step, gradient_step;
    A each;           // the part of each position in an average
    const A* by_window;  // and of each window on its own, if they differ
    i64 place;        // of the first output
    const Window* row;  // of NCHW with padding
    i64 width;
    bool streams = false;  // what is written is written once, and past the caches
    i64 low = 0, high = 0;  // the windows of a padded row that lie wholly in the map
    std::uintptr_t next = 0;  // of NCHW: where the next plane holds what lies beside the first row of windows
    i64 next_step = 0;        // bytes
    i64 plane = 0;            // of the first output

    INLINE const Window* padded(i64 at, i64 n) const { return at < low || at + n > high ? row : nullptr; }
    INLINE Vec<A> part(i64 at) const { return by_window ? load<A>(by_window + at) : splat<A>(each); }
    // While a plane is computed memory would rest.
    INLINE void fetch(i64 row) const {
        for (i64 at = 0; at < next_step; at += LINE) __builtin_prefetch((const char*)(next + row * next_step + at));
    }
};

// What f takes of the last vector, which may be less than whole: as if it were, or once more what the one before held.
enum class Ends { alike, again, apart };

// f(at, n, whether n is as many as a vector holds) for all vectors of so many numbers, from `at` on.
template <Ends ends, class A, class F> INLINE void pieces(i64 at, i64 length, F f) {
    constexpr i64 L = Lanes<A>::count;
    if constexpr (ends == Ends::alike) {
        for (; at < length; at += L) f(at, std::min(L, length - at), std::true_type{});
    } else if constexpr (ends == Ends::again) {
        if (length < L) return f(at, length, std::false_type{});
        for (; at < length; at += L) f(at = std::min(at, length - L), L, std::true_type{});
    } else {
        for (; at + L <= length; at += L) f(at, L, std::true_type{});
        if (at < length) f(at, length - at, std::false_type{});
    }
}

template <class Op, int N, bool Planar, class A, class In, class Out>
INLINE void forward_run(const Options& any, const Chance& chance, const Taps& taps, Run<A, In, Out> run) {
    Op::typed(any, [&, run](const auto& options) mutable INLINED {
        using O = std::decay_t<decltype(options)>;
        const Unrolled<N> offsets(taps, taps.offset);
        auto windows = [&](i64 at, i64 n, auto whole) INLINED {
            constexpr bool Whole = decltype(whole)::value;
            const Windows<A, In, Whole ? N : 0, Whole> x{
                run.x + at, offsets.template of<Whole>(), n, Planar ? run.padded(at, n) : nullptr, taps.column, at,
                run.width, run.low, run.high};
            if constexpr (!Planar) Op::template slow<O> ? x.fetch() : x.fetch(taps);
            return x;
        };
        auto block = [&](i64 at, i64 n, auto whole) INLINED {
            const auto x = windows(at, n, whole);
            Vec<A> y, uniform{};
            Mask<A> position{};
            if constexpr (Op::draws) uniform = chance.at<A>(run.place + at, n);
            if constexpr (Op::tosses) uniform = chance.coin<A, Planar>(run.plane + (Planar ? 0 : at), n);
            Op::template forward<A>(options, x, run.part(at), uniform, y, position);
            write<A>(run.y + at, y, n, run.streams);
            if (Op::keeps && run.position) store<A>(run.position + at, position, n);
        };
        for (i64 i = 0; i < run.repeat; i++) {
            if constexpr (Planar) run.fetch(i);
            i64 done = 0;
            if constexpr (!Planar && Op::template twofold<O>) {
                constexpr i64 L = Lanes<A>::count;
                for (; done + 2 * L <= run.length; done += 2 * L) {
                    const auto x = windows(done, L, std::true_type{}), next = windows(done + L, L, std::true_type{});
                    Vec<A> y[2];
                    Op::template forward<A>(options, std::array{&x, &next}, run.part(done), y);
                    for (int i : {0, 1}) write<A>(run.y + done + i * L, y[i], L, run.streams);
                }
            }
            pieces<Planar ? Ends::alike : Ends::again, A>(done, run.length, block);
            run.x += run.x_step;
            run.y += run.y_step;
            run.place += run.y_step;
            if (run.position) run.position += run.y_step;
        }
    });
}

template <class Op, int N, bool Planar, bool Add, class A, class In, class Out, class Gradient>
INLINE void backward_run(const Options& any, const Taps& taps, Run<A, In, Out, Gradient> run) {
    Op::typed(any, [&, run](const auto& options) mutable INLINED {
        constexpr int L = Lanes<A>::count;
        const Unrolled<N> offsets(taps, taps.offset), targets(taps, taps.target);
        auto block = [&](i64 at, i64 n, auto whole) INLINED {
            constexpr bool Whole = decltype(whole)::value, Full = !Planar && Whole;
            const auto &from = offsets.template of<Whole>(), &into = targets.template of<Whole>();
            Windows<A, In, Whole ? N : 0, Whole> x{
                run.x + at, from, n, Planar ? run.padded(at, n) : nullptr, taps.column, at, run.width, run.low, run.high};
            if constexpr (!Planar && Op::looks) x.fetch(taps);
            Mask<A> position{};
            if constexpr (Op::keeps) position = load<A>(run.position + at, Full ? L : n);
            Vec<A> g = load<A>(run.y + at, Full ? L : n);
            Op::template backward<A>(options, x, run.part(at), g, position, [&](int t, Vec<A> part) INLINED {
                Gradient* to = run.gradient + into.offset[t] + at;
                if constexpr (Add) part += load<A>(to, Full ? L : n);
                write<A>(to, part, Full ? L : n, !Add && run.streams);  // what is summed: when it is done
            });
        };
        for (i64 i = 0; i < run.repeat; i++) {
            if constexpr (Planar && Op::looks) run.fetch(i);
            pieces<Planar ? Ends::alike : Add ? Ends::apart : Ends::again, A>(0, run.length, block);
            run.x += run.x_step;
            run.y += run.y_step;
            run.gradient += run.gradient_step;
            if (run.position) run.position += run.y_step;
        }
    });
}

// Whole windows of 2x2 and 3x3 in float32 are unrolled, where they are met: overlapping ones of what is weighed seldom are.
template <class Op, bool Two, bool Three, class A, class F>
INLINE void by_count(const Taps& taps, const Window& window, F f) {
    if constexpr (std::is_same_v<A, float> && Op::unrolls) {
        bool whole = taps.count == window.kh * window.kw;
        if constexpr (Two)
            if (whole && taps.count == 4) return f(std::integral_constant<int, 4>{});
        if constexpr (Three)
            if (whole && taps.count == 9) return f(std::integral_constant<int, 9>{});
    }
    f(std::integral_constant<int, 0>{});
}

// Of `count` windows along an axis, those that lie wholly in the map: from `low` to below `high`.
struct Inner {
    i64 low, high;

    Inner(i64 count, i64 stride, i64 before, i64 extent, i64 size) {
        low = std::min((before + stride - 1) / stride, count);
        high = std::clamp<i64>(size + before >= extent ? (size + before - extent) / stride + 1 : 0, low, count);
    }
};

// Calls f(first, number) for the windows along an axis, those that lie wholly in the map in one go.
template <class F> INLINE void along(const Inner& inner, i64 count, F f) {
    for (i64 i = 0; i < count;) {
        i64 number = i == inner.low && inner.high > i ? inner.high - i : 1;
        f(i, number);
        i += number;
    }
}


// How many positions each window counts in an average, by row and by column.
template <class A> struct Members {
    Aligned<A> rows, columns;

    Members(const Window& k, const Maps& m)
        : rows(members<A>(k.oh, k.sh, k.top, k.kh, k.dh, -k.padding[0], m.h + k.padding[1])),
          columns(members<A>(k.ow, k.sw, k.left, k.kw, k.dw, -k.padding[2], m.w + k.padding[3])) {}
    A each(i64 i, i64 j) const { return 1 / (rows[i] * columns[j]); }
};

// Rows of windows that meet the same positions, and the part of each in an average, window by window.
template <class A> struct Rows {
    i64 i, repeat;
    Taps taps;
    Aligned<A> each;
};

// A plane of NCHW copied: columns sorted by their remainder by the stride, padding beside them.
template <class A> struct Grid {
    static constexpr int L = Lanes<A>::count;
    const Window& window;
    i64 h, w, needed, pitch, plane, even, odd;  // where the first and the second column of the map lie
    bool flat;  // rows follow one another without a gap, so that the plane is one long row
    std::vector<i64> gaps;  // where the padding beside a row lies

    Grid(const Window& window, const Maps& maps) : window(window), h(maps.h), w(maps.w) {
        needed = std::max(window.left + w, (window.ow - 1) * window.sw + window.extent_w());
        pitch = whole_vectors<A>((needed + window.sw - 1) / window.sw);
        flat = w == window.sw * pitch;
        apart((h * pitch + 3 * L - 1) / L * L);
    }
    // With the columns of one remainder so far from those of the next.
    Grid(const Window& window, const Maps& maps, i64 distance) : Grid(window, maps) { apart(distance); }
    void apart(i64 distance) {
        plane = distance;
        even = at(window.left);
        odd = at(window.left + 1);
        gaps.clear();
        for (i64 column = 0; column < needed; column++)
            if (column < window.left || column >= window.left + w) gaps.push_back(at(column));
    }
    i64 size() const { return window.sw * plane; }
    bool padded() const { return window.left > 0 || needed > window.left + w; }
    i64 at(i64 column) const { return column % window.sw * plane + column / window.sw; }  // of a padded column

    template <class In> void fill(const In* from, A* to, A padding) const {
        fill<1>(from, to, padding, [](const In* from, i64 n, Vec<A>* made) INLINED { *made = load<A>(from, n); });
    }
    // S planes, each `size` numbers from the one before, of what `make` makes of the numbers.
    template <int S, class In, class F> void fill(const In* from, A* to, A padding, F make) const {
        if (flat) return row<S>(from, to, h * w, make);
        for (i64 y = 0; y < h; y++, from += w, to += pitch) {
            row<S>(from, to, w, make);
            for (int s = 0; s < S; s++)
                for (i64 gap : gaps) to[s * size() + gap] = padding;
        }
    }
    // What lies beyond the row is overwritten by the next.
    template <int S, class In, class F> INLINE void row(const In* from, A* to, i64 length, F make) const {
        const i64 apart = size(), first = even, second = odd;  // what is written might change the grid's own
        if (window.sw == 2) {
            for (i64 i = 0; i < length; i += 2 * L) {
                Vec<A> a[S], b[S]{};
                make(from + i, length - i, a);
                if (length - i > L) make(from + i + L, length - i - L, b);
                UNROLLED for (int s = 0; s < S; s++) {
                    store<A>(to + s * apart + first + i / 2, evens(a[s], b[s]), L);
                    store<A>(to + s * apart + second + i / 2, odds(a[s], b[s]), L);
                }
            }
            return;
        }
        for (i64 i = 0; i < length; i += L) {
            Vec<A> made[S];
            make(from + i, length - i, made);
            UNROLLED for (int s = 0; s < S; s++) {
                if (window.sw == 1)
                    store<A>(to + s * apart + first + i, made[s], L);
                else
                    for (i64 lane = 0; lane < std::min<i64>(L, length - i); lane++)
                        to[s * apart + at(window.left + i + lane)] = made[s][lane];
            }
        }
    }
    template <class Out> void empty(const A* from, Out* to, bool past) const {
        if (flat) return line(from, to, h * w, past);
        for (i64 y = 0; y < h; y++, from += pitch, to += w) line(from, to, w, past);
    }
    template <class Out> INLINE void line(const A* from, Out* to, i64 length, bool past) const {
        line<1>(from, length, [&](i64 i, i64 n, const Vec<A>* value) INLINED { write<A>(to + i, *value, n, past); });
    }
    // f(place, number, values) for the numbers of a row, from S planes.
    template <int S, class F> INLINE void line(const A* from, i64 length, F f) const {
        const i64 apart = size(), first = even, second = odd;
        if (window.sw == 2) {
            for (i64 i = 0; i < length; i += 2 * L) {
                Vec<A> low[S], high[S];
                UNROLLED for (int s = 0; s < S; s++) {
                    Vec<A> a = load<A>(from + s * apart + first + i / 2), b = load<A>(from + s * apart + second + i / 2);
                    low[s] = zip_low(a, b);
                    high[s] = zip_high(a, b);
                }
                f(i, length - i, low);
                if (length - i > L) f(i + L, length - i - L, high);
            }
            return;
        }
        for (i64 i = 0; i < length; i += L) {
            Vec<A> values[S]{};
            UNROLLED for (int s = 0; s < S; s++) {
                if (window.sw == 1)
                    values[s] = load<A>(from + s * apart + first + i);
                else
                    for (i64 lane = 0; lane < std::min<i64>(L, length - i); lane++)
                        values[s][lane] = from[s * apart + at(window.left + i + lane)];
            }
            f(i, length - i, values);
        }
    }
    // The rows of windows of a plane: those that meet the same positions at once.
    std::vector<Rows<A>> rows(const Inner& inner, const Members<A>& members) const {
        std::vector<Rows<A>> found;
        along(inner, window.oh, [&](i64 i, i64 repeat) {
            found.push_back({i, repeat, {}, room<A>(window.ow)});
            taps(i, found.back().taps);
            for (i64 j = 0; j < window.ow; j++) found.back().each[j] = members.each(i, j);
        });
        return found;
    }
    // The positions of the windows of row i that lie in the map, from the row where the window starts.
    void taps(i64 i, Taps& found) const {
        found.count = 0;
        for (i64 r = 0; r < window.kh; r++) {
            i64 start = i * window.sh - window.top, y = start + r * window.dh;
            if (y < 0 || y >= h) continue;
            for (i64 c = 0; c < window.kw; c++) {
                i64 place = r * window.kw + c, column = c * window.dw, offset = (y - start) * pitch + at(column);
                if (window.centre < 0 || place == window.centre) found.add(offset, offset, column, int(place));
            }
        }
    }
};

struct Task {
    Window window;
    Maps maps;
    Options options;
    Chance chance;

    // The options as they are for a picture.
    template <class A> Options of(i64 picture) const {
        if (!options.shares) return options;
        return {options.number, (const A*)options.shares + picture * window.kh * window.kw};
    }
    // Windows of 2x2 side by side, none of them beyond the map.
    bool tiled() const {
        const Window& k = window;
        return k.kh == 2 && k.kw == 2 && k.sh == 2 && k.sw == 2 && k.dh == 1 && k.dw == 1 && k.top == 0 && k.left == 0 &&
            2 * k.oh <= maps.h && 2 * k.ow <= maps.w && k.centre < 0;
    }
    bool apart() const { return window.sh >= window.extent_h() && window.sw >= window.extent_w(); }
    // Calls f(place) for the places of the map that lie in no window, or for all where windows do not tile it.
    template <class F> INLINE void uncovered(F f) const {
        const Window& k = window;
        bool tiles = k.centre < 0 && k.kh == k.sh && k.kw == k.sw && k.dh == 1 && k.dw == 1;
        i64 below = tiles ? k.oh * k.sh - k.top : 0, beside = tiles ? k.ow * k.sw - k.left : 0;
        for (i64 y = 0; y < maps.h; y++)
            for (i64 x = y < below ? beside : 0; x < maps.w; x++) f(y * maps.w + x);
    }
    Inner rows() const { return {window.oh, window.sh, window.top, window.extent_h(), maps.h}; }
    Inner columns() const { return {window.ow, window.sw, window.left, window.extent_w(), maps.w}; }
};

// A plane of a map as numbers to compute with: its own, or of bfloat16 a copy, so that all else is compiled once for both.
template <class A, class Out> struct Plane {
    static constexpr bool same = std::is_same_v<A, Out>;
    const i64 size;
    const Aligned<A> memory{room<A>(same ? 0 : size)};

    const A* read(const Out* from) const {
        if constexpr (same) return from;
        vectors<A>(size, [&](i64 at, i64 n) INLINED { store<A>(memory.get() + at, load<A>(from + at, n), n); });
        return memory.get();
    }
    A* target(Out* to) const {
        if constexpr (same) return to;
        return memory.get();
    }
    void write(Out* to) const {
        if constexpr (!same)
            vectors<A>(size, [&](i64 at, i64 n) INLINED { store<A>(to + at, load<A>(memory.get() + at, n), n); });
    }
};

// The windows of planes of NCHW.
template <class Op, class A> struct PlaneWindows {
    const Task& task;
    const Window& k = task.window;
    const Maps& m = task.maps;
    const Grid<A> grid{k, m};
    const std::vector<Rows<A>> rows;
    const i64 results = k.oh * k.ow, size = m.h * m.w;
    const Inner inner = task.columns();

    PlaneWindows(const Task& task, const Members<A>& members) : task(task), rows(grid.rows(task.rows(), members)) {}

    // Of the plane of this number, copied; `next` are the bytes of the plane behind it, each number of so many.
    void forward(i64 plane, const A* copy, A* y, u8* position, std::uintptr_t next, i64 bytes) const {
        const Options options = task.of<A>(plane / m.c);
        for (const auto& [i, repeat, positions, each] : rows) {
            const i64 place = i * k.ow;
            Run<A, A, A> run{copy + (i * k.sh - k.top) * grid.pitch, y + place, position ? position + place : nullptr,
                nullptr, k.ow, repeat, k.sh * grid.pitch, k.ow, 0, 0, each.get(), plane * results + place,
                grid.padded() ? &k : nullptr, m.w, false, inner.low, inner.high, next + i * k.sh * m.w * bytes,
                k.sh * m.w * bytes, plane};
            by_count<Op, false, !Op::weighs, A>(positions, k, [&, &positions = positions](auto n) INLINED {
                forward_run<Op, decltype(n)::value, true>(options, task.chance, positions, run);
            });
        }
    }
    template <bool Add>
    void backward(i64 plane, const A* copy, const A* g, const u8* position, A* sum, std::uintptr_t next, i64 bytes) const {
        const Options options = task.of<A>(plane / m.c);
        for (const auto& [i, repeat, positions, each] : rows) {
            const i64 place = i * k.ow, start = (i * k.sh - k.top) * grid.pitch, step = k.sh * grid.pitch;
            Run<A, A, const A> run{copy + start, g + place, position ? (u8*)position + place : nullptr, sum + start, k.ow,
                repeat, step, k.ow, step, 0, each.get(), plane * results + place, grid.padded() ? &k : nullptr, m.w, false,
                inner.low, inner.high, next + i * k.sh * m.w * bytes, k.sh * m.w * bytes};
            constexpr bool unrolls = Add && !Op::weighs;
            by_count<Op, unrolls && Op::looks, unrolls, A>(positions, k, [&, &positions = positions](auto n) INLINED {
                backward_run<Op, decltype(n)::value, true, Add>(options, positions, run);
            });
        }
    }
};

template <class Op, class A, class Out>
void forward_planes(const Task& task, const Members<A>& members, const Out* x, Out* y, u8* position, i64 begin,
    i64 end) {
    const PlaneWindows<Op, A> windows(task, members);
    const i64 size = windows.size, results = windows.results;
    const auto copy = room<A>(windows.grid.size());
    const Plane<A, Out> made{results};
    for (i64 plane = begin; plane < end; plane++) {
        windows.grid.fill(x + plane * size, copy.get(), A(Op::padding));
        windows.forward(plane, copy.get(), made.target(y + plane * results), position ? position + plane * results : nullptr,
            std::uintptr_t(x + (plane + 1) * size), sizeof(Out));
        made.write(y + plane * results);
    }
}

template <class Op, bool Add, class A, class Out>
void backward_planes(const Task& task, const Members<A>& members, const Out* x, const Out* g, const u8* position,
    Out* to, i64 begin, i64 end) {
    const PlaneWindows<Op, A> windows(task, members);
    const Grid<A>& grid = windows.grid;
    const i64 size = windows.size, results = windows.results;
    const auto copy = room<A>(Op::looks ? grid.size() : 0), sum = room<A>(grid.size());
    const Plane<A, Out> given{results};
    const bool past = streams<A>(to, task.maps.numbers(), grid.flat ? size : task.maps.w, Order::in_turn);
    for (i64 plane = begin; plane < end; plane++) {
        if (Op::looks) grid.fill(x + plane * size, copy.get(), A(Op::padding));
        if (Add) std::memset(sum.get(), 0, grid.size() * sizeof(A));
        const A* const read = Op::looks ? copy.get() : sum.get();  // else none of it is read, but lies somewhere
        windows.template backward<Add>(plane, read, given.read(g + plane * results),
            position ? position + plane * results : nullptr, sum.get(),
            Op::looks ? std::uintptr_t(x + (plane + 1) * size) : 0, sizeof(Out));
        grid.empty(sum.get(), to + plane * size, past);
    }
    if (past) settled();
}

constexpr i64 PAGE = 1024;       // numbers; a processor foresees what follows within a page
constexpr i64 NEARBY = 1 << 20;  // numbers; fewer lie in nearer caches, where it need not

// The positions in the map of the windows of row i of a channels_last picture that start in column `origin`, from
// there. The gradient is written to rows of pixels `pixel` apart, of which there are `slots`.
inline void taps_of(const Task& task, i64 i, i64 origin, i64 pixel, i64 slots, Taps& taps) {
    const Window& k = task.window;
    const Maps& m = task.maps;
    const bool far = m.w * m.c >= PAGE || m.numbers() >= NEARBY;
    const i64 below = k.sh * m.w * m.c, soon = (AHEAD + below - 1) / below * below;
    taps.count = taps.news = 0;
    for (i64 r = 0; r < k.kh; r++) {
        i64 y = i * k.sh - k.top + r * k.dh;
        if (y < 0 || y >= m.h) continue;
        const i64 from = y * m.w, to = (slots < m.h ? y % slots : y) * m.w;
        for (i64 c = 0; c < k.kw; c++) {
            i64 place = r * k.kw + c, column = c * k.dw;
            if (origin + column < 0 || origin + column >= m.w || (k.centre >= 0 && place != k.centre)) continue;
            taps.add((from + column) * m.c, (to + column) * pixel, column, int(place));
            if (far && r * k.dh >= k.extent_h() - k.sh && c * k.dw >= k.extent_w() - k.sw)
                taps.fresh[taps.news++] = taps.offset[taps.count - 1] + soon;
        }
    }
}

// The positions of all windows of a channels_last picture, from where their row starts.
struct PixelTaps {
    struct Beside {  // windows that have the same
        i64 first, number;
        Taps taps;

        Beside(i64 first, i64 number) : first(first), number(number) {}  // a page of taps is left as it is
    };
    std::vector<std::vector<Beside>> kinds;
    std::vector<i64> kind;  // of each row of windows

    explicit PixelTaps(const Task& task) {
        const Window& k = task.window;
        const Maps& m = task.maps;
        if (!m.last) return;
        along(task.rows(), k.oh, [&](i64 i, i64 rows) {
            kind.insert(kind.end(), rows, kinds.size());
            auto& row = kinds.emplace_back();
            along(task.columns(), k.ow, [&](i64 j, i64 number) {
                auto& taps = row.emplace_back(j, number).taps;
                taps_of(task, i, j * k.sw - k.left, m.c, m.h, taps);
                taps.shift(-i * k.sh * m.w * m.c);
            });
        });
    }
};

template <class Op, class A, class Out>
void forward_pixels(const Task& task, const PixelTaps& all, const Members<A>& members, const Out* x, Out* y, u8* position,
    i64 picture, i64 first, i64 channels) {
    const Window& k = task.window;
    const Maps& m = task.maps;
    const Options options = task.of<A>(picture);
    const bool past = streams<A>(y, m.numbers(), m.c, Order::any);
    x += picture * m.h * m.w * m.c + first;
    for (i64 i = 0; i < k.oh; i++, x += k.sh * m.w * m.c)
        for (const auto& [j, repeat, taps] : all.kinds[all.kind[i]]) {
            const i64 place = ((picture * k.oh + i) * k.ow + j) * m.c + first;
            Run<A, Out, Out> run{x + (j * k.sw - k.left) * m.c, y + place, position ? position + place : nullptr, nullptr,
                channels, repeat, k.sw * m.c, m.c, 0, members.each(i, j), nullptr, place, nullptr, m.w, past};
            run.plane = picture * m.c + first;
            by_count<Op, true, !Op::weighs, A>(taps, k, [&, &taps = taps](auto n) INLINED {
                forward_run<Op, decltype(n)::value, false>(options, task.chance, taps, run);
            });
        }
    if (past) settled();
}

// Windows apart write to the map; others are summed in as many rows as a window is high, each written when it is done.
template <class Op, bool Add, class A, class Out>
void backward_pixels(const Task& task, const Members<A>& members, const Out* x, const Out* g, const u8* position,
    Out* to, i64 picture, i64 first, i64 channels) {
    using Gradient = std::conditional_t<Add, A, Out>;
    constexpr int L = Lanes<A>::count;
    const Window& k = task.window;
    const Maps& m = task.maps;
    i64 slots = Add ? k.extent_h() : m.h, pixel = Add ? channels : m.c, row = m.w * pixel, done = 0;
    auto sum = room<A>(Add ? slots * row : 0);
    const Options options = task.of<A>(picture);
    const bool past = streams<A>(to, m.numbers(), m.c, Order::any);
    Taps taps;
    if (Op::looks) x += picture * m.h * m.w * m.c + first;
    to += picture * m.h * m.w * m.c + first;
    Gradient* into;
    if constexpr (Add)
        into = sum.get();
    else
        into = to;
    auto finish = [&](i64 until) {
        for (; done < until; done++) {
            A* from = sum.get() + done % slots * row;
            for (i64 column = 0; column < m.w; column++)
                for (i64 c = 0; c < channels; c += L) {
                    Out* pixel = to + (done * m.w + column) * m.c + c;
                    write<A>(pixel, load<A>(from + column * channels + c), channels - c, past);
                }
            std::memset(from, 0, row * sizeof(A));
        }
    };
    if (!Add)
        task.uncovered([&](i64 place) INLINED { std::memset((void*)(to + place * m.c), 0, channels * sizeof(Out)); });
    for (i64 i = 0; i < k.oh; i++) {
        if (Add) finish(std::clamp<i64>(i * k.sh - k.top, done, m.h));
        along(task.columns(), k.ow, [&](i64 j, i64 repeat) INLINED {
            i64 origin = j * k.sw - k.left, place = ((picture * k.oh + i) * k.ow + j) * m.c + first;
            taps_of(task, i, origin, pixel, slots, taps);
            Run<A, Out, const Out, Gradient> run{Op::looks ? x + origin * m.c : x, g + place,
                position ? (u8*)position + place : nullptr, into + origin * pixel, channels, repeat, k.sw * m.c, m.c,
                k.sw * pixel, members.each(i, j), nullptr, place, nullptr, m.w, past};
            if (!Op::looks) run.x_step = 0;
            by_count<Op, !Add, Add && !Op::weighs, A>(taps, k, [&](auto n) INLINED {
                backward_run<Op, decltype(n)::value, false, Add>(options, taps, run);
            });
        });
    }
    if (Add) finish(m.h);
    if (past) settled();
}
