#include "backward.h"

#include "overlapping.h"
#include "tiles.h"

template <class Op, bool Add, class A, class Out>
void backward(Task task, const Out* x, const Out* g, Out* to) {
    const typename Op::Tables tables(task.options);
    task.options.tables = &tables;
    const Members<A> members(task.window, task.maps);
    if constexpr (Op::weighs && Add && std::is_same_v<Out, float>) {
        const Gather<A> gather(task, members);
        return share<A>(task.maps,
            [&](i64 begin, i64 end) {
                if (!overlapping(task.window))
                    return weighed_planes_back<Op, A>(task, members, gather, x, g, to, begin, end);
                Op::typed(task.options, [&](auto options) {
                    overlapping_planes_back<Op, A>(task, options, members, x, g, to, begin, end);
                });
            },
            [&](i64 picture, i64 first, i64 channels) {
                weighed_pixels_back<Op, A>(task, members, gather, x, g, to, picture, first, channels);
            });
    }
    share<A>(task.maps,
        [&](i64 begin, i64 end) {
            if constexpr (!Add && std::is_same_v<A, float>)
                if (task.tiled()) return backward_tiles<Op, A, Out>(task, members, x, g, nullptr, to, begin, end);
            backward_planes<Op, Add, A, Out>(task, members, x, g, nullptr, to, begin, end);
        },
        [&](i64 picture, i64 first, i64 channels) {
            backward_pixels<Op, Add, A, Out>(task, members, x, g, nullptr, to, picture, first, channels);
        });
}

void look_back(const std::string& name, const Back& back) {
    by_name(name, [&](auto op) {
        using Op = decltype(op);
        if constexpr (Op::looks) {
            STD_TORCH_CHECK(back.x.has_value(), "poolbench: the backward of ", name, " needs its input");
            by_type(back.g.scalar_type(), [&](auto a, auto out) {
                using A = decltype(a);
                using Out = decltype(out);
                auto run = back.task.apart() ? backward<Op, false, A, Out> : backward<Op, true, A, Out>;
                run(back.task, (const Out*)back.x->data_ptr(), (const Out*)back.g.data_ptr(), (Out*)back.to);
            });
        }
    });
}
