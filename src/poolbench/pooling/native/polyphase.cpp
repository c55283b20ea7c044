// Σ |x|^p of each polyphase component of a picture, in float64.
#include <numeric>

#include "tensors.h"

using Wide = Vec<double>;

// Numbers as float64.
INLINE Wide widened(const double* from, i64 n) { return load<double>(from, n); }
template <class In> INLINE Wide widened(const In* from, i64 n) {
    const Vec<float> v = load<float>(from, n);
    float low __attribute__((vector_size(WIDTH / 2)));
    std::memcpy(&low, &v, sizeof low);
    return __builtin_convertvector(low, Wide);
}

// Rows whose number leaves the same remainder are added up; what they hold is told apart by columns at the end.
template <class In> void powers(const Maps& m, i64 sh, i64 sw, double p, const In* x, double* to, double* sums) {
    constexpr i64 L = Lanes<double>::count;
    const i64 pixel = m.last ? m.c : 1, length = m.w * pixel, pitch = length + L;
    std::memset(sums, 0, sh * pitch * sizeof(double));
    for (i64 row = 0; row < m.h * m.c / pixel; row++, x += length) {
        double* sum = sums + row % sh * pitch;
        for (i64 at = 0; at < length; at += L) {
            const i64 n = std::min(L, length - at);
            const Wide v = widened(x + at, n);
            Wide power = v * v;
            if (p != 2) power = v == 0 ? Wide{} : ::power<double>(magnitude<double>(v), p);
            store<double>(sum + at, load<double>(sum + at) + power, L);
        }
    }
    for (i64 i = 0; i < sh; i++)
        for (i64 column = 0; column < m.w; column++) {
            const double* sum = sums + i * pitch + column * pixel;
            to[i * sw + column % sw] = std::accumulate(sum, sum + pixel, to[i * sw + column % sw]);
        }
}

Tensor polyphase_powers(Tensor x, i64 sh, i64 sw, double p, bool last) {
    const Maps m{x.size(0), x.size(1), x.size(2), x.size(3), last};
    STD_TORCH_CHECK(sh > 0 && sw > 0 && m.h % sh == 0 && m.w % sw == 0, "poolbench: the stride divides the map");
    Tensor to = empty(m.n, sh * sw, 1, 1, false, aoti_torch_dtype_float64());
    double* out = (double*)to.data_ptr();
    std::memset(out, 0, m.n * sh * sw * sizeof(double));
    const i64 size = m.c * m.h * m.w;
    torch::stable::parallel_for(0, m.n, std::max<i64>(1, GRAIN / std::max<i64>(1, size)), [&](i64 begin, i64 end) {
        auto sums = room<double>(sh * (m.w * (last ? m.c : 1) + Lanes<double>::count));
        for (i64 n = begin; n < end; n++) {
            auto run = [&](auto* from) { powers(m, sh, sw, p, from + n * size, out + n * sh * sw, sums.get()); };
            if (type_of(x) == 0) run((const float*)x.data_ptr());
            if (type_of(x) == 1) run((const double*)x.data_ptr());
            if (type_of(x) == 2) run((const bf16*)x.data_ptr());
        }
    });
    return to;
}

STABLE_TORCH_LIBRARY_FRAGMENT(poolbench, m) {
    m.def("polyphase_powers(Tensor x, int sh, int sw, float p, bool last) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(poolbench, CPU, m) { m.impl("polyphase_powers", TORCH_BOX(&polyphase_powers)); }
