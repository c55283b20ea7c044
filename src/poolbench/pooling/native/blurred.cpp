#include <optional>

#include "blurred_maxima.h"
#include "blurred_pixels.h"
#include "blurred_planes.h"
#include "slab.h"

template <class F> void by_type(int type, F f) {
    if (type == 0) f(float{}, float{});
    if (type == 1) f(double{}, double{});
    if (type == 2) f(float{}, bf16{});
}

// A slab of a map: its own numbers, or a copy, made or given back as far as it is needed, of so many pixels at a time.
template <class A, class Out> struct Copy {
    const Slabs<A, Out>& slabs;
    const i64 pixels, held;
    const Aligned<A> memory{room<A>(slabs.room_of(held))};
    i64 slab = 0, done = 0;

    Copy(const Slabs<A, Out>& slabs, i64 pixels, i64 held) : slabs(slabs), pixels(pixels), held(held) {}
    const A* from(const void* map, i64 slab) { return to((void*)map, slab); }
    A* to(void* map, i64 next) {
        slab = next;
        done = 0;
        return slabs.target(slab, (Out*)map, pixels, memory.get());
    }
    void take(const void* map, i64 until) {
        done = slabs.take(slab, (const Out*)map, pixels, memory.get(), held, done, until);
    }
    void give(void* map, i64 until) { done = slabs.give(slab, (Out*)map, pixels, memory.get(), held, done, until); }
};

// So many rows of a copy are held where a window moves along: squares of it end at the last.
template <class S> i64 rows_held(const S& slabs, const Maps& m, i64 kernel) {
    i64 rows = kernel + 2 + (S::L + m.w - 1) / m.w;
    while (rows * m.w % S::L) rows++;
    return slabs.whole ? m.h : std::min(rows, m.h);
}

// Of narrow planes as many as a vector has lanes are sooner transposed; so are maxima, and those where a place is made of
// what lies too far apart.
bool Blurred::planar() const {
    const Window& k = dense.window;
    const i64 reach = blur.window.border == 3 ? std::max(dense.maps.w, k.ow) : i64(taps.size()) + k.kw - 1;
    return !maximum && !dense.maps.last && dense.maps.w > 16 && reach <= 2 * WIDTH / (type == 1 ? 8 : 4);
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
        const Filter<A> filter(*this);
        if (planar()) {
            const BlurredPlanes<A, Out> planes(*this, filter, false, false);
            for (i64 plane = begin; plane < end; plane++)
                planes.forward((const Out*)x + plane * pixels, (Out*)y + plane * results);
            return;
        }
        const Slabs<A, Out> slabs(dense.maps, threads);
        const bool past = slabs.streams((Out*)y);
        const bool fits = std::is_same_v<A, float> && BlurredMaxima<A>::fits(*this, filter);
        const i64 rows = fits ? rows_held(slabs, dense.maps, dense.window.kh) : 0;
        std::optional<BlurredMaxima<A>> fused;
        if (fits) fused.emplace(*this, filter, slabs.lanes, rows, past);
        Copy<A, Out> taken(slabs, pixels, rows * dense.maps.w), given(slabs, results, results);
        std::optional<BlurredPixels<A>> any;  // for what is not fused
        std::optional<Copy<A, Out>> all;
        for (i64 slab = begin; slab < end; slab++) {
            const A* from = taken.from(x, slab);
            A* to = given.to(y, slab);
            const bool done = fused && fused->forward(from, to, [&](i64 until) { taken.take(x, until); },
                [&](i64 until) { given.give(y, until); });
            if (done) continue;
            if (past) settled();
            if (!any) any.emplace(*this, filter, slabs.lanes, past, false);
            if (!all) all.emplace(slabs, pixels, pixels);
            from = all->from(x, slab);
            all->take(x, pixels);
            any->forward(from, given.to(y, slab));
            given.give(y, results);
        }
        if (past) settled();
    });
}

void Blurred::backward(const void* x, const void* g, void* to, i64 begin, i64 end) const {
    by_type(type, [&](auto a, auto out) {
        using A = decltype(a);
        using Out = decltype(out);
        const i64 pixels = dense.maps.h * dense.maps.w, results = blur.window.oh * blur.window.ow;
        const Filter<A> filter(*this);
        if (planar()) {
            const Maps& m = dense.maps;
            const bool past = streams<A>((Out*)to, m.numbers(), m.w, Order::in_turn);
            const BlurredPlanes<A, Out> planes(*this, filter, past, true);
            for (i64 plane = begin; plane < end; plane++)
                planes.backward((const Out*)g + plane * results, (Out*)to + plane * pixels);
            if (past) settled();
            return;
        }
        const Slabs<A, Out> slabs(dense.maps, threads);
        const bool past = slabs.streams((Out*)to);
        const bool fits =
            std::is_same_v<A, float> && maximum && dense.window.kh > 1 && BlurredMaxima<A>::fits(*this, filter);
        const i64 rows = fits ? rows_held(slabs, dense.maps, dense.window.kh) : 0, held = rows * dense.maps.w;
        std::optional<BlurredMaxima<A>> fused;
        if (fits) fused.emplace(*this, filter, slabs.lanes, rows, past);
        Copy<A, Out> taken(slabs, pixels, held), gradient(slabs, results, results), given(slabs, pixels, held);
        std::optional<BlurredPixels<A>> any;
        std::optional<Copy<A, Out>> all, made;
        for (i64 slab = begin; slab < end; slab++) {
            const A *from = fits ? taken.from(x, slab) : nullptr, *back = gradient.from(g, slab);
            A* into = given.to(to, slab);
            const bool done = fused && fused->backward(from, back, into, [&](i64 until) { taken.take(x, until); },
                [&](i64 until) { gradient.take(g, until); }, [&](i64 until) { given.give(to, until); });
            if (done) continue;
            if (past) settled();
            if (!any) any.emplace(*this, filter, slabs.lanes, past, true);
            if (maximum && !all) all.emplace(slabs, pixels, pixels);
            if (maximum) from = all->from(x, slab);
            if (maximum) all->take(x, pixels);
            if (!made) made.emplace(slabs, pixels, pixels);
            gradient.take(g, results);
            any->backward(from, back, made->to(to, slab));
            made->give(to, pixels);
        }
        if (past) settled();
    });
}
