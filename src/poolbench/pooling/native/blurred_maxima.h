// Maxima of windows of 2x2 or 3x3 at a stride of 1, then a filter of three taps at a stride of 2, pixel by pixel; forward
// the filter alone too, as that of maxima of 1x1. A place is made of two rows of maxima, which stay in registers, and of the
// row above. Backward, of equal numbers the first of the window takes all: the first of its row, of the first row.
#pragma once

#include <array>
#include <functional>

#include "filter.h"

template <class A> struct BlurredMaxima {
    static constexpr int L = Lanes<A>::count;
    using Weights = std::vector<std::array<A, 3>>;
    using Until = std::function<void(i64)>;  // until so many pixels
    const Blurred& task;
    const Filter<A>& filter;
    const i64 lanes, slots;  // of the map so many rows are held at a time
    const bool past;  // what comes out is written past the caches
    const Maps& m = task.dense.maps;
    const Window& k = task.dense.window;
    const Window& f = task.blur.window;
    const Weights rows{weights(filter.rows)}, columns{weights(filter.columns)};
    const Aligned<A> above{room<A>(2 * (m.w + 2) * lanes)};

    BlurredMaxima(const Blurred& task, const Filter<A>& filter, i64 lanes, i64 slots, bool past)
        : task(task), filter(filter), lanes(lanes), slots(slots), past(past) {}
    static bool fits(const Blurred& task, const Filter<A>& filter) {
        const Window& k = task.dense.window;
        return k.kh == k.kw && k.kh <= (task.maximum ? 3 : 1) && near(filter.rows) && near(filter.columns);
    }
    // Whether each place is made of those just before, at and behind twice its number.
    static bool near(const Links& links) {
        for (i64 i = 0; i < i64(links.of.size()); i++)
            for (auto link : links.of[i])
                if (!near(i, link)) return false;
        return true;
    }
    static bool near(i64 i, Link link) { return std::abs(link.from - 2 * i) <= 1; }
    // By these three.
    static Weights weights(const Links& links) {
        Weights found;
        for (i64 i = 0; i < i64(links.of.size()); i++) {
            auto& all = found.emplace_back(std::array<A, 3>{});
            for (auto link : links.of[i])
                if (near(i, link)) all[link.from - 2 * i + 1] += link.value;
        }
        return found;
    }
    i64 place_of(i64 y) const { return (y < slots ? y : y % slots) * m.w * lanes; }

    // need(pixels): so many must be there; made(pixels): so many are. False: some number is infinite, or none, which
    // needs another way.
    bool forward(const A* x, A* y, const Until& need, const Until& made) const {
        return k.kh == 1 ? forward<1>(x, y, need, made)
             : k.kh == 2 ? forward<2>(x, y, need, made)
                         : forward<3>(x, y, need, made);
    }
    bool backward(const A* x, const A* g, A* to, const Until& need, const Until& given, const Until& made) const {
        return k.kh == 2 ? backward<2>(x, g, to, need, given, made) : backward<3>(x, g, to, need, given, made);
    }
    template <int N> bool forward(const A* x, A* y, const Until& need, const Until& made) const {
        bool sound = true;
        for (i64 i = 0; i < f.oh; i++) {
            need(std::min(2 * i - k.top + N + 1, m.h) * m.w);
            i64 c = 0;
            for (; c + 8 * L <= lanes; c += 8 * L) sound &= row<N, 8>(x, y, i, c, L);
            for (; c + 2 * L <= lanes; c += 2 * L) sound &= row<N, 2>(x, y, i, c, L);
            for (; c + L <= lanes; c += L) sound &= row<N, 1>(x, y, i, c, L);
            for (; c < lanes; c += L) sound &= row<N, 1>(x, y, i, c, std::min<i64>(L, lanes - c));
            made((i + 1) * f.ow);
        }
        return sound;
    }
    template <int N, int V> INLINE bool row(const A* x, A* y, i64 i, i64 c, i64 n) const {
        const i64 step = lanes, width = m.w, count = f.ow, left = k.left;
        // Of eight lines in a row the processor foresees the next.
        const i64 soon = slots < m.h ? 0 : V == 8 ? 768 : 2 * width * step;
        const bool first = i == 0, streams = past;
        const A* from[N + 1];
        for (i64 r = 0; r <= N; r++) from[r] = x + place_of(std::clamp<i64>(2 * i - k.top + r, 0, m.h - 1)) + c;
        A *const carried = above.get() + c, *const to = y + i * count * step + c;
        const auto down = rows[i];
        Vec<A> v[2][V][N + 1], before[2][V]{}, sound{};
        auto column = [&](i64 at, int t) INLINED {
            const i64 place = std::clamp<i64>(at, 0, width - 1) * step;
            UNROLLED for (int u = 0; u < V; u++) {
                Vec<A> r[N + 1];
                UNROLLED for (int i = 0; i <= N; i++) r[i] = load<A>(from[i] + place + u * L, n);
                if (first) UNROLLED for (int i = 0; i < N - 1; i++) sound += r[i] * 0;
                UNROLLED for (int i = N - 1; i <= N; i++) __builtin_prefetch(from[i] + place + u * L + soon);
                sound += r[N - 1] * 0 + r[N] * 0;
                pair<N>(r, v[0][u][t], v[1][u][t]);
            }
        };
        UNROLLED for (int t = 2; t <= N; t++) column(t - 2 - left, t);
        for (i64 j = 0; j < count; j++) {
            UNROLLED for (int a = 0; a < 2; a++)
                UNROLLED for (int u = 0; u < V; u++)
                    UNROLLED for (int t = 0; t < N - 1; t++) v[a][u][t] = v[a][u][t + 2];
            column(2 * j - left + N - 1, N - 1);
            column(2 * j - left + N, N);
            const auto across = columns[j];
            UNROLLED for (int u = 0; u < V; u++) {
                Vec<A> made[2];
                UNROLLED for (int a = 0; a < 2; a++) {
                    Vec<A> one, two;
                    pair<N>(v[a][u], one, two);
                    made[a] = before[a][u] * across[0] + one * across[1] + two * across[2];
                    before[a][u] = two;
                }
                const i64 place = j * step + u * L;
                Vec<A> sum = made[0] * down[1] + made[1] * down[2];
                if (!first) sum += load<A>(carried + place, n) * down[0];
                store<A>(carried + place, made[1], n);
                write<A>(to + place, sum, n, streams);
            }
        }
        return !any_nan<A>(sound);
    }
    template <int N>
    bool backward(const A* x, const A* g, A* to, const Until& need, const Until& given, const Until& made) const {
        bool sound = true;
        for (i64 i = 0; 2 * i - k.top < m.h; i++) {
            need(std::min(2 * i - k.top + N + 1, m.h) * m.w);
            given(std::min(i + 2, f.oh) * f.ow);
            const bool inner = i > 0 && i + 1 < f.oh && 2 * i - k.top + N < m.h;
            i64 c = 0;
            for (; inner && c + L <= lanes; c += L) sound &= row_back<N, true>(x, g, to, i, c, L);
            for (; c < lanes; c += L) sound &= row_back<N, false>(x, g, to, i, c, std::min<i64>(L, lanes - c));
            made(std::min(2 * i - k.top + 2, m.h) * m.w);
        }
        return sound;
    }
    // Rows 2i and 2i + 1 of the maxima, of some lanes: from what they are given to the first two of the rows that they
    // were found in; what is left for the others is carried on. Inner: all rows are there, and all lanes of a vector.
    template <int N, bool Inner>
    INLINE bool row_back(const A* x, const A* g, A* to, i64 i, i64 c, i64 lanes_left) const {
        const i64 step = lanes, width = m.w, count = f.ow, wide = k.ow, left = k.left, row = width * step;
        const i64 y = 2 * i - k.top, n = Inner ? L : lanes_left, below = count * step, apart = (width + 2) * step;
        const bool first = i == 0, streams = past;
        const A* const given = g + i * below + c;
        A* const carried = above.get() + c;
        const bool some = i < f.oh, more = i + 1 < f.oh;
        const A at = some ? rows[i][1] : 0, behind = some ? rows[i][2] : 0, before = more ? rows[i + 1][0] : 0;
        const i64 soon = slots < m.h ? 0 : 2 * row;
        bool real[N + 1];
        i64 rows_at[N + 1];
        for (i64 r = 0; r <= N; r++) {
            real[r] = 0 <= y + r && y + r < m.h;
            rows_at[r] = real[r] ? place_of(y + r) + c : 0;
        }
        Vec<A> v[N + 1][N], later[2][N]{}, sound{}, here[2], next[2]{};
        auto take = [&](i64 j, auto inner) INLINED {
            const A* place = given + j * step;
            if constexpr (Inner && inner) {
                __builtin_prefetch(place + 2 * below);
                const Vec<A> one = load<A>(place), two = load<A>(place + below);
                next[0] = one * at;
                next[1] = one * behind + two * before;
                return;
            }
            next[0] = next[1] = Vec<A>{};
            if (j >= count) return;
            if (at != 0) next[0] = load<A>(place, n) * at;
            if (behind != 0) next[1] = load<A>(place, n) * behind;
            if (before != 0) next[1] += load<A>(place + below, n) * before;
        };
        auto column = [&](i64 at, auto inner) INLINED {
            UNROLLED for (int r = 0; r <= N; r++) {
                UNROLLED for (int t = 0; t < N - 1; t++) v[r][t] = v[r][t + 1];
                v[r][N - 1] = splat<A>(-INF);
                if (!inner && (at < 0 || at >= width)) continue;
                if (!Inner && !real[r]) continue;
                const A* place = x + rows_at[r] + at * step;
                v[r][N - 1] = load<A>(place, n);
                if (r >= N - 1) __builtin_prefetch(place + soon);
                if (r >= N - 1 || (!Inner && first)) sound += v[r][N - 1] * 0;
            }
        };
        auto pair = [&](i64 j, auto inner) INLINED {
            std::copy_n(next, 2, here);
            take(j + 1, inner);
            UNROLLED for (int odd = 0; odd < 2; odd++) {
                const i64 place = 2 * j + odd;
                column(place - left + N - 1, inner);
                Vec<A> most[N + 1], one[N], two[N], sum[N + 1], share[N], got[2]{};
                UNROLLED for (int r = 0; r <= N; r++) most[r] = largest<N>(v[r]);
                UNROLLED for (int r = 0; r < 2; r++) {
                    if (inner || (j < count && place < wide)) got[r] = here[r] * columns[j][1 + odd];
                    if (odd && (inner || j + 1 < count)) got[r] += next[r] * columns[j + 1][0];
                }
                split<N>(most, largest<N>(most), got[0], one);
                split<N>(most + 1, largest<N>(most + 1), got[1], two);
                sum[0] = one[0];
                sum[N] = two[N - 1];
                UNROLLED for (int r = 1; r < N; r++) sum[r] = one[r] + two[r - 1];
                UNROLLED for (int r = 0; r < N - 1; r++) {
                    A* const kept = carried + r * apart + place * step;
                    if (Inner || !first) sum[r] += load<A>(kept, n);
                    store<A>(kept, sum[r + 2], n);
                }
                UNROLLED for (int r = 0; r < 2; r++) {
                    split<N>(v[r], most[r], sum[r], share);
                    const Vec<A> made = later[r][0] + share[0];
                    UNROLLED for (int t = 1; t < N; t++) later[r][t - 1] = later[r][t] + share[t];
                    if (!inner && (place < left || place - left >= width)) continue;
                    if (Inner || real[r]) write<A>(to + rows_at[r] + (place - left) * step, made, n, streams);
                }
            }
        };
        UNROLLED for (int t = 0; t < N - 1; t++) column(t - left, std::false_type{});
        take(0, std::false_type{});
        i64 j = 0;
        if (left) pair(j++, std::false_type{});
        for (; j + 1 < count && 2 * j + 1 - left + N - 1 < width; j++) pair(j, std::true_type{});
        for (; 2 * j < width + left; j++) pair(j, std::false_type{});
        return !any_nan<A>(sound);
    }
    // What each of N values is given of what the largest is: all of it to the first of these.
    template <int N> INLINE static void split(const Vec<A>* v, Vec<A> most, Vec<A> g, Vec<A>* share) {
        UNROLLED for (int t = 0; t < N - 1; t++) {
            share[t] = v[t] == most ? g : Vec<A>{};
            g = v[t] == most ? Vec<A>{} : g;
        }
        share[N - 1] = g;
    }
    template <int N> INLINE static Vec<A> largest(const Vec<A>* v) {
        Vec<A> most = v[0];
        UNROLLED for (int t = 1; t < N; t++) most = larger<A>(v[t], most);
        return most;
    }
    // The largest of the first N of N + 1 values, and of the last N.
    template <int N> INLINE static void pair(const Vec<A>* v, Vec<A>& one, Vec<A>& two) {
        one = v[0];
        two = v[N];
        if constexpr (N > 1) {
            const Vec<A> both = largest<N - 1>(v + 1);
            one = larger<A>(one, both);
            two = larger<A>(two, both);
        }
    }
};
