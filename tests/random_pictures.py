#!/usr/bin/env python3
"""Generated policies that see pictures: tests/random_pictures.py [COUNT [FIRST_SEED]]

Each seed makes an encoder of random layers (convolutions of any stride, dilation, groups and border, pools, norms,
residual and dense blocks, squeeze-excite, other sizes, features that scale channels), a random end (flat in either
layout, means, a spatial softmax, attention over patches), one or two cameras, numbers beside them, and a flow of
several kinds behind them, or none, in either direction. Checked of each: the importer in double against ONNX Runtime,
where that is installed; the compile, with all of its own checks; the Plan's interpreter against compiled code, bit for
bit, for each CPU and type of weights. A failure prints the seed.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import conftest
import nfcc
import onnx_bytes
import test_same_bits as same

F32 = np.float32


class Graph:
    """Nodes, constants and ports under construction. A value is (name, shape without the batch)."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.large = self.chance(0.2)  # enough work that AMX tiles may pay
        self.nodes, self.held, self.inputs, self.outputs, self.recipe = [], [], [], [], []

    # ---- random choices
    def pick(self, *options):
        return options[self.rng.integers(len(options))]

    def chance(self, p):
        return self.rng.random() < p

    def some(self, low, high, n=2):
        return [int(v) for v in self.rng.integers(low, high + 1, n)]

    # ---- nodes
    def hold(self, array):
        self.held.append((f"c{len(self.held)}", np.asarray(array)))
        return self.held[-1][0]

    def ints(self, *values):
        return self.hold(np.array(values, np.int64))

    def gauss(self, *shape, scale=1.0, mean=0.0):
        return self.hold((mean + scale * self.rng.standard_normal(shape)).astype(F32))

    def op(self, op, inputs, shape, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(onnx_bytes.node(op, [i[0] if isinstance(i, tuple) else i for i in inputs], [name],
                                          **attributes))
        return name, tuple(int(d) for d in shape)

    def input(self, name, *shape):
        self.inputs.append((name, ["N", *shape]))
        return name, shape

    def output(self, name, value):
        self.nodes.append(onnx_bytes.node("Identity", [value[0]], [name]))
        self.outputs.append((name, ["N", *value[1]]))

    # ---- what the layers are made of
    def two(self, op, a, b):
        """Of equal shapes, or with a constant."""
        return self.op(op, [a, b], a[1])

    def one(self, op, a, **attributes):
        return self.op(op, [a], a[1], **attributes)

    def reshape(self, a, *shape):
        return self.op("Reshape", [a, self.ints(-1, *shape)], shape)

    def turn(self, a, *axes):
        """The axes behind the batch, from 1 on."""
        return self.op("Transpose", [a], [a[1][i - 1] for i in axes], perm=[0, *axes])

    def concat(self, values, axis=1):
        shape = list(values[0][1])
        shape[axis - 1] = sum(v[1][axis - 1] for v in values)
        return self.op("Concat", values, shape, axis=axis)

    def dense(self, a, n, scale=1.0):
        """Of the last axis."""
        k = a[1][-1]
        product = self.op("MatMul", [a, self.gauss(k, n, scale=scale / k**0.5)], [*a[1][:-1], n])
        return self.two("Add", product, self.gauss(n, scale=0.1))

    def columns(self, a, first, last):
        ends = [self.ints(v) for v in (first, last, len(a[1]))]
        return self.op("Slice", [a, *ends], [*a[1][:-1], last - first])

    def softmax(self, a):
        return self.one("Softmax", a, axis=-1)

    def activation(self, a):
        kind = self.pick("Relu", "Relu", "Elu", "Tanh", "LeakyRelu", "HardSwish", "Softplus", "Gelu",
                      "silu", "relu6", "prelu")
        if kind == "silu":
            return self.two("Mul", a, self.one("Sigmoid", a))
        if kind == "relu6":
            return self.op("Clip", [a, self.hold(F32(0)), self.hold(F32(6))], a[1])
        if kind == "prelu":
            ones = [1] * (len(a[1]) - 1)
            return self.two("PRelu", a, self.gauss(a[1][0], *ones, scale=0.1, mean=0.2))
        return self.one(kind, a)


# ---- layers of pictures: (channels, height, width) -> the same; None where this one does not fit

def sizes(g, a, kernel, before, after, strides, dilations, ceil):
    """The places along each axis."""
    out = []
    for n, k, b, e, s, d in zip(a[1][1:], kernel, before, after, strides, dilations):
        room = n + b + e - (k - 1) * d - 1
        places = (-(-room // s) if ceil else room // s) + 1
        if ceil and (places - 1) * s >= n + b:
            places -= 1  # the last window may not begin behind the picture
        out.append(places if room >= 0 else 0)
    return out


def conv(g, a, same=False, n=None):
    """same: the picture keeps its size."""
    channels = a[1][0]
    kernel, dilations = g.some(1, 4), g.pick([1, 1], [1, 1], g.some(1, 2))
    strides = [1, 1] if same else g.some(1, 3)
    reach = [(k - 1) * d for k, d in zip(kernel, dilations)]
    before = [r // 2 for r in reach] if same else [int(g.rng.integers(r + 1)) for r in reach]
    after = [r - b for r, b in zip(reach, before)] if same else [int(g.rng.integers(r + 1)) for r in reach]
    groups = g.pick(1, 1, 1, *[d for d in (2, 3, 4, channels) if channels % d == 0])
    filters = (1, 2, 3, 4, 6, 8, 16, *((32, 48, 64) * 2 if g.large else ()))
    n = n or groups * g.pick(*[m for m in filters if m == 1 or m * groups <= (96 if g.large else 36)])
    groups = groups if n % groups == 0 else 1
    places = sizes(g, a, kernel, before, after, strides, dilations, False)
    border = {"pads": [*before, *after]}
    if not same and g.chance(0.2) and dilations == [1, 1]:
        border = {"auto_pad": g.pick("SAME_UPPER", "SAME_LOWER", "VALID")}
        if border["auto_pad"] == "VALID":
            places = sizes(g, a, kernel, [0, 0], [0, 0], strides, dilations, False)
        else:
            places = [-(-size // s) for size, s in zip(a[1][1:], strides)]
    if min(places) < 1:
        return None
    taps = channels // groups * kernel[0] * kernel[1]
    operands = [a, g.gauss(n, channels // groups, *kernel, scale=1.4 / taps**0.5)]
    operands += [g.gauss(n, scale=0.1)] if g.chance(0.7) else []
    return g.op("Conv", operands, [n, *places], kernel_shape=kernel, strides=strides, dilations=dilations, group=groups,
                **border)


def conv_block(g, a):
    y = conv(g, a)
    return y and g.activation(norm(g, y) if g.chance(0.4) else y)


def pool(g, a):
    kind, kernel, strides, ceil = g.pick("MaxPool", "AveragePool"), g.some(1, 3), g.some(1, 3), int(g.chance(0.5))
    dilations = g.some(1, 2) if kind == "MaxPool" and g.chance(0.3) else [1, 1]
    before, after = ([int(g.rng.integers(k)) for k in kernel] for _ in range(2))
    places = sizes(g, a, kernel, before, after, strides, dilations, ceil)
    if min(places) < 1:
        return None
    more = {"dilations": dilations} if kind == "MaxPool" else {"count_include_pad": int(g.chance(0.5))}
    return g.op(kind, [a], [a[1][0], *places], kernel_shape=kernel, strides=strides, pads=[*before, *after],
                ceil_mode=ceil, **more)


def instance_norm(g, a):
    n = a[1][0]
    return g.op("InstanceNormalization", [a, g.gauss(n, scale=0.2, mean=1), g.gauss(n, scale=0.2)], a[1], epsilon=0.01)


def group_norm(g, a):
    """One operator, or as PyTorch's exporters write it."""
    n = a[1][0]
    groups = g.pick(*[d for d in (1, 2, 3, 4, 8, n) if n % d == 0])
    if g.chance(0.5):
        return g.op("GroupNormalization", [a, g.gauss(n, scale=0.2, mean=1), g.gauss(n, scale=0.2)], a[1],
                    num_groups=groups, epsilon=0.01)
    flat = g.reshape(a, groups, n // groups * a[1][1] * a[1][2])
    flat = g.op("InstanceNormalization", [flat, g.hold(np.ones(groups, F32)), g.hold(np.zeros(groups, F32))], flat[1],
                epsilon=0.01)
    y = g.reshape(flat, *a[1])
    return g.two("Add", g.two("Mul", y, g.gauss(n, 1, 1, scale=0.2, mean=1)), g.gauss(n, 1, 1, scale=0.2))


def batch_norm(g, a):
    n = a[1][0]
    variance = g.hold(g.rng.uniform(0.5, 2, n).astype(F32))
    return g.op("BatchNormalization", [a, g.gauss(n, scale=0.2, mean=1), g.gauss(n, scale=0.2), g.gauss(n, scale=0.2),
                                       variance], a[1])


def layer_norm(g, a):
    """Of the channels of each place (ConvNeXt)."""
    n = a[1][0]
    y = g.turn(a, 2, 3, 1)
    y = g.op("LayerNormalization", [y, g.gauss(n, scale=0.2, mean=1), g.gauss(n, scale=0.2)], y[1], axis=-1,
             epsilon=0.01)
    return g.turn(y, 3, 1, 2)


def norm(g, a):
    return g.pick(instance_norm, group_norm, batch_norm, layer_norm)(g, a)


def residual(g, a):
    y = norm(g, a) if g.chance(0.5) else a
    y = conv(g, g.activation(conv(g, y, same=True)), same=True, n=a[1][0])
    return g.activation(g.two("Add", y, a)) if g.chance(0.5) else g.two("Add", a, y)


def dense_block(g, a):
    y = g.activation(conv(g, a, same=True, n=g.pick(2, 4, 8)))
    return g.concat([a, y] if g.chance(0.5) else [y, a])


def squeeze(g, a):
    n = a[1][0]
    mean = g.reshape(g.op(g.pick("GlobalAveragePool", "GlobalMaxPool"), [a], [n, 1, 1]), n)
    scale = g.one("Sigmoid", g.dense(g.activation(g.dense(mean, 4)), n))
    return g.op("Mul", [a, g.reshape(scale, n, 1, 1)], a[1])


def larger(g, a):
    if a[1][1] * a[1][2] > 150:
        return None
    kind = g.pick("nearest", "linear", "transposed", "shuffle")
    twice = [a[1][0], 2 * a[1][1], 2 * a[1][2]]
    if kind == "transposed":
        n, k = g.pick(3, 8), g.pick(2, 3, 4)
        return g.op("ConvTranspose", [a, g.gauss(a[1][0], n, k, k, scale=1 / (2 * a[1][0]) ** 0.5)], [n, *twice[1:]],
                    kernel_shape=[k, k], strides=[2, 2], pads=[(k - 1) // 2] * 2 + [(k - 2) // 2] * 2)
    if kind == "shuffle":
        return g.op("DepthToSpace", [a], [a[1][0] // 4, *twice[1:]], blocksize=2) if a[1][0] % 4 == 0 else None
    mode = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"} if kind == "nearest" else {
        "coordinate_transformation_mode": g.pick("half_pixel", "align_corners")}
    return g.op("Resize", [a, "", g.hold(F32([1, 1, 2, 2]))], twice, mode=kind, **mode)


def folded(g, a):
    if a[1][1] % 2 or a[1][2] % 2 or a[1][0] > 12:
        return None
    return g.op("SpaceToDepth", [a], [4 * a[1][0], a[1][1] // 2, a[1][2] // 2], blocksize=2)


def padded(g, a):
    before, after = g.some(0, 2), g.some(0, 2)
    if min(a[1][1:]) < 4:
        return None
    grown = [n + b + e for n, b, e in zip(a[1][1:], before, after)]
    return g.op("Pad", [a, g.ints(0, 0, *before, 0, 0, *after)], [a[1][0], *grown],
                mode=g.pick("constant", "reflect", "edge"))


def scaled_by(g, a, features):
    """FiLM."""
    n = a[1][0]
    both = g.dense(features, 2 * n, 0.5)
    scale, shift = (g.reshape(g.columns(both, i * n, (i + 1) * n), n, 1, 1) for i in (0, 1))
    return g.op("Add", [g.op("Mul", [a, g.op("Add", [scale, g.hold(F32(1))], scale[1])], a[1]), shift], a[1])


LAYERS = (conv_block, conv_block, conv_block, conv_block, pool, pool, norm, residual, residual, dense_block, squeeze,
          larger, folded, padded, scaled_by)


# ---- ends: a picture -> features

def flat(g, a):
    a = a if g.chance(0.5) else g.turn(a, 2, 3, 1)
    n = int(np.prod(a[1]))
    return g.op("Flatten", [a], [n], axis=1) if g.chance(0.5) else g.reshape(a, n)


def means(g, a):
    if g.chance(0.3):
        return g.op("ReduceMean", [a, g.ints(2, 3)], [a[1][0]], keepdims=0)
    return flat(g, g.op(g.pick("GlobalAveragePool", "GlobalMaxPool"), [a], [a[1][0], 1, 1]))


def spatial_softmax(g, a):
    n, h, w = a[1]
    heat = g.softmax(g.reshape(a, n, h * w))
    ys, xs = np.meshgrid(np.linspace(-1, 1, h), np.linspace(-1, 1, w), indexing="ij")
    if g.chance(0.5):
        places = np.stack([xs.ravel(), ys.ravel()], 1).astype(F32)
        return g.reshape(g.op("MatMul", [heat, g.hold(places)], [n, 2]), 2 * n)
    ends = [g.op("ReduceSum", [g.two("Mul", heat, g.hold(axis.ravel().astype(F32))), g.ints(2)], [n], keepdims=0)
            for axis in (xs, ys)]
    return g.concat(ends)


def attention(g, a):
    """Over places, of one or two heads; the mean token, or the first."""
    n, h, w = a[1]
    tokens = g.dense(g.turn(g.reshape(a, n, h * w), 2, 1), 8)
    tokens = g.two("Add", tokens, g.gauss(h * w, 8, scale=0.2))
    heads = g.pick(1, 2)
    q, k, v = (g.turn(g.reshape(g.dense(tokens, 8), h * w, heads, 8 // heads), 2, 1, 3) for _ in range(3))
    scores = g.op("MatMul", [q, g.turn(k, 1, 3, 2)], [heads, h * w, h * w])
    weights = g.softmax(g.two("Mul", scores, g.hold(F32((8 // heads)**-0.5))))
    y = g.reshape(g.turn(g.op("MatMul", [weights, v], [heads, h * w, 8 // heads]), 2, 1, 3), h * w, 8)
    y = g.two("Add", tokens, g.dense(y, 8))
    if g.chance(0.5):
        return g.op("ReduceMean", [y, g.ints(1)], [8], keepdims=0)
    return g.op("Gather", [y, g.hold(np.int64(0))], [8], axis=1)


def camera(g, name, features):
    (h, w), channels = g.some(16, 28) if g.large else g.some(6, 20), g.pick(1, 3, 3, 4)
    if g.chance(0.3):
        a = g.turn(g.input(name, h, w, channels), 3, 1, 2)
    else:
        a = g.input(name, channels, h, w)
    if g.chance(0.4):  # a picture's mean and standard deviation
        mean, scale = g.gauss(channels, 1, 1, scale=0.3), g.gauss(channels, 1, 1, scale=0.05, mean=0.5)
        a = g.two("Div", g.two("Sub", a, mean), scale)
    for _ in range(g.pick(1, 2, 3, 4)):
        layer = g.pick(*LAYERS)
        if layer is scaled_by and not features:
            continue
        y = scaled_by(g, a, features) if layer is scaled_by else layer(g, a)
        if y and np.prod(y[1]) < (30000 if g.large else 6000):
            a = y
            g.recipe.append(f"{layer.__name__}{list(y[1])}")
    end = g.pick(flat, flat, means, spatial_softmax, attention)
    if end is attention and a[1][1] * a[1][2] > 64 or end is flat and np.prod(a[1]) > 3000:
        end = means
    g.recipe.append(end.__name__)
    return g.activation(g.dense(end(g, a), g.pick(6, 16, 24)))


# ---- flows: h, log_det -> the same

def net(g, x, features, n):
    x = g.concat([x, features])
    return g.dense(g.one(g.pick("Tanh", "Elu", "Relu"), g.dense(x, g.pick(8, 16))), n, 0.3)


def affine(g, x, features, log_det, additive=False):
    """The first lanes move the others."""
    d = x[1][0]
    keep = int(g.rng.integers(1, d))
    a, b = g.columns(x, 0, keep), g.columns(x, keep, d)
    both = net(g, a, features, 2 * (d - keep))
    shift = g.columns(both, d - keep, 2 * (d - keep))
    if additive:
        return g.concat([a, g.two("Add", b, shift)]), log_det
    s = g.one("Tanh", g.columns(both, 0, d - keep))
    return g.concat([a, g.two("Add", g.two("Mul", b, g.one("Exp", s)), shift)]), total(g, log_det, s)


def masked(g, x, features, log_det):
    d = x[1][0]
    mask = (np.arange(d) % 2).astype(F32)
    kept = g.two("Mul", x, g.hold(mask))
    both = net(g, kept, features, 2 * d)
    s, t = (g.two("Mul", v, g.hold(1 - mask)) for v in
            (g.one("Tanh", g.columns(both, 0, d)), g.columns(both, d, 2 * d)))
    return g.two("Add", g.two("Mul", x, g.one("Exp", s)), t), total(g, log_det, s)


def by_features(g, x, features, log_det):
    """A mean and a scale that the pictures give."""
    d = x[1][0]
    both = g.dense(features, 2 * d, 0.5)
    s = g.one("Tanh", g.columns(both, 0, d))
    return g.two("Mul", g.two("Sub", x, g.columns(both, d, 2 * d)), g.one("Exp", s)), total(g, log_det, s)


def mixing(g, x, features, log_det):
    d = x[1][0]
    w = (1.5 * np.eye(d) + 0.3 * g.rng.standard_normal((d, d)) / d).astype(F32)
    y = g.op("MatMul", [x, g.hold(w)], [d])
    constant = F32(np.linalg.slogdet(w.astype(float))[1])
    return y, (g.two("Add", log_det, g.hold(constant)) if log_det else None)


def total(g, log_det, s):
    more = g.op("ReduceSum", [s, g.ints(1)], [], keepdims=0)
    return g.op("Add", [log_det, more], []) if log_det else more


def additive(g, x, features, log_det):
    return affine(g, x, features, log_det, True)


def flow(g, features):
    d = g.pick(2, 3, 4, 6)
    density = g.chance(0.6)
    x = g.input("x" if density else "noise", d)
    h, log_det = by_features(g, x, features, None)
    for _ in range(g.pick(1, 2, 3)):
        step = g.pick(affine, affine, additive, masked, mixing, by_features)
        g.recipe.append(step.__name__)
        h, log_det = step(g, h, features, log_det)
    if density and g.chance(0.5):
        squares = g.op("ReduceSum", [g.two("Mul", h, h), g.ints(1)], [], keepdims=0)
        base = g.two("Sub", g.two("Mul", squares, g.hold(F32(-0.5))), g.hold(F32(0.5 * d * np.log(2 * np.pi))))
        g.output("log_prob", g.op("Add", [base, log_det], []))
    else:
        g.output("z" if density else "action", h)
        g.output("log_det", log_det)


def policy(seed):
    """(the file's bytes, its inputs [(name, shape)], what it consists of)"""
    g = Graph(seed)
    numbers = g.activation(g.dense(g.input("state", g.pick(1, 3, 7)), 6)) if g.chance(0.5) else None
    parts = [camera(g, f"camera{i}", numbers) for i in range(g.pick(1, 1, 2))]
    features = g.concat(parts + ([numbers] if numbers else []))
    if g.chance(0.75):
        flow(g, features)
    else:
        g.output("mean", g.dense(features, 3))
    data = onnx_bytes.model(g.nodes, g.inputs, g.outputs, g.held, opset=22)
    return data, [(name, dims[1:]) for name, dims in g.inputs], " ".join(g.recipe)


# ---- the whole compiler

def in_double(path, rows, outputs):
    """What the importer's nodes are in double."""
    with tempfile.TemporaryDirectory() as folder:
        for name, array in rows.items():
            array.astype(np.float64).tofile(os.path.join(folder, name))
        n = len(next(iter(rows.values())))
        files = [f"{name}={os.path.join(folder, name)}" for name in rows]
        subprocess.run([os.path.join(same.BUILD, "tests", "import_check"), path, "--rows", str(n), folder, *files],
                       check=True, capture_output=True, text=True)
        return [np.fromfile(os.path.join(folder, str(i))).reshape(n, -1) for i in range(outputs)]


def by_onnx_runtime(path, rows):
    """None where it is not installed."""
    try:
        import onnxruntime as ort
    except ImportError:
        return None
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, rows)


def check_import(path, inputs, seed):
    rng = np.random.default_rng(seed)
    rows = {name: rng.standard_normal((5, *shape)).astype(F32) for name, shape in inputs}
    want = by_onnx_runtime(path, rows) or []
    for got, reference in zip(in_double(path, rows, len(want)), want):
        reference = reference.reshape(got.shape)
        assert np.abs(got - reference).max() <= 1e-4 * (1 + np.abs(reference).max()), (got, reference)


# what a policy is compiled for (test_same_bits.py), with which weights
CODES = {"v3": ("f32", "f16", "bf16"), "v4": ("f32", "f16", "bf16"), "dispatch": ("f32",), "bf16": ("bf16",),
         "tiles": ("bf16",), "aarch64": ("f32", "f16", "bf16")}


def by_tiles(folder, path):
    """Whether the compiler takes AMX tiles for this policy."""
    policy = os.path.join(folder, "by_tiles.so")
    subprocess.run([conftest.NFCC, path, "-o", policy, "--no-verify", "--weights", "bf16", *same.CODES["tiles"]],
                   check=True, capture_output=True)
    return "AMX" in subprocess.run([conftest.NFCC, "info", policy], check=True, capture_output=True, text=True).stdout


def check_bits(folder, path, codes, rows=24, few=3):
    """The Plan's interpreter against compiled code, in calls of 1 to 11 rows and of all of them."""
    wanted = {}  # how the Plan rounds its weights: [(code, weights)]
    for code in filter(same.runs_here, codes):
        for weights in CODES[code]:
            rounded = "tiles" if code == "tiles" and by_tiles(folder, path) else weights
            wanted.setdefault(rounded, []).append((code, weights))
    for rounded, compiled in wanted.items():
        bits = same.made(folder, path, rows, 11, [] if rounded == "f32" else [rounded])
        for code, weights in compiled:
            n = few if code == "aarch64" else rows
            done = same.compare(folder, path, bits, code, n, ["--weights", weights])
            assert done.returncode == 0, f"{weights} {code}: {done.stderr}"


def by_batches(policy, inputs):
    """A row's numbers are the same bits in calls of other sizes."""
    rng = np.random.default_rng(3)
    rows = {name: rng.standard_normal((100, *shape)).astype(F32) for name, shape in inputs}
    whole = policy.run(rows)
    for n in (1, 3, 17, 64):
        part = policy.run({name: array[:n] for name, array in rows.items()})
        assert all(part[name].tobytes() == whole[name][:n].tobytes() for name in whole), f"{n} rows of 100"


def fault(folder, seed):
    """What is wrong with this seed's policy; '' if nothing is."""
    data, inputs, recipe = policy(seed)
    path, compiled = folder / f"{seed}.onnx", folder / f"{seed}.so"
    path.write_bytes(data)
    codes = list(CODES)
    try:
        check_import(path, inputs, seed)
        subprocess.run([conftest.NFCC, path, "-o", compiled], check=True, capture_output=True, text=True)
        by_batches(nfcc.open(str(compiled)), inputs)
        check_bits(folder, path, {codes[seed % len(codes)], codes[(seed + 1) % len(codes)]})
    except subprocess.CalledProcessError as error:
        return f"seed {seed}: {error}: {error.stderr} of {recipe}"
    except AssertionError as error:
        return f"seed {seed}: {error} of {recipe}"
    return ""


def main(count=100, first=1):
    bad = 0
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory() as folder:
            why = fault(pathlib.Path(folder), seed)
        bad += why != ""
        print(why or f"seed {seed}: right", flush=True)
    print(f"{count - bad} passed, {bad} failed")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
