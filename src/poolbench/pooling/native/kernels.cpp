// The operators for torch.
#include <string>
#include <tuple>

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

template <class Op, class A, class Out>
void forward(const Task& task, const void* x, void* y, u8* position) {
    const Members<A> members(task);
    share<A>(task.maps,
        [&](i64 begin, i64 end) {
            forward_planes<Op, A, Out>(task, members, (const Out*)x, (Out*)y, position, begin, end);
        },
        [&](i64 picture, i64 first, i64 channels) {
            forward_pixels<Op, A, Out>(task, members, (const Out*)x, (Out*)y, position, picture, first, channels);
        });
}

template <class Op, bool Add, class A, class Out>
void backward(const Task& task, const void* x, const void* g, const u8* position, void* to) {
    const Members<A> members(task);
    share<A>(task.maps,
        [&](i64 begin, i64 end) {
            backward_planes<Op, Add, A, Out>(
                task, members, (const Out*)x, (const Out*)g, position, (Out*)to, begin, end);
        },
        [&](i64 picture, i64 first, i64 channels) {
            backward_pixels<Op, Add, A, Out>(
                task, members, (const Out*)x, (const Out*)g, position, (Out*)to, picture, first, channels);
        });
}

template <class F> void by_name(const std::string& name, F f) {
    if (name == "max") return f(Max{});
    if (name == "average") return f(Average{});
    if (name == "subsample") return f(Subsample{});
    if (name == "median") return f(Median{});
    if (name == "mixture") return f(Mixture{});
    if (name == "mixed") return f(Mixed{});
    if (name == "lp") return f(Lp{});
    if (name == "stochastic") return f(Stochastic{});
    if (name == "expectation") return f(Expectation{});
    if (name == "softpool") return f(SoftPool{});
    STD_TORCH_CHECK(false, "poolbench: no kernel is called ", name);
}

double tap(const Tensor& taps, i64 i) {
    return taps.scalar_type() == Type::Double ? ((const double*)taps.data_ptr())[i]
                                              : double(((const float*)taps.data_ptr())[i]);
}

const void* shares_of(const Tensor& shares, i64 pictures, const Window& window) {
    STD_TORCH_CHECK(shares.size(0) == pictures && shares.size(1) == window.kh * window.kw,
        "poolbench: a share for each position of each picture");
    return shares.data_ptr();
}

Task task_of(i64 pictures, i64 channels, i64 height, i64 width, const Numbers& plan, double number,
    const std::optional<Tensor>& extra) {
    Task task{window_of(plan), {pictures, channels, height, width, plan[16] != 0}, {number}, {}};
    STD_TORCH_CHECK(task.window.kh * task.window.kw < NONE, "poolbench: a window has fewer than 255 positions");
    if (extra && extra->scalar_type() == Type::Long)
        task.chance.seed = *(const i64*)extra->data_ptr();
    else if (extra && extra->dim() == 4)
        task.chance.given = extra->data_ptr();
    else if (extra && extra->dim() == 2)
        task.options.shares = shares_of(*extra, pictures, task.window);
    return task;
}

// What is blurred has a plan of its own behind that of the filter.
std::optional<Blurred> blurred(const std::string& name, i64 pictures, i64 channels, i64 height, i64 width,
    const Numbers& plan, const std::optional<Tensor>& extra, int type) {
    if (plan.size() == 17) return {};
    Numbers inner(plan.begin() + 17, plan.end());
    inner.push_back(plan[16]);
    Blurred found{task_of(pictures, channels, height, width, inner, 0, {}), {}, {}, name == "max_blur",
        type, i64(torch::stable::get_num_threads())};
    const Window& k = found.dense.window;
    found.blur = task_of(pictures, channels, k.oh, k.ow, plan, 0, {});
    STD_TORCH_CHECK(extra && extra->dim() == 1 && extra->size(0) == plan[0] && plan[0] == plan[1],
        "poolbench: a filter is as large as its window");
    for (i64 i = 0; i < found.blur.window.kh; i++) found.taps.push_back(tap(*extra, i));
    return found;
}

// Slabs shared out to the threads.
template <class F> void share(const Blurred& task, F f) {
    const i64 count = task.slabs(), numbers = task.dense.maps.n * task.dense.maps.c * task.dense.maps.h * task.dense.maps.w;
    torch::stable::parallel_for(0, count, std::max<i64>(1, GRAIN * count / std::max<i64>(1, numbers)), f);
}

std::tuple<Tensor, Tensor> slide(Tensor x, std::optional<Tensor> extra, std::string name, Numbers plan, double number,
    bool keep) {
    const Task task = task_of(x.size(0), x.size(1), x.size(2), x.size(3), plan, number, extra);
    const Window& k = task.window;
    const Maps& m = task.maps;
    Tensor y = empty(m.n, m.c, k.oh, k.ow, m.last, code(x.scalar_type()));
    std::optional<Tensor> position;
    if (const auto fused = blurred(name, m.n, m.c, m.h, m.w, plan, extra, type_of(x))) {
        share(*fused, [&](i64 begin, i64 end) { fused->forward(x.data_ptr(), y.data_ptr(), begin, end); });
        return {y, empty(0, m.c, k.oh, k.ow, m.last, aoti_torch_dtype_uint8())};
    }
    by_name(name, [&](auto op) {
        using Op = decltype(op);
        bool kept = Op::keeps && keep;
        position = empty(kept ? m.n : 0, m.c, k.oh, k.ow, m.last, aoti_torch_dtype_uint8());
        by_type(x.scalar_type(), [&](auto a, auto out) {
            forward<Op, decltype(a), decltype(out)>(
                task, x.data_ptr(), y.data_ptr(), kept ? (u8*)position->data_ptr() : nullptr);
        });
    });
    return {y, *position};
}

Tensor slide_backward(Tensor g, std::optional<Tensor> x, std::optional<Tensor> position, std::optional<Tensor> extra,
    std::string name, Numbers plan, i64 height, i64 width, double number) {
    const Task task = task_of(g.size(0), g.size(1), height, width, plan, number, extra);
    const Maps& m = task.maps;
    Tensor to = empty(m.n, m.c, m.h, m.w, m.last, code(g.scalar_type()));
    if (const auto fused = blurred(name, m.n, m.c, m.h, m.w, plan, extra, type_of(g))) {
        share(*fused, [&](i64 begin, i64 end) {
            fused->backward(x ? x->data_ptr() : nullptr, g.data_ptr(), to.data_ptr(), begin, end);
        });
        return to;
    }
    by_name(name, [&](auto op) {
        using Op = decltype(op);
        STD_TORCH_CHECK(x.has_value() || !Op::looks, "poolbench: the backward of ", name, " needs its input");
        STD_TORCH_CHECK(position.has_value() || !Op::keeps, "poolbench: the backward of ", name, " needs positions");
        by_type(g.scalar_type(), [&](auto a, auto out) {
            using A = decltype(a);
            using Out = decltype(out);
            auto run = task.apart() ? backward<Op, false, A, Out> : backward<Op, true, A, Out>;
            run(task, x ? x->data_ptr() : nullptr, g.data_ptr(), position ? (u8*)position->data_ptr() : nullptr,
                to.data_ptr());
        });
    });
    return to;
}

STABLE_TORCH_LIBRARY(poolbench, m) {
    m.def("slide(Tensor x, Tensor? extra, str name, int[] plan, float number, bool keep) -> (Tensor, Tensor)");
    m.def("slide_backward(Tensor g, Tensor? x, Tensor? position, Tensor? extra, str name, int[] plan, int height, "
          "int width, float number) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(poolbench, CPU, m) {
    m.impl("slide", TORCH_BOX(&slide));
    m.impl("slide_backward", TORCH_BOX(&slide_backward));
}
