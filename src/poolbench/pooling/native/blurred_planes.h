// What is blurred, but no maxima, plane by plane of NCHW.
#pragma once

#include "filter.h"

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
    const std::vector<Terms<A>> rows{Terms<A>::of(filter.down, [&](i64 row) { return row * m.w; })},
        rows_back{Terms<A>::of(filter.down_back, [&](i64 row) { return row * f.ow; })};

    BlurredPlanes(const Blurred& task, bool past) : task(task), past(past && Picks<A>::stream(columns_back)) {}
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
        for (const auto& block : columns)
            for (size_t i = 0; i < rows.size(); i++)
                combine(block, rows[i], x, f.sh * m.w, y + filter.down[i].first * f.ow, f.ow, filter.down[i].number, false);
    }
    void backward(const Out* g, Out* to) const {
        for (const auto& block : columns_back)
            for (size_t i = 0; i < rows_back.size(); i++)
                combine(block, rows_back[i], g, f.ow, to + filter.down_back[i].first * m.w, f.sh * m.w,
                    filter.down_back[i].number, past);
    }
    // Rows of a block; those that follow are asked for.
    void combine(const Picks<A>& block, const Terms<A>& terms, const Out* from, i64 from_step, Out* to, i64 to_step,
        i64 repeat, bool past) const {
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
};
