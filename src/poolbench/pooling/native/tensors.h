// What the kernels need of torch: by its stable interface, so that they compile without its large headers.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "slide.h"

using torch::stable::Tensor;
using Type = torch::headeronly::ScalarType;
using Numbers = std::vector<i64>;

constexpr i64 GRAIN = 32768;  // numbers that are worth a thread

inline Tensor empty(i64 n, i64 c, i64 h, i64 w, bool last, int32_t type) {
    i64 sizes[] = {n, c, h, w};
    i64 planar[] = {c * h * w, h * w, w, 1}, pixels[] = {c * h * w, 1, w * c, c};
    AtenTensorHandle made;
    TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
        4, sizes, last ? pixels : planar, type, aoti_torch_device_type_cpu(), 0, &made));
    return Tensor(made);
}

inline int32_t code(Type type) {
    return type == Type::Double ? aoti_torch_dtype_float64()
         : type == Type::Float  ? aoti_torch_dtype_float32()
                                : aoti_torch_dtype_bfloat16();
}

inline int type_of(const Tensor& tensor) {
    auto type = tensor.scalar_type();
    return type == Type::Float ? 0 : type == Type::Double ? 1 : 2;
}

inline Window window_of(const Numbers& plan) {
    STD_TORCH_CHECK(plan.size() == 17 || plan.size() == 33, "poolbench: a plan has 17 numbers, and 16 of what is blurred");
    const i64* p = plan.data();
    return {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], {p[10], p[11], p[12], p[13]}, p[14], p[15]};
}

template <class F> void by_type(Type type, F f) {
    if (type == Type::Double) return f(double{}, double{});
    if (type == Type::Float) return f(float{}, float{});
    STD_TORCH_CHECK(type == Type::BFloat16, "poolbench: kernels take float32, float64 and bfloat16");
    f(float{}, bf16{});
}
