"""What each operator does with the windows of a block, forward and backward.

`at` is that of windows.py. Of operators that look at the input again for the gradient, `common` gives what the
positions of a window share, and `part` what one of them receives. Some have learned `numbers`, one for each plane, the
k-th of them `number(numbers, at, k)`; `lip` reads a second map, `other`.
"""

import triton
import triton.language as tl

from poolbench.pooling.native.gpu.windows import NONE, filled, first_inside, read, share, spot

EVERY = tl.constexpr(254)
"""In place of a position: all of them, equally."""
SHARE = tl.constexpr(2.0**-8)
"""Values are summed by this part of theirs: a window holds fewer than 2⁸, so that their sum cannot overflow."""
LOWEST = tl.constexpr(-1e4)
"""Below it e^v is 0 in every format, and its product with v must be too."""
SQUARE = tl.constexpr(1e-3)
"""ε² of detail-preserving pooling."""
DISTANT = tl.constexpr(1e8)
"""So far from the mean ε² changes no number."""


@triton.jit
def largest(x, at, PLAN: tl.constexpr):
    """The first maximum of each window, or its last NaN; its position; the sum."""
    top, total = filled(at, -float("inf"), PLAN.real), filled(at, 0, PLAN.real)
    position = filled(at, 0, tl.int32) + first_inside(at, PLAN)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        place, inside = spot(at, t, PLAN)
        v = tl.load(x + place, mask=inside, other=-float("inf")).to(PLAN.real)
        wins = (v > top) | (v != v)
        top = tl.where(wins, v, top)
        position = tl.where(wins, t, position)
        total += tl.where(inside, v, 0)
    return top, position, total


@triton.jit
def summed(x, at, PLAN: tl.constexpr):
    total = filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        total += read(x, at, t, PLAN)[0]
    return total


@triton.jit
def _middle(x, at, PLAN: tl.constexpr):
    """The two middle values of each window, each by how many come before it; NaN if it holds one, 0 if nothing."""
    members, nan = filled(at, 0, tl.int32), filled(at, 0, tl.int1)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v, inside = read(x, at, t, PLAN)
        members += inside.to(tl.int32)
        nan |= v != v
    lower, upper = filled(at, 0, PLAN.real), filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count):
        v, inside = read(x, at, t, PLAN)
        rank = filled(at, 0, tl.int32)
        for s in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
            w, there = read(x, at, s, PLAN)
            rank += (there & ((w < v) | ((w == v) & (s < t)))).to(tl.int32)
        lower = tl.where(inside & (rank == (members - 1) // 2), v, lower)
        upper = tl.where(inside & (rank == members // 2), v, upper)
    return tl.where(nan, float("nan"), lower), tl.where(nan, float("nan"), upper)


@triton.jit
def _first(x, at, value, PLAN: tl.constexpr):
    """The first position of each window that holds this value."""
    position = filled(at, NONE, tl.int32)
    for t in tl.range(PLAN.count):
        v, inside = read(x, at, t, PLAN)
        position = tl.where(inside & (v == value) & (position == NONE), t, position)
    return position


@triton.jit
def _power(x, PLAN: tl.constexpr, p: tl.constexpr):
    """x^p of numbers that are not negative."""
    if p == 2:
        y = x * x
    elif p == 1:
        y = x
    elif p == 0.5:
        y = tl.sqrt(x)
    elif p == 3:
        y = x * x * x
    else:
        y = tl.where(x < PLAN.least, 0, tl.exp(tl.log(x) * p))
    return y


@triton.jit
def _scale(x, at, PLAN: tl.constexpr):
    """The largest magnitude of each window, and that as what others are parts of: 1 if there is no such."""
    top = filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v = tl.abs(read(x, at, t, PLAN)[0])
        top = tl.where(v > top, v, top)
    return top, tl.where((top > 0) & (top <= PLAN.most), top, 1)


@triton.jit
def _powers(x, at, PLAN: tl.constexpr):
    """The mean of the powers of |x| as parts of its maximum, so that none overflows, and that maximum."""
    top, scale = _scale(x, at, PLAN)
    total = filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v = tl.abs(read(x, at, t, PLAN)[0])
        part = tl.where(top > PLAN.most, top, _power(v / scale, PLAN, PLAN.number))
        total += tl.where(v != v, v, part)
    return total * share(at, PLAN), scale


@triton.jit
def _positive(v):
    return tl.where(v < 0, 0, v)


@triton.jit
def _positive_sum(x, at, PLAN: tl.constexpr):
    """The sum of the positive values of each window, times SHARE."""
    total = filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        total += _positive(read(x, at, t, PLAN)[0]) * SHARE
    return total


@triton.jit
def _expectation(x, at, PLAN: tl.constexpr):
    """The mean of each window's positive values weighted by themselves, and their sum times SHARE, 1 if that is 0."""
    total, mean = _positive_sum(x, at, PLAN), filled(at, 0, PLAN.real)
    total = tl.where(total == 0, 1, total)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v = _positive(read(x, at, t, PLAN)[0])
        mean += v * SHARE / total * v
    return mean, total


@triton.jit
def _mix(x):
    """Bits of 32 that depend on all of those given."""
    x = (x ^ (x >> 16)) * 0x21F0AAAD
    x = (x ^ (x >> 15)) * 0x735A2D97
    return x ^ (x >> 15)


@triton.jit
def uniform(seed, place, PLAN: tl.constexpr):
    """Uniform numbers in [0, 1), those of slide.h: a function of the seed and of the output's place alone."""
    seed, place = seed.to(tl.int64), place.to(tl.int64)
    x = _mix((place.to(tl.uint32) * 0x9E3779B9) ^ seed.to(tl.uint32))
    x = _mix(x + (seed >> 32).to(tl.uint32) + (place >> 32).to(tl.uint32) * 0x85EBCA6B)
    return (x >> 9).to(PLAN.real) * 2.0**-23


@triton.jit
def drawn(x, at, chance, PLAN: tl.constexpr):
    """A value of each window in proportion to itself, and its position; without a positive value 0 and NONE."""
    total = _positive_sum(x, at, PLAN)
    threshold = chance * total
    value, passed = filled(at, 0, PLAN.real), filled(at, 0, PLAN.real)
    position = filled(at, NONE, tl.int32)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v, inside = read(x, at, t, PLAN)
        v = _positive(v)
        beyond = inside & (threshold >= passed) & (v > 0)
        value = tl.where(beyond, v, value)
        position = tl.where(beyond, t, position)
        passed += v * SHARE
    return value + total * 0, position  # NaN or infinity among the values: NaN


@triton.jit
def _below(v, limit):
    v -= limit
    v = tl.where(v > 0, 0, v)
    return tl.where(v < LOWEST, LOWEST, v)


@triton.jit
def _softened(x, at, PLAN: tl.constexpr):
    """The exponentially weighted mean of each window's distance to its maximum; that, made finite; the sum of weights.

    The maximum itself comes last.
    """
    top = largest(x, at, PLAN)[0]
    limit = tl.where(top > PLAN.most, PLAN.most, top)
    limit = tl.where(limit < -PLAN.most, -PLAN.most, limit)
    total, mean = filled(at, 0, PLAN.real), filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v, inside = read(x, at, t, PLAN)
        v = _below(v, limit)
        weight = tl.where(inside, tl.exp(v), 0)
        total += weight
        mean += weight * v
    total = tl.where(total < 1, 1, total)
    return mean / total, limit, total, top


@triton.jit
def number(numbers, at, k, planes, PLAN: tl.constexpr):
    """The k-th learned number of each window's plane."""
    return tl.load(numbers + k * planes + at[8], mask=at[7], other=0).to(PLAN.real)


@triton.jit
def _sigmoid(v):
    return 1 / (1 + tl.exp(-v))


@triton.jit
def _mean(x, at, PLAN: tl.constexpr):
    """Of all positions, those outside of the map as zeros."""
    return summed(x, at, PLAN) * (1.0 / PLAN.count)


@triton.jit
def _detail(v, mean, PLAN: tl.constexpr):
    """½ log (d² + ε²) of the difference that counts, which overflows nowhere, and its slope."""
    d = v - mean
    d = tl.where(d < PLAN.number, PLAN.number, d)
    size = tl.abs(d)
    far = size > DISTANT
    within = tl.where(far, size, d * d + SQUARE)
    slope = tl.where(far, tl.where(d < 0, -1.0, 1.0), d) / within
    return tl.log(within) * tl.where(far, 1.0, 0.5) + d * 0, slope  # NaN of infinity


@triton.jit
def _detailed(x, numbers, at, planes, PLAN: tl.constexpr):
    """Of detail-preserving pooling: the output, the sum of weights, the mean, the weight of α and the largest power.

    All weights are parts of the largest of them.
    """
    mean, base, power = _mean(x, at, PLAN), number(numbers, at, 0, planes, PLAN), number(numbers, at, 1, planes, PLAN)
    top = base
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v = power * _detail(read(x, at, t, PLAN)[0], mean, PLAN)[0]
        top = tl.where((v > top) | (v != v), v, top)
    floor = tl.exp(base - top)
    total, y = filled(at, 0, PLAN.real), filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v = read(x, at, t, PLAN)[0]
        weight = floor + tl.exp(power * _detail(v, mean, PLAN)[0] - top)
        total += weight
        y += weight * v
    return y / total, total, mean, floor, top, power


@triton.jit
def _alike(v, mean, unit):
    """2 |v m| / (v² + m²) as e is raised to it, and its slopes by v and by m; both are parts of the largest."""
    a, b = v * unit, mean * unit
    squares = a * a + b * b
    whole = 1 / tl.where(squares == 0, 1, squares)
    slope = 2 * (b * b - a * a) * whole * whole * unit
    slope = tl.where(a * b < 0, -slope, tl.where(a * b == 0, 0, slope))
    return tl.exp(2 * tl.abs(a * b) * whole), slope * b, -slope * a


@triton.jit
def _adaptive(x, at, PLAN: tl.constexpr):
    """Of AdaPool: both means and what their weights add up to; the plain mean, the largest and the unit."""
    mean, extent, top = _mean(x, at, PLAN), _scale(x, at, PLAN)[0], filled(at, -float("inf"), PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v = read(x, at, t, PLAN)[0]
        top = tl.where(v > top, v, top)
    unit = 1 / tl.where(extent < PLAN.least, 1, extent)
    alike, soft = filled(at, 0, PLAN.real), filled(at, 0, PLAN.real)
    alike_total, soft_total = filled(at, 0, PLAN.real), filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v = read(x, at, t, PLAN)[0]
        likeness, size = _alike(v, mean, unit)[0], tl.exp(v - top)
        alike += likeness * v
        soft += size * v
        alike_total += likeness
        soft_total += size
    return alike / alike_total, soft / soft_total, alike_total, soft_total, mean, top, unit


@triton.jit
def _logarithms(x, numbers, at, planes, PLAN: tl.constexpr):
    """Of Lp with a learned p: the output, the sum of powers, the logarithm of their mean, and the scale."""
    top, _ = _scale(x, at, PLAN)
    scale = tl.where((top >= PLAN.least) & (top <= PLAN.most), top, 1)
    p, total = number(numbers, at, 0, planes, PLAN), filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v = tl.abs(read(x, at, t, PLAN)[0])
        raised = _raised(v, scale, p - 1, PLAN)[0] * (v / scale)
        total += tl.where(v <= PLAN.most, raised, v)
    logarithm = tl.log(tl.where(total == 0, 1, total * share(at, PLAN)))
    y = scale * tl.exp(logarithm / p)
    y = tl.where(total == 0, 0, tl.where(total <= PLAN.most, y, total))
    return y, total, logarithm, scale, p


@triton.jit
def _raised(v, scale, exponent, PLAN: tl.constexpr):
    """A magnitude as a part of the scale, to a power, and its logarithm."""
    tiny = v < PLAN.least
    logarithm = tl.where(tiny, 0, tl.log(tl.where(tiny, 1, v)) - tl.log(scale))
    return tl.where(tiny, 0, tl.exp(logarithm * exponent)), logarithm


@triton.jit
def _rank(x, at, v, t, PLAN: tl.constexpr):
    """How many values of each window come before that at position t: larger ones, and equal ones of earlier places."""
    rank = filled(at, 0, tl.int32)
    for s in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll_nested):
        w = read(x, at, s, PLAN)[0]
        rank += ((w > v) | ((w == v) & (s < t))).to(tl.int32)
    return rank


@triton.jit
def _gate(other, numbers, at, t, planes, PLAN: tl.constexpr):
    """The importance of position t before it is bounded, and the number of the second map."""
    v, inside = read(other, at, t, PLAN)
    return _sigmoid(v * number(numbers, at, 0, planes, PLAN) + number(numbers, at, 1, planes, PLAN)), v, inside


@triton.jit
def _important(x, other, numbers, at, planes, PLAN: tl.constexpr):
    """Of LIP: the output and the sum of the weights."""
    total, y = filled(at, 0, PLAN.real), filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        gate, _, inside = _gate(other, numbers, at, t, planes, PLAN)
        weight = tl.where(inside, tl.exp(gate * PLAN.number), 0)
        total += weight
        y += weight * read(x, at, t, PLAN)[0]
    return y / total, total


@triton.jit
def _gated(x, numbers, at, planes, PLAN: tl.constexpr):
    """Of gated pooling: the gate, the maximum, its position and the mean."""
    response = filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        response += number(numbers, at, t, planes, PLAN) * read(x, at, t, PLAN)[0]
    top, position, total = largest(x, at, PLAN)
    return _sigmoid(response), top, position, total * (1.0 / PLAN.count)


@triton.jit
def value(x, other, numbers, at, planes, PLAN: tl.constexpr):
    """The output of operators that keep nothing but their input."""
    if PLAN.name == "average":
        y = summed(x, at, PLAN) * share(at, PLAN)
    elif PLAN.name == "subsample":
        y = read(x, at, PLAN.centre, PLAN)[0]
    elif PLAN.name == "median":
        lower, upper = _middle(x, at, PLAN)
        y = (lower + upper) / 2
    elif PLAN.name == "lp":
        mean, scale = _powers(x, at, PLAN)
        y = tl.where(mean <= PLAN.most, scale * _power(mean, PLAN, 1 / PLAN.number), mean)
    elif PLAN.name == "expectation":
        y = _expectation(x, at, PLAN)[0]
    elif PLAN.name == "softpool":
        mean, _, _, top = _softened(x, at, PLAN)
        y = mean + top
    elif PLAN.name == "detail_preserving":
        y = _detailed(x, numbers, at, planes, PLAN)[0]
    elif PLAN.name == "adapool":
        alike, soft, _, _, _, _, _ = _adaptive(x, at, PLAN)
        beta = number(numbers, at, 0, planes, PLAN)
        y = beta * alike + (1 - beta) * soft
    elif PLAN.name == "lp_learned":
        y = _logarithms(x, numbers, at, planes, PLAN)[0]
    elif PLAN.name == "ordinal":
        y = filled(at, 0, PLAN.real)
        for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll_nested):
            v = read(x, at, t, PLAN)[0]
            y += number(numbers, at, _rank(x, at, v, t, PLAN), planes, PLAN) * v
    elif PLAN.name == "lip":
        y = _important(x, other, numbers, at, planes, PLAN)[0]
    else:
        tl.static_assert(PLAN.name == "gated")
        gate, top, _, mean = _gated(x, numbers, at, planes, PLAN)
        y = gate * top + (1 - gate) * mean
    return y


@triton.jit
def common(x, other, numbers, at, g, planes, PLAN: tl.constexpr):
    """What the positions of windows with gradients `g` have in common, for `part` and `to_number`."""
    if PLAN.name == "median":
        lower, upper = _middle(x, at, PLAN)
        found = (_first(x, at, lower, PLAN), _first(x, at, upper, PLAN), g / 2)
    elif PLAN.name == "lp":
        mean, scale = _powers(x, at, PLAN)
        g = tl.where(mean == 0, 0, g * share(at, PLAN))
        found = (g * _power(tl.where(mean == 0, 1, mean), PLAN, 1 / PLAN.number - 1), scale)
    elif PLAN.name == "expectation":
        mean, total = _expectation(x, at, PLAN)
        found = (g * SHARE / total, mean)
    elif PLAN.name == "softpool":
        mean, limit, total, _ = _softened(x, at, PLAN)
        found = (g / total, limit, mean - 1)
    elif PLAN.name == "detail_preserving":
        y, total, mean, floor, top, power = _detailed(x, numbers, at, planes, PLAN)
        to_mean = filled(at, 0, PLAN.real)
        for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
            v = read(x, at, t, PLAN)[0]
            detail, slope = _detail(v, mean, PLAN)
            to_mean += (v - y) * tl.exp(power * detail - top) * power * slope
        found = (g / total, y, mean, floor, top, power, to_mean * (1.0 / PLAN.count))
    elif PLAN.name == "adapool":
        alike, soft, alike_total, soft_total, mean, top, unit = _adaptive(x, at, PLAN)
        beta = number(numbers, at, 0, planes, PLAN)
        to_alike, to_soft = g * beta / alike_total, g * (1 - beta) / soft_total
        to_mean = filled(at, 0, PLAN.real)
        for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
            v = read(x, at, t, PLAN)[0]
            likeness, _, by_mean = _alike(v, mean, unit)
            to_mean += likeness * to_alike * (v - alike) * by_mean
        found = (to_alike, alike, to_soft, soft, mean, top, unit, to_mean * (1.0 / PLAN.count), g)
    elif PLAN.name == "lp_learned":
        y, total, logarithm, scale, p = _logarithms(x, numbers, at, planes, PLAN)
        found = (g * y / tl.where(total == 0, 1, total), scale, p, g * y * logarithm)
    elif PLAN.name == "ordinal":
        found = (g,)
    elif PLAN.name == "lip":
        y, total = _important(x, other, numbers, at, planes, PLAN)
        found = (g / total, y)
    else:
        tl.static_assert(PLAN.name == "gated")
        gate, top, position, mean = _gated(x, numbers, at, planes, PLAN)
        found = (g * gate, position, g * (1 - gate) * (1.0 / PLAN.count), g * gate * (1 - gate) * (top - mean))
    return found


@triton.jit
def part(x, other, numbers, at, v, t, found, planes, PLAN: tl.constexpr):
    """What windows give to the number `v` at their position t, of what `common` found; and to that of a second map."""
    to_other = filled(at, 0, PLAN.real)
    if PLAN.name == "median":
        low, high, half = found
        y = tl.where(low == t, half, 0) + tl.where(high == t, half, 0)
    elif PLAN.name == "lp":
        slope, scale = found
        y = slope * _power(tl.abs(v) / scale, PLAN, PLAN.number - 1)
        y = tl.where(v == 0, 0, tl.where(v < 0, -y, y))
    elif PLAN.name == "expectation":
        slope, mean = found
        y = tl.where(v <= 0, 0, slope * (v + v - mean))
    elif PLAN.name == "softpool":
        slope, limit, mean = found
        v = _below(v, limit)
        y = slope * tl.exp(v) * (v - mean)
    elif PLAN.name == "detail_preserving":
        g, mean_of, mean, floor, top, power, to_mean = found
        detail, slope = _detail(v, mean, PLAN)
        weight = tl.exp(power * detail - top)
        y = g * (floor + weight + (v - mean_of) * weight * power * slope - to_mean)
    elif PLAN.name == "adapool":
        to_alike, alike, to_soft, soft, mean, top, unit, to_mean, _ = found
        likeness, by_value, _ = _alike(v, mean, unit)
        y = likeness * to_alike * (1 + (v - alike) * by_value) + tl.exp(v - top) * to_soft * (1 + (v - soft)) + to_mean
    elif PLAN.name == "lp_learned":
        slope, scale, p, _ = found
        y = slope * (_raised(tl.abs(v), scale, p - 1, PLAN)[0] / scale)
        y = tl.where(v < 0, -y, y)
    elif PLAN.name == "ordinal":
        y = found[0] * number(numbers, at, _rank(x, at, v, t, PLAN), planes, PLAN)
    elif PLAN.name == "lip":
        g, y = found
        to_other = _to_logit(x, other, numbers, at, t, g, y, planes, PLAN)[0]
        to_other *= number(numbers, at, 0, planes, PLAN)
        gate, _, inside = _gate(other, numbers, at, t, planes, PLAN)
        y = g * tl.where(inside, tl.exp(gate * PLAN.number), 0)
    else:
        tl.static_assert(PLAN.name == "gated")
        whole, position, rest, to_response = found
        y = rest + to_response * number(numbers, at, t, planes, PLAN) + tl.where(position == t, whole, 0)
    return y, to_other


@triton.jit
def _to_logit(x, other, numbers, at, t, g, y, planes, PLAN: tl.constexpr):
    """The gradient of the logit of position t, and the number of the second map there."""
    gate, v, inside = _gate(other, numbers, at, t, planes, PLAN)
    share = g * tl.where(inside, tl.exp(gate * PLAN.number), 0)
    return share * (read(x, at, t, PLAN)[0] - y) * PLAN.number * gate * (1 - gate), v


@triton.jit
def to_number(x, other, numbers, at, found, k: tl.constexpr, planes, PLAN: tl.constexpr):
    """What each window gives to the k-th learned number."""
    total = filled(at, 0, PLAN.real)
    if PLAN.name == "detail_preserving":
        g, y, mean, floor, top, power, _ = found
        for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
            v = read(x, at, t, PLAN)[0]
            if k == 0:
                total += g * (v - y) * floor
            else:
                detail = _detail(v, mean, PLAN)[0]
                total += g * (v - y) * tl.exp(power * detail - top) * detail
    elif PLAN.name == "adapool":
        _, alike, _, soft, _, _, _, _, g = found
        total = g * (alike - soft)
    elif PLAN.name == "lp_learned":
        slope, scale, p, rest = found
        for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
            v = tl.abs(read(x, at, t, PLAN)[0])
            raised, logarithm = _raised(v, scale, p - 1, PLAN)
            total += raised * logarithm * (v / scale)
        total = (slope * total - rest / p) / p
    elif PLAN.name == "ordinal":
        for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll_nested):
            v = read(x, at, t, PLAN)[0]
            total += tl.where(_rank(x, at, v, t, PLAN) == k, v, 0)
        total *= found[0]
    elif PLAN.name == "lip":
        g, y = found
        for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
            to_logit, v = _to_logit(x, other, numbers, at, t, g, y, planes, PLAN)
            total += to_logit * v if k == 0 else to_logit
    else:
        tl.static_assert(PLAN.name == "gated")
        total = found[3] * read(x, at, k, PLAN)[0]
    return total
