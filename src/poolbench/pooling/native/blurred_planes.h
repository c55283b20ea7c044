// What is blurred, plane by plane of NCHW.
#pragma once

#include <optional>

#include "blurred_pixels.h"

// The maxima of a plane of NCHW, and the way back to it, of windows of at most 3x3. Along rows first, then down: of equal
// numbers the first of the map is still the first. All must lie above -inf, which stands for what lies around the map.
template <class A, class Out> struct Maxima {
    static constexpr int L = Lanes<A>::count;
    using I = decltype(+Mask<A>{}[0]);
    const Window& k;
    const Maps& m;
    const i64 pitch = (std::max(k.ow, m.w + k.left) + L - 1) / L * L, size = (k.oh + k.kh - 1) * pitch;
    const Aligned<A> memory{room<A>(2 * size)};
    A *const rows = memory.get(), *const windows = rows + size;  // maxima; backward: the gradients of those of windows

    explicit Maxima(const Task& task) : k(task.window), m(task.maps) { std::fill_n(rows, size, A(-INF)); }

    // f(which window is the first, N numbers of each) for vectors of the windows of a row; see(numbers of the map).
    template <int N, class See, class F> INLINE void slide(const Out* row, See see, F f) const {
        const i64 width = m.w, before = k.left, end = pitch;
        const Vec<A> none = splat<A>(-INF);
        auto take = [&](i64 at) INLINED {
            const i64 n = width - at;
            if (n <= 0) return none;
            const Vec<A> v = load<A>(row + at, n);
            see(v);
            return n < L ? steps<A>() < I(n) ? v : none : v;
        };
        Vec<A> v[N], next = take(0);
        if (before) next = shuffled(none, next, [](int i, int lanes) { return i + lanes - 1; });
        for (i64 at = 0; at < end; at += L) {
            v[0] = next;
            next = take(at + L - before);
            if (N > 1) v[N > 1] = shuffled(v[0], next, [](int i, int) { return i + 1; });
            if (N > 2) v[N - 1] = shuffled(v[0], next, [](int i, int) { return i + 2; });
            f(at, v);
        }
    }
    // Finds the maxima of the rows of a plane; false: some number is -inf or none.
    bool take(const Out* plane) const {
        const Vec<A> none = splat<A>(std::numeric_limits<A>::quiet_NaN());
        Vec<A> sound{};
        by_positions(k.kw, [&](auto count) INLINED {
            A* to = rows + k.top * pitch;
            const Out* from = plane;
            const i64 height = m.h, width = m.w, wide = pitch;
            for (i64 y = 0; y < height; y++, from += width, to += wide)
                slide<count>(from, [&](Vec<A> v) INLINED { sound = v > A(-INF) ? sound : none; },
                    [&](i64 at, const Vec<A>* v) INLINED {
                        __builtin_prefetch(from + at + AHEAD);
                        store<A>(to + at, most<count>(v), L);
                    });
        });
        return !any(sound != sound);
    }
    template <int N> INLINE static Vec<A> most(const Vec<A>* v) {
        Vec<A> most = v[0];
        UNROLLED for (int t = 1; t < N; t++) most = larger<A>(v[t], most);
        return most;
    }
    // Of these, those of windows.
    void find() const {
        by_positions(k.kh, [&](auto count) INLINED {
            constexpr int N = decltype(count)::value;
            const i64 wide = pitch, length = k.oh * wide;
            const A* from = rows;
            A* to = windows;
            for (i64 at = 0; at < length; at += L) {
                Vec<A> v[N];
                UNROLLED for (int t = 0; t < N; t++) v[t] = load<A>(from + at + t * wide);
                store<A>(to + at, most<N>(v), L);
            }
        });
    }
    // From the gradients of windows, which are zero beside and below them, to the plane.
    void back(const Out* plane, Out* to, bool past) const {
        by_positions(k.kh, [&](auto count) INLINED {
            for (i64 at = 0; at < pitch; at += L) down<count>(rows + at, windows + at);
        });
        by_positions(k.kw, [&](auto count) INLINED {
            const i64 height = m.h, width = m.w, wide = pitch;
            const A* g = windows + k.top * wide;
            for (i64 y = 0; y < height; y++, g += wide) across<count>(plane + y * width, g, to + y * width, past);
        });
    }
    // What each of N values that follow one another is given by the window of all: all of it to the first maximum.
    template <int N> INLINE static void split(const Vec<A>* v, Vec<A> g, Vec<A>* share) {
        const Vec<A> largest = most<N>(v);
        UNROLLED for (int t = 0; t < N - 1; t++) {
            share[t] = v[t] == largest ? g : Vec<A>{};
            g = v[t] == largest ? Vec<A>{} : g;
        }
        share[N - 1] = g;
    }
    // A column of vectors: from the gradients of windows to those of the maxima of rows, in their place.
    template <int N> INLINE void down(const A* from, A* g) const {
        Vec<A> v[N], share[N], later[N]{};
        UNROLLED for (int t = 0; t < N - 1; t++) v[t + 1] = load<A>(from + t * pitch);
        for (i64 i = 0; i < k.oh; i++, g += pitch) {
            UNROLLED for (int t = 0; t < N - 1; t++) v[t] = v[t + 1];
            v[N - 1] = load<A>(from + (i + N - 1) * pitch);
            split<N>(v, load<A>(g), share);
            store<A>(g, share[0] + later[0], L);
            UNROLLED for (int t = 0; t < N - 1; t++) later[t] = share[t + 1] + later[t + 1];
        }
        UNROLLED for (int t = 0; t < N - 1; t++) store<A>(g + t * pitch, later[t], L);
    }
    // From the gradients of the maxima of a row to those of its numbers.
    template <int N> INLINE void across(const Out* from, const A* g, Out* to, bool past) const {
        const i64 width = m.w, left = k.left;
        auto put = [&](i64 column, Vec<A> sum) INLINED {
            if (column < width) write<A>(to + column, sum, width - column, past);
        };
        Vec<A> share[N], before[N]{}, last{};
        slide<N>(from, [](Vec<A>) INLINED {}, [&](i64 at, const Vec<A>* v) INLINED {
            split<N>(v, load<A>(g + at), share);
            Vec<A> sum = share[0];
            if (N > 1) sum += shuffled(before[N > 1], share[N > 1], [](int i, int lanes) { return i + lanes - 1; });
            if (N > 2) sum += shuffled(before[N - 1], share[N - 1], [](int i, int lanes) { return i + lanes - 2; });
            std::copy_n(share, N, before);
            if (!left) return put(at, sum);
            if (at) put(at - L, shuffled(last, sum, [](int i, int) { return i + 1; }));
            last = sum;
        });
        if (left) put(pitch - L, shuffled(last, last, [](int i, int) { return i + 1; }));
    }
    template <class F> INLINE static void by_positions(i64 count, F f) {
        if (count == 1) return f(std::integral_constant<int, 1>{});
        if (count == 2) return f(std::integral_constant<int, 2>{});
        f(std::integral_constant<int, 3>{});
    }
};

// Planes of NCHW, rows and columns in one: numbers of rows are added up, and picked out of these sums.
template <class A, class Out> struct BlurredPlanes {
    static constexpr int L = Lanes<A>::count;
    const Blurred& task;
    const Maps& m = task.dense.maps;
    const Window& f = task.blur.window;
    const Members<A> members{task.dense.window, m};
    const Filter<A> filter{task, members};
    const std::vector<Picks<A>> columns{picks(filter.columns)}, columns_back{picks(filter.columns_back)};
    const bool past;  // the gradient of the plane is written past the caches
    std::optional<Maxima<A, Out>> maxima;
    std::vector<Terms<A>> rows, rows_back;
    i64 pitch = m.w;

    BlurredPlanes(const Blurred& task, bool past) : task(task), past(past && Picks<A>::stream(columns_back)) {
        if (task.maximum) pitch = maxima.emplace(task.dense).pitch;
        rows = Terms<A>::of(filter.down, [&](i64 row) { return row * pitch; });
        rows_back = Terms<A>::of(filter.down_back, [&](i64 row) { return row * f.ow; });
    }
    // The last weight in halves, if a place is made of fewer numbers: one of zero would make NaN of infinity.
    static std::vector<Picks<A>> picks(const Links& links) {
        return Picks<A>::all(links.of, 0, [](auto& terms, size_t count) {
            while (terms.size() < count) {
                terms.back().value /= 2;
                terms.push_back(terms.back());
            }
        });
    }
    void forward(const Out* x, Out* y) const {
        if (!task.maximum) return blur(x, y);
        if (!maxima->take(x)) return general(x, nullptr, y);
        maxima->find();
        blur(maxima->windows, y);
    }
    void backward(const Out* x, const Out* g, Out* to) const {
        if (!task.maximum) return blur_back(g, to, past);
        if (!maxima->take(x)) return general(x, g, to);
        blur_back(g, maxima->windows, false);
        maxima->back(x, to, past);
    }
    template <class In> INLINE void blur(const In* x, Out* y) const {
        for (const auto& block : columns)
            for (size_t i = 0; i < rows.size(); i++)
                combine(block, rows[i], x, f.sh * pitch, y + filter.down[i].first * f.ow, f.ow, filter.down[i].number, false,
                    !task.maximum && block.first == 0);
    }
    template <class To> INLINE void blur_back(const Out* g, To* to, bool past) const {
        for (const auto& block : columns_back)
            for (size_t i = 0; i < rows_back.size(); i++)
                combine(block, rows_back[i], g, f.ow, to + filter.down_back[i].first * pitch, f.sh * pitch,
                    filter.down_back[i].number, past, block.first == 0);
    }
    // Rows of a block; `ahead`: the rows that these numbers will come from are asked for.
    template <class In, class To> void combine(const Picks<A>& block, const Terms<A>& terms, const In* from, i64 from_step,
        To* to, i64 to_step, i64 repeat, bool past, bool ahead) const {
        auto run = [&](auto down, auto across, auto both) INLINED {
            const Sum<A, decltype(down)::value> sum(terms);
            const Chosen<A, decltype(across)::value> chosen(block);
            const i64 width = block.width, number = block.number;
            const bool holes = block.holes;
            const Mask<A> linked = block.linked;
            const In* source = from + block.from;
            To* target = to + block.first;
            const i64 fetched = ahead ? from_step * sizeof(In) : 0;
            for (i64 i = 0; i < repeat; i++, source += from_step, target += to_step) {
                Vec<A> low, high{}, y{};
                if constexpr (both) {
                    low = sum(source);
                    high = sum(source + L, width - L);
                } else {
                    low = sum(source, width);
                }
                for (i64 at = 0; at < fetched; at += LINE) __builtin_prefetch((const char*)(source + AHEAD) + at);
                chosen.each(low, high, [&](Vec<A> weight, Vec<A> v) INLINED { y += v * weight; });
                if (holes) y = linked ? y : Vec<A>{};
                write<A>(target, y, number, past);
            }
        };
        const auto is = [&](size_t down, size_t across) { return terms.offset.size() == down && block.count == across; };
        auto by_width = [&](auto down, auto across) INLINED {
            if (block.width > L) return run(down, across, std::true_type{});
            run(down, across, std::false_type{});
        };
        using std::integral_constant;
        if constexpr (std::is_same_v<A, float>) {
            if (is(1, 2)) return by_width(integral_constant<int, 1>{}, integral_constant<int, 2>{});
            if (is(2, 2)) return by_width(integral_constant<int, 2>{}, integral_constant<int, 2>{});
            if (is(2, 3)) return by_width(integral_constant<int, 2>{}, integral_constant<int, 3>{});
            if (is(3, 3)) return by_width(integral_constant<int, 3>{}, integral_constant<int, 3>{});
            if (is(4, 4)) return by_width(integral_constant<int, 4>{}, integral_constant<int, 4>{});
            if (is(5, 5)) return by_width(integral_constant<int, 5>{}, integral_constant<int, 5>{});
        }
        by_width(integral_constant<int, 0>{}, integral_constant<int, 0>{});
    }
    // As pixels of one channel.
    APART void general(const Out* x, const Out* g, Out* to) const {
        auto copy = [](const auto* from, auto* to, i64 numbers) {
            vectors<A>(numbers, [&](i64 at, i64 n) INLINED { store<A>(to + at, load<A>(from + at, n), n); });
        };
        const i64 pixels = m.h * m.w, results = f.oh * f.ow;
        BlurredPixels<A> fused(task, 1, false, g);
        const auto taken = room<A>(pixels), back = room<A>(results), given = room<A>(std::max(pixels, results));
        copy(x, taken.get(), pixels);
        if (g) {
            copy(g, back.get(), results);
            fused.backward(taken.get(), back.get(), given.get());
        } else {
            fused.forward(taken.get(), given.get());
        }
        copy(given.get(), to, g ? pixels : results);
    }
};
