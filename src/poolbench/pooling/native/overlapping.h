// Planes of NCHW under windows of 3x3 at a stride of 2 with padding of 1, for operators that weigh each value alone:
// each row is weighed and added up along itself once, in registers.
#pragma once

#include "weighed.h"

inline bool overlapping(const Window& k) {
    return k.kh == 3 && k.kw == 3 && k.sh == 2 && k.sw == 2 && k.dh == 1 && k.dw == 1 && k.top == 1 && k.left == 1;
}

template <class Op, class O, class A> struct Overlapping {
    static constexpr int L = Lanes<A>::count, S = Op::sums;
    const Window& k;
    const Maps& m;
    const O options;
    const i64 wide = (k.ow + L - 1) / L * L, pixels = m.h * m.w, results = k.oh * k.ow;
    const Aligned<A> each{room<A>(k.oh * wide)}, above{room<A>(S * wide)};  // sums of the row above those of a window
    const Aligned<A> none{room<A>(2 * wide)};                           // a row of padding

    Overlapping(const Task& task, const O& options, const Members<A>& members)
        : k(task.window), m(task.maps), options(options) {
        for (i64 i = 0; i < k.oh; i++)
            for (i64 j = 0; j < k.ow; j++) each[i * wide + j] = members.each(i, j);
        for (i64 at = 0; at < 2 * wide; at += L) store<A>(none.get() + at, splat<A>(Op::padding), L);
    }
    // A vector of a row, which may be at its end.
    template <bool Whole> INLINE Vec<A> take(const A* row, i64 at) const {
        if (Whole) return load<A>(row + at);
        using I = decltype(+Mask<A>{}[0]);
        const I n = std::clamp<i64>(m.w - at, 0, L);
        const Vec<A> v = load<A>(row + at, n);
        return Op::padding == 0 ? v : steps<A>() < n ? v : splat<A>(Op::padding);
    }
    // Of a vector of windows what a row adds to them, from two vectors of it and the odd places before these.
    INLINE static Vec<A> across(const Vec<A>* pair, Vec<A>& before) {
        const Vec<A> even = evens(pair[0], pair[1]), odd = odds(pair[0], pair[1]);
        const Vec<A> last = shuffled(before, odd, [](int i, int lanes) { return i + lanes - 1; });
        before = odd;
        return last + even + odd;
    }
    // f(first, number, each, sums) for the windows of row i, after those of the row before; perhaps keep(row, place, weights).
    template <class F, class... Keep>
    INLINE void windows(const A* x, i64 i, Sound<Op, A>& sound, F f, Keep... keep) const {
        const A* rows[2];
        for (i64 r = 0; r < 2; r++) rows[r] = 2 * i + r < m.h ? x + (2 * i + r) * m.w : none.get();
        Vec<A> before[2][S]{};
        const bool first = i == 0;
        const i64 width = m.w, count = k.ow, distance = wide;
        auto block = [&](i64 at, auto whole) INLINED {
            constexpr bool Whole = decltype(whole)::value;
            Vec<A> sum[S];
            A* const carried = above.get() + at;
            UNROLLED for (int s = 0; s < S; s++) sum[s] = first ? Vec<A>{} : load<A>(carried + s * distance);
            UNROLLED for (int r = 0; r < 2; r++) {
                Vec<A> weighed[2][2];  // weights, products
                UNROLLED for (int half = 0; half < 2; half++) {
                    const i64 place = 2 * at + half * L;
                    __builtin_prefetch(rows[r] + place + AHEAD);
                    Op::template weigh<sizeof...(Keep) != 0, A>(
                        options, take<Whole>(rows[r], place), weighed[0][half], weighed[1][half]);
                    (keep(r, place, weighed[0][half]), ...);
                }
                UNROLLED for (int s = 0; s < S; s++) {
                    const Vec<A> made = across(weighed[2 - S + s], before[r][s]);
                    sum[s] += made;
                    if (r) store<A>(carried + s * distance, made, L);
                }
            }
            const i64 n = Whole ? L : count - at;
            sound.summed(sum[0], n);
            f(at, n, load<A>(each.get() + i * distance + at), sum);
        };
        i64 at = 0;
        for (; 2 * (at + L) <= width; at += L) block(at, std::true_type{});
        for (; at < count; at += L) block(at, std::false_type{});
    }
    // Whether the sums of a plane were within bounds.
    bool holds(const A* x, Sound<Op, A>& sound) const {
        if (sound.low())
            vectors<A>(pixels, [&](i64 at, i64 n) INLINED {
                const Vec<A> value = load<A>(x + at, n);
                Vec<A> weight, product;
                Op::template weigh<false, A>(options, value, weight, product);
                sound.weighed(value, product);
            });
        return sound.holds();
    }
};

template <class Op, class A, class O>
void overlapping_planes(const Task& task, const O& options, const Members<A>& members, const A* x, A* y, i64 begin,
    i64 end) {
    const Window& k = task.window;
    const Overlapping<Op, O, A> planes(task, options, members);
    for (i64 plane = begin; plane < end; plane++) {
        const A* from = x + plane * planes.pixels;
        A* to = y + plane * planes.results;
        Sound<Op, A> sound;
        for (i64 i = 0; i < k.oh; i++)
            planes.windows(from, i, sound, [&](i64 at, i64 n, Vec<A> each, const Vec<A>* sum) INLINED {
                store<A>(to + i * k.ow + at, Op::template value<A>(options, sum, each), n);
            });
        if (!planes.holds(from, sound)) forward_planes<Op, A, A>(task, members, x, y, nullptr, plane, plane + 1);
    }
}

template <class Op, class A, class O>
void overlapping_planes_back(const Task& task, const O& options, const Members<A>& members, const A* x, const A* g,
    A* to, i64 begin, i64 end) {
    constexpr int L = Lanes<A>::count, S = Op::sums;
    using I = decltype(+Mask<A>{}[0]);
    const Window& k = task.window;
    const Maps& m = task.maps;
    const Overlapping<Op, O, A> planes(task, options, members);
    // Of two rows of windows what each gives, none beyond them, and the weights of their rows: the first is written at
    // once, the second with the windows below.
    const i64 wide = planes.wide + L, apart = 2 * planes.wide;
    const auto all_shares = room<A>(2 * S * wide), all_weights = room<A>(3 * apart);
    const bool past = streams<A>(to, m.numbers(), m.w, Order::in_turn);
    for (i64 plane = begin; plane < end; plane++) {
        const A *from = x + plane * planes.pixels, *given = g + plane * planes.results;
        A* into = to + plane * planes.pixels;
        Sound<Op, A> sound;
        auto shares = [&](i64 i) INLINED { return all_shares.get() + i % 2 * S * wide; };
        auto weights = [&](i64 y) INLINED { return all_weights.get() + (y % 2 ? 1 + y / 2 % 2 : 0) * apart; };
        // Row y, which the windows of one row give to, or those of two.
        auto row = [&](i64 y, const A* one, const A* other) INLINED {
            auto shared = [&](i64 at, Vec<A>* sum) INLINED {
                UNROLLED for (int s = 0; s < S; s++) {
                    sum[s] = load<A>(one + s * wide + at);
                    if (other) sum[s] += load<A>(other + s * wide + at);
                }
            };
            Vec<A> here[S], next[S], low[S], high[S];
            shared(0, next);
            for (i64 at = 0; at < m.w; at += 2 * L) {
                std::copy_n(next, S, here);
                shared(at / 2 + L, next);
                UNROLLED for (int s = 0; s < S; s++) {
                    const Vec<A> odd = here[s] + shuffled(here[s], next[s], [](int i, int) { return i + 1; });
                    low[s] = zip_low(here[s], odd);
                    high[s] = zip_high(here[s], odd);
                }
                auto put = [&](i64 at, const Vec<A>* sum) INLINED {
                    const i64 n = m.w - at;
                    const Vec<A> value = load<A>(from + y * m.w + at, n), weight = load<A>(weights(y) + at);
                    write<A>(into + y * m.w + at, Op::template gradient<A>(value, weight, sum), n, past);
                };
                put(at, low);
                if (at + L < m.w) put(at + L, high);
            }
        };
        for (i64 i = 0; i < k.oh; i++) {
            planes.windows(from, i, sound,
                [&](i64 at, i64 n, Vec<A> each, const Vec<A>* sum) INLINED {
                    Vec<A> shared[S];
                    __builtin_prefetch(given + i * k.ow + at + AHEAD);
                    Op::template shares<A>(options, sum, each, load<A>(given + i * k.ow + at, n), shared);
                    UNROLLED for (int s = 0; s < S; s++) {
                        if (n < L) shared[s] = steps<A>() < I(n) ? shared[s] : Vec<A>{};
                        store<A>(shares(i) + s * wide + at, shared[s], L);
                    }
                },
                [&](int r, i64 at, Vec<A> weight) INLINED { store<A>(weights(2 * i + r) + at, weight, L); });
            if (i) row(2 * i - 1, shares(i - 1), shares(i));
            if (2 * i < m.h) row(2 * i, shares(i), nullptr);
        }
        if (2 * k.oh <= m.h) row(2 * k.oh - 1, shares(k.oh - 1), nullptr);
        if (planes.holds(from, sound)) continue;
        if (past) settled();
        backward_planes<Op, true, A, A>(task, members, x, g, nullptr, to, plane, plane + 1);
    }
    if (past) settled();
}
