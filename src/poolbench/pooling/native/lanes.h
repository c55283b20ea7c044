// Vectors as wide as the machine's: the compiler cuts wider ones into single numbers. bfloat16 is computed in float32.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#ifdef __x86_64__
#include <immintrin.h>
#endif

using i64 = std::int64_t;
using u8 = std::uint8_t;

struct bf16 {
    std::uint16_t bits;
};

#define INLINED __attribute__((always_inline))
#define INLINE inline INLINED
#define APART __attribute__((noinline, cold))  // what is seldom done
#define UNROLLED _Pragma("GCC unroll 16")

#if defined(__AVX512BW__)
constexpr int WIDTH = 64;
#elif defined(__AVX2__)
constexpr int WIDTH = 32;
#else
constexpr int WIDTH = 16;
#endif

// An unsigned integer of so many bytes.
template <int bytes> struct UnsignedOf;
template <> struct UnsignedOf<1> { using type = u8; };
template <> struct UnsignedOf<2> { using type = std::uint16_t; };
template <> struct UnsignedOf<4> { using type = std::uint32_t; };
template <> struct UnsignedOf<8> { using type = std::uint64_t; };

template <class A> struct Lanes {
    static constexpr int count = WIDTH / sizeof(A);
    using Half = typename UnsignedOf<count / 2>::type;  // the bytes of half of the lanes
    typedef A V __attribute__((vector_size(WIDTH)));
    typedef std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t> M __attribute__((vector_size(WIDTH)));
    typedef std::uint32_t U __attribute__((vector_size(count * 4)));
    typedef std::uint16_t H __attribute__((vector_size(count * 2)));
    typedef u8 B __attribute__((vector_size(count)));
    typedef Half P __attribute__((vector_size(count)));
};

template <class A> using Vec = typename Lanes<A>::V;
template <class A> using Mask = typename Lanes<A>::M;

template <class A> INLINE Vec<A> splat(A value) { return value - Vec<A>{}; }
template <class A> INLINE Mask<A> number(int value) { return value - Mask<A>{}; }

// 0, 1, 2 ...
template <class A> INLINE Mask<A> steps() {
    Mask<A> lane;
    for (int i = 0; i < Lanes<A>::count; i++) lane[i] = i;
    return lane;
}

// The first n elements of a vector of raw integers; the rest is 0. n is below the number of lanes.
template <class R, class T> INLINE R part(const T* from, i64 n) {
    R raw{};
#if defined(__AVX512BW__)
    if constexpr (sizeof(R) == 64 && sizeof(T) == 4)
        return (R)_mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1), from);
    else if constexpr (sizeof(R) == 64 && sizeof(T) == 8)
        return (R)_mm512_maskz_loadu_epi64((__mmask8)((1u << n) - 1), from);
    else if constexpr (sizeof(R) == 32 && sizeof(T) == 2)
        return (R)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), from);
    else if constexpr (sizeof(R) == 16 && sizeof(T) == 1)
        return (R)_mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1), from);
    else
#elif defined(__AVX2__)
    if constexpr (sizeof(R) == 32 && sizeof(T) == 4)
        return (R)_mm256_maskload_epi32((const int*)from, (__m256i)(steps<float>() < int(n)));
    else if constexpr (sizeof(R) == 32 && sizeof(T) == 8)
        return (R)_mm256_maskload_epi64((const long long*)from, (__m256i)(steps<double>() < n));
    else
#endif
        std::memcpy(&raw, from, n * sizeof(T));
    return raw;
}

template <class R, class T> INLINE void put(T* to, R raw, i64 n) {
#if defined(__AVX512BW__)
    if constexpr (sizeof(R) == 64 && sizeof(T) == 4)
        _mm512_mask_storeu_epi32(to, (__mmask16)((1u << n) - 1), (__m512i)raw);
    else if constexpr (sizeof(R) == 64 && sizeof(T) == 8)
        _mm512_mask_storeu_epi64(to, (__mmask8)((1u << n) - 1), (__m512i)raw);
    else if constexpr (sizeof(R) == 32 && sizeof(T) == 2)
        _mm256_mask_storeu_epi16(to, (__mmask16)((1u << n) - 1), (__m256i)raw);
    else if constexpr (sizeof(R) == 16 && sizeof(T) == 1)
        _mm_mask_storeu_epi8(to, (__mmask16)((1u << n) - 1), (__m128i)raw);
    else
#elif defined(__AVX2__)
    if constexpr (sizeof(R) == 32 && sizeof(T) == 4)
        _mm256_maskstore_epi32((int*)to, (__m256i)(steps<float>() < int(n)), (__m256i)raw);
    else if constexpr (sizeof(R) == 32 && sizeof(T) == 8)
        _mm256_maskstore_epi64((long long*)to, (__m256i)(steps<double>() < n), (__m256i)raw);
    else
#endif
        std::memcpy(to, &raw, n * sizeof(T));
}

INLINE Vec<float> widen(Lanes<float>::H half) {
    return (Vec<float>)(__builtin_convertvector(half, Lanes<float>::U) << 16);
}

// To the nearest, ties to even, as torch.
INLINE Lanes<float>::H narrow(Vec<float> value) {
    auto bits = (Lanes<float>::U)value;
    auto rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    auto nan = (Lanes<float>::U)(value != value);
    return __builtin_convertvector((nan & 0x7fc0u) | (~nan & rounded), Lanes<float>::H);
}

template <class A> INLINE Mask<A> widen(typename Lanes<A>::B bytes) {
#ifdef __AVX2__  // gcc 12 would convert one byte after the other
    __m128i low{};
    std::memcpy(&low, &bytes, sizeof bytes);
    if constexpr (WIDTH == 64)
        return (Mask<A>)(sizeof(A) == 4 ? _mm512_cvtepu8_epi32(low) : _mm512_cvtepu8_epi64(low));
    else
        return (Mask<A>)(sizeof(A) == 4 ? _mm256_cvtepu8_epi32(low) : _mm256_cvtepu8_epi64(low));
#else
    return __builtin_convertvector(bytes, Mask<A>);
#endif
}

template <class A> INLINE Vec<A> load(const A* from) {
    Vec<A> value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
template <class A> INLINE Vec<A> load(const A* from, i64 n) {
    return n >= Lanes<A>::count ? load<A>(from) : (Vec<A>)part<Mask<A>>(from, n);
}
template <class A> INLINE Vec<float> load(const bf16* from) {
    Lanes<float>::H half;
    std::memcpy(&half, from, sizeof half);
    return widen(half);
}
template <class A> INLINE Vec<float> load(const bf16* from, i64 n) {
    return n >= Lanes<float>::count ? load<float>(from) : widen(part<Lanes<float>::H>(from, n));
}
template <class A> INLINE Mask<A> load(const u8* from, i64 n) {
    typename Lanes<A>::B bytes;
    if (n >= Lanes<A>::count)
        std::memcpy(&bytes, from, sizeof bytes);
    else
        bytes = part<typename Lanes<A>::B>(from, n);
    return widen<A>(bytes);
}

template <class A> INLINE void store(A* to, Vec<A> value, i64 n) {
    if (n >= Lanes<A>::count)
        std::memcpy(to, &value, sizeof value);
    else
        put(to, (Mask<A>)value, n);
}
template <class A> INLINE void store(bf16* to, Vec<float> value, i64 n) {
    auto half = narrow(value);
    if (n >= Lanes<float>::count)
        std::memcpy(to, &half, sizeof half);
    else
        put(to, half, n);
}
template <class A> INLINE void store(u8* to, Mask<A> value, i64 n) {
    auto bytes = __builtin_convertvector(value, typename Lanes<A>::B);
    if (n >= Lanes<A>::count)
        std::memcpy(to, &bytes, sizeof bytes);
    else
        put(to, bytes, n);
}

// Numbers below 16, two to a byte: those of half of the lanes, and of the other half.
template <class A> INLINE void store_halves(u8* to, Mask<A> value) {
    const auto both = (typename Lanes<A>::P)__builtin_convertvector(value, typename Lanes<A>::B);
    const auto bytes = typename Lanes<A>::Half(both[0] | both[1] << 4);
    std::memcpy(to, &bytes, sizeof bytes);
}
template <class A> INLINE Mask<A> load_halves(const u8* from) {
    using Half = typename Lanes<A>::Half;
    Half bytes;
    std::memcpy(&bytes, from, sizeof bytes);
    const auto both = typename Lanes<A>::P{bytes, Half(bytes >> 4)} & Half(0x0f0f0f0f0f0f0f0f);
    return widen<A>((typename Lanes<A>::B)both);
}

// Past the caches: a vector or half of one, to a place that is a multiple of the half. What is larger than the caches
// would only push out other numbers, and each line of it be read before it is written.
template <class Raw> INLINE void stream_raw(void* to, Raw raw, bool whole) {
#ifdef __x86_64__  // by their address the halves would go through memory
#ifdef __AVX512BW__
    if constexpr (sizeof raw == 64) {
        _mm256_stream_si256((__m256i*)to, _mm512_castsi512_si256((__m512i)raw));
        if (whole) _mm256_stream_si256((__m256i*)to + 1, _mm512_extracti64x4_epi64((__m512i)raw, 1));
        return;
    }
#endif
#ifdef __AVX2__
    if constexpr (sizeof raw == 32) {
        _mm_stream_si128((__m128i*)to, _mm256_castsi256_si128((__m256i)raw));
        if (whole) _mm_stream_si128((__m128i*)to + 1, _mm256_extracti128_si256((__m256i)raw, 1));
        return;
    }
#endif
    if constexpr (sizeof raw == 16) {
        typedef long long Two __attribute__((vector_size(16)));
        _mm_stream_si64((long long*)to, ((Two)raw)[0]);
        if (whole) _mm_stream_si64((long long*)to + 1, ((Two)raw)[1]);
        return;
    }
#endif
    std::memcpy(to, &raw, whole ? sizeof raw : sizeof raw / 2);
}
template <class A> INLINE void stream(A* to, Vec<A> value, i64 n) { stream_raw(to, value, n >= Lanes<A>::count); }
template <class A> INLINE void stream(bf16* to, Vec<float> value, i64 n) {
    stream_raw(to, narrow(value), n >= Lanes<float>::count);
}

template <class A, class Out> INLINE void write(Out* to, Vec<A> value, i64 n, bool past) {
    if (past)
        stream<A>(to, value, n);
    else
        store<A>(to, value, n);
}
// What was written past the caches is there for others.
INLINE void settled() {
#ifdef __x86_64__
    _mm_sfence();
#endif
}

// Every second element of two vectors that follow one another, and back.
template <class V, class F> INLINE V shuffled(V a, V b, F from) {
    constexpr int L = sizeof(V) / sizeof(a[0]);
    return [&]<int... i>(std::integer_sequence<int, i...>) INLINED {
        return __builtin_shufflevector(a, b, from(i, L)...);
    }(std::make_integer_sequence<int, L>{});
}
template <class V> INLINE V evens(V a, V b) {
    return shuffled(a, b, [](int i, int) { return 2 * i; });
}
template <class V> INLINE V odds(V a, V b) {
    return shuffled(a, b, [](int i, int) { return 2 * i + 1; });
}
template <class V> INLINE V zip_low(V a, V b) {
    return shuffled(a, b, [](int i, int lanes) { return i / 2 + i % 2 * lanes; });
}
template <class V> INLINE V zip_high(V a, V b) {
    return shuffled(a, b, [](int i, int lanes) { return (i + lanes) / 2 + i % 2 * lanes; });
}

// Elements of two vectors that follow one another, by their numbers.
template <class V, class M> INLINE V picked(V a, V b, M which) {
#if __has_builtin(__builtin_shuffle)
    return __builtin_shuffle(a, b, which);
#else
    V found;
    constexpr int L = sizeof(V) / sizeof(a[0]);
    for (int lane = 0; lane < L; lane++) found[lane] = which[lane] < L ? a[which[lane]] : b[which[lane] - L];
    return found;
#endif
}

template <class M> INLINE bool any(M mask) {
#if defined(__AVX512BW__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#else
    bool found = false;
    for (unsigned lane = 0; lane < sizeof(M) / sizeof(mask[0]); lane++) found |= mask[lane] != 0;
    return found;
#endif
}

// Whether there is a NaN, and whether a number lies below one bound, above the other, or is a NaN. Of a comparison gcc 12
// would make a vector first, to test that.
template <class A> INLINE bool any_nan(Vec<A> v) {
#if defined(__AVX512BW__)
    if constexpr (sizeof(A) == 4)
        return _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q) != 0;
    else
        return _mm512_cmp_pd_mask((__m512d)v, (__m512d)v, _CMP_UNORD_Q) != 0;
#else
    return any(v != v);
#endif
}
template <class A> INLINE bool any_beyond(Vec<A> v, A low, A high) {
#if defined(__AVX512BW__)
    const Vec<A> least = splat<A>(low), most = splat<A>(high);
    if constexpr (sizeof(A) == 4)
        return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask((__m512)v, (__m512)least, _CMP_GE_OQ), (__m512)v, (__m512)most,
                   _CMP_LE_OQ) != 0xffff;
    else
        return _mm512_mask_cmp_pd_mask(_mm512_cmp_pd_mask((__m512d)v, (__m512d)least, _CMP_GE_OQ), (__m512d)v,
                   (__m512d)most, _CMP_LE_OQ) != 0xff;
#else
    return any((v < low) | ~(v <= high));
#endif
}

// f(at, n) for all vectors of so many numbers.
template <class A, class F> INLINE void vectors(i64 length, F f) {
    constexpr int L = Lanes<A>::count;
    i64 at = 0;
    for (; at + L <= length; at += L) f(at, L);
    if (at < length) f(at, length - at);
}

// f(t) for each t below `count`, which is N if the compiler knows it: other loops it would unroll in vain.
template <int N, class F> INLINE void times(int count, F f) {
    if constexpr (N)
        UNROLLED for (int t = 0; t < N; t++) f(t);
    else
        for (int t = 0; t < count; t++) f(t);
}
// f(t) for neighbours, t and t + 1, those of even and of odd places in turn: who puts them in order each time sorts all.
template <int N, class F> INLINE void neighbours(int count, F f) {
    times<N>(count, [&](int turn) INLINED {
        times<N / 2>(count / 2, [&](int pair) INLINED {
            if (const int t = turn % 2 + 2 * pair; t + 1 < count) f(t);
        });
    });
}

template <class A> INLINE Vec<A> magnitude(Vec<A> v) {
    using I = decltype(+Mask<A>{}[0]);
    return (Vec<A>)((Mask<A>)v & std::numeric_limits<I>::max());  // without its sign
}

// One instruction each; of NaN and a number, and of two zeros, the second of both.
template <class A> INLINE Vec<A> larger(Vec<A> a, Vec<A> b) {
#if defined(__AVX512BW__)
    return sizeof(A) == 4 ? (Vec<A>)_mm512_max_ps((__m512)a, (__m512)b) : (Vec<A>)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif defined(__AVX2__)
    return sizeof(A) == 4 ? (Vec<A>)_mm256_max_ps((__m256)a, (__m256)b) : (Vec<A>)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
    return a > b ? a : b;
#endif
}
template <class A> INLINE Vec<A> smaller(Vec<A> a, Vec<A> b) {
#if defined(__AVX512BW__)
    return sizeof(A) == 4 ? (Vec<A>)_mm512_min_ps((__m512)a, (__m512)b) : (Vec<A>)_mm512_min_pd((__m512d)a, (__m512d)b);
#elif defined(__AVX2__)
    return sizeof(A) == 4 ? (Vec<A>)_mm256_min_ps((__m256)a, (__m256)b) : (Vec<A>)_mm256_min_pd((__m256d)a, (__m256d)b);
#else
    return a < b ? a : b;
#endif
}

// In a vector by sixteenths of an octave, from 1 on: 1 / c of the middles c, -log2 of that; and in two by 32ths the powers
// of 2.
#if defined(__AVX512BW__) && defined(__AVX512DQ__)
#define OCTAVE
struct Octave {
    Vec<float> inverse, logarithm, power[2];

    Octave() {
        for (int i = 0; i < 16; i++) {
            inverse[i] = float(1 / (1 + (2 * i + 1) / 32.0));
            logarithm[i] = float(-std::log2(double(inverse[i])));
            for (int half : {0, 1}) power[half][i] = float(std::exp2((16 * half + i) / 32.0));
        }
    }
    INLINE static Vec<float> at(const Vec<float>& table, Lanes<float>::U place) {
        return (Vec<float>)_mm512_permutexvar_ps((__m512i)place, (__m512)table);
    }
    // 2^(n + f), where f is at most a 64th, n a multiple of a 32th, and those of `shifted` in its last bits; 0 below
    // normal numbers, which take some processors ten times as long.
    INLINE Vec<float> raise(Vec<float> shifted, Vec<float> n, Vec<float> f) const {
        const auto near = (Vec<float>)_mm512_permutex2var_ps((__m512)power[0], (__m512i)shifted, (__m512)power[1]);
        const auto normal = _mm512_cmp_ps_mask((__m512)n, _mm512_set1_ps(-126), _CMP_NLE_UQ);
        const auto y = near * f * (f * 2.4022869e-1f + 6.9315734e-1f) + near;
        return (Vec<float>)_mm512_maskz_scalef_ps(normal, (__m512)y, (__m512)n);
    }
};
inline const Octave octave;
constexpr float TO_32THS = 393216.0f;  // 1.5 * 2^18: adding it rounds to them
#endif

// e^x and log x of a vector. float32 to 2 ulp: x = n log 2 + r, and a polynomial of r (Cody and Waite).
INLINE Vec<double> exponential(Vec<double> x) {
    for (int lane = 0; lane < Lanes<double>::count; lane++) x[lane] = std::exp(x[lane]);
    return x;
}
INLINE Vec<double> bounded_exponential(Vec<double> x) { return exponential(x); }
INLINE Vec<float> bounded_exponential(Vec<float> x) {  // up to 88
#ifdef OCTAVE
    const auto shifted = x * 1.44269504f + TO_32THS;
    const auto n = shifted - TO_32THS;
    return octave.raise(shifted, n, x * 1.92596299e-8f + (x * 1.44269502f - n));
#else
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    auto shifted = x * 1.44269504f + magic;
    auto n = shifted - magic;
    auto r = x - n * 0.693359375f + n * 2.12194440e-4f;
    auto y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    using U = Lanes<float>::U;
    return x < -87.3f ? Vec<float>{} : (Vec<float>)((U)y + ((U)shifted << 23));
#endif
}
INLINE Vec<float> exponential(Vec<float> x) {
    auto scaled = bounded_exponential(x);
    scaled = x > 88.7f ? splat(std::numeric_limits<float>::infinity()) : scaled;
    return x == x ? scaled : x;
}
INLINE Vec<double> logarithm(Vec<double> x) {
    for (int lane = 0; lane < Lanes<double>::count; lane++) x[lane] = std::log(x[lane]);
    return x;
}
INLINE Vec<float> logarithm(Vec<float> x) {  // of normal numbers
    auto bits = (Mask<float>)x;
    auto e = __builtin_convertvector((bits >> 23) - 126, Vec<float>);
    auto m = (Vec<float>)((bits & 0x7fffff) | 0x3f000000);
    auto low = m < 0.70710678f;
    e = low ? e - 1.0f : e;
    m = low ? m + m - 1.0f : m - 1.0f;
    auto z = m * m;
    auto y = m * 7.0376836292e-2f - 1.1514610310e-1f;
    y = y * m + 1.1676998740e-1f;
    y = y * m - 1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m - 1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m - 2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    y = y * m * z + e * -2.12194440e-4f - z * 0.5f;
    return m + y + e * 0.693359375f;
}
// |x|^p = 2^(p log2 |x|) of normal numbers, and of 0 if p is positive; then of infinite ones that or NaN. Polynomials are of
// the least largest error.
INLINE Vec<double> raised(Vec<double> x, double p) {
    x = magnitude<double>(x);
    return x == 0 ? Vec<double>{} : exponential(Vec<double>(logarithm(x) * p));
}
#ifdef OCTAVE
INLINE Vec<float> raised(Vec<float> x, float p) {
    using U = Lanes<float>::U;
    const auto mantissa = (Vec<float>)(((U)x & 0x7fffffu) | 0x3f800000u);
    const auto exponent = (Vec<float>)_mm512_getexp_ps((__m512)x);
    const auto r = mantissa * Octave::at(octave.inverse, (U)x >> 19) - 1.0f;
    auto y = r * 4.8127334e-1f - 7.2162204e-1f;
    y = y * r + 1.44269494f;
    const auto fraction = y * r + Octave::at(octave.logarithm, (U)x >> 19);
    const auto shifted = (fraction + exponent) * p + TO_32THS;
    const auto n = shifted - TO_32THS;
    // Fused: else digits would be lost where the exponent is large.
    return octave.raise(shifted, n, fraction * p + (exponent * p - n));
}
#else
INLINE Vec<float> raised(Vec<float> x, float p) {
    using U = Lanes<float>::U;
    x = magnitude<float>(x);
    const std::int32_t root_of_half = 0x3f3504f3;
    auto e = ((Mask<float>)x - root_of_half) >> 23;
    auto z = (Vec<float>)((U)x - ((U)e << 23)) - 1.0f;
    auto y = z * 1.2583831e-1f - 2.07271576e-1f;
    y = y * z + 2.15715975e-1f;
    y = y * z - 2.38944605e-1f;
    y = y * z + 2.87916183e-1f;
    y = y * z - 3.60703677e-1f;
    y = y * z + 4.80910659e-1f;
    y = y * z - 7.21347332e-1f;
    y = y * z + 1.44269502f;
    auto t = (y * z + __builtin_convertvector(e, Vec<float>)) * p;
    t = t > 127.5f ? splat(127.5f) : t;
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    auto shifted = t + magic;
    auto f = t - (shifted - magic);
    y = f * 1.53458124e-4f + 1.33999309e-3f;
    y = y * f + 9.61848907e-3f;
    y = y * f + 5.55032864e-2f;
    y = y * f + 2.40226462e-1f;
    y = y * f + 6.93147182e-1f;
    y = y * f + 1.0f;
    const auto finite = (x > 0) & (t > -126.0f) ? (Vec<float>)((U)y + ((U)shifted << 23)) : Vec<float>{};
    return x <= std::numeric_limits<float>::max() ? finite : x;
}
#endif

// |x|^p of many x: `raised`, or, where there are tables and p is above 0 and up to 5, a product of the powers of both halves of
// the exponent, of the middle of the mantissa's sixteenth of an octave, and of 1 + r, whose binomial series is short. That is
// of normal numbers; from p = 1 on also of 0, and infinite of infinite ones and NaN.
struct Power {
    double p;
#ifdef OCTAVE
    bool tabled;
    Vec<float> high, low, middle;
    float series[4];
#endif

    Power(double p, bool tabled) : p(p) {
#ifdef OCTAVE
        this->tabled = tabled;
        for (int i = 0; tabled && i < 16; i++) {
            const double exponent = 16 * (i - 7) * p;
            high[i] = exponent < -126 || (i == 0 && p >= 1) ? 0 : float(std::exp2(exponent));
            low[i] = float(std::exp2((i - 15) * p));
            middle[i] = float(std::pow(double(octave.inverse[i]), -p));
        }
        double factor = 1;
        for (int k = 0; k < 4; k++) series[k] = float(factor *= (p - k) / (k + 1));
#endif
    }
    INLINE Vec<double> operator()(Vec<double> x) const { return raised(x, p); }
    INLINE Vec<float> operator()(Vec<float> x) const {
#ifdef OCTAVE
        using U = Lanes<float>::U;
        if (!tabled) return raised(x, float(p));
        const auto mantissa = (Vec<float>)(((U)x & 0x7fffffu) | 0x3f800000u);
        const auto r = mantissa * Octave::at(octave.inverse, (U)x >> 19) - 1.0f;
        auto y = r * series[3] + series[2];
        y = y * r + series[1];
        y = y * r + series[0];
        y = y * r + 1.0f;
        return Octave::at(middle, (U)x >> 19) * Octave::at(low, (U)x >> 23) * Octave::at(high, (U)x >> 27) * y;
#else
        return raised(x, float(p));
#endif
    }
};

template <class V> INLINE V root(V x) {
    constexpr bool single = sizeof(x[0]) == 4;
#if defined(__AVX512BW__)
    return single ? (V)_mm512_sqrt_ps((__m512)x) : (V)_mm512_sqrt_pd((__m512d)x);
#elif defined(__AVX2__)
    return single ? (V)_mm256_sqrt_ps((__m256)x) : (V)_mm256_sqrt_pd((__m256d)x);
#else
    for (unsigned lane = 0; lane < sizeof x / sizeof x[0]; lane++) x[lane] = std::sqrt(x[lane]);
    return x;
#endif
}
