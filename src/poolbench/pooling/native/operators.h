// What each operator does with one vector of windows. x[t] is the t-th of x.count values of every window, in the order of
// the kernel's positions, x.place(t) is which position that is, and x.each(f) calls f(t) for all. `each` is the part of each
// position in an average: 1 / how many it counts.
#pragma once

#include <array>
#include <optional>

#include "lanes.h"

constexpr int NONE = 255;  // in place of a position
constexpr double INF = std::numeric_limits<double>::infinity();

struct Options {
    double number = 0;              // p, or the share of the maximum
    const void* shares = nullptr;   // of each position, in this picture
    const void* tables = nullptr;   // the operator's own, for its number
};
// With a number that the compiler knows, in halves.
template <int halves> struct Known : Options {
    static constexpr double number = halves / 2.0;
};

struct Operator {
    static constexpr bool keeps = false;   // the position of each window, for the backward pass
    static constexpr bool draws = false;   // random numbers
    static constexpr bool tosses = false;  // a coin for each plane
    static constexpr bool looks = false;   // at the input again in the backward pass
    static constexpr bool weighs = false;  // each value alone, as weighed.h says
    static constexpr bool unrolls = true;  // is compiled apart for 2x2 and 3x3 windows
    static constexpr double padding = 0;   // what lies outside of the map, where it is not left out
    // What is made once for the options.
    struct Tables {
        explicit Tables(const Options&) {}
    };
    // f(options), or of a type that says more of them.
    template <class F> INLINE static void typed(const Options& o, F f) { f(o); }
    // Whether a window takes the processor longer than memory, so that it does not come to see what it will read next.
    template <class O> static constexpr bool slow = false;
    // Whether it waits for itself, and gains by two vectors of windows at once: then forward takes any number.
    template <class O> static constexpr bool twofold = false;
};
struct Looks : Operator {
    static constexpr bool looks = true;
};
// Whose gradient at a position follows from that of the window and what is kept of it alone: each Op::part.
template <class Op> struct Parts : Operator {
    using Back = Op;  // whose gradient it has
    template <class A, class X, class Give>
    INLINE static void backward(const Options& o, const X& x, Vec<A> each, Vec<A> g, Mask<A> position, Give give) {
        x.each([&](int t) INLINED { give(t, Op::template part<A>(o, each, g, position, x.place(t))); });
    }
};

// The same without the position: nothing is found of it.
template <class Op> struct Unkept : Op {
    static constexpr bool keeps = false;
};

struct Max : Parts<Max> {
    static constexpr bool keeps = true;
    static constexpr double padding = -INF;
    template <class A, class X>
    INLINE static void forward(const Options&, const X& x, Vec<A>, Vec<A>, Vec<A>& y, Mask<A>& position) {
        Vec<A> sum;
        largest<A>(x, y, position, sum);
        x.settle(position);
    }
    template <class A, class X> INLINE static void largest(const X& x, Vec<A>& y, Mask<A>& position, Vec<A>& sum) {
        sum = Vec<A>{};
        y = splat<A>(-INF);
        position = x.first();
        x.each([&](int t) INLINED {
            Vec<A> v = x[t];
            auto wins = v > y;
            y = wins ? v : y;
            position = wins ? number<A>(x.place(t)) : position;
            sum += v;
        });
        if (any_nan<A>(sum)) last_nan<A>(x, y, position);  // or infinities of both signs
    }
    template <class A, class X> static void last_nan(const X& x, Vec<A>& y, Mask<A>& position) {
        for (int t = 0; t < x.count; t++) {
            Vec<A> v = x[t];
            y = v != v ? v : y;
            position = v != v ? number<A>(x.place(t)) : position;
        }
    }
    template <class A> INLINE static Vec<A> part(const Options&, Vec<A>, Vec<A> g, Mask<A> position, int place) {
        return position == place ? g : Vec<A>{};
    }
};

struct Average : Parts<Average> {
    template <class A, class X>
    INLINE static void forward(const Options&, const X& x, Vec<A> each, Vec<A>, Vec<A>& y, Mask<A>&) {
        Vec<A> sum{};
        x.each([&](int t) INLINED { sum += x[t]; });
        y = sum * each;
    }
    template <class A> INLINE static Vec<A> part(const Options&, Vec<A> each, Vec<A> g, Mask<A>, int) {
        return g * each;
    }
};

// One position alone, to which Window::centre has cut the windows.
struct Subsample : Parts<Subsample> {
    static constexpr bool unrolls = false;
    template <class A, class X>
    INLINE static void forward(const Options&, const X& x, Vec<A>, Vec<A>, Vec<A>& y, Mask<A>&) {
        y = x.count ? x[0] : Vec<A>{};
    }
    template <class A> INLINE static Vec<A> part(const Options&, Vec<A>, Vec<A> g, Mask<A>, int) { return g; }
};

// The middle of the sorted values of each window, the mean of two where their number is even.
struct Median : Looks {
    static constexpr double padding = INF;
    template <class A, class X> INLINE static void middle(const X& x, Vec<A>& lower, Vec<A>& upper) {
        Vec<A> v[X::most];
        Mask<A> nan{}, members{};
        x.each([&](int t) INLINED {
            v[t] = x[t];
            nan |= v[t] != v[t];
            members -= x.inside(t);
        });
        neighbours<X::known>(x.count, [&](int t) INLINED {
            Vec<A> a = v[t], b = v[t + 1];
            v[t] = smaller<A>(a, b);
            v[t + 1] = larger<A>(b, a);
        });
        lower = upper = Vec<A>{};
        x.each([&](int t) INLINED {
            lower = (members - 1) >> 1 == t ? v[t] : lower;
            upper = (members >> 1 == t) & (members > 0) ? v[t] : upper;
        });
        const A none = std::numeric_limits<A>::quiet_NaN();
        lower = nan ? splat<A>(none) : lower;
        upper = nan ? splat<A>(none) : upper;
    }
    template <class A, class X>
    INLINE static void forward(const Options&, const X& x, Vec<A>, Vec<A>, Vec<A>& y, Mask<A>&) {
        Vec<A> lower, upper;
        middle<A>(x, lower, upper);
        y = (lower + upper) / 2;
    }
    template <class A, class X, class Give>
    INLINE static void backward(const Options&, const X& x, Vec<A>, Vec<A> g, Mask<A>, Give give) {
        Vec<A> lower, upper;
        middle<A>(x, lower, upper);
        g /= 2;
        Mask<A> low = number<A>(-1), high = low;  // still sought
        x.each([&](int t) INLINED {
            Vec<A> v = x[t];
            Mask<A> first = low & x.inside(t) & (v == lower), second = high & x.inside(t) & (v == upper);
            give(t, (first ? g : Vec<A>{}) + (second ? g : Vec<A>{}));
            low &= ~first;
            high &= ~second;
        });
    }
};

// Each position by its share in this picture.
struct Mixture : Parts<Mixture> {
    template <class A, class X>
    INLINE static void forward(const Options& o, const X& x, Vec<A>, Vec<A>, Vec<A>& y, Mask<A>&) {
        y = Vec<A>{};
        x.each([&](int t) INLINED {
            const A share = ((const A*)o.shares)[x.place(t)];
            if (share != 0) y += x[t] * share;
        });
    }
    template <class A> INLINE static Vec<A> part(const Options& o, Vec<A>, Vec<A> g, Mask<A>, int place) {
        const A share = ((const A*)o.shares)[place];
        return share != 0 ? Vec<A>(g * share) : Vec<A>{};
    }
};

struct Mixed : Parts<Mixed> {
    static constexpr bool keeps = true;
    template <class A, class X>
    INLINE static void forward(const Options& o, const X& x, Vec<A> each, Vec<A>, Vec<A>& y, Mask<A>& position) {
        Vec<A> largest, mean;
        both<A>(x, each, largest, mean, position);
        y = largest * A(o.number) + mean * A(1 - o.number);
    }
    template <class A, class X>
    INLINE static void both(const X& x, Vec<A> each, Vec<A>& largest, Vec<A>& mean, Mask<A>& position) {
        Vec<A> sum;
        Max::largest<A>(x, largest, position, sum);
        if (any(x.padded() & ~(largest > 0))) largest_inside<A>(x, largest, position);  // else no padding has won
        x.settle(position);
        mean = sum * each;
    }
    template <class A, class X> static void largest_inside(const X& x, Vec<A>& largest, Mask<A>& position) {
        largest = splat<A>(-INF);
        position = number<A>(NONE);
        for (int t = 0; t < x.count; t++) {
            Vec<A> v = x[t];
            auto wins = ((v > largest) | (v != v)) & x.inside(t);
            largest = wins ? v : largest;
            position = wins ? number<A>(x.place(t)) : position;
        }
    }
    template <class A>
    INLINE static Vec<A> part(const Options& o, Vec<A> each, Vec<A> g, Mask<A> position, int place) {
        Vec<A> whole = g * A(o.number);
        return g * A(1 - o.number) * each + (position == place ? whole : Vec<A>{});
    }
};

// The maximum of planes whose coin is not 0, the average of others: of these every position is kept.
struct Coin : Parts<Coin> {
    static constexpr int EVERY = NONE - 1;
    static constexpr bool keeps = true;
    static constexpr bool tosses = true;
    template <class A, class X>
    INLINE static void forward(const Options&, const X& x, Vec<A> each, Vec<A> coin, Vec<A>& y, Mask<A>& position) {
        Vec<A> largest, mean;
        Mixed::both<A>(x, each, largest, mean, position);
        y = coin != 0 ? largest : mean;
        position = coin != 0 ? position : number<A>(EVERY);
    }
    template <class A> INLINE static Vec<A> part(const Options&, Vec<A> each, Vec<A> g, Mask<A> position, int place) {
        return position == place ? g : position == EVERY ? g * each : Vec<A>{};
    }
};

// The values of a vector of windows, so that what is seldom done is compiled alike for all.
template <class A, class X> INLINE Vec<A>* copied(const X& x, Vec<A>* values) {
    for (int t = 0; t < x.count; t++) values[t] = x[t];
    return values;
}

// x^p of what is positive; of 0 some number, so that it times 0 is 0.
template <class A> INLINE Vec<A> uneven_power(Vec<A> x, A p) {
    return raised(larger<A>(splat<A>(p < 0 ? std::numeric_limits<A>::min() : A(0)), x), p);
}
template <class A> INLINE Vec<A> power(Vec<A> x, A p) {
    if (p == 2) return x * x;  // of p = 3 and p = 2.5: without the loop below
    if (p == A(1.5)) return x * root(x);
    const A whole = std::floor(p);
    if (p < -1 || p > 16 || 2 * p != std::floor(2 * p)) return uneven_power(x, p);
    Vec<A> y = p == whole ? splat<A>(1) : root(x);
    if (whole < 0) return y / larger<A>(splat<A>(std::numeric_limits<A>::min()), x);
    for (int rest = int(whole); rest; rest >>= 1, x *= x)
        if (rest & 1) y *= x;
    return y;
}

struct Lp : Looks {
    static constexpr bool weighs = true;
    static constexpr int sums = 1;
    template <class A> static constexpr A low = std::numeric_limits<A>::min() * 0x1p40;
    template <class A> static constexpr A high = std::numeric_limits<A>::max() / 4;

    struct Powers {
        Power value, weight, root;
        explicit Powers(double p) : Powers(p, 1 < p && p <= 5) {}
        Powers(double p, bool tabled) : value(p, tabled), weight(p - 1, tabled), root(1 / p, tabled) {}
    };
    struct Tables {
        std::optional<Powers> powers;  // if p is no half: those are multiplied

        explicit Tables(const Options& o) {
            if (2 * o.number != std::floor(2 * o.number)) powers.emplace(o.number);
        }
    };
    struct Uneven : Options {
        const Powers& powers;
    };
    template <class O> static constexpr bool uneven = std::is_same_v<O, Uneven>;
    // x^q of what is positive, and that of what is infinite or no number.
    template <class A, class O> INLINE static Vec<A> raise(const O&, Vec<A> x, A q) {
        return uneven<O> ? uneven_power<A>(x, q) : power<A>(x, q);
    }
    template <class A, class O> INLINE static Vec<A> raise_any(const O& o, Vec<A> x, A q) {
        const Vec<A> y = x > std::numeric_limits<A>::max() ? splat<A>(q > 0 ? INF : q == 0) : raise<A>(o, x, q);
        return x != x ? x : y;
    }
    template <class O> static bool square(const O& o) { return !uneven<O> && o.number == 2; }
    // |x|^p, and as a factor of it, if it is asked for, the weight: |x|^(p - 1) with the sign of x.
    template <bool Weigh, class A, class O>
    INLINE static void weigh(const O& o, Vec<A> x, Vec<A>& weight, Vec<A>& product) {
        if constexpr (uneven<O> && !Weigh) {
            weight = product = o.powers.value(x);
            return;
        }
        const Vec<A> v = magnitude<A>(x);
        Vec<A> part = v;
        if constexpr (uneven<O>)
            part = o.powers.weight(o.number < 1 ? larger<A>(splat<A>(std::numeric_limits<A>::min()), v) : v);
        else if (!square(o))
            part = raise<A>(o, v, A(o.number - 1));
        weight = square(o) ? x : signed_as<A>(x, part);
        product = square(o) ? x * x : part * v;
    }
    template <class A> INLINE static Mask<A> small(Vec<A> x, Vec<A> product) { return (product < low<A>) & (x != 0); }
    template <class A, class O> INLINE static Vec<A> value(const O& o, const Vec<A>* sum, Vec<A> each) {
        return root_of<A>(o, sum[0] * each);
    }
    template <class A, class O>
    INLINE static void shares(const O& o, const Vec<A>* sum, Vec<A> each, Vec<A> g, Vec<A>* shared) {
        shared[0] = share<A>(o, g * each, sum[0] * each);
    }
    template <class A> INLINE static Vec<A> gradient(Vec<A>, Vec<A> weight, const Vec<A>* shared) {
        return shared[0] * weight;
    }

    template <class F> INLINE static void typed(const Options& o, F f) {
        if (o.number == 2) return f(Known<4>{o});
        if (o.number == 2.5) return f(Known<5>{o});
        if (o.number == 3) return f(Known<6>{o});
        if (const auto& powers = static_cast<const Tables*>(o.tables)->powers) return f(Uneven{o, *powers});
        f(o);
    }
    template <class O> static constexpr bool slow = !std::is_same_v<O, Known<4>>;
    template <class O> static constexpr bool twofold = uneven<O>;
    template <class A, class O, class X>
    INLINE static void forward(const O& o, const X& x, Vec<A> each, Vec<A>, Vec<A>& y, Mask<A>&) {
        forward<A>(o, std::array{&x}, each, &y);
    }
    template <class A, class O, class X, size_t K>
    INLINE static void forward(const O& o, const std::array<const X*, K>& x, Vec<A> each, Vec<A>* y) {
        Vec<A> sum[K]{}, values[X::most];
        x[0]->each([&](int t) INLINED {
            UNROLLED for (size_t i = 0; i < K; i++) {
                Vec<A> weight, product;
                weigh<false, A>(o, (*x[i])[t], weight, product);
                sum[i] += product;
            }
        });
        bool certain = true;
        UNROLLED for (size_t i = 0; i < K; i++) certain &= !any_beyond<A>(sum[i], low<A>, high<A>);
        UNROLLED for (size_t i = 0; i < K; i++)
            if (certain || sound<A>(*x[i], sum[i]))
                y[i] = root_of<A>(o, sum[i] * each);
            else
                y[i] = scaled<A>(o, copied<A>(*x[i], values), x[i]->count, each);
    }
    template <class A, class O, class X, class Give>
    INLINE static void backward(const O& o, const X& x, Vec<A> each, Vec<A> g, Mask<A>, Give give) {
        Vec<A> sum{}, weights[X::most];  // of its gradient each has a part times its weight
        x.each([&](int t) INLINED {
            Vec<A> product;
            weigh<true, A>(o, x[t], weights[t], product);
            sum += product;
        });
        if (sound<A>(x, sum)) {
            g = share<A>(o, g * each, sum * each);
        } else {
            scaled_backward<A>(o, copied<A>(x, weights), x.count, each, g);
            g = splat<A>(1);
        }
        x.each([&](int t) INLINED { give(t, g * weights[t]); });
    }

    // Whether no power of a window overflowed or vanished: their sum lies within bounds, or is that of zeros.
    template <class A, class X> INLINE static bool sound(const X& x, Vec<A> sum) {
        if (!any_beyond<A>(sum, low<A>, high<A>)) return true;
        Mask<A> bits{};
        x.each([&](int t) INLINED { bits |= (Mask<A>)magnitude<A>(x[t]); });
        return !any(beyond<A>(sum) & (bits != 0));
    }
    template <class A> INLINE static Mask<A> beyond(Vec<A> sum) { return (sum < low<A>) | ~(sum <= high<A>); }
    template <class A, class O> INLINE static Vec<A> root_of(const O& o, Vec<A> mean) {
        if constexpr (uneven<O>) return mean == 0 ? Vec<A>{} : o.powers.root(mean);
        return square(o) ? root(mean) : mean == 0 ? Vec<A>{} : raise<A>(o, mean, A(1 / o.number));
    }
    // dy / d|x|^p by p, of each position; none of a window of zeros.
    template <class A, class O> INLINE static Vec<A> share(const O& o, Vec<A> g, Vec<A> mean) {
        auto empty = mean == 0;
        mean = empty ? splat<A>(1) : mean;
        g = square(o) ? Vec<A>(g / root(mean)) : Vec<A>(g * raise_any<A>(o, mean, A(1 / o.number - 1)));
        return empty ? Vec<A>{} : g;
    }
    template <class A> INLINE static Vec<A> signed_as(Vec<A> x, Vec<A> part) {
        using I = decltype(+Mask<A>{}[0]);
        return x == 0 ? Vec<A>{} : (Vec<A>)((Mask<A>)part ^ ((Mask<A>)x & std::numeric_limits<I>::min()));
    }

    // The same of parts of the maximum, whose powers do not overflow.
    template <class A>
    INLINE static Vec<A> scaled_average(const Options& o, const Vec<A>* x, int count, Vec<A> each, Vec<A>& scale) {
        const A high = std::numeric_limits<A>::max();
        Vec<A> largest{};
        for (int t = 0; t < count; t++) largest = larger<A>(magnitude<A>(x[t]), largest);
        scale = (largest > 0) & (largest <= high) ? largest : splat<A>(1);
        Vec<A> sum{};
        for (int t = 0; t < count; t++) {
            Vec<A> v = magnitude<A>(x[t]);
            sum += v != v ? v : largest > high ? largest : raise<A>(o, v / scale, A(o.number - 1)) * (v / scale);
        }
        return sum * each;
    }
    template <class A> APART static Vec<A> scaled(const Options& o, const Vec<A>* x, int count, Vec<A> each) {
        Vec<A> scale, mean = scaled_average<A>(o, x, count, each, scale);
        return mean <= std::numeric_limits<A>::max() ? scale * root_of<A>(o, mean) : mean;
    }
    // In place of each value its gradient.
    template <class A> APART static void scaled_backward(const Options& o, Vec<A>* x, int count, Vec<A> each, Vec<A> g) {
        Vec<A> scale, mean = scaled_average<A>(o, x, count, each, scale);
        g = share<A>(o, g * each, mean);
        const A q = o.number - 1;
        for (int t = 0; t < count; t++) {
            const Vec<A> v = magnitude<A>(x[t]);
            const Vec<A> weight =  // v / scale may vanish, but not what a small power makes of it
                std::abs(q) < 1 ? raise_any<A>(o, v, q) * raise_any<A>(o, scale, -q) : raise_any<A>(o, v / scale, q);
            x[t] = signed_as<A>(x[t], g * weight);
        }
    }
};

// Values are summed by this part of theirs: a window holds fewer than 2^8, so that their sum cannot overflow.
constexpr double SHARE = 0x1p-8;

template <class A> INLINE Vec<A> positive(Vec<A> v) { return larger<A>(Vec<A>{}, v); }

struct Stochastic : Operator {
    using Back = Max;
    static constexpr bool keeps = true;
    static constexpr bool draws = true;
    template <class A, class X>
    INLINE static void forward(const Options&, const X& x, Vec<A>, Vec<A> chance, Vec<A>& y, Mask<A>& position) {
        Vec<A> total{}, passed{};
        x.each([&](int t) INLINED { total += positive<A>(x[t]) * A(SHARE); });
        Vec<A> threshold = chance * total;
        y = Vec<A>{};
        position = number<A>(NONE);
        x.each([&](int t) INLINED {
            Vec<A> v = positive<A>(x[t]);
            auto beyond = (threshold >= passed) & (v > 0);
            y = beyond ? v : y;
            position = beyond ? number<A>(x.place(t)) : position;
            passed += v * A(SHARE);
        });
        y += total * 0;  // NaN or infinity among the values: NaN
    }
};

struct Expectation : Looks {
    template <class A, class X>
    INLINE static void forward(const Options&, const X& x, Vec<A>, Vec<A>, Vec<A>& y, Mask<A>&) {
        Vec<A> total{}, squares{};
        x.each([&](int t) INLINED {
            Vec<A> v = positive<A>(x[t]);
            total += v;
            squares += v * v;
        });
        y = squares / some<A>(total);
        if (any(~((squares >= Lp::low<A>) & (squares <= Lp::high<A>)) & (total != 0))) mean<A>(x, total, y);
    }
    template <class A> INLINE static Vec<A> some(Vec<A> total) { return total == 0 ? splat<A>(1) : total; }
    // Where squares would overflow, or vanish beside others.
    template <class A, class X> static void mean(const X& x, Vec<A>& total, Vec<A>& y) {
        total = Vec<A>{};
        for (int t = 0; t < x.count; t++) total += positive<A>(x[t]) * A(SHARE);
        total = some<A>(total);
        y = Vec<A>{};
        for (int t = 0; t < x.count; t++) {
            Vec<A> v = positive<A>(x[t]);
            y += v * A(SHARE) / total * v;
        }
    }
    template <class A, class X, class Give>
    INLINE static void backward(const Options&, const X& x, Vec<A>, Vec<A> g, Mask<A>, Give give) {
        Vec<A> total, y;
        mean<A>(x, total, y);
        for (int t = 0; t < x.count; t++) {
            Vec<A> v = x[t];
            give(t, v <= 0 ? Vec<A>{} : g * ((v * A(SHARE) + (v - y) * A(SHARE)) / total));
        }
    }
};

struct SoftPool : Looks {
    static constexpr double padding = -INF;
    static constexpr bool weighs = true;
    static constexpr int sums = 2;
    template <class A> static constexpr A low = 0x1p-48;
    template <class A> static constexpr A high = 0x1p48;

    template <class O> static constexpr bool slow = true;
    template <bool, class A> INLINE static void weigh(const Options&, Vec<A> x, Vec<A>& weight, Vec<A>& product) {
        x = bounded<A>(x);
        weight = bounded_exponential(x);
        product = weight * x;
    }
    template <class A> INLINE static Vec<A> bounded(Vec<A> x) {
        const A nothing = sizeof(A) == 4 ? -104 : -750;  // whose exponential is 0
        return smaller<A>(splat<A>(80), larger<A>(splat<A>(nothing), x));
    }
    template <class A> INLINE static Mask<A> small(Vec<A>, Vec<A>) { return number<A>(-1); }
    template <class A> INLINE static Vec<A> value(const Options&, const Vec<A>* sum, Vec<A>) { return sum[1] / sum[0]; }
    template <class A>
    INLINE static void shares(const Options&, const Vec<A>* sum, Vec<A>, Vec<A> g, Vec<A>* shared) {
        const Vec<A> one = 1 / sum[0];
        shared[0] = g * one;
        shared[1] = shared[0] * (sum[1] * one - 1);
    }
    template <class A> INLINE static Vec<A> gradient(Vec<A> x, Vec<A> weight, const Vec<A>* shared) {
        return weight * (bounded<A>(x) * shared[0] - shared[1]);
    }

    // Of each value, as it lies above `base`: its weight, and what both add up to.
    template <class A, class X> struct Weights {
        Vec<A> base{}, total{}, y{}, above[X::most], weight[X::most];

        INLINE explicit Weights(const X& x) {
            x.each([&](int t) INLINED {
                above[t] = bounded<A>(x[t]);
                weight[t] = bounded_exponential(above[t]);
                total += weight[t];
                y += weight[t] * above[t];
            });
            if (any(~((total >= low<A>) & (total <= high<A>))))
                from_largest<A>(copied<A>(x, above), x.count, weight, base, total, y);
            y /= total;
        }
    };
    // Where exponentials would overflow, or vanish beside others; `above` holds the values.
    template <class A>
    APART static void from_largest(Vec<A>* above, int count, Vec<A>* weight, Vec<A>& base, Vec<A>& total, Vec<A>& y) {
        const A most = std::numeric_limits<A>::max();
        base = splat<A>(-INF);
        for (int t = 0; t < count; t++) base = larger<A>(above[t], base);
        const Vec<A> limit = larger<A>(splat<A>(-most), smaller<A>(splat<A>(most), base));
        total = y = Vec<A>{};
        for (int t = 0; t < count; t++) {
            above[t] = larger<A>(splat<A>(-1e4), smaller<A>(Vec<A>{}, above[t] - limit));
            weight[t] = exponential(above[t]);
            total += weight[t];
            y += weight[t] * above[t];
        }
        total = total < 1 ? splat<A>(1) : total;
    }
    template <class A, class X>
    INLINE static void forward(const Options&, const X& x, Vec<A>, Vec<A>, Vec<A>& y, Mask<A>&) {
        const Weights<A, X> w(x);
        y = w.y + w.base;
    }
    template <class A, class X, class Give>
    INLINE static void backward(const Options&, const X& x, Vec<A>, Vec<A> g, Mask<A>, Give give) {
        const Weights<A, X> w(x);
        const Vec<A> share = g / w.total, y = w.y - 1;
        x.each([&](int t) INLINED { give(t, share * w.weight[t] * (w.above[t] - y)); });
    }
};
