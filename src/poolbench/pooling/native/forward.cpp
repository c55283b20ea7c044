// The operators that slide a window, forward.
#include <tuple>

#include "dispatch.h"
#include "overlapping.h"
#include "spots.h"
#include "tiles.h"

template <class Op, class A, class Out>
void forward(Task task, const Out* x, Out* y, u8* position) {
    const typename Op::Tables tables(task.options);
    task.options.tables = &tables;
    const Members<A> members(task.window, task.maps);
    if constexpr (Op::weighs && std::is_same_v<Out, float>)
        if (!task.apart())
            return share<A>(task.maps,
                [&](i64 begin, i64 end) {
                    if (!overlapping(task.window)) return weighed_planes<Op, A>(task, members, x, y, begin, end);
                    Op::typed(task.options, [&](auto options) {
                        overlapping_planes<Op, A>(task, options, members, x, y, begin, end);
                    });
                },
                [&](i64 picture, i64 first, i64 channels) {
                    weighed_pixels<Op, A>(task, members, x, y, picture, first, channels);
                });
    const PixelTaps taps(task);
    share<A>(task.maps,
        [&](i64 begin, i64 end) {
            if constexpr (std::is_same_v<A, float>)
                if (task.tiled()) return forward_tiles<Op, A, Out>(task, members, x, y, position, begin, end);
            forward_planes<Op, A, Out>(task, members, x, y, position, begin, end);
        },
        [&](i64 picture, i64 first, i64 channels) {
            forward_pixels<Op, A, Out>(task, taps, members, x, y, position, picture, first, channels);
        });
}

// `position`, if it is there, becomes those that are kept for the backward pass.
Tensor run(const Tensor& x, const std::optional<Tensor>& extra, const std::string& name, const std::string& text,
    double number, Tensor* position) {
    const Numbers plan = plan_of(text);
    expect(x, plan.end()[-2], plan.end()[-1]);
    const Task task = task_of(x.size(0), x.size(1), plan.data(), number, extra);
    const Window& k = task.window;
    const Maps& m = task.maps;
    Tensor y = empty(m.n, m.c, k.oh, k.ow, m.last, code(x.scalar_type()));
    if (const auto fused = blurred(name, m.n, m.c, plan, extra, type_of(x))) {
        share(*fused, [&](i64 begin, i64 end) { fused->forward(x.data_ptr(), y.data_ptr(), begin, end); });
        return y;
    }
    if (position) *position = empty(m.n, m.c, k.oh, k.ow, m.last, aoti_torch_dtype_uint8());
    u8* const places = position ? (u8*)position->data_ptr() : nullptr;
    const bool found = by_name(name, [&](auto op) {
        using Op = decltype(op);
        STD_TORCH_CHECK(Op::keeps || !position, "poolbench: ", name, " keeps nothing");
        STD_TORCH_CHECK((!std::is_same_v<Op, Mixture> || task.options.shares), "poolbench: a mixture needs shares");
        STD_TORCH_CHECK(!Op::tosses || (extra && extra->numel() == m.n * m.c), "poolbench: a coin for each plane");
        by_type(x.scalar_type(), [&](auto a, auto out) {
            using A = decltype(a);
            using Out = decltype(out);
            auto run = forward<Op, A, Out>;
            if constexpr (std::is_same_v<Op, Max> || std::is_same_v<Op, Mixed> || std::is_same_v<Op, Coin>)
                if (!places) run = forward<Unkept<Op>, A, Out>;
            run(task, (const Out*)x.data_ptr(), (Out*)y.data_ptr(), places);
        });
    });
    STD_TORCH_CHECK(found, "poolbench: no kernel is called ", name);
    return y;
}

Tensor slide(Tensor x, std::optional<Tensor> extra, std::string name, std::string plan, double number) {
    return run(x, extra, name, plan, number, nullptr);
}

std::tuple<Tensor, Tensor> slide_keeping(Tensor x, std::optional<Tensor> extra, std::string name, std::string plan,
    double number) {
    Tensor position;
    Tensor y = run(x, extra, name, plan, number, &position);
    return {y, position};
}

// Where in the map the maxima of windows lie. One that meets padding alone has none: as torch, where it starts, or the
// place of the map nearest to that.
struct Switches {
    const Window& k;
    const Maps& map;
    const u8* position;
    i64* index;
    const Spots spots{k.kh * k.kw, k.kw, k.dh * map.w, k.dw};
    const std::vector<i64> columns = spread(k.ow, k.sw), channels = spread(map.c, 0);

    static std::vector<i64> spread(i64 count, i64 step) {
        std::vector<i64> firsts(count);
        for (i64 n = 0; n < count; n++) firsts[n] = n * step;
        return firsts;
    }
    static i64 nearest(i64 start, i64 spread, i64 size) {
        return std::min(start < 0 ? (start % spread + spread) % spread : start, size - 1);
    }
    // Of windows from (i, j) on as far behind it as `firsts` tells, or so many channels of it.
    void write(i64 place, i64 i, i64 j, i64 count, const std::vector<i64>& firsts) const {
        const i64 row = i * k.sh - k.top, column = j * k.sw - k.left;
        const u8* const from = position + place;
        i64* const to = index + place;
        spots.write(from, to, count, row * map.w + column, firsts.data());
        if (std::memchr(from, NONE, count))
            for (i64 n = 0; n < count; n++)
                if (from[n] == NONE) to[n] = nearest(row, k.dh, map.h) * map.w + nearest(column + firsts[n], k.dw, map.w);
    }
};

// The maxima, their positions in the windows and in the map.
std::tuple<Tensor, Tensor, Tensor> switches(Tensor x, std::string text) {
    Tensor position;
    Tensor y = run(x, {}, "max", text, 0, &position);
    const Numbers plan = plan_of(text);
    const Window k = window_of(plan.data());
    const Maps map = maps_of(x.size(0), x.size(1), plan.data());
    Tensor index = empty(map.n, map.c, k.oh, k.ow, map.last, aoti_torch_dtype_int64());
    const Switches found{k, map, (const u8*)position.data_ptr(), (i64*)index.data_ptr()};
    share<float>({map.n, map.c, k.oh, k.ow, map.last},
        [&](i64 begin, i64 end) {
            for (i64 row = begin * k.oh; row < end * k.oh; row++) found.write(row * k.ow, row % k.oh, 0, k.ow, found.columns);
        },
        [&](i64 picture, i64 first, i64 channels) {
            for (i64 i = 0; i < k.oh; i++)
                for (i64 j = 0; j < k.ow; j++)
                    found.write(((picture * k.oh + i) * k.ow + j) * map.c + first, i, j, channels, found.channels);
        });
    return {y, position, index};
}

STABLE_TORCH_LIBRARY_FRAGMENT(poolbench, m) {
    m.def("switches(Tensor x, str plan) -> (Tensor, Tensor, Tensor)");
    m.def("slide(Tensor x, Tensor? extra, str name, str plan, float number) -> Tensor");
    m.def("slide_keeping(Tensor x, Tensor? extra, str name, str plan, float number) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(poolbench, CPU, m) {
    m.impl("slide", TORCH_BOX(&slide));
    m.impl("slide_keeping", TORCH_BOX(&slide_keeping));
    m.impl("switches", TORCH_BOX(&switches));
}
