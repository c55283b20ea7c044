// What is blurred, but no maxima, plane by plane of NCHW.
#pragma once

#include "filter.h"

// Planes of NCHW, rows and columns in one: numbers of rows are added up, and picked out of these sums.
template <class A, class Out> struct BlurredPlanes {
    static constexpr int L = Lanes<A>::count;
    static constexpr i64 HELD = 1 << 11;  // bytes
    const Blurred& task;
    const Maps& m = task.dense.maps;
    const Window& f = task.blur.window;
    const Way down;
    const i64 row;  // numbers of one of what is filtered
    const std::vector<Picks<A>> columns;
    const std::vector<Terms<A>> rows{Terms<A>::of(down.groups, [&](i64 place) { return place * row; })};
    const bool past;     // the gradient of the plane is written past the caches,
    const i64 together;  // so many rows at a time: their lines are whole, and written one after the other
    const Aligned<Out> held{room<Out>(past ? together * m.w : 0)};

    BlurredPlanes(const Blurred& task, const Filter<A>& filter, bool past, bool backward)
        : task(task), down(filter.down(backward)), row(backward ? f.ow : m.w),
          columns(picks(filter.across(backward).links)), past(past),
          together(2 * std::max<i64>(1, HELD / i64(2 * m.w * sizeof(Out)))) {}
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
        make(x, y, f.ow, 0, f.oh);
    }
    void backward(const Out* g, Out* to) const {
        auto back = [&](Out* to, i64 begin, i64 end) {
            make(g, to, m.w, begin, end);
        };
        if (!past) return back(to, 0, m.h);
        for (i64 begin = 0; begin < m.h; begin += together) {
            const i64 end = std::min(m.h, begin + together);
            back(held.get(), begin, end);
            vectors<A>((end - begin) * m.w, [&](i64 at, i64 n) INLINED {
                stream<A>(to + begin * m.w + at, load<A>(held.get() + at, n), n);
            });
        }
    }
    // Rows from `begin` to below `end`, so wide, block by block and by their groups.
    void make(const Out* from, Out* to, i64 width, i64 begin, i64 end) const {
        const auto& [_, period, shift, groups] = down;
        const i64 from_step = shift * row;
        for (const auto& block : columns)
            for (size_t i = 0; i < groups.size(); i++) {
                auto before = [&](i64 place) {
                    return std::clamp<i64>((place - groups[i].first + period - 1) / period, 0, groups[i].number);
                };
                const i64 low = before(begin), high = before(end);
                if (low == high) continue;
                combine(block, rows[i], from + low * from_step, from_step,
                    to + (groups[i].first + low * period - begin) * width, period * width, high - low);
            }
    }
    // Rows of a block; those that follow are asked for.
    void combine(const Picks<A>& block, const Terms<A>& terms, const Out* from, i64 from_step, Out* to, i64 to_step,
        i64 repeat) const {
        auto run = [&](auto down, auto across, auto both) INLINED {
            const Sum<A, decltype(down)::value> sum(terms);
            const Chosen<A, decltype(across)::value> chosen(block);
            const i64 width = block.width, number = block.number;
            const bool holes = block.holes;
            const Mask<A> linked = block.linked;
            const Out* source = from + block.from;
            Out* target = to + block.first;
            const i64 fetched = block.first == 0 ? from_step * sizeof(Out) : 0;
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
                store<A>(target, y, number);
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
};
