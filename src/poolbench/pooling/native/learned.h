// Operators with learned numbers: what each does with one vector of windows. x[t] is the t-th of x.count values of every
// window, 0 beyond the map, where x.inside(t) does not hold; x.other(t) is that of a second map, if the operator pairs
// them, normalised in each plane; x.number(k) is the k-th learned number of each channel, x.option the operator's own.
// The backward pass looks at the input again; it gives the gradients of the values, of the second map and of the numbers.
#pragma once

#include "operators.h"

template <class A> INLINE Vec<A> sigmoid(Vec<A> v) { return A(1) / (A(1) + exponential(Vec<A>(-v))); }

template <class A, class X> INLINE Vec<A> mean_of(const X& x) {
    Vec<A> sum{};
    x.each([&](int t) INLINED { sum += x[t]; });
    return sum / A(x.count);
}

// Numbers: log α and λ. The option is the least difference that counts.
struct DetailPreserving {
    static constexpr bool pairs = false;
    static constexpr double SQUARE = 1e-3, FAR = 1e8;  // ε²; it changes no number so far from the mean

    // ½ log (d² + ε²), which overflows nowhere, and its slope.
    template <class A> INLINE static Vec<A> detail(Vec<A> d, Vec<A>& slope) {
        Vec<A> size = magnitude<A>(d);
        auto far = size > A(FAR);
        Vec<A> within = far ? size : d * d + A(SQUARE);
        slope = (far ? (d < 0 ? splat<A>(-1) : splat<A>(1)) : d) / within;
        return logarithm(within) * (far ? splat<A>(1) : splat<A>(0.5)) + d * 0;  // NaN of infinity
    }
    // All weights as parts of the largest: that of α, and for each position the power.
    template <class A, class X> struct Weights {
        Vec<A> floor, total{}, y{}, details[X::most], slopes[X::most], powers[X::most];

        INLINE explicit Weights(const X& x) {
            Vec<A> mean = mean_of<A>(x), largest = x.number(0);
            x.each([&](int t) INLINED {
                Vec<A> d = x[t] - mean;
                details[t] = detail<A>(d < A(x.option) ? splat<A>(x.option) : d, slopes[t]);
                powers[t] = x.number(1) * details[t];
                largest = larger<A>(powers[t], largest);
            });
            floor = exponential(Vec<A>(x.number(0) - largest));
            x.each([&](int t) INLINED {
                powers[t] = exponential(Vec<A>(powers[t] - largest));
                total += floor + powers[t];
                y += (floor + powers[t]) * x[t];
            });
            y /= total;
        }
    };
    template <class A, class X> INLINE static Vec<A> forward(const X& x) { return Weights<A, X>(x).y; }
    template <class A, class X, class Give> INLINE static void backward(const X& x, Vec<A> g, Give& give) {
        const Weights<A, X> w(x);
        g /= w.total;
        Vec<A> to_floor{}, to_power{}, to_mean{}, to_value[X::most];
        x.each([&](int t) INLINED {
            Vec<A> above = x[t] - w.y, share = above * w.powers[t];
            to_floor += above * w.floor;
            to_power += share * w.details[t];
            to_value[t] = share * x.number(1) * w.slopes[t];
            to_mean += to_value[t];
        });
        to_mean /= A(x.count);
        x.each([&](int t) INLINED { give.value(t, g * (w.floor + w.powers[t] + to_value[t] - to_mean)); });
        give.number(0, g * to_floor);
        give.number(1, g * to_power);
    }
};

// Number: β.
struct AdaPool {
    static constexpr bool pairs = false;

    // Of both means: the weights, and what they add up to.
    template <class A, class X> struct Weights {
        Vec<A> alike{}, soft{}, alike_total{}, soft_total{}, mean, unit, likeness[X::most], size[X::most];

        INLINE explicit Weights(const X& x) : mean(mean_of<A>(x)) {
            Vec<A> largest = splat<A>(-INF), extent{};
            x.each([&](int t) INLINED {
                largest = larger<A>(x[t], largest);
                extent = larger<A>(magnitude<A>(x[t]), extent);
            });
            unit = A(1) / (extent < std::numeric_limits<A>::min() ? splat<A>(1) : extent);
            x.each([&](int t) INLINED {
                const Vec<A> v = x[t], a = v * unit, b = mean * unit;
                likeness[t] = exponential(Vec<A>(A(2) * magnitude<A>(a * b) / squares(a, b)));
                size[t] = exponential(Vec<A>(v - largest));
                alike += likeness[t] * v;
                soft += size[t] * v;
                alike_total += likeness[t];
                soft_total += size[t];
            });
            alike /= alike_total;
            soft /= soft_total;
        }
        INLINE static Vec<A> squares(Vec<A> a, Vec<A> b) {
            const Vec<A> sum = a * a + b * b;
            return sum == 0 ? splat<A>(1) : sum;
        }
        // Of 2 |v m| / (v² + m²) by both, as parts of the largest of the window.
        INLINE void slopes(Vec<A> v, Vec<A>& by_value, Vec<A>& by_mean) const {
            const Vec<A> a = v * unit, b = mean * unit, whole = A(1) / squares(a, b);
            Vec<A> common = A(2) * (b * b - a * a) * whole * whole;
            common = a * b < 0 ? -common : a * b == 0 ? Vec<A>{} : common;
            by_value = common * b;
            by_mean = common * -a;
        }
    };
    template <class A, class X> INLINE static Vec<A> forward(const X& x) {
        const Weights<A, X> w(x);
        return x.number(0) * w.alike + (A(1) - x.number(0)) * w.soft;
    }
    template <class A, class X, class Give> INLINE static void backward(const X& x, Vec<A> g, Give& give) {
        const Weights<A, X> w(x);
        const Vec<A> to_alike = g * x.number(0) / w.alike_total, to_soft = g * (A(1) - x.number(0)) / w.soft_total;
        Vec<A> to_mean{}, to_value[X::most];
        x.each([&](int t) INLINED {
            Vec<A> v = x[t], by_value, by_mean, share = w.likeness[t] * to_alike, above = (v - w.alike) * w.unit;
            w.slopes(v, by_value, by_mean);
            to_mean += share * above * by_mean;
            to_value[t] = share * (A(1) + above * by_value) + w.size[t] * to_soft * (A(1) + (v - w.soft));
        });
        to_mean /= A(x.count);
        x.each([&](int t) INLINED { give.value(t, to_value[t] + to_mean); });
        give.number(0, g * (w.alike - w.soft));
    }
};

// Number: p.
struct LearnedLp {
    static constexpr bool pairs = false;

    // Of each |x| as a part of their maximum `scale`: its logarithm, and it to the power of p - 1.
    template <class A, class X> struct Powers {
        Vec<A> scale, unit, total{}, log_mean, y, logs[X::most], powers[X::most];

        INLINE explicit Powers(const X& x) {
            const A least = std::numeric_limits<A>::min(), most = std::numeric_limits<A>::max();
            Vec<A> largest{};
            x.each([&](int t) INLINED { largest = larger<A>(magnitude<A>(x[t]), largest); });
            scale = (largest >= least) & (largest <= most) ? largest : splat<A>(1);
            unit = A(1) / scale;
            const Vec<A> whole = logarithm(scale), slope = x.number(0) - A(1);
            x.each([&](int t) INLINED {
                const Vec<A> v = magnitude<A>(x[t]);
                const auto tiny = v < least;
                logs[t] = tiny ? Vec<A>{} : logarithm(v) - whole;
                powers[t] = tiny ? Vec<A>{} : exponential(Vec<A>(logs[t] * slope));
                total += v <= most ? powers[t] * (v * unit) : v;
            });
            const auto empty = total == 0;
            log_mean = logarithm(empty ? splat<A>(1) : total * x.part);
            y = scale * exponential(Vec<A>(log_mean / x.number(0)));
            y = empty ? Vec<A>{} : total <= most ? y : total;
        }
    };
    template <class A, class X> INLINE static Vec<A> forward(const X& x) { return Powers<A, X>(x).y; }
    template <class A, class X, class Give> INLINE static void backward(const X& x, Vec<A> g, Give& give) {
        const Powers<A, X> w(x);
        const Vec<A> p = x.number(0), to_power = g * w.y / (w.total == 0 ? splat<A>(1) : w.total);
        const Vec<A> share = to_power * w.unit;
        Vec<A> spread{};
        x.each([&](int t) INLINED {
            Vec<A> v = x[t], part = share * w.powers[t];
            give.value(t, v < 0 ? -part : part);
            spread += w.powers[t] * w.logs[t] * (magnitude<A>(v) * w.unit);
        });
        give.number(0, (to_power * spread - g * w.y * w.log_mean / p) / p);
    }
};

// Numbers: the weight of each rank.
struct Ordinal {
    static constexpr bool pairs = false;

    // The sorted values and where each came from; equal ones keep their order.
    template <class A, class X> struct Sorted {
        Vec<A> value[X::most];
        Mask<A> place[X::most];

        INLINE explicit Sorted(const X& x) {
            x.each([&](int t) INLINED {
                value[t] = x[t];
                place[t] = number<A>(t);
            });
            neighbours<X::known>(x.count, [&](int r) INLINED {
                const auto rises = value[r] < value[r + 1];
                const Vec<A> high = value[r];
                const Mask<A> first = place[r];
                value[r] = rises ? value[r + 1] : high;
                value[r + 1] = rises ? high : value[r + 1];
                place[r] = rises ? place[r + 1] : first;
                place[r + 1] = rises ? first : place[r + 1];
            });
        }
    };
    template <class A, class X> INLINE static Vec<A> forward(const X& x) {
        const Sorted<A, X> sorted(x);
        Vec<A> y{};
        x.each([&](int r) INLINED { y += x.number(r) * sorted.value[r]; });
        return y;
    }
    template <class A, class X, class Give> INLINE static void backward(const X& x, Vec<A> g, Give& give) {
        const Sorted<A, X> sorted(x);
        x.each([&](int r) INLINED { give.number(r, g * sorted.value[r]); });
        x.each([&](int t) INLINED {
            Vec<A> weight{};
            x.each([&](int r) INLINED { weight = sorted.place[r] == t ? x.number(r) : weight; });
            give.value(t, g * weight);
        });
    }
};

// Numbers: what the second map is multiplied with, and what is added. The option is the bound.
struct Lip {
    static constexpr bool pairs = true;

    template <class A, class X> struct Weights {
        Vec<A> total{}, y{}, gates[X::most], importance[X::most];

        INLINE explicit Weights(const X& x) {
            x.each([&](int t) INLINED {
                gates[t] = sigmoid<A>(x.other(t) * x.number(0) + x.number(1));
                importance[t] = x.inside(t) ? exponential(Vec<A>(gates[t] * A(x.option))) : Vec<A>{};
                total += importance[t];
                y += importance[t] * x[t];
            });
            y /= total;
        }
    };
    template <class A, class X> INLINE static Vec<A> forward(const X& x) { return Weights<A, X>(x).y; }
    template <class A, class X, class Give> INLINE static void backward(const X& x, Vec<A> g, Give& give) {
        const Weights<A, X> w(x);
        g /= w.total;
        Vec<A> to_scale{}, to_shift{};
        x.each([&](int t) INLINED {
            const Vec<A> share = g * w.importance[t];
            give.value(t, share);
            const Vec<A> to_logit = share * (x[t] - w.y) * A(x.option) * w.gates[t] * (A(1) - w.gates[t]);
            give.other(t, to_logit * x.number(0));
            to_scale += to_logit * x.other(t);
            to_shift += to_logit;
        });
        give.number(0, to_scale);
        give.number(1, to_shift);
    }
};

// Numbers: the mask.
struct Gated {
    static constexpr bool pairs = false;

    template <class A, class X>
    INLINE static Vec<A> parts(const X& x, Vec<A>& largest, Mask<A>& place, Vec<A>& mean) {
        Vec<A> response{};
        largest = splat<A>(-INF);
        place = number<A>(NONE);
        x.each([&](int t) INLINED {
            const Vec<A> v = x[t];
            response += x.number(t) * v;
            if (!x.inside(t)) return;
            const auto wins = !(v <= largest) | (place == NONE);
            largest = wins ? v : largest;
            place = wins ? number<A>(t) : place;
        });
        mean = mean_of<A>(x);
        return sigmoid<A>(response);
    }
    template <class A, class X> INLINE static Vec<A> forward(const X& x) {
        Vec<A> largest, mean;
        Mask<A> place;
        const Vec<A> gate = parts<A>(x, largest, place, mean);
        return gate * largest + (A(1) - gate) * mean;
    }
    template <class A, class X, class Give> INLINE static void backward(const X& x, Vec<A> g, Give& give) {
        Vec<A> largest, mean;
        Mask<A> place;
        const Vec<A> gate = parts<A>(x, largest, place, mean), whole = g * gate, share = (g - whole) / A(x.count);
        const Vec<A> to_response = whole * (A(1) - gate) * (largest - mean);
        x.each([&](int t) INLINED {
            const Vec<A> part = share + to_response * x.number(t);
            give.value(t, place == t ? part + whole : part);
            give.number(t, to_response * x[t]);
        });
    }
};
