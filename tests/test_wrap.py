"""Angles: lanes that a flow wraps into an interval, mod(v, p), as circular splines and shifts of a circle do."""
import numpy as np
import pytest

import nfcc

PI = float(np.float32(np.pi))
LANES = 3

# Twice a shift and a map of the circle onto itself: y + 0.5 sin y. The shifts: a context, numbers. The base is uniform.
CIRCLE = f"""module stage=imported
port in "obs" f32[{LANES}] batch 0
port in "x" f32[{LANES}] batch 0
port out "log_prob" f32[] batch 0
func @main(obs: f32[1,{LANES}], x: f32[1,{LANES}]) {{{{
    a: f32[1,{LANES}] = add x, obs
{{first}}
    c: f32[1,{LANES}] = sin y
    d: f32[1,{LANES}] = mul c, 0.5
    e: f32[1,{LANES}] = add y, d
    f: f32[1,{LANES}] = cos y
    g: f32[1,{LANES}] = mul f, 0.5
    h: f32[1,{LANES}] = add g, 1
    i: f32[1,{LANES}] = log h
    s: f32[1,{LANES}] = add e, 1.25
{{second}}
    in: bool[1,{LANES}] = le {{low}}, v
    out: bool[1,{LANES}] = le v, {{high}}
    both: bool[1,{LANES}] = and in, out
    l: f32[1,{LANES}] = select both, {-np.log(2 * PI)}, -inf
    m: f32[1,{LANES}] = add l, i
    r: f32[1] = reduce_sum m
    return log_prob=r
}}}}
"""
CENTRED = f"""    {{0}}1: f32[1,{LANES}] = add {{1}}, {PI}
    {{0}}2: f32[1,{LANES}] = mod {{0}}1, {2 * PI}
    {{0}}: f32[1,{LANES}] = sub {{0}}2, {PI}"""
WRITTEN = f"""    {{0}}1: f32[1,{LANES}] = add {{1}}, {PI}
    {{0}}2: f32[1,{LANES}] = div {{0}}1, {2 * PI}
    {{0}}3: f32[1,{LANES}] = floor {{0}}2
    {{0}}4: f32[1,{LANES}] = mul {{0}}3, {2 * PI}
    {{0}}5: f32[1,{LANES}] = sub {{0}}1, {{0}}4
    {{0}}: f32[1,{LANES}] = sub {{0}}5, {PI}"""
NEAREST = f"""    {{0}}1: f32[1,{LANES}] = div {{1}}, {2 * PI}
    {{0}}2: f32[1,{LANES}] = round {{0}}1
    {{0}}3: f32[1,{LANES}] = mul {{0}}2, {2 * PI}
    {{0}}: f32[1,{LANES}] = sub {{1}}, {{0}}3"""
TURNS = f"""    {{0}}1: f32[1,{LANES}] = div {{1}}, {2 * PI}
    {{0}}2: f32[1,{LANES}] = add {{0}}1, 0.5
    {{0}}3: f32[1,{LANES}] = mod {{0}}2, 1
    {{0}}4: f32[1,{LANES}] = mul {{0}}3, {2 * PI}
    {{0}}: f32[1,{LANES}] = sub {{0}}4, {PI}"""
SHIFTED = f"""    {{0}}1: f32[1,{LANES}] = mul {{1}}, {1 / (2 * PI)}
    {{0}}2: f32[1,{LANES}] = add {{0}}1, 0.5
    {{0}}3: f32[1,{LANES}] = mod {{0}}2, 1
    {{0}}4: f32[1,{LANES}] = div {{0}}3, {1 / (2 * PI)}
    {{0}}: f32[1,{LANES}] = add {{0}}4, {-PI}"""
MOVED = f"""    {{0}}1: f32[1,{LANES}] = add {{1}}, {PI}
    {{0}}2: f32[{LANES}] = move {{0}}1 [2..0]
    {{0}}3: f32[{LANES}] = mod {{0}}2, {2 * PI}
    {{0}}4: f32[1,{LANES}] = move {{0}}3 [2..0]
    {{0}}: f32[1,{LANES}] = sub {{0}}4, {PI}"""
MIRRORED = f"""    {{0}}1: f32[1,{LANES}] = sub {2 * PI - 1}, {{1}}
    {{0}}2: f32[1,{LANES}] = mod {{0}}1, {2 * PI}
    {{0}}: f32[1,{LANES}] = sub {2 * PI - 1}, {{0}}2"""
NEGATED = f"""    {{0}}1: f32[1,{LANES}] = neg {{1}}
    {{0}}2: f32[1,{LANES}] = mod {{0}}1, {2 * PI}
    {{0}}3: f32[1,{LANES}] = neg {{0}}2
    {{0}}4: f32[1,{LANES}] = mul {{0}}3, 0.5
    {{0}}5: f32[1,{LANES}] = add {{0}}4, {PI - 0.5}
    {{0}}: f32[1,{LANES}] = mul {{0}}5, 2"""
FROM_ZERO = f"""    {{0}}: f32[1,{LANES}] = mod {{1}}, {2 * PI}"""
OPPOSITE = f"""    {{0}}1: f32[1,{LANES}] = mod {{1}}, {2 * PI}
    {{0}}: f32[1,{LANES}] = sub {{0}}1, {PI}"""
WRAPS = {"centred": (CENTRED, -PI), "written": (WRITTEN, -PI), "nearest": (NEAREST, -PI), "turns": (TURNS, -PI),
         "shifted": (SHIFTED, -PI), "moved": (MOVED, -PI), "from-zero": (FROM_ZERO, 0.0), "opposite": (OPPOSITE, -PI),
         "mirrored": (MIRRORED, -1.0), "negated": (NEGATED, -1.0)}


def circle(name):
    wrap, low = WRAPS[name]
    return CIRCLE.format(first=wrap.format("y", "a"), second=wrap.format("v", "s"), low=low, high=low + 2 * PI)


def exact(name, x, obs):
    """v of x, and its log_prob, in double."""
    low = WRAPS[name][1]
    start = 0 if name in ("opposite", "negated") else low

    def wrap(v):
        return np.mod(v - start, 2 * PI) + low

    y = wrap(x.astype(np.float64) + obs)
    return wrap(y + 0.5 * np.sin(y) + 1.25), (np.log1p(0.5 * np.cos(y)) - np.log(2 * PI)).sum(1)


@pytest.mark.parametrize("name", WRAPS)
def test_circle(tool, tmp_path, name):
    (tmp_path / "circle.nf").write_text(circle(name))
    done = tool(tmp_path / "circle.nf", "-o", tmp_path / "circle.so")
    assert "base: uniform" in done.stdout and "sample_and_log_prob" in done.stdout
    low, rng = WRAPS[name][1], np.random.default_rng(1)
    obs = rng.normal(0, 4, (400, LANES)).astype(np.float32)
    with nfcc.open(str(tmp_path / "circle.so")) as policy:
        x, log_prob = policy.sample_and_log_prob(obs=obs, noise=nfcc.Noise(seed=1))
        assert x.min() >= low - 1e-5 and x.max() <= low + 2 * PI + 1e-5 and np.ptp(x) > 6
        np.testing.assert_allclose(log_prob, exact(name, x, obs)[1], atol=2e-5)
        z, _ = policy.to_latent(x, obs=obs)
        np.testing.assert_allclose(z, (exact(name, x, obs)[0] - low) / (2 * PI), atol=2e-5)
        again, _ = policy.to_event(z, obs=obs)
        np.testing.assert_allclose(np.cos(again - x), 1, atol=1e-7)
        np.testing.assert_allclose(policy.log_prob(x + np.float32(2 * PI), obs=obs), log_prob, atol=1e-4)


def test_normal_base_is_refused(tool, tmp_path):
    """A normal latent lies outside of any circle, too."""
    (tmp_path / "line.nf").write_text(f"""module stage=imported
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
func @main(x: f32[1,2]) {{
    p: f32[1,2] = mod x, 1
    return z=p
}}
""")
    failed = tool(tmp_path / "line.nf", "-o", tmp_path / "line.so", code=1)
    assert "to_latent(to_event(z)) differs from z" in failed.stderr and "--base" in failed.stderr
    assert "to_event" in tool(tmp_path / "line.nf", "-o", tmp_path / "line.so", "--base", "uniform").stdout
