"""Functions of one lane that use it more than once: splines whose parameters are a context, so that a compiled policy
is tried on any parameters; softsign and its like. Rows that libraries have failed at are among them: knots, tails, far
outside, denormals, discriminants that are 0 but for rounding.

NFCC_LONG=1: a million parameter rows for each spline."""
import math
import os
import re
from statistics import NormalDist

import numpy as np
import pytest

import nfcc

LONG = bool(os.environ.get("NFCC_LONG"))
LANES, BINS = 2, 6
BOUND, LEAST, SLOPE = 3.0, 1e-3, 1e-3
PER_LANE = 3 * BINS - 1


class Text:
    """A function in the IR's text form, written line by line; values are names."""

    def __init__(self, *inputs):
        self.lines, self.count, self.inputs = [], 0, inputs

    def __call__(self, op, *operands, to=LANES, at=None, dtype="f32"):
        """One line: its name. to: the type's dims (a number: one); at: a move's map."""
        dims = ",".join(map(str, [to] if isinstance(to, int) else to))
        self.count += 1
        line = f"{op} " + ", ".join(map(str, operands)) + (" " + numbers(at) if at else "")
        self.lines.append(f"    v{self.count}: {dtype}[{dims}] = {line}")
        return f"v{self.count}"

    def module(self, result, outputs="z"):
        ports = "".join(f'port in "{n}" f32[{k}] batch 0\n' for n, k in self.inputs)
        args = ", ".join(f"{n}: f32[1,{k}]" for n, k in self.inputs)
        body = "\n".join(self.lines)
        return (f'module stage=normal\n{ports}port out "{outputs}" f32[{LANES}] batch 0\n'
                f"func @main({args}) {{\n{body}\n"
                f"    return {result}\n}}\n")


def numbers(values):
    return "[" + ", ".join(map(str, values)) + "]"


def columns(first, count):
    return [lane * PER_LANE + first + k for lane in range(LANES) for k in range(count)]


def each(count):
    """The lane of each of `count` values per lane."""
    return [lane for lane in range(LANES) for _ in range(count)]


def softmax(t, x, count):
    n, grid = LANES * count, (LANES, count)
    most = t("reduce_max", t("move", x, to=grid))
    e = t("exp", t("sub", x, t("move", most, to=n, at=each(count)), to=n), to=n)
    total = t("reduce_sum", t("move", e, to=grid))
    return t("div", e, t("move", total, to=n, at=each(count)), to=n)


def with_ends(t, inner, low, high):
    """Per lane: low, its BINS - 1 values of inner, high."""
    first, at = LANES * (BINS - 1), []
    for lane in range(LANES):
        at += [first] + [lane * (BINS - 1) + k for k in range(BINS - 1)] + [first + 1]
    low, high = t(f"constant [{low}]", to=1), t(f"constant [{high}]", to=1)
    return t("move", inner, low, high, to=LANES * (BINS + 1), at=at)


def knots(t, first):
    """Positions of BINS + 1 knots per lane, from -BOUND to BOUND, as nflows makes them."""
    n, m = LANES * BINS, LANES * (BINS - 1)
    share = softmax(t, t("move", "p", to=n, at=columns(first, BINS)), BINS)
    width = t("add", t("mul", share, 1 - LEAST * BINS, to=n), LEAST, to=n)
    rows = ["[" + ", ".join("1" if i <= j else "0" for j in range(BINS - 1)) + "]" for i in range(BINS)]
    upper = t("constant [" + ", ".join(rows) + "]", to=(BINS, BINS - 1))
    sums = t("linear", t("move", width, to=(LANES, BINS)), upper, to=(LANES, BINS - 1))
    inner = t("add", t("mul", t("move", sums, to=m), 2 * BOUND, to=m), -BOUND, to=m)
    return with_ends(t, inner, -BOUND, BOUND)


def taken(t, table, count, index):
    """Value of each lane's table at its index."""
    grid = t("move", table, to=(LANES, count))
    return t("move", t("take", grid, t("move", index, to=(LANES, 1), dtype="i64"), to=(LANES, 1)))


def spline(difference, tails=True):
    """Rational-quadratic spline with linear tails. difference: widths are differences of taken knots (zuko), else taken
    themselves (nflows); the knots are compared by `lt`, else by `le`."""
    t = Text(("x", LANES), ("p", LANES * PER_LANE))
    n, m = LANES * (BINS + 1), LANES * (BINS - 1)
    xs, ys = knots(t, 0), knots(t, BINS)
    inner = t("softplus", t("move", "p", to=m, at=columns(2 * BINS, BINS - 1)), to=m)
    slopes = with_ends(t, t("add", inner, SLOPE, to=m), 1, 1)
    x, many = t("move", "x"), t("move", "x", to=n, at=each(BINS + 1))
    above = t("lt" if difference else "le", xs, many, to=n, dtype="bool")
    zero, one = t("constant [0]", to=1, dtype="i64"), t("constant [1]", to=1, dtype="i64")
    counts = t("add", above, zero, to=n, dtype="i64")
    number = t("reduce_sum", t("move", counts, to=(LANES, BINS + 1), dtype="i64"), dtype="i64")
    at = t("sub", number, one, dtype="i64")
    after = t("add", at, one, dtype="i64")
    if difference:
        bins = t(f"constant [{BINS}]", to=1, dtype="i64")
        inside = t("and", t("le", zero, at, dtype="bool"), t("lt", at, bins, dtype="bool"), dtype="bool")
    else:
        inside = t("and", t("le", -BOUND, x, dtype="bool"), t("le", x, BOUND, dtype="bool"), dtype="bool")
    x0, y0 = taken(t, xs, BINS + 1, at), taken(t, ys, BINS + 1, at)
    d0, d1 = taken(t, slopes, BINS + 1, at), taken(t, slopes, BINS + 1, after)
    if difference:
        w, h = t("sub", taken(t, xs, BINS + 1, after), x0), t("sub", taken(t, ys, BINS + 1, after), y0)
    else:
        left = [lane * (BINS + 1) + k for lane in range(LANES) for k in range(BINS)]
        right, size = [i + 1 for i in left], LANES * BINS
        w, h = (taken(t, t("sub", t("move", k, to=size, at=right), t("move", k, to=size, at=left), to=size), BINS, at)
                for k in (xs, ys))
    s = t("div", h, w)
    theta = t("div", t("sub", x, x0), w)
    both = t("mul", theta, t("sub", 1, theta))
    top = t("mul", h, t("add", t("mul", s, t("mul", theta, theta)), t("mul", d0, both)))
    bend = t("sub", t("add", d0, d1), t("mul", s, 2))
    y = t("add", y0, t("div", top, t("add", s, t("mul", bend, both))))
    return t.module(t("move", t("select", inside, y, x) if tails else y, to=(1, LANES)))


LEFT = [lane * (BINS + 1) + k for lane in range(LANES) for k in range(BINS)]
RIGHT = [i + 1 for i in LEFT]


def differences(t, ends):
    """Of BINS + 1 values per lane, one after another."""
    n = LANES * BINS
    return t("sub", t("move", ends, to=n, at=RIGHT), t("move", ends, to=n, at=LEFT), to=n)


def bin_number(t, places, x):
    """Of the last place that is not above x."""
    many = t("move", x, to=LANES * (BINS + 1), at=each(BINS + 1))
    zero, one = t("constant [0]", to=1, dtype="i64"), t("constant [1]", to=1, dtype="i64")
    counts = t("add", t("le", places, many, to=LANES * (BINS + 1), dtype="bool"), zero, to=LANES * (BINS + 1),
               dtype="i64")
    return t("sub", t("reduce_sum", t("move", counts, to=(LANES, BINS + 1), dtype="i64"), dtype="i64"), one,
             dtype="i64")


def clamped(t, y):
    return t("min", t("max", y, -BOUND), BOUND)


def with_tails(t, x, y):
    inside = t("and", t("le", -BOUND, x, dtype="bool"), t("le", x, BOUND, dtype="bool"), dtype="bool")
    return t("select", inside, y, x)


def linear(t):
    """Piecewise linear on equal bins, whose number is rounded down from x; the last bin has its end."""
    ys, x = knots(t, 0), t("move", "x")
    place = t("mul", t("add", x, BOUND), BINS / (2 * BOUND))
    number = t("trunc", t("floor", place), dtype="i64")
    bins, last = (t(f"constant [{k}]", to=1, dtype="i64") for k in (BINS, BINS - 1))
    at = t("select", t("le", bins, number, dtype="bool"), last, number, dtype="i64")
    rest = t("mul", t("sub", place, at), taken(t, differences(t, ys), BINS, at))
    return clamped(t, t("add", taken(t, ys, BINS + 1, at), rest))


def cubic(t, most=2):
    """Hermite's piecewise cubic; slopes at knots at most twice the lesser slope beside them, so that it rises."""
    m = LANES * BINS
    xs, ys, x = knots(t, 0), knots(t, BINS), t("move", "x")
    w = differences(t, xs)
    s = t("div", differences(t, ys), w, to=m)
    inner = LANES * (BINS - 1)
    left = [lane * BINS + k for lane in range(LANES) for k in range(BINS - 1)]
    lesser = t("min", t("move", s, to=inner, at=left), t("move", s, to=inner, at=[i + 1 for i in left]), to=inner)
    share = t("sigmoid", t("move", "p", to=inner, at=columns(2 * BINS, BINS - 1)), to=inner)
    d = t("mul", t("mul", lesser, share, to=inner), most, to=inner)
    at = [[inner + lane * BINS] + [lane * (BINS - 1) + k for k in range(BINS - 1)] + [inner + lane * BINS + BINS - 1]
          for lane in range(LANES)]
    d = t("move", d, s, to=LANES * (BINS + 1), at=sum(at, []))
    d0, d1 = t("move", d, to=m, at=LEFT), t("move", d, to=m, at=RIGHT)
    both = t("add", d0, d1, to=m)
    a = t("div", t("sub", both, t("mul", s, 2, to=m), to=m), t("mul", w, w, to=m), to=m)
    b = t("div", t("sub", t("sub", t("mul", s, 3, to=m), d0, to=m), both, to=m), w, to=m)
    number = bin_number(t, xs, x)
    a, b, c = (taken(t, k, BINS, number) for k in (a, b, d0))
    rest = t("sub", x, taken(t, xs, BINS + 1, number))
    terms = [t("mul", a, t("mul", rest, t("mul", rest, rest))), t("mul", b, t("mul", rest, rest)), t("mul", c, rest)]
    return t("add", t("add", t("add", *terms[:2]), terms[2]), taken(t, ys, BINS + 1, number))


def halved(t, masks=False):
    """A ratio of linear functions on both sides of a place in each bin (linear rational splines)."""
    xs, ys, x, n = knots(t, 0), knots(t, BINS), t("move", "x"), LANES * BINS
    inner = t("softplus", t("move", "p", to=LANES * (BINS - 1), at=columns(2 * BINS, BINS - 1)), to=LANES * (BINS - 1))
    slopes = with_ends(t, t("add", inner, 0.1, to=LANES * (BINS - 1)), 1, 1)
    at = t("min", bin_number(t, xs, x), t(f"constant [{BINS - 1}]", to=1, dtype="i64"), dtype="i64")
    after = t("add", at, t("constant [1]", to=1, dtype="i64"), dtype="i64")
    y0, y1 = (taken(t, ys, BINS + 1, k) for k in (at, after))
    d0, d1 = (taken(t, slopes, BINS + 1, k) for k in (at, after))
    w, h = (taken(t, differences(t, k), BINS, at) for k in (xs, ys))
    share = t("sigmoid", t("move", "p", to=n, at=columns(0, BINS)), to=n)
    place = t("add", t("mul", taken(t, share, BINS, at), 0.9), 0.05)
    rest = t("sub", 1, place)
    wb = t("sqrt", t("div", d0, d1))
    wc = t("div", t("add", t("mul", place, d0), t("mul", t("mul", rest, wb), d1)), t("div", h, w))
    low, high = rest, t("mul", place, wb)
    ym = t("div", t("add", t("mul", low, y0), t("mul", high, y1)), t("add", low, high))
    theta = t("div", t("sub", x, taken(t, xs, BINS + 1, at)), w)
    below, above = t("sub", place, theta), t("sub", theta, place)
    from_end = t("mul", t("sub", 1, theta), wc)
    to_place, on = t("mul", theta, wc), t("mul", above, wb)
    first = t("le", theta, place, dtype="bool")
    tops = t("add", t("mul", below, y0), t("mul", to_place, ym)), t("add", t("mul", from_end, ym), t("mul", on, y1))
    unders = t("add", below, to_place), t("add", from_end, on)
    if masks:
        mask = t("select", first, t("constant [1]", to=1), t("constant [0]", to=1))
        other = t("sub", 1, mask)
        top, under = (t("add", t("mul", a, mask), t("mul", b, other)) for a, b in (tops, unders))
    else:
        top, under = (t("select", first, a, b) for a, b in (tops, unders))
    return clamped(t, t("div", top, under))


def halved_by_masks(t):
    return halved(t, masks=True)


def quadratic_bins(t):
    """Knots, their images, and by bin: slopes at both ends (heights exp(p), normalised), times the width."""
    n, m = LANES * (BINS + 1), LANES * BINS
    xs = knots(t, 0)
    heights = t("exp", t("move", "p", to=n, at=columns(BINS, BINS + 1)), to=n)
    widths = differences(t, xs)
    low, high = t("move", heights, to=m, at=LEFT), t("move", heights, to=m, at=RIGHT)
    areas = t("mul", t("mul", t("add", low, high, to=m), 0.5, to=m), widths, to=m)
    total = t("div", 2 * BOUND, t("reduce_sum", t("move", areas, to=(LANES, BINS))))
    rows = ["[" + ", ".join("1" if i <= j else "0" for j in range(BINS - 1)) + "]" for i in range(BINS)]
    upper = t("constant [" + ", ".join(rows) + "]", to=(BINS, BINS - 1))
    sums = t("move", t("linear", t("move", areas, to=(LANES, BINS)), upper, to=(LANES, BINS - 1)), to=m - LANES)
    sums = t("mul", sums, t("move", total, to=m - LANES, at=each(BINS - 1)), to=m - LANES)
    ys = with_ends(t, t("add", sums, -BOUND, to=m - LANES), -BOUND, BOUND)
    scale = t("mul", widths, t("move", total, to=m, at=each(BINS)), to=m)
    return xs, ys, widths, t("mul", low, scale, to=m), t("mul", high, scale, to=m)


def quadratic(t):
    """Piecewise quadratic: the slope goes linearly from knot to knot; identity outside."""
    xs, ys, widths, low, high = quadratic_bins(t)
    x = t("move", "x")
    at = bin_number(t, xs, x)
    inside = t("and", t("le", -BOUND, x, dtype="bool"), t("lt", x, BOUND, dtype="bool"), dtype="bool")
    h0, h1 = taken(t, low, BINS, at), taken(t, high, BINS, at)
    theta = t("div", t("sub", x, taken(t, xs, BINS + 1, at)), taken(t, widths, BINS, at))
    bend = t("mul", t("mul", t("sub", h1, h0), 0.5), t("mul", theta, theta))
    y = t("add", t("add", bend, t("mul", h0, theta)), taken(t, ys, BINS + 1, at))
    return t("select", inside, y, x)


def quadratic_root(t):
    """Its inverse on the interval, by the formula of a quadratic's root."""
    xs, ys, widths, low, high = quadratic_bins(t)
    at = bin_number(t, ys, "x")
    b, h1, w = taken(t, low, BINS, at), taken(t, high, BINS, at), taken(t, widths, BINS, at)
    a, c = t("mul", t("sub", h1, b), 0.5), t("sub", taken(t, ys, BINS + 1, at), lane(t))
    root = t("sqrt", t("sub", t("mul", b, b), t("mul", t("mul", a, 4), c)))
    share = t("div", t("add", t("neg", b), root), t("mul", a, 2))
    return t("add", t("mul", share, w), taken(t, xs, BINS + 1, at))


@pytest.fixture(scope="module", params=[False, True], ids=["widths", "differences"])
def policy(request, tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spline")
    (folder / "spline.nf").write_text(spline(request.param))
    tool(folder / "spline.nf", "-o", folder / "spline.so", "--event", "x", "--latent", "z")
    with nfcc.open(str(folder / "spline.so")) as opened:
        yield opened


def parameters(rng, n):
    """Rows of all kinds: mild, wild, equal bins, bins of the least size, slopes of 1e-3 and of 1e3."""
    scale = 10 ** rng.uniform(-2, 1.5, (n, 1))
    p = rng.standard_normal((n, LANES * PER_LANE)) * scale
    p[::7] = 0
    slopes = [lane * PER_LANE + 2 * BINS + k for lane in range(LANES) for k in range(BINS - 1)]
    steep = rng.random((n, len(slopes))) < 0.05
    p[:, slopes] = np.where(steep, rng.choice([-30.0, 30, 300, 1000], steep.shape), p[:, slopes])
    return p.astype(np.float32)


def places(rng, n):
    """Numbers on both sides of everything: inside, at the bounds and beside them, far outside, 0 and denormals."""
    edge = np.float32(BOUND)
    special = np.array([0, -0.0, 1e-45, -1e-45, 1e-38, edge, -edge, np.nextafter(edge, np.float32(9)),
                        np.nextafter(-edge, np.float32(-9)),
                        np.nextafter(edge, np.float32(0)), np.nextafter(-edge, np.float32(0)), 10, -10, 1e4, -1e30,
                        3e38, -3e38],
                       np.float32)
    x = rng.uniform(-1.1 * BOUND, 1.1 * BOUND, (n, LANES)).astype(np.float32)
    return np.where(rng.random(x.shape) < 0.2, rng.choice(special, x.shape), x)


def knots64(p):
    """Knots, heights and slopes in double: [rows][lanes][BINS + 1]."""
    p = p.astype(np.float64).reshape(-1, LANES, PER_LANE)

    def positions(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        w = LEAST + (1 - LEAST * BINS) * e / e.sum(-1, keepdims=True)
        k = np.cumsum(w, -1) * 2 * BOUND - BOUND
        return np.concatenate([np.full(k.shape[:-1] + (1,), -BOUND), k[..., :-1], np.full(k.shape[:-1] + (1,), BOUND)],
                              -1)

    d = np.logaddexp(0, p[..., 2 * BINS:]) + SLOPE
    one = np.ones(d.shape[:-1] + (1,))
    return positions(p[..., :BINS]), positions(p[..., BINS:2 * BINS]), np.concatenate([one, d, one], -1)


def spline64(p, x):
    """z and dz/dx in double."""
    xs, ys, ds = knots64(p)
    x = x.astype(np.float64)
    k = np.clip((xs <= x[..., None]).sum(-1) - 1, 0, BINS - 1)[..., None]

    def at(v, i):
        return np.take_along_axis(v, i, -1)[..., 0]

    w, h = at(xs, k + 1) - at(xs, k), at(ys, k + 1) - at(ys, k)
    s, d0, d1 = h / w, at(ds, k), at(ds, k + 1)
    inside = np.abs(x) <= BOUND
    with np.errstate(all="ignore"):
        t = np.clip((x - at(xs, k)) / w, 0, 1)
        below = s + (d0 + d1 - 2 * s) * t * (1 - t)
        z = at(ys, k) + h * (s * t**2 + d0 * t * (1 - t)) / below
        slope = s**2 * (d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2) / below**2
    return np.where(inside, z, x), np.where(inside, slope, 1)


def distance(p, a, b):
    """Of two events, or of their latents, whichever is less (a flat spline spreads the rounding of a latent, a steep
    one that of an event), relative to their size."""
    apart = np.minimum(np.abs(a.astype(np.float64) - b), np.abs(spline64(p, a)[0] - spline64(p, b)[0]))
    return apart / np.maximum(1, np.abs(b.astype(np.float64)))


def batches(seed):
    for k in range(50 if LONG else 1):
        rng = np.random.default_rng([seed, k])
        n = 20000
        yield parameters(rng, n), places(rng, n), rng


def test_spline_round_trip(policy):
    worst = 0.0
    for p, x, rng in batches(1):
        z, log_det = policy.to_latent(x, p=p)
        back, back_log_det = policy.to_event(z, p=p)
        for value in (z, log_det, back, back_log_det):
            assert np.isfinite(value).all()
        outside = np.abs(x) > BOUND * 1.000001
        assert (z[outside] == x[outside]).all() and (back[outside] == x[outside]).all()
        worst = max(worst, distance(p, back, x).max())
    print("largest round-trip error", worst)
    assert worst < 4e-6


def test_spline_images(policy):
    """Any latent has an event, also at the knots' heights, and its image is that latent."""
    worst = 0.0
    for p, z, rng in batches(2):
        knot, heights, _ = knots64(p)
        pick = rng.integers(0, BINS + 1, (len(p), LANES, 1))
        exact = rng.random(z.shape) < 0.3
        z = np.where(exact, np.take_along_axis(heights, pick, -1)[..., 0].astype(np.float32), z)
        x, log_det = policy.to_event(z, p=p)
        assert np.isfinite(x).all() and np.isfinite(log_det).all()
        again, _ = policy.to_latent(x, p=p)
        error = np.abs(again.astype(np.float64) - z) / np.maximum(1, spline64(p, x)[1]) / np.maximum(1, np.abs(z))
        worst = max(worst, error.max(), distance(p, x, np.take_along_axis(knot, pick, -1)[..., 0])[exact].max())
    print("largest error of an image", worst)
    assert worst < 4e-6


def test_spline_log_det(policy):
    for p, x, rng in batches(3):
        _, log_det = policy.to_latent(x, p=p)
        xs, _, _ = knots64(p)
        clear = (np.abs(xs - x[..., None]).min(-1) > 1e-4).all(-1)
        error = np.abs(log_det - np.log(spline64(p, x)[1]).sum(-1))[clear]
        print("log_det error: median", np.median(error), "99.9 %", np.quantile(error, 0.999), "largest", error.max())
        assert np.median(error) < 1e-6 and np.quantile(error, 0.999) < 1e-3


# ---- other functions of one lane. Roles: bounded ones make x of z.


def lane(t):
    return t("move", "x")


def ramp(t):
    return t("add", lane(t), t("max", lane(t), t("move", "p")))


def bend(t):
    """2 x - p below p, x above: written with a select, falling in -x."""
    below = t("lt", t("neg", lane(t)), t("move", "p"), dtype="bool")
    return t("select", below, t("neg", lane(t)), t("add", t("mul", -3, lane(t)), t("mul", -2, t("move", "p"))))


def clamped_often(t):
    """2 x - p above p, where the comparison sees x through more clamps than are walked back."""
    h = lane(t)
    for k in range(14):
        h = t("min", h, 5 + k) if k % 2 else t("max", h, -5 - k)
    below = t("lt", h, t("move", "p"), dtype="bool")
    return t("select", below, lane(t), t("sub", t("mul", 2, lane(t)), t("move", "p")))


def factor_from_sums(t):
    """x + s tanh x, s a sum of 1 + e_0 + e_1 - sum of e: its sign shows where that sum is taken apart."""
    def total(v):
        return t("move", t("reduce_sum", t("move", v, to=(1, LANES)), to=1), at=[0] * LANES)

    e = t("exp", t("move", "p"))
    first, second = t("move", e, at=[0] * LANES), t("move", e, at=[1] * LANES)
    part = t("sub", t("add", 1, t("add", first, second)), total(e))
    return t("add", lane(t), t("mul", total(part), t("tanh", lane(t))))


def yeo_johnson(t):
    """((1 + x)^power - 1) / power for x >= 0, -((1 - x)^(2 - power) - 1) / (2 - power) below; power: 0.1..1.9 of p."""
    power = t("add", t("mul", t("sigmoid", t("move", "p")), 1.8), 0.1)

    def side(v, e):
        return t("div", t("sub", t("pow", t("add", t("max", v, 0), 1), e), 1), e)

    below = t("neg", side(t("neg", lane(t)), t("sub", 2, power)))
    return t("select", t("le", 0, lane(t), dtype="bool"), side(lane(t), power), below)


def yeo_johnson_of_2(t):
    """Its power 2: a square above 0, a logarithm below."""
    above, below = t("add", t("max", lane(t), 0), 1), t("add", t("max", t("neg", lane(t)), 0), 1)
    square = t("mul", t("sub", t("mul", above, above), 1), 0.5)
    return t("select", t("le", 0, lane(t), dtype="bool"), square, t("neg", t("log", below)))


def guarded_branch(t):
    """sinh between -1 and 1, lines outside; where these are taken, sinh gets a number that it can bear."""
    low, high = t("lt", lane(t), -1, dtype="bool"), t("lt", 1, lane(t), dtype="bool")
    held = t("select", t("or", low, high, dtype="bool"), t("constant [0]", to=1), lane(t))
    above = t("select", high, t("add", lane(t), math.sinh(1) - 1), t("sinh", held))
    return t("select", low, t("add", lane(t), 1 - math.sinh(1)), above)


def odd_power(t):
    """-+((1 + |x|)^e - 1) / e, with the sign of x"""
    power = t("add", t("mul", t("sigmoid", t("move", "p")), 1.8), 0.1)
    grown = t("sub", t("pow", t("add", 1, t("abs", lane(t))), power), 1)
    return t("div", t("select", t("lt", lane(t), 0, dtype="bool"), t("neg", grown), grown), power)


def through(t, x, weights, bias=None, inputs=1):
    """Each lane's `inputs` values through one product."""
    x = t("move", x, to=(LANES, inputs))
    return t("linear", x, weights, *([bias] if bias else []), to=(LANES, len(weights.split("],")[0].split(","))))


def monotone_net(t, last="[[1], [2], [0.5], [0.3]]"):
    """p + x / 10 + a net of positive weights, tanh and elu"""
    h = t("tanh", through(t, lane(t), "[[1, 0.5, 2, 0.1]]", "[0.1, -0.2, 0.3, 0]"), to=(LANES, 4))
    h = through(t, h, "[[0.5, 1, 0, 2], [1, 0, 1, 0], [0, 3, 1, 1], [0.2, 0.2, 0, 0]]", inputs=4)
    h = t("elu", h + " {alpha=1}", to=(LANES, 4))
    out = t("move", through(t, h, last, inputs=4))
    return t("add", t("mul", 0.1, lane(t)), t("add", out, t("move", "p")))


def integral(t, points="gauss", falls=False):
    """x sum_i w_i g(t_i x) of g = exp(tanh(t x + p)): its integral from 0 to x, by Gauss and Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    nodes, weights = ((nodes + 1) / 2).tolist(), (weights / 2).tolist()
    if points == "equal":
        weights = [1 / 12] * 12
    at = through(t, lane(t), "[" + numbers(nodes) + "]")
    p = t("move", t("move", "p", to=12 * LANES, at=each(12)), to=(LANES, 12))
    g = t("tanh", t("add", at, p, to=(LANES, 12)), to=(LANES, 12))
    g = g if falls else t("exp", g, to=(LANES, 12))
    total = t("move", through(t, g, numbers([[w] for w in weights]), inputs=12))
    return t("mul", lane(t), total)


def guarded_mixture(t):
    """A mean of sigmoids that are clipped, as PyTorch's SigmoidTransform clips."""
    def part(shift, steep):
        s = t("sigmoid", t("mul", t("sub", lane(t), shift), steep))
        return t("min", t("max", s, 1.1754944e-38), 1 - 2**-23)

    return t("add", t("mul", part(-0.5, 0.3), 0.25), t("mul", part(t("move", "p"), 0.4), 0.75))


def quintic(t):
    """x + a x^3 + x^5 / 9, a > 0"""
    square = t("mul", lane(t), lane(t))
    cube = t("mul", square, lane(t))
    fifth = t("mul", t("mul", cube, square), 1 / 9)
    return t("add", t("add", lane(t), t("mul", t("exp", t("move", "p")), cube)), fifth)


def leaky_tanh(t):
    """tanh between -1.5 and 1.5, lines outside, told by |x| and sign x (flowjax)"""
    slope = 1 - math.tanh(1.5) ** 2
    outside = t("add", t("mul", lane(t), slope), t("mul", t("sign", lane(t)), math.tanh(1.5) - 1.5 * slope))
    return t("select", t("le", 1.5, t("abs", lane(t)), dtype="bool"), outside, t("tanh", lane(t)))


def learned_slopes(t):
    """v exp(p sign v) of v = x - 0.1 (FrEIA's InvAutoAct)"""
    v = t("sub", lane(t), 0.1)
    return t("mul", v, t("exp", t("mul", t("sign", v), t("move", "p"))))


def jump(t):
    """Rises on both sides of 0, and is not onto."""
    h = t("tanh", lane(t))
    return t("add", lane(t), t("div", h, t("abs", h)))


def inverse_of_leaky_tanh(t):
    slope, end = 1 - math.tanh(1.5) ** 2, math.tanh(1.5)
    x = t("mul", lane(t), 0.1)
    inside = t("lt", t("abs", x), end, dtype="bool")
    outside = t("div", t("sub", x, t("mul", t("sign", x), end - 1.5 * slope)), slope)
    return t("select", inside, t("atanh", t("select", inside, x, t("constant [0]", to=1))), outside)


SOLVED = {
    "leaky_tanh": leaky_tanh,
    "inverse_of_leaky_tanh": inverse_of_leaky_tanh,
    "learned_slopes": learned_slopes,
    "square_with_sign": lambda t: t("add", lane(t), t("mul", t("mul", 0.5, lane(t)), t("abs", lane(t)))),
    "seventh": lambda t: t("add", lane(t), t("pow", t("mul", lane(t), 0.5), 7)),
    "monotone_net": monotone_net,
    "integral": integral,
    "guarded_mixture": guarded_mixture,
    "quintic": quintic,
    "elu": lambda t: t("add", t("elu", lane(t) + " {alpha=1}"), t("mul", lane(t), t("exp", t("move", "p")))),
    "yeo_johnson": yeo_johnson,
    "yeo_johnson_of_2": yeo_johnson_of_2,
    "power": lambda t: t("log", t("pow", t("exp", lane(t)), t("add", t("sigmoid", t("move", "p")), 0.5))),
    "odd_power": odd_power,
    "guarded_branch": guarded_branch,
    "factor_from_sums": factor_from_sums,
    "softsign": lambda t: t("div", lane(t), t("add", 1, t("abs", lane(t)))),
    "falling": lambda t: t("div", t("mul", lane(t), -2), t("add", 3, t("abs", lane(t)))),
    "atanh": lambda t: t("mul", 0.5, t("log", t("div", t("add", 1, lane(t)), t("sub", 1, lane(t))))),
    "asinh": lambda t: t("log", t("add", lane(t), t("sqrt", t("add", t("mul", lane(t), lane(t)), 1)))),
    "erf": lambda t: t("erf", t("div", lane(t), t("add", 1, t("abs", lane(t))))),
    "ramp": ramp,
    "bend": bend,
    "tanh": lambda t: t("add", lane(t), t("tanh", lane(t))),
    "sinh": lambda t: t("add", lane(t), t("sinh", lane(t))),
    "sigmoid": lambda t: t("add", t("mul", 0.2, lane(t)), t("mul", t("exp", t("move", "p")), t("sigmoid", lane(t)))),
    "cubic": lambda t: t("add", lane(t), t("mul", t("mul", lane(t), lane(t)), lane(t))),
}
BOUNDED = {"softsign", "erf", "falling", "sigmoid", "guarded_mixture"}
REFUSED = {
    "square": (lambda t: t("mul", lane(t), lane(t)), "neither solved nor proved monotone"),
    "silu": (lambda t: t("mul", lane(t), t("sigmoid", lane(t))), "neither solved nor proved monotone"),
    "abs": (lambda t: t("abs", lane(t)), "rises in one branch and falls in another"),
    "clamp": (lambda t: t("max", lane(t), 0), "a clamp has no inverse"),
    "clamped_often": (clamped_often, "compares with something that is not known"),
    "jump": (jump, "neither solved nor proved monotone"),
    "falling_net": (lambda t: monotone_net(t, "[[1], [-2], [0.5], [0.3]]"), "neither proved to rise nor seen to be"),
    "no_quadrature": (lambda t: integral(t, "equal"), "neither proved to rise nor seen to be an integral"),
    "integral_of_signs": (lambda t: integral(t, falls=True), "neither proved to rise nor seen to be an integral"),
    "bounded_net": (lambda t: t("move", through(t, t("tanh", through(t, lane(t), "[[1, 2]]"), to=(LANES, 2)),
                                                "[[1], [2]]", inputs=2)), "not every latent has an event"),
}


def written(folder, body, parameters=LANES):
    t = Text(("x", LANES), ("p", parameters))
    (folder / "f.nf").write_text(t.module(t("move", body(t), to=(1, LANES))))
    return folder / "f.nf"


@pytest.mark.parametrize("name", SOLVED)
def test_solved(name, tool, tmp_path):
    roles = ("--event", "z", "--latent", "x") if name in BOUNDED else ("--event", "x", "--latent", "z")
    tool(written(tmp_path, SOLVED[name]), "-o", tmp_path / "f.so", *roles)
    rng = np.random.default_rng(5)
    x = np.float32(2) * rng.standard_normal((5000, LANES)).astype(np.float32)
    x[:3] = [[0, -0.0], [1e-30, 1e-45], [4, -4]]
    x = np.tanh(x) * np.float32(0.999) if name == "atanh" else x
    p = rng.standard_normal(x.shape).astype(np.float32)
    with nfcc.open(str(tmp_path / "f.so")) as policy:
        there, back = (policy.to_event, policy.to_latent) if name in BOUNDED else (policy.to_latent, policy.to_event)
        z, log_det = there(x, p=p)
        again, inverse_log_det = back(z, p=p)
        score = policy.score(z if name in BOUNDED else x, p=p)
    assert all(np.isfinite(v).all() for v in (z, log_det, again, inverse_log_det, score))
    slope = np.exp(-np.abs(log_det)).min()  # the rounding of z, seen through the inverse
    assert np.abs(again - x).max() < 2e-6 / slope and np.abs(log_det + inverse_log_det).max() < 1e-4


def cdf(t):
    return t("mul", 0.5, t("add", 1, t("erf", t("div", lane(t), math.sqrt(2)))))


@pytest.mark.parametrize("sampler", [False, True], ids=["density", "sampler"])
@pytest.mark.parametrize("name", ["erf", "cdf"])
def test_error_function_where_it_is_flat(name, sampler, tool, tmp_path):
    """erf and the normal's distribution function, whose image is rounded, against double: inverse, log_det and
    score."""
    body = cdf if name == "cdf" else lambda t: t("erf", lane(t))
    roles = ("--event", "z", "--latent", "x") if sampler else ("--event", "x", "--latent", "z", "--base", "uniform")
    tool(written(tmp_path, body), "-o", tmp_path / "f.so", *roles)
    end = 2.0 ** -np.arange(2, 24)
    y = np.concatenate([np.linspace(-0.999, 0.999, 998), 1 - end, end - 1, [0]])
    z = np.resize((1 + y) / 2 if name == "cdf" else y, (len(y) // LANES + 1, LANES)).astype(np.float32)
    p = np.zeros_like(z)
    with nfcc.open(str(tmp_path / "f.so")) as policy:
        there, back = (policy.to_event, policy.to_latent) if sampler else (policy.to_latent, policy.to_event)
        x, log_det = back(z, p=p)
        again, there_log_det = there(x, p=p)
        score = policy.score(z, p=p) if sampler else None
    scale = 1 if name == "cdf" else math.sqrt(0.5)
    share = z.astype(np.float64) if name == "cdf" else (1 + z.astype(np.float64)) / 2
    quantile = np.vectorize(NormalDist().inv_cdf)(share)
    want = scale * quantile
    log_slope = (math.log(2 * math.sqrt(2)) if name == "erf" else 0) - math.log(2 * math.pi) / 2 - quantile**2 / 2
    # by 2 z - 1, which the distribution function is solved to
    lost = 2**-24 / np.exp(log_slope) if name == "cdf" else 0
    allowed = 4e-7 * np.abs(want) + 1e-30 + lost
    assert (np.abs(x - want) < allowed).all() and np.abs(again - z).max() < 3e-7
    for value, sign in (log_det, -1), (there_log_det, 1):
        assert (np.abs(value - sign * log_slope.sum(-1)) < (3e-6 + 2 * np.abs(want / scale**2) * allowed).sum(-1)).all()
    if sampler:
        want_score = want * (1 / scale**2 - 1) / np.exp(log_slope)
        assert (np.abs(score - want_score) < (8e-7 + 4 * allowed) * (1 + quantile**2) / np.exp(log_slope)).all()


def test_inverse_of_the_error_function(tool, tmp_path):
    """A uniform event made normal: sqrt 2 erfinv(2 x - 1)."""
    def probit(t):
        return t("mul", t("erfinv", t("sub", t("mul", 2, lane(t)), 1)), math.sqrt(2))

    tool(written(tmp_path, probit), "-o", tmp_path / "f.so", "--event", "x", "--latent", "z")
    z = np.random.default_rng(10).standard_normal((2000, LANES)).astype(np.float32)
    p = np.zeros_like(z)
    with nfcc.open(str(tmp_path / "f.so")) as policy:
        x, log_det = policy.to_event(z, p=p)
        back, back_log_det = policy.to_latent(x, p=p)
    wide = z.astype(np.float64)
    log_slope = -(wide**2) / 2 - math.log(2 * math.pi) / 2
    lost = 2**-22 / np.exp(log_slope)  # by the rounding of x
    assert np.abs(x - np.vectorize(NormalDist().cdf)(wide)).max() < 2e-7 and (np.abs(back - z) < lost).all()
    assert np.abs(log_det - log_slope.sum(-1)).max() < 3e-6 * LANES
    assert (np.abs(back_log_det + log_slope.sum(-1)) < (3e-6 + 2 * np.abs(wide) * lost).sum(-1)).all()


def test_bound_of_a_root(tool):
    said = tool("check", os.path.join(tool.models, "root.nf"), "--event", "x", "--latent", "z", "--explain").stdout
    assert "root in -2^32..2^32: 127 values of the function and 3 Newton steps" in said


def test_a_root_at_the_edges_of_its_grid(tool, tmp_path):
    """x + tanh x where brackets meet: 0, +-2^k and their neighbours, up to the last."""
    tool(written(tmp_path, SOLVED["tanh"]), "-o", tmp_path / "f.so", "--event", "x", "--latent", "z")
    edges = np.float32(2) ** np.arange(0, 32)
    edges = np.concatenate([edges, np.nextafter(edges, np.float32(0)), np.nextafter(edges, np.float32(np.inf)), [0]])
    edges = np.concatenate([edges, -edges]).astype(np.float32)
    z = np.resize(edges, (-(-len(edges) // LANES), LANES)).astype(np.float32)
    p = np.zeros_like(z)
    with nfcc.open(str(tmp_path / "f.so")) as policy:
        x, log_det = policy.to_event(z, p=p)
    assert np.isfinite(x).all() and np.isfinite(log_det).all()
    back = x.astype(np.float64) + np.tanh(x.astype(np.float64))
    assert (np.abs(back - z) / (1 + np.abs(z))).max() < 1e-6


@pytest.mark.parametrize("difference", [False, True])
def test_no_tails(difference, tool, tmp_path):
    """A spline of an interval: nothing but its bins tells that it rises."""
    (tmp_path / "f.nf").write_text(spline(difference, tails=False))
    inside = np.random.default_rng(7)
    p = parameters(inside, 20000)
    x = inside.uniform(-BOUND, BOUND, (len(p), LANES)).astype(np.float32)
    tool(tmp_path / "f.nf", "-o", tmp_path / "f.so", "--event", "z", "--latent", "x")
    with nfcc.open(str(tmp_path / "f.so")) as policy:
        z, log_det = policy.to_event(x, p=p)
        back, back_log_det = policy.to_latent(z, p=p)
    assert all(np.isfinite(v).all() for v in (z, log_det, back, back_log_det))
    assert distance(p, back, x).max() < 4e-6


def test_quadratic_spline(tool, tmp_path):
    tool(written(tmp_path, quadratic, LANES * PER_LANE), "-o", tmp_path / "f.so", "--event", "x", "--latent", "z")
    rng = np.random.default_rng(6)
    x = places(rng, 20000)
    p = (rng.standard_normal((len(x), LANES * PER_LANE)) * rng.uniform(0.1, 3, (len(x), 1))).astype(np.float32)
    with nfcc.open(str(tmp_path / "f.so")) as policy:
        z, log_det = policy.to_latent(x, p=p)
        again, inverse_log_det = policy.to_event(z, p=p)
        back, _ = policy.to_latent(again, p=p)
    assert all(np.isfinite(v).all() for v in (z, log_det, again, inverse_log_det))
    apart = np.minimum(np.abs(again - x), np.abs(back - z)) / np.maximum(1, np.abs(x))
    print("largest round-trip error", apart.max())
    assert apart.max() < 1e-5


@pytest.mark.parametrize("tails", [False, True], ids=["interval", "tails"])
@pytest.mark.parametrize("body", [linear, cubic, halved, halved_by_masks])
def test_splines_without_positions(body, tails, tool, tmp_path):
    """Bins that are rounded down to, and clamps above them; a root between the knots."""
    def whole(t):
        y = body(t)
        return with_tails(t, t("move", "x"), y) if tails else y

    roles = ("--event", "x", "--latent", "z") if tails else ("--event", "z", "--latent", "x")
    tool(written(tmp_path, whole, LANES * PER_LANE), "-o", tmp_path / "f.so", *roles)
    rng = np.random.default_rng(8)
    x = places(rng, 20000) if tails else rng.uniform(-BOUND, BOUND, (20000, LANES)).astype(np.float32)
    p = (rng.standard_normal((len(x), LANES * PER_LANE)) * rng.uniform(0.1, 2, (len(x), 1))).astype(np.float32)
    with nfcc.open(str(tmp_path / "f.so")) as policy:
        there, back = (policy.to_latent, policy.to_event) if tails else (policy.to_event, policy.to_latent)
        z, log_det = there(x, p=p)
        again, inverse_log_det = back(z, p=p)
        image, _ = there(again, p=p)
    assert all(np.isfinite(v).all() for v in (z, log_det, again, inverse_log_det))
    apart = np.minimum(np.abs(again - x), np.abs(image - z)) / np.maximum(1, np.abs(x))
    print("largest round-trip error", apart.max())
    assert apart.max() < 5e-6


def test_a_cubic_that_falls_between_its_knots_is_refused(tool, tmp_path):
    def steep(t):
        return with_tails(t, t("move", "x"), cubic(t, most=16))

    roles = ("--event", "x", "--latent", "z")
    done = tool(written(tmp_path, steep, LANES * PER_LANE), "-o", tmp_path / "f.so", *roles, code=1)
    assert "several events have one latent" in done.stderr


def test_root_of_a_nearly_linear_quadratic(tool, tmp_path):
    """The formula's steps one by one back divide rounding by the leading coefficient; the polynomial does not."""
    roles = ("--event", "z", "--latent", "x", "--max-error", "1")
    tool(written(tmp_path, quadratic_root, LANES * PER_LANE), "-o", tmp_path / "f.so", *roles)
    tool(written(tmp_path, quadratic, LANES * PER_LANE), "-o", tmp_path / "g.so", "--event", "x", "--latent", "z")
    rng = np.random.default_rng(9)
    p = rng.standard_normal((5000, LANES * PER_LANE))
    turns = np.where(np.arange(BINS + 1) % 2, 1, -1)  # no two heights are equal, where the formula is 0 / 0
    p[:, columns(BINS, BINS + 1)] = np.tile(turns, LANES) * 10 ** rng.uniform(-4, -1, (5000, 1))
    p = p.astype(np.float32)
    z = rng.uniform(-0.999 * BOUND, 0.999 * BOUND, (5000, LANES)).astype(np.float32)
    with nfcc.open(str(tmp_path / "f.so")) as root, nfcc.open(str(tmp_path / "g.so")) as polynomial:
        apart = np.abs(root.to_latent(z, p=p)[0] - polynomial.to_latent(z, p=p)[0]).max()
    print("largest error", apart)
    assert apart < 5e-6


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tool, tmp_path):
    body, reason = REFUSED[name]
    done = tool(written(tmp_path, body), "-o", tmp_path / "f.so", "--event", "x", "--latent", "z", code=1)
    assert reason in done.stderr


# A leaky relu as its author writes it: v times a number that is made of a test.
LEAKY = """module stage=imported
port in "x" f32[3] batch 0
port out "z" f32[3] batch 0
func @main(x: f32[1,3]) {
    below: bool[1,3] = lt x, 0
    c: f32[1,3] = add below, 0
    k: f32[1,3] = mul c, 0.75
    slope: f32[1,3] = sub 1, k
    z: f32[1,3] = mul x, slope
    return z
}
"""


@pytest.mark.parametrize("share", [0.75, -0.5, 1.5])
def test_factors_made_of_tests(tool, tmp_path, share):
    (tmp_path / "m.nf").write_text(LEAKY.replace("0.75", str(share)))
    roles = ("--event", "x", "--latent", "z")
    if share > 1:  # it rises on both sides of 0 no more
        done = tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", *roles, code=1)
        assert "rising or falling is not decided" in done.stderr
        return
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", *roles)
    x = np.random.default_rng(3).standard_normal((40, 3))
    slope = np.where(x < 0, 1 - share, 1)
    with nfcc.open(tmp_path / "p.so") as policy:
        back, log_det = policy.to_event((x * slope).astype(np.float32))
    np.testing.assert_allclose(back, x, rtol=1e-6)
    np.testing.assert_allclose(log_det, -np.log(slope).sum(-1), atol=1e-6)


def test_numbers_made_of_masks_and_integers(tool, tmp_path):
    """A constant added to a mask or an integer of the context was taken for the 0 of a cast, and left out."""
    (tmp_path / "m.nf").write_text("""module stage=normal
port in "x" f32[2] batch 0
port in "on" bool[2] batch 0
port in "count" i64[2] batch 0
port out "z" f32[2] batch 0
func @main(x: f32[1,2], on: bool[1,2], count: i64[1,2]) {
    m: f32[1,2] = add on, 0
    a: f32[1,2] = add m, 1
    n: f32[1,2] = add count, 0
    b: f32[1,2] = add n, 0.5
    y: f32[1,2] = mul x, a
    z: f32[1,2] = add y, b
    return z
}
""")
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")
    rng = np.random.default_rng(4)
    x, on, count = rng.standard_normal((20, 2)), rng.random((20, 2)) < 0.5, rng.integers(-3, 4, (20, 2))
    with nfcc.open(tmp_path / "p.so") as policy:
        z, log_det = policy.to_latent(x.astype(np.float32), on=on, count=count)
    np.testing.assert_allclose(z, x * (1 + on) + count + 0.5, atol=1e-5)
    np.testing.assert_allclose(log_det, np.log(1.0 + on).sum(1), atol=1e-6)


def test_quotients_of_integers(tool, tmp_path):
    """They are integers, in float32 and where an operand is a constant in some lanes, too: 1 / 2 was 0.5 there. Those
    of numbers made of integers are none."""
    (tmp_path / "m.nf").write_text("""module stage=normal
port in "x" f32[2] batch 0
port in "count" i64[2] batch 0
port out "z" f32[2] batch 0
func @main(x: f32[1,2], count: i64[1,2]) {
    six: i64[1] = constant [6]
    c: i64[1,2] = move six, count [0, 1]
    over: i64[1,2] = add c, i64 [30]
    under: i64[1,2] = add count, i64 [10]
    q: i64[1,2] = div over, under
    h: i64[1,2] = div count, i64 [2]
    s: i64[1,2] = add q, h
    n: f32[1,2] = add s, 0
    a: f32[1,2] = add count, 0
    b: f32[1,2] = add under, 0
    r: f32[1,2] = div a, b
    o: f32[1,2] = add n, r
    z: f32[1,2] = add x, o
    return z
}
""")
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")
    rng = np.random.default_rng(4)
    x, count = rng.standard_normal((20, 2)), rng.integers(-9, 4, (20, 2))
    with nfcc.open(tmp_path / "p.so") as policy:
        z, _ = policy.to_latent(x.astype(np.float32), count=count)
    over = np.stack([np.full(20, 36), count[:, 0] + 30], 1)
    whole = np.trunc(over / (count + 10)) + np.trunc(count / 2)
    np.testing.assert_allclose(z, x + whole + count / (count + 10), atol=1e-5)


@pytest.mark.parametrize("near,why", [(0.5, "differs from z by"), (1.5, "several events have one latent")])
def test_pieces_that_do_not_meet_are_refused(tool, tmp_path, near, why):
    """Below 1 x times 0.5: latents from 0.5 to 1 have no event. Times 1.5: those from 1 to 1.5 have two."""
    (tmp_path / "m.nf").write_text(LEAKY.replace("lt x, 0", "lt x, 1").replace("0.75", str(1 - near)))
    assert why in tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", "--event", "x", code=1).stderr


# A sum over parameters of functions of one lane, as a reduction: z = x + sum_k softplus(w_k) tanh(x - m_k), and the
# logit of a mixture of logistics.
SUMS = """module stage=imported
port in "x" f32[3] batch 0
port in "w" f32[12] batch 0
port in "m" f32[12] batch 0
port out "z" f32[3] batch 0
func @main(x: f32[1,3], w: f32[1,12], m: f32[1,12]) {
    v: f32[1,3,4] = move x [0*4, 1*4, 2*4]
    c: f32[1,3,4] = move m
    d: f32[1,3,4] = sub v, c
%s
    return z
}
"""
TANHS = """    p: f32[1,12] = softplus w
    t: f32[1,3,4] = tanh d
    q: f32[1,3,4] = move p
    y: f32[1,3,4] = mul q, t
    s: f32[1,3] = reduce_sum y
    z: f32[1,3] = add x, s"""
LOGISTICS = """    e: f32[1,12] = exp w
    g: f32[1,3,4] = move e
    n: f32[1,3] = reduce_sum g
    k: f32[1,3,4] = move n [0*4, 1*4, 2*4]
    q: f32[1,3,4] = div g, k
    t: f32[1,3,4] = sigmoid d
    y: f32[1,3,4] = mul q, t
    s: f32[1,3] = reduce_sum y
    l: f32[1,3] = log s
    o: f32[1,3] = sub 1, s
    r: f32[1,3] = log o
    z: f32[1,3] = sub l, r"""


SINES = """    p: f32[1,12] = sigmoid w
    t: f32[1,3,4] = sin d
    q: f32[1,3,4] = move p
    y: f32[1,3,4] = mul q, t
    s: f32[1,3] = reduce_sum y
    u: f32[1,3] = mul x, 4.5
    z: f32[1,3] = add u, s"""


LOG_LOGISTICS = """    n: f32[1,3,4] = neg d
    a: f32[1,3,4] = sigmoid d
    b: f32[1,3,4] = sigmoid n
    la: f32[1,3,4] = log a
    lb: f32[1,3,4] = log b
    q: f32[1,3,4] = move w
    below: f32[1,3,4] = add q, la
    above: f32[1,3,4] = add lb, q
    mb: f32[1,3] = reduce_max below
    ma: f32[1,3] = reduce_max above
    mb4: f32[1,3,4] = move mb [0*4, 1*4, 2*4]
    ma4: f32[1,3,4] = move ma [0*4, 1*4, 2*4]
    db: f32[1,3,4] = sub below, mb4
    da: f32[1,3,4] = sub above, ma4
    eb: f32[1,3,4] = exp db
    ea: f32[1,3,4] = exp da
    sb: f32[1,3] = reduce_sum eb
    sa: f32[1,3] = reduce_sum ea
    gb: f32[1,3] = log sb
    ga: f32[1,3] = log sa
    cdf: f32[1,3] = add gb, mb
    rest: f32[1,3] = add ma, ga
    z: f32[1,3] = sub cdf, rest"""


@pytest.mark.parametrize("body", [TANHS, LOGISTICS, SINES, LOG_LOGISTICS])
def test_sums_of_functions_of_one_lane(tool, tmp_path, body):
    (tmp_path / "m.nf").write_text(SUMS % body)
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")
    policy = nfcc.open(tmp_path / "p.so")
    rng = np.random.default_rng(5)
    x, w, m = (rng.standard_normal((40, n)) for n in (3, 12, 12))
    d = x[..., None] - m.reshape(-1, 3, 4)
    if body is TANHS:
        p = np.logaddexp(0, w).reshape(-1, 3, 4)
        z, slope = x + (p * np.tanh(d)).sum(-1), 1 + (p * (1 - np.tanh(d) ** 2)).sum(-1)
    elif body is SINES:  # slopes below 4 in all
        p = 1 / (1 + np.exp(-w)).reshape(-1, 3, 4)
        z, slope = 4.5 * x + (p * np.sin(d)).sum(-1), 4.5 + (p * np.cos(d)).sum(-1)
    else:
        p = np.exp(w).reshape(-1, 3, 4)
        p, t = p / p.sum(-1, keepdims=True), 1 / (1 + np.exp(-d))
        s = (p * t).sum(-1)
        z, slope = np.log(s) - np.log1p(-s), (p * t * (1 - t)).sum(-1) / (s * (1 - s))
    z, w, m = (a.astype(np.float32) for a in (z, w, m))
    back, log_det = policy.to_event(z, w=w, m=m)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(log_det, -np.log(slope).sum(-1), atol=1e-5)


@pytest.mark.parametrize("body", [LOGISTICS, LOG_LOGISTICS])
def test_sums_of_functions_of_such_sums(tool, tmp_path, body):
    """Two layers of mixtures, the second of which reads the first one's."""
    first = SUMS.split("{\n")[1].split("    return")[0] % body
    labels = "|".join(re.findall(r"(\w+):", first))
    second = re.sub(rf"\b({labels})\b", r"\1_2", first).replace("move x ", "move z ")
    (tmp_path / "m.nf").write_text(SUMS.replace("return z", "return z=z_2") % (body + "\n" + second))
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")
    x, w, m = (np.random.default_rng(5).standard_normal((40, n)) for n in (3, 12, 12))
    z, slopes = x, 0
    for _ in range(2):
        p, t = np.exp(w).reshape(-1, 3, 4), 1 / (1 + np.exp(-(z[..., None] - m.reshape(-1, 3, 4))))
        p /= p.sum(-1, keepdims=True)
        s = (p * t).sum(-1)
        z, slopes = np.log(s / (1 - s)), slopes + np.log((p * t * (1 - t)).sum(-1) / (s * (1 - s))).sum(-1)
    z, w, m = (a.astype(np.float32) for a in (z, w, m))
    with nfcc.open(tmp_path / "p.so") as policy:
        back, log_det = policy.to_event(z, w=w, m=m)
    np.testing.assert_allclose(back, x, atol=3e-5)
    np.testing.assert_allclose(log_det, -slopes, atol=3e-5)


# One of four maps of x[0] and x[1], by a number of the context; x[2] stays in all of them.
CHOSEN = """module stage=normal
port in "x" f32[3] batch 0
port in "w" f32[8] batch 0
port in "m" f32[8] batch 0
port in "i" f32[1] batch 0
port out "z" f32[3] batch 0
func @main(x: f32[1,3], w: f32[1,8], m: f32[1,8], i: f32[1,1]) {
    v: f32[1,8] = move x [0*4, 1*4]
    e: f32[1,8] = exp w
    s: f32[1,8] = mul v, e
    y: f32[1,8] = add s, m
    t: f32[1,3,4] = move y, x [0..7, 10*4]
    n: f32[1,3,1] = move i [0*3]
    c: f32[1,3,1] = take t, n
    z: f32[1,3] = move c
    return z
}
"""


def test_one_of_several_maps(tool, tmp_path):
    """What an index takes was no function of a lane: such policies had no way back."""
    (tmp_path / "m.nf").write_text(CHOSEN)
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")
    rng = np.random.default_rng(3)
    x, w, m = (rng.standard_normal((40, n)).astype(np.float32) for n in (3, 8, 8))
    i = rng.choice(np.float32([-7, -0.5, 0, 0.9, 1, 1.5, 2, 3, 3.5, 9]), (40, 1))
    k = np.clip(np.trunc(i), 0, 3).astype(int)
    factor, shift = (np.take_along_axis(a.reshape(40, 2, 4), k[:, None], 2)[..., 0] for a in (w, m))
    z = np.concatenate([x[:, :2] * np.exp(factor) + shift, x[:, 2:]], 1)
    with nfcc.open(tmp_path / "p.so") as policy:
        back, log_det = policy.to_event(z, w=w, m=m, i=i)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(log_det, -factor.sum(1), atol=1e-5)
