#include "blurred_planes.h"
#include "slab.h"

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
            const BlurredPlanes<A, Out> planes(*this, false);
            for (i64 plane = begin; plane < end; plane++)
                planes.forward((const Out*)x + plane * pixels, (Out*)y + plane * results);
            return;
        }
        const Slabs<A, Out> slabs(dense.maps, threads);
        BlurredPixels<A> fused(*this, slabs.lanes, slabs.streams((Out*)y, results), false);
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
            const BlurredPlanes<A, Out> planes(*this, streams<A>((Out*)to, m.n * m.c * pixels, m.w));
            for (i64 plane = begin; plane < end; plane++)
                planes.backward((const Out*)x + plane * pixels, (const Out*)g + plane * results, (Out*)to + plane * pixels);
            if (planes.past) settled();
            return;
        }
        const Slabs<A, Out> slabs(dense.maps, threads);
        BlurredPixels<A> fused(*this, slabs.lanes, slabs.streams((Out*)to, pixels), true);
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
