// What the kernels need of torch: by its stable interface, so that they compile without its large headers.
#pragma once

#include <charconv>

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

// Whole numbers with a space between them.
inline Numbers numbers_of(const std::string& text) {
    Numbers numbers;
    numbers.reserve(text.size() / 2 + 1);
    const char *at = text.data(), *const end = at + text.size();
    while (at < end) {
        i64 number;
        const auto [after, error] = std::from_chars(at, end, number);
        STD_TORCH_CHECK(error == std::errc{} && (after == end || *after == ' '), "poolbench: no whole numbers: ", text);
        numbers.push_back(number);
        at = after + 1;
    }
    return numbers;
}

constexpr i64 PLAN = 19;  // numbers that tell of windows on a map

// Those of the windows, and of what is blurred as many behind them: the last two are the size of the maps that come in.
inline Numbers plan_of(const std::string& text) {
    Numbers plan = numbers_of(text);
    STD_TORCH_CHECK(plan.size() == PLAN || plan.size() == 2 * PLAN,
        "poolbench: a plan has 19 numbers, and as many of what is blurred");
    return plan;
}
inline void expect(const Tensor& maps, i64 height, i64 width) {
    STD_TORCH_CHECK(maps.size(2) == height && maps.size(3) == width, "poolbench: a plan for maps of another size");
}
inline Window window_of(const i64* p) {
    return {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], {p[10], p[11], p[12], p[13]}, p[14], p[15]};
}
inline Maps maps_of(i64 pictures, i64 channels, const i64* plan) {
    return {pictures, channels, plan[17], plan[18], plan[16] != 0};
}

template <class F> void by_type(Type type, F f) {
    if (type == Type::Double) return f(double{}, double{});
    if (type == Type::Float) return f(float{}, float{});
    STD_TORCH_CHECK(type == Type::BFloat16, "poolbench: kernels take float32, float64 and bfloat16");
    f(float{}, bf16{});
}
