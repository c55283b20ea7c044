// A separable filter at a stride, perhaps of means, as sums of rows and of columns, forward and backward.
#pragma once

#include "blurred.h"
#include "picks.h"

// Along an axis: which places, by which weights, make each place of what comes out.
struct Links {
    Linked of;

    explicit Links(i64 count, i64 most = 0) : of(count) {
        for (auto& links : of) links.reserve(most);
    }

    static Links filter(i64 count, i64 stride, i64 before, const std::vector<double>& taps, const Window& window, i64 size) {
        Links made(count, taps.size());
        for (i64 i = 0; i < count; i++)
            for (i64 t = 0; t < i64(taps.size()); t++) {
                i64 from = window.source(i * stride - before + t, size);
                if (from >= 0) made.of[i].push_back({from, taps[t]});
            }
        return made;
    }
    template <class A> static Links means(i64 count, i64 before, i64 kernel, const A* members, i64 size) {
        Links made(count, kernel);
        for (i64 i = 0; i < count; i++)
            for (i64 from = std::max<i64>(0, i - before); from < std::min(size, i - before + kernel); from++)
                made.of[i].push_back({from, 1 / double(members[i])});
        return made;
    }
    // These of what the others make, each place but once, in their order.
    Links after(const Links& others) const {
        Links made(of.size());
        for (size_t i = 0; i < of.size(); i++) {
            auto& links = made.of[i];
            for (auto [through, weight] : of[i])
                for (auto [from, part] : others.of[through]) {
                    auto at = std::lower_bound(links.begin(), links.end(), from, [](Link link, i64 place) {
                        return link.from < place;
                    });
                    if (at == links.end() || at->from != from) at = links.insert(at, {from, 0});
                    at->value += weight * part;
                }
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

// How the places of an axis come out: their links, and by groups, whose places lie `period` apart and are made of what lies
// `shift` apart.
struct Way {
    const Links links;
    const i64 period, shift;
    const std::vector<Group> groups{grouped(links, period, shift)};
};

// Of each place its group, and which one of it it is.
struct Member {
    i64 group, number;
};
inline std::vector<Member> members_of(const Way& way) {
    std::vector<Member> found(way.links.of.size());
    for (i64 group = 0; group < i64(way.groups.size()); group++)
        for (i64 i = 0; i < way.groups[group].number; i++) found[way.groups[group].first + i * way.period] = {group, i};
    return found;
}

// What a place is made of: numbers that lie so far from some place, and their weights.
template <class A> struct Terms {
    std::vector<i64> offset;
    std::vector<A> weight;

    template <class At> void set(const std::vector<Link>& links, At at) {
        offset.clear();
        weight.clear();
        offset.reserve(links.size());
        weight.reserve(links.size());
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

// The sum of N terms, or of any number of them: of a vector, or of a part of one.
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
        times<N>(count, [&](int t) INLINED { sum += at(offset[t]) * weight[t]; });
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
template <class A> struct Sums {
    const A* from;
    A* to;
    i64 length, repeat, from_step, to_step;
    bool past = false;       // the caches
    i64 next = 0, rows = 0;  // from where on so many rows of this length are to be read soon; two are asked for
    i64 again = 1, from_skip = 0, to_skip = 0;

    void run(const Terms<A>& terms) const {
        summed(terms, [*this](const auto sum) INLINED {
            const A* source = from;
            A* target = to;
            for (i64 i = 0; i < again; i++, source += from_skip, target += to_skip) each(source, target, sum);
        });
    }
    template <class S> INLINE void each(const A* source, A* target, const S& sum) const {
        auto each = [&](auto streams, auto fetches) INLINED {
            constexpr int L = Lanes<A>::count;
            const i64 numbers = length, turns = repeat, source_step = from_step, target_step = to_step;
            const i64 first = next, second = rows > 1 ? next + numbers : next;
            auto write_at = [&](i64 at, i64 n, Vec<A> v) INLINED {
                if (fetches) {
                    __builtin_prefetch(source + first + at);
                    __builtin_prefetch(source + second + at);
                }
                write<A>(target + at, v, n, streams);
            };
            for (i64 i = 0; i < turns; i++, source += source_step, target += target_step) {
                i64 at = 0;
                for (; at + L <= numbers; at += L) write_at(at, L, sum(source + at));
                if (at < numbers) write_at(at, numbers - at, sum(source + at, numbers - at));
            }
        };
        if (past)
            each(std::true_type{}, std::false_type{});
        else if (rows > 0)
            each(std::false_type{}, std::true_type{});
        else
            each(std::false_type{}, std::false_type{});
    }
};

// How rows and columns of what comes out are made of those of a map: of the maxima, or, if none are sought, of the input.
template <class A> struct Filter {
    const Window &f, &k;
    const i64 h, w;  // of that map
    const Links rows, columns;

    explicit Filter(const Blurred& task) : Filter(task, Members<A>(task.dense.window, task.dense.maps)) {}
    Filter(const Blurred& task, const Members<A>& members)
        : f(task.blur.window), k(task.dense.window), h(task.maximum ? k.oh : task.dense.maps.h),
          w(task.maximum ? k.ow : task.dense.maps.w),
          rows(links(task, Links::filter(f.oh, f.sh, f.top, task.taps, f, k.oh),
              [&] { return Links::means(k.oh, k.top, k.kh, members.rows.get(), h); })),
          columns(links(task, Links::filter(f.ow, f.sw, f.left, task.taps, f, k.ow),
              [&] { return Links::means(k.ow, k.left, k.kw, members.columns.get(), w); })) {}
    template <class Means> static Links links(const Blurred& task, const Links& filter, Means means) {
        return task.maximum ? filter : filter.after(means());
    }
    Way down(bool backward) const { return backward ? Way{rows.back(h), f.sh, 1} : Way{rows, 1, f.sh}; }
    Way across(bool backward) const { return backward ? Way{columns.back(w), f.sw, 1} : Way{columns, 1, f.sw}; }
};
