// Operators with learned numbers, which are one for each plane: (count, N, C), and so are their gradients. Vectors lie
// along the planes of a slab, whatever the layout.
#include "learned.h"

#include "slab.h"
#include "tensors.h"

// Where the positions of windows side by side lie in a slab, from the first of these windows; -1 is outside of the map.
struct Places {
    int count;
    i64 offset[NONE];

    Places(const Window& k, const Maps& m, i64 lanes, i64 i, i64 j) : count(k.kh * k.kw) {
        for (i64 t = 0; t < count; t++) {
            i64 y = i * k.sh - k.top + t / k.kw * k.dh, x = j * k.sw - k.left + t % k.kw * k.dw;
            offset[t] = 0 <= y && y < m.h && 0 <= x && x < m.w ? (y * m.w + x) * lanes : -1;
        }
    }
};

// One vector of windows, of `n` planes, or Whole. `outside` is a row of zeros.
template <class A, int N, bool Whole> struct Seen {
    static constexpr int known = N, most = N ? N : NONE;
    const Places& places;
    const A *values, *others, *numbers, *outside;
    i64 planes, n, shift;
    A part;  // of each position in an average
    double option;
    const int count = N ? N : places.count;

    template <class F> INLINE void each(F f) const { times<N>(count, f); }
    INLINE static Vec<A> read(const A* from, i64 n) { return Whole ? load<A>(from) : load<A>(from, n); }
    INLINE bool inside(int t) const { return places.offset[t] >= 0; }
    INLINE Vec<A> operator[](int t) const { return read((inside(t) ? values + places.offset[t] : outside) + shift, n); }
    INLINE Vec<A> other(int t) const { return read((inside(t) ? others + places.offset[t] : outside) + shift, n); }
    INLINE Vec<A> number(int k) const { return read(numbers + k * planes, n); }
};

// Takes the gradients of one vector of windows; what is `outside` is lost.
template <class A, int N, bool Whole> struct Given {
    const Seen<A, N, Whole>& x;
    A *values, *others, *outside;
    bool add;
    Vec<A>* numbers;

    INLINE void to(A* map, int t, Vec<A> part) const {
        A* here = (x.inside(t) ? map + x.places.offset[t] : outside) + x.shift;
        if (add) part += x.read(here, x.n);
        store<A>(here, part, Whole ? Lanes<A>::count : x.n);
    }
    INLINE void value(int t, Vec<A> part) const { to(values, t, part); }
    INLINE void other(int t, Vec<A> part) const { to(others, t, part); }
    INLINE void number(int k, Vec<A> part) const { numbers[k] += part; }
};

// Adds to a sum, of which `rest` is what rounding has left out so far (Kahan, 1965).
template <class A> INLINE void compensated(Vec<A>& sum, Vec<A>& rest, Vec<A> part) {
    const Vec<A> whole = part + rest, next = sum + whole;
    rest = whole - (next - sum);
    sum = next;
}

// The mean of `count` terms, by parts of some.
template <class A, class F> INLINE Vec<A> mean_over(i64 count, F term) {
    constexpr i64 SOME = 32;
    Vec<A> sum{}, rest{};
    for (i64 first = 0; first < count; first += SOME) {
        Vec<A> part{};
        for (i64 i = first; i < std::min(first + SOME, count); i++) part += term(i);
        compensated<A>(sum, rest, part);
    }
    return sum / A(count);
}

// The planes side by side in a slab, with mean 0 and variance 1 each, and the way back.
template <class A> struct Normalised {
    static constexpr int L = Lanes<A>::count;
    static constexpr double EPSILON = 1e-5;
    i64 pixels, lanes, width;

    void forward(const A* from, A* to, A* rates) const {
        for (i64 at = 0; at < width; at += L) {
            const i64 n = width - at;
            auto value = [&](i64 i) INLINED { return load<A>(from + i * lanes + at, n); };
            const Vec<A> mean = mean_over<A>(pixels, value);
            const Vec<A> variance = mean_over<A>(pixels, [&](i64 i) INLINED {
                const Vec<A> v = value(i) - mean;
                return v * v;
            });
            const Vec<A> rate = A(1) / root(Vec<A>(variance + A(EPSILON)));
            for (i64 i = 0; i < pixels; i++) store<A>(to + i * lanes + at, (value(i) - mean) * rate, n);
            store<A>(rates + at, rate, n);
        }
    }
    // The gradient `g` of the normalised planes `z` becomes that of the planes.
    void backward(const A* z, const A* rates, A* g) const {
        for (i64 at = 0; at < width; at += L) {
            const i64 n = width - at;
            auto value = [&](i64 i) INLINED { return load<A>(z + i * lanes + at, n); };
            auto gradient = [&](i64 i) INLINED { return load<A>(g + i * lanes + at, n); };
            const Vec<A> mean = mean_over<A>(pixels, gradient), rate = load<A>(rates + at, n);
            const Vec<A> slope = mean_over<A>(pixels, [&](i64 i) INLINED { return gradient(i) * value(i); });
            for (i64 i = 0; i < pixels; i++)
                store<A>(g + i * lanes + at, rate * (gradient(i) - mean - slope * value(i)), n);
        }
    }
};

struct Learned {
    Task task;
    i64 count, threads;  // of the learned numbers
    const void *x, *other, *numbers;
    void* y;  // forward: the output; backward: its gradient
    void *to_x = nullptr, *to_other = nullptr, *to_numbers = nullptr;
};

// What an operator makes of slabs, whatever the number format of the maps.
template <class Op, int N, class A> struct Slides {
    static constexpr int L = Lanes<A>::count;
    const Learned& all;
    const Cut<A> cut;
    const Window& k = all.task.window;
    const Maps& m = all.task.maps;
    const Members<A> members{k, m};
    const i64 pixels = m.h * m.w, results = k.oh * k.ow, planes = m.n * m.c, lanes = cut.lanes;
    const Aligned<A> zeros = room<A>(m.w * lanes);

    // What one thread needs.
    struct Scratch {
        Aligned<A> normal, rates, lost, rests;
    };
    Scratch scratch() const {
        return {room<A>(Op::pairs * pixels * lanes), room<A>(lanes), room<A>(m.w * lanes), room<A>(all.count * lanes)};
    }

    // The planes of a slab.
    i64 first(i64 slab) const { return m.last ? slab / cut.parts * m.c + slab % cut.parts * lanes : slab * L; }
    i64 width(i64 slab) const { return std::min(lanes, m.last ? m.c - slab % cut.parts * lanes : planes - slab * L); }

    // Calls f(windows, number of them, first output, first plane) for windows side by side that meet the same places.
    template <class F> INLINE void each(i64 slab, const A* x, const A* other, F f) const {
        for (i64 i = 0; i < k.oh; i++)
            along(all.task.columns(), k.ow, [&](i64 j, i64 repeat) INLINED {
                const Places places(k, m, lanes, i, j);
                auto block = [&](i64 at, i64 n, auto whole) INLINED {
                    f(Seen<A, N, decltype(whole)::value>{places, x, other, (const A*)all.numbers + first(slab) + at,
                          zeros.get(), planes, n, at, members.each(i, j), all.task.options.number},
                        repeat, (i * k.ow + j) * lanes + at, first(slab) + at);
                };
                i64 at = 0;
                for (; at + L <= width(slab); at += L) block(at, L, std::true_type{});
                if (at < width(slab)) block(at, width(slab) - at, std::false_type{});
            });
    }
    // The second map's slab, if there is one.
    const A* normalise(i64 slab, const A* other, const Scratch& own) const {
        if (!Op::pairs) return nullptr;
        normalised(slab).forward(other, own.normal.get(), own.rates.get());
        return own.normal.get();
    }
    Normalised<A> normalised(i64 slab) const { return {pixels, lanes, width(slab)}; }

    void forward(i64 slab, const A* x, const A* other, A* to, const Scratch& own) const {
        each(slab, x, normalise(slab, other, own), [&](auto seen, i64 repeat, i64 output, i64) INLINED {
            for (i64 window = 0; window < repeat; window++) {
                store<A>(to + output + window * lanes, Op::template forward<A>(seen), seen.n);
                seen.shift += k.sw * lanes;
            }
        });
    }
    void backward(i64 slab, const A* x, const A* other, const A* g, A* values, A* others, const Scratch& own) const {
        const bool add = !all.task.apart();
        for (A* map : {values, others}) {
            if (map && add) std::memset(map, 0, pixels * lanes * sizeof(A));
            if (map && !add)
                all.task.uncovered([&](i64 place) { std::memset(map + place * lanes, 0, lanes * sizeof(A)); });
        }
        A* const rests = own.rests.get();
        std::memset(rests, 0, all.count * lanes * sizeof(A));
        for (i64 number = 0; number < all.count; number++)
            std::memset((A*)all.to_numbers + number * planes + first(slab), 0, width(slab) * sizeof(A));
        each(slab, x, normalise(slab, other, own), [&](auto seen, i64 repeat, i64 output, i64 plane) INLINED {
            Vec<A> sums[NONE];
            std::memset(sums, 0, all.count * sizeof *sums);
            for (i64 window = 0; window < repeat; window++) {
                Given give{seen, values, others, own.lost.get(), add, sums};
                Op::template backward<A>(seen, seen.read(g + output + window * lanes, seen.n), give);
                seen.shift += k.sw * lanes;
            }
            for (i64 number = 0; number < all.count; number++) {
                A* total = (A*)all.to_numbers + number * planes + plane;
                A* rest = rests + number * lanes + plane - first(slab);
                Vec<A> sum = seen.read(total, seen.n), left = seen.read(rest, seen.n);
                compensated<A>(sum, left, sums[number]);
                store<A>(total, sum, seen.n);
                store<A>(rest, left, seen.n);
            }
        });
        if (Op::pairs) normalised(slab).backward(own.normal.get(), own.rates.get(), others);
    }
};

// A map as slabs, or none.
template <class A, class Out> struct SlabsOf {
    const Slabs<A, Out>& slabs;
    Out* const map;
    const i64 size;
    const Aligned<A> memory{room<A>(map ? slabs.room_of(size) : 0)};

    SlabsOf(const Slabs<A, Out>& slabs, const void* map, i64 size) : slabs(slabs), map((Out*)map), size(size) {}
    const A* take(i64 slab) const { return map ? slabs.take(slab, map, size, memory.get()) : nullptr; }
    A* target(i64 slab) const { return map ? slabs.target(slab, map, size, memory.get()) : nullptr; }
    void give(i64 slab, const A* from) const {
        if (map) slabs.give(slab, map, size, from);
    }
};

template <class S, class A, class Out>
void forward(const S& slides, const Slabs<A, Out>& slabs, i64 begin, i64 end) {
    const Learned& all = slides.all;
    const SlabsOf<A, Out> x(slabs, all.x, slides.pixels), other(slabs, all.other, slides.pixels),
        y(slabs, all.y, slides.results);
    const auto own = slides.scratch();
    for (i64 slab = begin; slab < end; slab++) {
        A* to = y.target(slab);
        slides.forward(slab, x.take(slab), other.take(slab), to, own);
        y.give(slab, to);
    }
}

template <class S, class A, class Out>
void backward(const S& slides, const Slabs<A, Out>& slabs, i64 begin, i64 end) {
    const Learned& all = slides.all;
    const SlabsOf<A, Out> x(slabs, all.x, slides.pixels), other(slabs, all.other, slides.pixels),
        g(slabs, all.y, slides.results), to_x(slabs, all.to_x, slides.pixels), to_other(slabs, all.to_other, slides.pixels);
    const auto own = slides.scratch();
    for (i64 slab = begin; slab < end; slab++) {
        A *values = to_x.target(slab), *others = to_other.target(slab);
        slides.backward(slab, x.take(slab), other.take(slab), g.take(slab), values, others, own);
        to_x.give(slab, values);
        to_other.give(slab, others);
    }
}

template <class F> void by_name(const std::string& name, F f) {
    if (name == "detail_preserving") return f(DetailPreserving{});
    if (name == "adapool") return f(AdaPool{});
    if (name == "lp_learned") return f(LearnedLp{});
    if (name == "ordinal") return f(Ordinal{});
    if (name == "lip") return f(Lip{});
    if (name == "gated") return f(Gated{});
    STD_TORCH_CHECK(false, "poolbench: no kernel is called ", name);
}

// Calls f(slides, slabs, begin, end) for slabs shared out to the threads; windows of 2x2 in less than float64 are
// compiled apart.
template <class F> void share(const Learned& all, const std::string& name, Type type, F f) {
    const Maps& m = all.task.maps;
    by_name(name, [&](auto op) {
        using Op = decltype(op);
        STD_TORCH_CHECK(!Op::pairs || all.other, "poolbench: ", name, " needs a second map");
        by_type(type, [&](auto a, auto out) {
            using A = decltype(a);
            using Out = decltype(out);
            const Slabs<A, Out> slabs(m, all.threads);
            auto run = [&](const auto& slides) {
                const i64 count = slabs.count(), numbers = m.numbers();
                torch::stable::parallel_for(0, count, std::max<i64>(1, GRAIN * count / std::max<i64>(1, numbers)),
                    [&](i64 begin, i64 end) { f(slides, slabs, begin, end); });
            };
            if (sizeof(A) == 4 && all.task.window.kh * all.task.window.kw == 4)
                run(Slides<Op, sizeof(A) == 4 ? 4 : 0, A>{all, slabs});
            else
                run(Slides<Op, 0, A>{all, slabs});
        });
    });
}

Learned learned_of(const Tensor& x, const std::optional<Tensor>& other, const Tensor& numbers, const Numbers& plan,
    double number, Tensor& y) {
    expect(x, plan[17], plan[18]);
    const Window window = window_of(plan.data());
    const Maps maps = maps_of(x.size(0), x.size(1), plan.data());
    STD_TORCH_CHECK(window.kh * window.kw < NONE, "poolbench: a window has fewer than 255 positions");
    STD_TORCH_CHECK(numbers.size(0) < NONE && numbers.numel() == numbers.size(0) * maps.n * maps.c,
        "poolbench: learned numbers are of each plane");
    return {{window, maps, {number}, {}}, numbers.size(0), i64(torch::stable::get_num_threads()), x.data_ptr(),
        other ? other->data_ptr() : nullptr, numbers.data_ptr(), y.data_ptr()};
}

Tensor learned(Tensor x, std::optional<Tensor> other, Tensor numbers, std::string name, std::string text, double number) {
    const Numbers plan = plan_of(text);
    const Window k = window_of(plan.data());
    Tensor y = empty(x.size(0), x.size(1), k.oh, k.ow, plan[16], code(x.scalar_type()));
    const Learned all = learned_of(x, other, numbers, plan, number, y);
    share(all, name, x.scalar_type(), [](const auto& slides, const auto& slabs, i64 begin, i64 end) {
        forward(slides, slabs, begin, end);
    });
    return y;
}

std::tuple<Tensor, Tensor, Tensor> learned_backward(Tensor g, Tensor x, std::optional<Tensor> other, Tensor numbers,
    std::string name, std::string text, double number) {
    const Numbers plan = plan_of(text);
    expect(g, plan[8], plan[9]);
    Learned all = learned_of(x, other, numbers, plan, number, g);
    const Maps& m = all.task.maps;
    Tensor to_x = empty(m.n, m.c, m.h, m.w, m.last, code(x.scalar_type()));
    Tensor to_other = empty(other ? m.n : 0, m.c, m.h, m.w, m.last, code(x.scalar_type()));
    Tensor to_numbers = empty(all.count, m.n, m.c, 1, false, code(numbers.scalar_type()));
    all.to_x = to_x.data_ptr();
    if (other) all.to_other = to_other.data_ptr();
    all.to_numbers = to_numbers.data_ptr();
    share(all, name, x.scalar_type(), [](const auto& slides, const auto& slabs, i64 begin, i64 end) {
        backward(slides, slabs, begin, end);
    });
    return {to_x, to_other, to_numbers};
}

STABLE_TORCH_LIBRARY_FRAGMENT(poolbench, m) {
    m.def("learned(Tensor x, Tensor? other, Tensor numbers, str name, str plan, float number) -> Tensor");
    m.def("learned_backward(Tensor g, Tensor x, Tensor? other, Tensor numbers, str name, str plan, float number) "
          "-> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(poolbench, CPU, m) {
    m.impl("learned", TORCH_BOX(&learned));
    m.impl("learned_backward", TORCH_BOX(&learned_backward));
}
