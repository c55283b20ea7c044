// What is blurred, pixel by pixel: a picture of channels_last, or planes side by side.
#pragma once

#include <utility>

#include "filter.h"

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
template <class A> struct BlurredPixels {
    static constexpr i64 CACHED = 1 << 14;  // bytes of what lies between
    const Blurred& task;
    const Filter<A>& filter;
    const i64 lanes;
    const bool past;  // what comes out is written past the caches
    const Maps& m = task.dense.maps;
    const Window& k = task.dense.window;
    const Window& f = task.blur.window;
    const Way down, across;
    const i64 row;    // numbers of one of what is filtered
    const i64 chunk;  // rows
    const Aligned<A> between{room<A>(chunk * std::max(filter.w, f.ow) * lanes)};
    const std::vector<Terms<A>> rows{places(down, row)}, columns{places(across, lanes)};
    const std::vector<Member> row_members{members_of(down)};
    Task slid = task.dense;
    Ring<A> ring;
    Ring<u8> positions;
    Terms<A> terms;

    // A filter meets rows beside each other; on a torus, or a map smaller than it, any.
    BlurredPixels(const Blurred& task, const Filter<A>& filter, i64 lanes, bool past, bool backward)
        : task(task), filter(filter), lanes(lanes), past(past), down(filter.down(backward)),
          across(filter.across(backward)), row((backward ? f.ow : filter.w) * lanes),
          chunk(task.maximum ? 1 : std::clamp<i64>(CACHED / i64(sizeof(A)) / row, 1, down.links.of.size())),
          ring(!task.maximum ? 0 : backward ? k.kh : f.border == 3 ? k.oh : std::min<i64>(k.oh, task.taps.size()),
              k.ow * lanes),
          positions(backward ? ring.slots : 0, k.ow * lanes) {
        slid.maps = {1, lanes, m.h, m.w, true};
    }
    static std::vector<Terms<A>> places(const Way& way, i64 step) {
        return Terms<A>::of(way.groups, [&](i64 place) { return place * step; });
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
    // So many rows of what lies between, by the groups of their columns.
    void add_columns(i64 number, A* to, i64 to_row, bool past) const {
        const auto& [_, period, shift, groups] = across;
        for (size_t i = 0; i < groups.size(); i++) {
            A* into = to + groups[i].first * lanes;
            Sums<A>{between.get(), into, lanes, groups[i].number, shift * lanes, period * lanes, past, 0, 0, number,
                row, to_row}.run(columns[i]);
        }
    }
    // Rows of what lies between, from `begin` to below `end`, by their groups.
    void add_rows(i64 begin, i64 end, const A* from) const {
        const auto& [_, period, shift, groups] = down;
        for (i64 i = begin; i < end; i++) {
            const auto [group, number] = row_members[i];
            if (number > 0 && i - period >= begin) continue;  // made with that row
            const auto& links = *groups[group].links;
            const i64 most = end - i <= period ? 1 : std::min(groups[group].number - number, (end - i + period - 1) / period);
            const i64 next = links.empty() ? 0 : (links.back().from + 1) * row;
            Sums<A>{from + number * shift * row, between.get() + (i - begin) * row, row, most, shift * row,
                period * row, false, next, shift}.run(rows[group]);
        }
    }
    void forward(const A* x, A* y) {
        ring.clear();
        const i64 result = f.ow * lanes;
        for (i64 i = 0; i < f.oh; i += chunk) {
            const i64 end = std::min(i + chunk, f.oh);
            if (task.maximum) {
                for (auto link : filter.rows.of[i])
                    if (ring.missing(link.from)) maxima<Unkept<Max>>(x, link.from, ring.at(link.from), nullptr);
                terms.set(filter.rows.of[i], [&](i64 from) { return ring.place(from); });
                Sums<A>{ring.memory.get(), between.get(), row, 1, 0, 0}.run(terms);
            } else {
                add_rows(i, end, x);
            }
            add_columns(end - i, y + i * result, result, past);
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
        add_rows(begin, end, g);
        add_columns(end - begin, to, filter.w * lanes, past);
    }
    template <int N> INLINE void gather(const Taps& taps, A* to, i64 length) const {
        constexpr int L = Lanes<A>::count;
        const Offsets<N> offsets(taps, taps.offset);
        for (i64 at = 0; at < length; at += L) {
            Vec<A> sum{};
            times<N>(offsets.count, [&](int t) INLINED {
                const Vec<A> part = load<A>(ring.memory.get() + offsets.offset[t] + at);
                sum += load<A>(positions.memory.get() + offsets.offset[t] + at, L) == offsets.place(t) ? part : Vec<A>{};
            });
            write<A>(to + at, sum, length - at, past);
        }
    }
};
