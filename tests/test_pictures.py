"""A product reads the windows of a picture where they lie, whatever their axes, strides, dilations and borders are."""
import itertools
import re

import numpy as np
import pytest

import nfcc

ROWS = 21


def windows(shape, kernel, before, after, strides, dilations, layout, groups):
    """Lanes that each place reads, [places, taps], of the picture [channels, ...] (or [..., channels]); -1: border."""
    lanes = np.arange(np.prod(shape)).reshape(shape)
    if layout == "last":
        lanes = np.moveaxis(np.arange(np.prod(shape)).reshape(*shape[1:], shape[0]), -1, 0)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    out = [(n + b + a - r) // s + 1 for n, b, a, r, s in zip(shape[1:], before, after, reach, strides)]
    lanes = np.pad(lanes, [(0, 0), *zip(before, after)], constant_values=-1)[: shape[0] // groups]
    list_of = []
    for place in itertools.product(*map(range, out)):
        box = tuple(slice(p * s, p * s + r, d) for p, s, r, d in zip(place, strides, reach, dilations))
        list_of.append(lanes[(slice(None), *box)].ravel())
    return np.array(list_of)


def bordered(lanes, reads):
    """`reads` as lanes of the picture and of one number behind it, the border's."""
    return np.where(reads < 0, lanes, reads)


def text_of(lanes, reads, weights, sources="r, zero"):
    """A rectifier, the windows and their product, as .nf text. sources: what the windows' numbers are lanes of."""
    k, n = weights.shape
    return f"""module stage=imported
port in "x" f32[{lanes}] batch 0
port out "y" f32[{len(reads) * n}] batch 0
func @main(x: f32[1,{lanes}]) {{
    zero: f32[] = constant 0
    pair: f32[2] = constant [0, 1]
    r: f32[1,{lanes}] = leaky_relu x {{alpha=0}}
    minus: f32[1,{lanes}] = neg r
    p: f32[{len(reads)},{k}] = move {sources} [{', '.join(map(str, reads.ravel()))}]
    w: f32[{k},{n}] = constant [{', '.join(float(v).hex() for v in weights.ravel())}]
    c: f32[{len(reads)},{n}] = linear p, w
    y: f32[1,{len(reads) * n}] = move c
    return y
}}
"""


# picture, kernel, outputs, border before and behind, strides, dilations, groups; whether (in which layout) it is read
# in place
CASES = {
    "border": ((5, 9, 11), (3, 3), 7, (1, 1), (1, 1), (1, 1), (1, 1), 1, True),
    "strides": ((3, 16, 12), (5, 5), 20, (2, 2), (2, 2), (2, 2), (1, 1), 1, True),
    "one border": ((2, 10, 10), (3, 4), 16, (0, 2), (1, 0), (1, 2), (1, 1), 1, True),
    "dilations": ((4, 13, 12), (3, 3), 33, (2, 2), (2, 2), (1, 1), (2, 2), 1, True),
    "no border": ((4, 12, 14), (3, 3), 8, (0, 0), (0, 0), (1, 1), (1, 1), 1, True),
    "border before": ((3, 9, 10), (3, 3), 8, (2, 2), (0, 0), (1, 1), (1, 1), 1, True),
    "sixteens": ((16, 8, 8), (3, 3), 64, (1, 1), (1, 1), (1, 1), (1, 1), 1, True),
    "groups": ((6, 9, 9), (3, 3), 8, (1, 1), (1, 1), (1, 1), (1, 1), 2, True),
    "one axis": ((5, 40), (7,), 9, (3,), (3,), (1,), (1,), 1, True),
    "patches": ((3, 12, 12), (4, 4), 24, (0, 0), (0, 0), (4, 4), (1, 1), 1, False),  # each number is read once
    "three axes": ((2, 5, 6, 7), (3, 3, 3), 4, (1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1, "last"),
}


@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("name", CASES)
def test_windows(tool, tmp_path, name, layout):
    shape, kernel, n, before, after, strides, dilations, groups, in_place = CASES[name]
    reads = windows(shape, kernel, before, after, strides, dilations, layout, groups)
    if layout == "last":  # the channels innermost
        reads = reads.reshape(len(reads), shape[0] // groups, -1).swapaxes(1, 2).reshape(len(reads), -1)
    rng, lanes = np.random.default_rng(3), int(np.prod(shape))
    weights = (rng.standard_normal((reads.shape[1], n)) / np.sqrt(reads.shape[1])).astype(np.float32)
    (tmp_path / "picture.nf").write_text(text_of(lanes, bordered(lanes, reads), weights))
    plan = tool(tmp_path / "picture.nf", "--stop-after", "plan").stdout
    assert bool(re.search("gemm .*windows of", plan)) == (in_place in (True, layout))
    x = rng.standard_normal((ROWS, lanes)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    padded = np.concatenate([np.maximum(x, 0), np.zeros((ROWS, 1))], 1)
    want = padded[:, reads].astype(float) @ weights
    for options in ((), ("--weights", "f16"), ("--weights", "bf16", "--cpu", "native")):
        tool(tmp_path / "picture.nf", "-o", tmp_path / "p.so", "--no-verify", *options)
        tool("run", tmp_path / "p.so", "run", f"x={tmp_path / 'x.npy'}", "-o", tmp_path)
        got = np.load(tmp_path / "y.npy").reshape(want.shape)
        np.testing.assert_allclose(got, want, rtol=0, atol=3e-2 if "--weights" in options else 1e-5)


def numbers(array):
    return ", ".join(float(v).hex() if isinstance(v, np.floating) else str(v) for v in np.ravel(array))


def groups_text(places, reads, mixed, weights, layout, order=None, ones=()):
    """A product of places and channels, then one of every group's windows: weights [groups, channels of a group, taps,
    columns]. The picture between them and the results lie place after place (last, last), channel after channel (first,
    first), or as (last, first). order: which channels groups read; ones: groups whose border is 1."""
    channels, inputs, out = mixed.shape[1], len(mixed), len(reads)
    groups, each, count, columns = weights.shape
    body, zero, order = "", channels * places, np.arange(groups) if order is None else order
    for g, part in enumerate(weights):
        own = np.arange(order[g] * each, (order[g] + 1) * each)[:, None]
        lanes = reads[:, None] * channels + own if layout[0] == "last" else reads[:, None] + own * places
        lanes = np.where(reads[:, None] < 0, zero + (g in ones), lanes)
        body += f"""    x{g}: f32[{out},{each * count}] = move p, zero [{numbers(lanes)}]
    w{g}: f32[{each * count},{columns}] = constant [{numbers(part)}]
    y{g}: f32[{out},{columns}] = linear x{g}, w{g}
"""
    turned, every = np.arange(channels * places), np.arange(groups * columns * out).reshape(groups, out, columns)
    every = every.swapaxes(0, 1) if layout[1] == "last" else every.swapaxes(1, 2)
    if layout[0] == "first":
        turned = turned.reshape(places, channels).T
    return f"""module stage=imported
port in "x" f32[{places * inputs}] batch 0
port out "y" f32[{every.size}] batch 0
func @main(x: f32[1,{places * inputs}]) {{
    zero: f32[2] = constant [0, 1]
    v: f32[{places},{inputs}] = move x
    mixed: f32[{inputs},{channels}] = constant [{numbers(mixed)}]
    m: f32[{places},{channels}] = linear v, mixed
    r: f32[{channels * places}] = move m [{numbers(turned)}]
    p: f32[{channels * places}] = leaky_relu r {{alpha=0}}
{body}    all: f32[{every.size}] = move {', '.join(f'y{g}' for g in range(groups))} [{numbers(every)}]
    e: f32[{every.size}] = abs all
    y: f32[1,{every.size}] = move e
    return y
}}
"""


# picture, kernel, border before and behind, strides, dilations, channels, those of a group
GROUPS = {
    "border": ((9, 11), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1), 24, 1),
    "strides": ((10, 8), (5, 5), (2, 2), (2, 2), (2, 2), (1, 1), 16, 1),
    "dilations": ((9, 9), (3, 3), (2, 2), (2, 2), (1, 1), (2, 2), 5, 1),
    "one axis": ((40,), (7,), (6,), (0,), (1,), (1,), 33, 1),
    "many": ((6, 6), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1), 150, 1),
    "patches": ((8, 8), (2, 2), (0, 0), (0, 0), (2, 2), (1, 1), 12, 1),  # each number is read once: copied, in columns
    "one place": ((4, 4), (4, 4), (0, 0), (0, 0), (1, 1), (1, 1), 20, 1),
    "groups": ((7, 6), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1), 24, 4),
    "wide groups": ((6, 8), (3, 3), (1, 1), (1, 1), (2, 2), (1, 1), 96, 32),
    "groups of patches": ((6, 6), (2, 2), (0, 0), (0, 0), (2, 2), (1, 1), 16, 8),
}


@pytest.mark.parametrize("layout", [("first", "first"), ("last", "last"), ("last", "first")])
@pytest.mark.parametrize("name", GROUPS)
def test_groups(tool, tmp_path, name, layout):
    """Products of neighbouring inputs, depthwise and grouped convolutions, are one: vectors run along all columns."""
    shape, kernel, before, after, strides, dilations, channels, each = GROUPS[name]
    places, inputs, rng = int(np.prod(shape)), 3, np.random.default_rng(5)
    reads = windows((1, *shape), kernel, before, after, strides, dilations, "first", 1)
    mixed = rng.standard_normal((inputs, channels)).astype(np.float32)
    weights = rng.standard_normal((channels // each, each, reads.shape[1], each)).astype(np.float32)
    weights /= np.float32(np.sqrt(each * reads.shape[1]))
    (tmp_path / "picture.nf").write_text(groups_text(places, reads, mixed, weights, layout))
    plan = tool(tmp_path / "picture.nf", "--stop-after", "plan").stdout
    assert len(re.findall(f"gemm .*diagonal of {each},", plan)) == 1 and len(re.findall("gemm ", plan)) == 2
    x = rng.standard_normal((ROWS, places * inputs)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    picture = np.maximum(x.reshape(ROWS, places, inputs).astype(float) @ mixed, 0)
    padded = np.concatenate([picture, np.zeros((ROWS, 1, channels))], 1)
    read = padded[:, reads].reshape(ROWS, *reads.shape, channels // each, each)
    want = np.abs(np.einsum("rpkgc,gckn->rgnp", read, weights)).reshape(ROWS, channels, len(reads))
    for options in ((), ("--weights", "bf16", "--cpu", "native")):
        tool(tmp_path / "picture.nf", "-o", tmp_path / "p.so", "--no-verify", *options)
        tool("run", tmp_path / "p.so", "run", f"x={tmp_path / 'x.npy'}", "-o", tmp_path)
        got = np.load(tmp_path / "y.npy").reshape(ROWS, -1)
        got = got.reshape(ROWS, -1, channels).swapaxes(1, 2) if layout[1] == "last" else got.reshape(want.shape)
        np.testing.assert_allclose(got, want, rtol=0, atol=5e-2 if options else 2e-5)


# channels of a group; which of them groups read; those whose border is 1
ALMOST_GROUPS = {"three channels": (3, np.arange(8), ()), "another order": (1, np.array([0, 1, 3, 2, 4, 5]), ()),
                 "a border of one": (1, np.arange(6), (4,))}


@pytest.mark.parametrize("name", ALMOST_GROUPS)
def test_what_is_almost_groups(tool, tmp_path, name):
    each, order, ones = ALMOST_GROUPS[name]
    reads, rng = windows((1, 6, 7), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1), "first", 1), np.random.default_rng(5)
    mixed = rng.standard_normal((3, each * len(order))).astype(np.float32)
    weights = rng.standard_normal((len(order), each, 9, each)).astype(np.float32) / 4
    (tmp_path / "picture.nf").write_text(groups_text(42, reads, mixed, weights, ("last", "last"), order, ones))
    assert "diagonal of" not in tool(tmp_path / "picture.nf", "--stop-after", "plan").stdout
    tool(tmp_path / "picture.nf", "-o", tmp_path / "p.so", "--no-verify")
    x = rng.standard_normal((ROWS, 42 * 3)).astype(np.float32)
    picture = np.maximum(x.reshape(ROWS, 42, 3).astype(float) @ mixed, 0).reshape(ROWS, 42, -1, each)[:, :, order]
    padded = np.concatenate([picture, np.zeros((ROWS, 1, *picture.shape[2:]))], 1)
    padded[:, -1, list(ones)] = 1
    want = np.abs(np.einsum("rpkgc,gckn->rpgn", padded[:, reads], weights))
    with nfcc.open(str(tmp_path / "p.so")) as policy:
        np.testing.assert_allclose(policy.run(x=x)["y"].reshape(want.shape), want, atol=2e-5)


def holes(reads):
    """The first lane, as the first window alone reads it."""
    return (reads == 0) & (np.arange(len(reads)) == 0)[:, None]


# what the windows are of, and, from the lanes that a convolution reads (-1: its border), those that are read of that
ALMOST = {
    "a border of one": ("r, pair", True, lambda lanes, reads: np.where(reads < 0, lanes + 1, reads)),
    "columns left over": ("x, pair", True, lambda lanes, reads: reads[(reads % 8 < 6).all(1)]),  # nor borders
    "a hole": ("r, pair", False, lambda lanes, reads: np.where((reads < 0) | holes(reads), lanes, reads)),
    "two borders": ("r, pair", False, lambda lanes, reads: np.where(reads < 0, lanes + (np.arange(9) > 4), reads)),
    "two pictures": ("r, minus", False, lambda lanes, reads: np.where(reads < 0, lanes, reads + lanes * (reads == 9))),
}


@pytest.mark.parametrize("name", ALMOST)
def test_what_is_almost_windows(tool, tmp_path, name):
    sources, in_place, lanes_read = ALMOST[name]
    reads = lanes_read(64, windows((1, 8, 8), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1), "first", 1))
    rng = np.random.default_rng(5)
    weights = rng.standard_normal((9, 4)).astype(np.float32)
    text = text_of(64, reads, weights, sources).replace("f32[1,64]", "f32[1,8,8]").replace("f32[64]", "f32[8,8]")
    (tmp_path / "picture.nf").write_text(text)
    assert ("windows of" in tool(tmp_path / "picture.nf", "--stop-after", "plan").stdout) == in_place
    tool(tmp_path / "picture.nf", "-o", tmp_path / "p.so")
    x = rng.standard_normal((ROWS, 64)).astype(np.float32)
    r = x if sources[0] == "x" else np.maximum(x, 0)
    pair = np.tile([0, 1], (ROWS, 1))
    want = np.concatenate([r, pair if "pair" in sources else -r], 1)[:, reads].astype(float) @ weights
    with nfcc.open(str(tmp_path / "p.so")) as policy:
        np.testing.assert_allclose(policy.run(x=x.reshape(ROWS, 8, 8))["y"].reshape(want.shape), want, atol=1e-5)


def policy_text(shape, reads, weights, apart):
    """x scaled and shifted by what a convolution makes of the context; apart: as products of one output each."""
    lanes, (k, n), places, body = int(np.prod(shape)), weights.shape, len(reads), ""
    border = ", ".join(map(str, np.where(reads < 0, lanes, reads).ravel()))
    parts = np.hsplit(weights, n) if apart else [weights]
    for i, part in enumerate(parts):
        body += f"""    p{i}: f32[{places},{k}] = move obs, zero [{border}]
    w{i}: f32[{k},{part.shape[1]}] = constant [{', '.join(float(v).hex() for v in part.ravel())}]
    c{i}: f32[{places},{part.shape[1]}] = linear p{i}, w{i}
    r{i}: f32[{places},{part.shape[1]}] = leaky_relu c{i} {{alpha=0}}
"""
    every = ", ".join(f"r{i}" for i in range(len(parts)))
    return f"""module stage=imported
port in "x" f32[2] batch 0
port in "obs" f32[{lanes}] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,2], obs: f32[1,{lanes}]) {{
    zero: f32[] = constant 0
{body}    all: f32[2,{places * n // 2}] = move {every}
    sums: f32[2] = reduce_sum all
    scale: f32[] = constant 0.001
    s: f32[2] = mul sums, scale
    e: f32[2] = exp s
    x2: f32[2] = move x
    y: f32[2] = mul x2, e
    z: f32[1,2] = move y
    both: f32[1,2] = move s
    log_det: f32[1] = reduce_sum both
    return z, log_det
}}
"""


def test_the_encoder_decides(tool, tmp_path):
    """Whether AMX tiles pay is said by what a context goes through, too; not for products of one output each."""
    reads = windows((8, 24, 24), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1), "first", 1)
    weights = np.random.default_rng(4).standard_normal((reads.shape[1], 64)).astype(np.float32) / 9
    for apart in (False, True):
        path = tmp_path / f"policy{apart}.nf"
        path.write_text(policy_text((8, 24, 24), reads, weights, apart))
        tool(path, "-o", tmp_path / "p.so", "--weights", "bf16", "--cpu", "sapphirerapids", "--no-verify")
        assert ("AMX" in tool("info", tmp_path / "p.so").stdout.upper()) != apart
