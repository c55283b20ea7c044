// The operators that slide a window, backward.
#include "backward.h"

#include "gather.h"
#include "tiles.h"

template <class Op, bool Add, class A, class Out>
void backward(const Task& task, const Out* g, const u8* position, Out* to) {
    const Members<A> members(task.window, task.maps);
    std::optional<Gather<A>> gather;
    if (Add || task.maps.last) gather.emplace(task, members);
    share<A>(task.maps,
        [&](i64 begin, i64 end) {
            if constexpr (Add) return gather_planes<Op, A, Out>(task, *gather, g, position, to, begin, end);
            if constexpr (!Add && std::is_same_v<A, float>)
                if (task.tiled())
                    return backward_tiles<Op, A, Out>(task, members, nullptr, g, position, to, begin, end);
            if constexpr (!Add) backward_planes<Op, false, A, Out>(task, members, nullptr, g, position, to, begin, end);
        },
        [&](i64 picture, i64 first, i64 channels) {
            gather_pixels<Op, A, Out>(task, *gather, g, position, to, picture, first, channels);
        });
}

Tensor slide_backward(Tensor g, std::optional<Tensor> x, std::optional<Tensor> position, std::optional<Tensor> extra,
    std::string name, std::string text, double number) {
    const Numbers plan = plan_of(text);
    const Task task = task_of(g.size(0), g.size(1), plan.data(), number, extra);
    const Maps& m = task.maps;
    expect(g, task.window.oh, task.window.ow);
    Tensor to = empty(m.n, m.c, plan.end()[-2], plan.end()[-1], m.last, code(g.scalar_type()));
    if (const auto fused = blurred(name, m.n, m.c, plan, extra, type_of(g))) {
        share(*fused, [&](i64 begin, i64 end) {
            fused->backward(x ? x->data_ptr() : nullptr, g.data_ptr(), to.data_ptr(), begin, end);
        });
        return to;
    }
    const bool found = by_name(name, [&](auto op) {
        if constexpr (decltype(op)::looks) {
            look_back(name, {task, g, x, to.data_ptr()});
        } else {
            using Op = typename decltype(op)::Back;
            STD_TORCH_CHECK((!std::is_same_v<Op, Mixture> || task.options.shares), "poolbench: a mixture needs shares");
            STD_TORCH_CHECK(position.has_value() || !Op::keeps, "poolbench: the backward of ", name, " needs positions");
            by_type(g.scalar_type(), [&](auto a, auto out) {
                using A = decltype(a);
                using Out = decltype(out);
                auto run = task.apart() ? backward<Op, false, A, Out> : backward<Op, true, A, Out>;
                run(task, (const Out*)g.data_ptr(), position ? (const u8*)position->data_ptr() : nullptr,
                    (Out*)to.data_ptr());
            });
        }
    });
    STD_TORCH_CHECK(found, "poolbench: no kernel is called ", name);
    return to;
}

STABLE_TORCH_LIBRARY_FRAGMENT(poolbench, m) {
    m.def("slide_backward(Tensor g, Tensor? x, Tensor? position, Tensor? extra, str name, str plan, float number) "
          "-> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(poolbench, CPU, m) { m.impl("slide_backward", TORCH_BOX(&slide_backward)); }
