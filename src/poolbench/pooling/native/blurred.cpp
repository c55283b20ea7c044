#include "blurred.h"

#include <map>
#include <optional>
#include <utility>

#include "picks.h"
#include "slab.h"

// Along an axis: which places, by which weights, make each place of what comes out.
struct Links {
    Linked of;

    explicit Links(i64 count) : of(count) {}

    static Links filter(i64 count, i64 stride, i64 before, const std::vector<double>& taps, const Window& window, i64 size) {
        Links made(count);
        for (i64 i = 0; i < count; i++)
            for (i64 t = 0; t < i64(taps.size()); t++) {
                i64 from = window.source(i * stride - before + t, size);
                if (from >= 0) made.of[i].push_back({from, taps[t]});
            }
        return made;
    }
    template <class A> static Links means(i64 count, i64 before, i64 kernel, const A* members, i64 size) {
        Links made(count);
        for (i64 i = 0; i < count; i++)
            for (i64 from = std::max<i64>(0, i - before); from < std::min(size, i - before + kernel); from++)
                made.of[i].push_back({from, 1 / double(members[i])});
        return made;
    }
    // These of what the others make.
    Links after(const Links& others) const {
        Links made(of.size());
        for (size_t i = 0; i < of.size(); i++) {
            std::map<i64, double> weights;
            for (auto [through, weight] : of[i])
                for (auto [from, part] : others.of[through]) weights[from] += weight * part;
            for (auto [from, weight] : weights) made.of[i].push_back({from, weight});
        }
        return made;
    }
    // The other way round, to `size` places.
    Links back(i64 size) const {
        Links made(size);
        for (i64 i = 0; i < i64(of.size()); i++)
            for (auto [from, weight] : of[i]) made.of[from].push_back({i, weight});
        return made;
    }
};

// The places of an axis that are made in the same way, each so far from the one before: all but those at its ends.
struct Group {
    i64 first, number;
    const std::vector<Link>* links;
};

// `period` places on, a place is made of what lies `shift` further.
inline std::vector<Group> grouped(const Links& links, i64 period, i64 shift) {
    std::vector<Group> found;
    const i64 count = links.of.size();
    auto alike = [&](i64 i) {
        const auto &one = links.of[i], &other = links.of[i + period];
        return std::equal(one.begin(), one.end(), other.begin(), other.end(), [&](auto a, auto b) {
            return a.from + shift == b.from && a.value == b.value;
        });
    };
    for (i64 phase = 0; phase < std::min(period, count); phase++)
        for (i64 i = phase; i < count; i += period) {
            found.push_back({i, 1, &links.of[i]});
            for (; i + period < count && alike(i); i += period) found.back().number++;
        }
    return found;
}

// Of each place its group, and which one of it it is.
struct Member {
    i64 group, number;
};
inline std::vector<Member> members_of(const std::vector<Group>& groups, i64 period, i64 count) {
    std::vector<Member> found(count);
    for (i64 group = 0; group < i64(groups.size()); group++)
        for (i64 i = 0; i < groups[group].number; i++) found[groups[group].first + i * period] = {group, i};
    return found;
}

// What a place is made of: numbers that lie so far from some place, and their weights.
template <class A> struct Terms {
    std::vector<i64> offset;
    std::vector<A> weight;

    template <class At> void set(const std::vector<Link>& links, At at) {
        offset.clear();
        weight.clear();
        for (auto link : links) {
            offset.push_back(at(link.from));
            weight.push_back(A(link.value));
        }
    }
    template <class At> static std::vector<Terms> of(const std::vector<Group>& groups, At at) {
        std::vector<Terms> found(groups.size());
        for (size_t i = 0; i < groups.size(); i++) found[i].set(*groups[i].links, at);
        return found;
    }
};

// The sum of N terms, or of any number of them: of a vector, of a part of one, of one number.
template <class A, int N> struct Sum {
    const int count;
    i64 own_offset[N + 1];
    A own_weight[N + 1];
    const i64* offset = own_offset;
    const A* weight = own_weight;

    explicit Sum(const Terms<A>& terms) : count(terms.offset.size()) {
        if (N) {  // copied: else whatever is written might change them
            std::copy_n(terms.offset.data(), N, own_offset);
            std::copy_n(terms.weight.data(), N, own_weight);
        } else {
            offset = terms.offset.data();
            weight = terms.weight.data();
        }
    }
    template <class In> INLINE Vec<A> operator()(const In* from) const {
        return sum([&](i64 at) INLINED { return load<A>(from + at); });
    }
    template <class In> INLINE Vec<A> operator()(const In* from, i64 n) const {
        return sum([&](i64 at) INLINED { return load<A>(from + at, n); });
    }
    template <class F> INLINE Vec<A> sum(F at) const {
        Vec<A> sum{};
        UNROLLED for (int t = 0; t < (N ? N : count); t++) sum += at(offset[t]) * weight[t];
        return sum;
    }
};

template <class A, class F> INLINE void summed(const Terms<A>& terms, F f) {
    switch (terms.offset.size()) {
        case 1: return f(Sum<A, 1>(terms));
        case 2: return f(Sum<A, 2>(terms));
        case 3: return f(Sum<A, 3>(terms));
        case 4: return f(Sum<A, 4>(terms));
        case 5: return f(Sum<A, 5>(terms));
        default: return f(Sum<A, 0>(terms));
    }
}

// Sums of numbers side by side: `length` of them, so again `repeat` times, and all of that `again` times.
template <class A, class In, class Out> struct Sums {
    const In* from;
    Out* to;
    i64 length, repeat, from_step, to_step;
    bool past = false;       // the caches
    i64 next = 0, rows = 0;  // from where on so many rows of this length are to be read soon
    i64 again = 1, from_skip = 0, to_skip = 0;

    void run(const Terms<A>& terms) const {
        summed(terms, [*this](const auto sum) INLINED {
            const In* source = from;
            Out* target = to;
            for (i64 i = 0; i < again; i++, source += from_skip, target += to_skip) each(source, target, sum);
        });
    }
    template <class S> INLINE void each(const In* source, Out* target, const S& sum) const {
        constexpr int L = Lanes<A>::count;
        const i64 numbers = length, turns = repeat, source_step = from_step, target_step = to_step;
        const i64 soon = next, ahead = rows;
        const bool streams = past;
        auto fetch = [&](i64 at) INLINED {
            for (i64 i = 0; i < ahead; i++) __builtin_prefetch(source + soon + i * numbers + at);
        };
        for (i64 i = 0; i < turns; i++, source += source_step, target += target_step) {
            i64 at = 0;
            for (; at + L <= numbers; at += L) {
                fetch(at);
                write<A>(target + at, sum(source + at), L, streams);
            }
            if (at == numbers) continue;
            fetch(at);
            write<A>(target + at, sum(source + at, numbers - at), numbers - at, streams);
        }
    }
};

// How rows and columns of what comes out are made of those of a map: of the maxima, or, if none are sought, of the input.
template <class A> struct Filter {
    const Window &f, &k;
    const i64 h, w;  // of that map
    const Links rows, columns, rows_back{rows.back(h)}, columns_back{columns.back(w)};
    const std::vector<Group> down{grouped(rows, 1, f.sh)}, down_back{grouped(rows_back, f.sh, 1)},
        across{grouped(columns, 1, f.sw)}, across_back{grouped(columns_back, f.sw, 1)};

    Filter(const Blurred& task, const Members<A>& members)
        : f(task.blur.window), k(task.dense.window), h(task.maximum ? k.oh : task.dense.maps.h),
          w(task.maximum ? k.ow : task.dense.maps.w),
          rows(links(task, Links::filter(f.oh, f.sh, f.top, task.taps, f, k.oh),
              Links::means(k.oh, k.top, k.kh, members.rows.get(), h))),
          columns(links(task, Links::filter(f.ow, f.sw, f.left, task.taps, f, k.ow),
              Links::means(k.ow, k.left, k.kw, members.columns.get(), w))) {}
    static Links links(const Blurred& task, const Links& filter, const Links& means) {
        return task.maximum ? filter : filter.after(means);
    }
};

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

// A slab of pixels of so many lanes, some rows after the other.
template <class A> struct Fused {
    static constexpr i64 CACHED = 1 << 13;  // bytes of what lies between
    const Blurred& task;
    const i64 lanes;
    const bool past;  // what comes out is written past the caches
    const Maps& m = task.dense.maps;
    const Window& k = task.dense.window;
    const Window& f = task.blur.window;
    const Members<A> members{k, m};
    const Filter<A> filter{task, members};
    const i64 wide = std::max(filter.w, f.ow) * lanes;
    const i64 chunk = task.maximum ? 1 : std::max<i64>(1, CACHED / i64(sizeof(A)) / wide);
    const Aligned<A> between{room<A>(chunk * wide)};
    const std::vector<Terms<A>> rows{places(filter.down, filter.w)}, rows_back{places(filter.down_back, f.ow)},
        columns{places(filter.across, 1)}, columns_back{places(filter.across_back, 1)};
    const std::vector<Member> down_members{members_of(filter.down, 1, f.oh)},
        back_members{members_of(filter.down_back, f.sh, filter.h)};
    Task slid = task.dense;
    Ring<A> ring;
    Ring<u8> positions;
    Terms<A> terms;

    // A filter meets rows beside each other; on a torus, or a map smaller than it, any.
    Fused(const Blurred& task, i64 lanes, bool past, bool backward)
        : task(task), lanes(lanes), past(past),
          ring(!task.maximum ? 0 : backward ? k.kh : f.border == 3 ? k.oh : std::min<i64>(k.oh, task.taps.size()),
              k.ow * lanes),
          positions(backward ? ring.slots : 0, k.ow * lanes) {
        slid.maps = {1, lanes, m.h, m.w, true};
    }
    std::vector<Terms<A>> places(const std::vector<Group>& groups, i64 pixels) const {
        return Terms<A>::of(groups, [&](i64 place) { return place * pixels * lanes; });
    }

    // Row i of the maxima, and where each lies, if Op keeps that.
    template <class Op> INLINE void maxima(const A* x, i64 i, A* y, u8* position) const {
        Taps taps;
        along(slid.columns(), k.ow, [&](i64 j, i64 number) INLINED {
            i64 origin = j - k.left;
            taps_of(slid, i, origin, lanes, m.h, taps);
            Run<A, A, A> run{x + origin * lanes, y + j * lanes, position ? position + j * lanes : nullptr, nullptr,
                number * lanes, 1, 0, 0, 0, 1, nullptr, 0, nullptr, m.w};
            by_count<Op, true, true, A>(taps, k, [&](auto n) INLINED {
                forward_run<Op, decltype(n)::value, false>(slid.options, slid.chance, taps, run);
            });
        });
    }
    // So many rows of what lies between, by the groups of their columns, whose places lie `period` apart and are made of
    // what lies `shift` apart.
    void across(const std::vector<Group>& groups, const std::vector<Terms<A>>& terms, i64 period, i64 shift, i64 number,
        i64 from_row, A* to, i64 to_row, bool past) const {
        for (size_t i = 0; i < groups.size(); i++) {
            A* into = to + groups[i].first * lanes;
            Sums<A, A, A>{between.get(), into, lanes, groups[i].number, shift * lanes, period * lanes, past, 0, 0, number,
                from_row, to_row}.run(terms[i]);
        }
    }
    // Rows of what lies between, from `begin` to below `end`, by their groups: so many numbers each.
    void down(const std::vector<Group>& groups, const std::vector<Member>& members, const std::vector<Terms<A>>& terms,
        i64 period, i64 shift, i64 begin, i64 end, const A* from, i64 row) const {
        for (i64 i = begin; i < end; i++) {
            const auto [group, number] = members[i];
            if (number > 0 && i - period >= begin) continue;  // made with that row
            const auto& links = *groups[group].links;
            const i64 most = end - i <= period ? 1 : std::min(groups[group].number - number, (end - i + period - 1) / period);
            const i64 next = links.empty() ? 0 : (links.back().from + 1) * row;
            Sums<A, A, A>{from + number * shift * row, between.get() + (i - begin) * row, row, most, shift * row,
                period * row, false, next, shift}.run(terms[group]);
        }
    }
    void forward(const A* x, A* y) {
        ring.clear();
        const i64 row = filter.w * lanes, result = f.ow * lanes;
        for (i64 i = 0; i < f.oh; i += chunk) {
            const i64 end = std::min(i + chunk, f.oh);
            if (task.maximum) {
                for (auto link : filter.rows.of[i])
                    if (ring.missing(link.from)) maxima<Unkept<Max>>(x, link.from, ring.at(link.from), nullptr);
                terms.set(filter.rows.of[i], [&](i64 from) { return ring.place(from); });
                Sums<A, A, A>{ring.memory.get(), between.get(), row, 1, 0, 0}.run(terms);
            } else {
                down(filter.down, down_members, rows, 1, f.sh, i, end, x, row);
            }
            across(filter.across, columns, 1, f.sw, end - i, row, y + i * result, result, past);
        }
    }
    // The gradient of the maxima is made row by row, and each of the input's positions gathers its own from it.
    void backward(const A* x, const A* g, A* to) {
        ring.clear();
        if (!task.maximum) {
            for (i64 i = 0; i < m.h; i += chunk) back(g, i, std::min(i + chunk, m.h), to + i * m.w * lanes, past);
            return;
        }
        for (i64 i = 0; i < m.h; i++, to += m.w * lanes) {
            for (i64 r = k.kh - 1; r >= 0; r--) {
                i64 from = i + k.top - r;
                if (from < 0 || from >= k.oh || !ring.missing(from)) continue;
                back(g, from, from + 1, ring.at(from), false);
                maxima<Max>(x, from, between.get(), positions.at(from));
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
                by_count<Max, true, true, A>(taps, k, [&](auto n) INLINED {
                    gather<decltype(n)::value>(taps, to + j * lanes, number * lanes);
                });
            });
        }
    }
    // Rows of the gradient of what was filtered.
    void back(const A* g, i64 begin, i64 end, A* to, bool past) const {
        down(filter.down_back, back_members, rows_back, f.sh, 1, begin, end, g, f.ow * lanes);
        across(filter.across_back, columns_back, f.sw, 1, end - begin, f.ow * lanes, to, filter.w * lanes, past);
    }
    template <int N> INLINE void gather(const Taps& taps, A* to, i64 length) const {
        constexpr int L = Lanes<A>::count;
        const Offsets<N> offsets(taps, taps.offset);
        for (i64 at = 0; at < length; at += L) {
            Vec<A> sum{};
            UNROLLED for (int t = 0; t < offsets.count; t++) {
                const Vec<A> part = load<A>(ring.memory.get() + offsets.offset[t] + at);
                sum += load<A>(positions.memory.get() + offsets.offset[t] + at, L) == offsets.place(t) ? part : Vec<A>{};
            }
            write<A>(to + at, sum, length - at, past);
        }
    }
};

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
template <class A, class Out> struct Planes {
    static constexpr int L = Lanes<A>::count;
    const Blurred& task;
    const bool past;  // the gradient of the plane is written past the caches
    const Maps& m = task.dense.maps;
    const Window& f = task.blur.window;
    const Members<A> members{task.dense.window, m};
    const Filter<A> filter{task, members};
    const std::vector<Picks<A>> columns{picks(filter.columns)}, columns_back{picks(filter.columns_back)};
    std::optional<Maxima<A, Out>> maxima;
    std::vector<Terms<A>> rows, rows_back;
    i64 pitch = m.w;

    Planes(const Blurred& task, bool past) : task(task), past(past) {
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
        Fused<A> fused(task, 1, false, g);
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

template <class F> void by_type(int type, F f) {
    if (type == 0) f(float{}, float{});
    if (type == 1) f(double{}, double{});
    if (type == 2) f(float{}, bf16{});
}

// Of narrow planes as many as a vector has lanes are sooner transposed; so are those where a place is made of what lies
// too far apart, and maxima of large windows.
bool Blurred::planar() const {
    const Window& k = dense.window;
    const i64 reach = blur.window.border == 3 ? dense.maps.w : i64(taps.size()) + (maximum ? 0 : k.kw - 1);
    return !dense.maps.last && dense.maps.w > (maximum ? 8 : 16) && reach <= 2 * WIDTH / (type == 1 ? 8 : 4) &&
        (!maximum || std::max(k.kh, k.kw) <= 3);
}

i64 Blurred::slabs() const {
    const Maps& m = dense.maps;
    i64 count = m.n * m.c;
    if (!planar()) by_type(type, [&](auto a, auto out) { count = Slabs<decltype(a), decltype(out)>(m, threads).count(); });
    return count;
}

void Blurred::forward(const void* x, void* y, i64 begin, i64 end) const {
    by_type(type, [&](auto a, auto out) {
        using A = decltype(a);
        using Out = decltype(out);
        const i64 pixels = dense.maps.h * dense.maps.w, results = blur.window.oh * blur.window.ow;
        if (planar()) {
            const Planes<A, Out> planes(*this, false);
            for (i64 plane = begin; plane < end; plane++)
                planes.forward((const Out*)x + plane * pixels, (Out*)y + plane * results);
            return;
        }
        const Slabs<A, Out> slabs(dense.maps, threads);
        Fused<A> fused(*this, slabs.lanes, slabs.streams((Out*)y, results), false);
        auto taken = room<A>(slabs.room_of(pixels)), given = room<A>(slabs.room_of(results));
        for (i64 slab = begin; slab < end; slab++) {
            const A* from = slabs.take(slab, (const Out*)x, pixels, taken.get());
            fused.forward(from, slabs.target(slab, (Out*)y, results, given.get()));
            slabs.give(slab, (Out*)y, results, given.get());
        }
        if (fused.past) settled();
    });
}

void Blurred::backward(const void* x, const void* g, void* to, i64 begin, i64 end) const {
    by_type(type, [&](auto a, auto out) {
        using A = decltype(a);
        using Out = decltype(out);
        const i64 pixels = dense.maps.h * dense.maps.w, results = blur.window.oh * blur.window.ow;
        if (planar()) {
            const Maps& m = dense.maps;
            const Planes<A, Out> planes(*this, streams<A>((Out*)to, m.n * m.c * pixels, m.w));
            for (i64 plane = begin; plane < end; plane++)
                planes.backward((const Out*)x + plane * pixels, (const Out*)g + plane * results, (Out*)to + plane * pixels);
            if (planes.past) settled();
            return;
        }
        const Slabs<A, Out> slabs(dense.maps, threads);
        Fused<A> fused(*this, slabs.lanes, slabs.streams((Out*)to, pixels), true);
        auto taken = room<A>(slabs.room_of(pixels)), gradient = room<A>(slabs.room_of(results)),
             given = room<A>(slabs.room_of(pixels));
        for (i64 slab = begin; slab < end; slab++) {
            const A* from = maximum ? slabs.take(slab, (const Out*)x, pixels, taken.get()) : nullptr;
            const A* back = slabs.take(slab, (const Out*)g, results, gradient.get());
            fused.backward(from, back, slabs.target(slab, (Out*)to, pixels, given.get()));
            slabs.give(slab, (Out*)to, pixels, given.get());
        }
        if (fused.past) settled();
    });
}
