// From what torch hands over to a task, an operator and the threads that share it out.
#pragma once

#include <optional>
#include <string>

#include "blurred.h"
#include "tensors.h"

// All pictures and channels, shared out to the threads: planes in NCHW, else pictures or, of few, their channels.
template <class A, class Planes, class Pixels>
void share(const Maps& m, const Planes& planes, const Pixels& pixels) {
    if (!m.last) {
        i64 grain = std::max<i64>(1, GRAIN / std::max<i64>(1, m.h * m.w));
        return torch::stable::parallel_for(0, m.n * m.c, grain, planes);
    }
    i64 threads = torch::stable::get_num_threads(), parts = m.n >= threads ? 1 : threads;
    i64 lanes = Lanes<A>::count * 4, width = (m.c + parts * lanes - 1) / (parts * lanes) * lanes;
    parts = (m.c + width - 1) / width;
    i64 grain = std::max<i64>(1, GRAIN / std::max<i64>(1, m.h * m.w * std::min(width, m.c)));
    torch::stable::parallel_for(0, m.n * parts, grain, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; i++) {
            i64 first = i % parts * width;
            pixels(i / parts, first, std::min(width, m.c - first));
        }
    });
}

// Calls f with the operator of that name; false: there is none.
template <class F> bool by_name(const std::string& name, F f) {
    if (name == "max") return f(Max{}), true;
    if (name == "average") return f(Average{}), true;
    if (name == "subsample") return f(Subsample{}), true;
    if (name == "mixture") return f(Mixture{}), true;
    if (name == "mixed") return f(Mixed{}), true;
    if (name == "coin") return f(Coin{}), true;
    if (name == "stochastic") return f(Stochastic{}), true;
    if (name == "median") return f(Median{}), true;
    if (name == "lp") return f(Lp{}), true;
    if (name == "expectation") return f(Expectation{}), true;
    if (name == "softpool") return f(SoftPool{}), true;
    return false;
}

inline double tap(const Tensor& taps, i64 i) {
    return taps.scalar_type() == Type::Double ? ((const double*)taps.data_ptr())[i]
                                              : double(((const float*)taps.data_ptr())[i]);
}

inline const void* shares_of(const Tensor& shares, i64 pictures, const Window& window) {
    STD_TORCH_CHECK(shares.size(0) == pictures && shares.size(1) == window.kh * window.kw,
        "poolbench: a share for each position of each picture");
    return shares.data_ptr();
}

inline Task task_of(i64 pictures, i64 channels, const i64* plan, double number, const std::optional<Tensor>& extra) {
    Task task{window_of(plan), maps_of(pictures, channels, plan), {number}, {}};
    STD_TORCH_CHECK(task.window.kh * task.window.kw < Coin::EVERY, "poolbench: a window has fewer than 254 positions");
    if (extra && extra->scalar_type() == Type::Long)
        task.chance.seed = *(const i64*)extra->data_ptr();
    else if (extra && extra->dim() == 4)
        task.chance.given = extra->data_ptr();
    else if (extra && extra->dim() == 2)
        task.options.shares = shares_of(*extra, pictures, task.window);
    return task;
}

// What is blurred has a plan of its own behind that of the filter.
inline std::optional<Blurred> blurred(const std::string& name, i64 pictures, i64 channels, const Numbers& plan,
    const std::optional<Tensor>& extra, int type) {
    if (plan.size() == PLAN) return {};
    Blurred found{task_of(pictures, channels, plan.data() + PLAN, 0, {}), task_of(pictures, channels, plan.data(), 0, {}),
        {}, name == "max_blur", type, i64(torch::stable::get_num_threads())};
    STD_TORCH_CHECK(extra && extra->dim() == 1 && extra->size(0) == plan[0] && plan[0] == plan[1],
        "poolbench: a filter is as large as its window");
    for (i64 i = 0; i < plan[0]; i++) found.taps.push_back(tap(*extra, i));
    return found;
}

// Slabs shared out to the threads.
template <class F> void share(const Blurred& task, F f) {
    const i64 count = task.slabs(), numbers = task.dense.maps.numbers();
    torch::stable::parallel_for(0, count, std::max<i64>(1, GRAIN * count / std::max<i64>(1, numbers)), f);
}
