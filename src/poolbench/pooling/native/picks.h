// How places of a row follow from numbers of another row: as many places as a vector holds pick theirs out of two vectors.
#pragma once

#include <algorithm>
#include <cassert>
#include <limits>
#include <vector>

#include "lanes.h"

// A number of the other row, and what it counts for.
struct Link {
    i64 from;
    double value;
};
// Of each place its links.
using Linked = std::vector<std::vector<Link>>;

template <class A> struct Picks {
    static constexpr int L = Lanes<A>::count;
    i64 first, number = 0;  // places
    i64 from, width;        // the first of the numbers that are looked at, and how many
    size_t count = 0;       // links of each place
    bool holes = false;     // some places have none
    Mask<A> linked{};
    std::vector<Mask<A>> picks;
    std::vector<Vec<A>> values;

    // A place without links has one of value `nothing`, as lanes beyond the last place have; fill(links, count) makes so
    // many of some.
    template <class Fill> Picks(const Linked& of, i64 first, double nothing, Fill fill) : first(first) {
        i64 low = std::numeric_limits<i64>::max(), high = 0;
        for (i64 i = first; i < i64(of.size()) && number < L; i++, number++) {
            i64 least = low, most = high;
            for (auto link : of[i]) {
                least = std::min(least, link.from);
                most = std::max(most, link.from);
            }
            if (most - least >= 2 * L) break;
            low = least;
            high = most;
            count = std::max(count, of[i].size());
        }
        from = std::min(low, high);
        width = high - from + 1;
        picks.resize(count);
        values.resize(count, splat<A>(nothing));
        for (i64 lane = 0; lane < number; lane++) {
            auto links = of[first + lane];
            linked[lane] = links.empty() ? 0 : -1;
            holes |= links.empty();
            if (links.empty()) links.push_back({from, nothing});
            fill(links, count);
            for (size_t t = 0; t < count; t++) {
                picks[t][lane] = links[t].from - from;
                values[t][lane] = links[t].value;
            }
        }
    }
    // Of all places; each must have its links within the reach of two vectors.
    template <class Fill> static std::vector<Picks> all(const Linked& of, double nothing, Fill fill) {
        std::vector<Picks> found;
        for (i64 i = 0; i < i64(of.size()); i += found.back().number) {
            found.emplace_back(of, i, nothing, fill);
            assert(found.back().number > 0);
        }
        return found;
    }
    // Whether they may be written past the caches: all start at a multiple of half of a vector.
    static bool stream(const std::vector<Picks>& blocks) {
        return std::all_of(blocks.begin(), blocks.end(), [](const auto& block) { return block.first % (L / 2) == 0; });
    }
};

// N links of each place, or any number: copied, else whatever is written might change them.
template <class A, int N> struct Chosen {
    const size_t number;
    Mask<A> own_picks[N + 1];
    Vec<A> own_values[N + 1];
    const Mask<A>* picks = own_picks;
    const Vec<A>* values = own_values;

    explicit Chosen(const Picks<A>& from) : number(from.count) {
        if (N) {
            std::copy_n(from.picks.data(), N, own_picks);
            std::copy_n(from.values.data(), N, own_values);
        } else {
            picks = from.picks.data();
            values = from.values.data();
        }
    }
    // f(value, numbers picked out of two vectors) for each link from such a one on.
    template <int begin = 0, class V, class F> INLINE void each(V low, V high, F f) const {
        times<N>(number, [&](int t) INLINED {
            if (t >= begin) f(values[t], picked(low, high, picks[t]));
        });
    }
};
