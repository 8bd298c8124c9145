#!/usr/bin/env python3
"""Large flows, made here with random weights, and what compiling them costs.

    tests/large.py [maf] [tarflow] [glow] [deep] [wide] [--no-verify] [--keep FOLDER]

MAF of D = 784 with hidden layers of 1024, TarFlow (causal attention) of 256 tokens and 8 blocks, Glow of 3 x 64 x 64 in
three levels, RealNVP of 20,000 nodes (deep) and of 100 million weights (wide). Prints per model: seconds of each stage,
CPU seconds and peak MiB of the compile, bytes of code (and lists of steps) and of weights, and the steps of to_event
with its repeats. tests/test_large.py runs small ones of each kind.
"""
import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
NFCC = os.environ.get("NFCC", os.path.join(os.path.dirname(HERE), "build", "nfcc"))


class Graph:
    """An ONNX graph in the making: g("Add", a, b) is a node and gives its result's name."""

    def __init__(self, seed):
        self.nodes, self.constants, self.random = [], [], np.random.default_rng(seed)

    def __call__(self, op, *inputs, outputs=1, **attributes):
        names = [f"{op}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def const(self, value, dtype=np.float32):
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), f"constant_{len(self.constants)}"))
        return self.constants[-1].name

    def ints(self, *values):
        return self.const(values, np.int64)

    def normal(self, *shape, scale=1.0):
        return (scale * self.random.standard_normal(shape)).astype(np.float32)

    def slice(self, x, axis, start, end, step=1):
        return self("Slice", x, self.ints(start), self.ints(end), self.ints(axis), self.ints(step))

    def dense(self, x, inputs, outputs, scale=1.0):
        w, b = self.normal(inputs, outputs, scale=scale / inputs**0.5), self.normal(outputs, scale=0.1)
        return self("Add", self("MatMul", x, self.const(w)), self.const(b))

    def save(self, path, x_shape, z, z_shape, log_det):
        self.nodes += [helper.make_node("Identity", [z], ["z"]), helper.make_node("Identity", [log_det], ["log_det"])]
        value = lambda name, *shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
        graph = helper.make_graph(self.nodes, "flow", [value("x", *x_shape)],
                                  [value("z", *z_shape), value("log_det")], self.constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def maf(path, dims=784, hidden=1024, layers=2):
    """z = x exp(s) + t, s and t of a masked net (Germain et al. 2015): output i reads x[0 .. i-1]."""
    g, h, degree = Graph(5), "x", np.arange(1, dims + 1)
    for layer in range(layers + 1):
        last = layer == layers
        below = np.tile(np.arange(1, dims + 1), 2) if last else np.arange(hidden) % (dims - 1) + 1
        mask = degree[:, None] < below if last else degree[:, None] <= below
        w = g.normal(len(degree), len(below), scale=0.5 / len(degree)**0.5) * mask
        h = g("Gemm", h, g.const(w), g.const(g.normal(len(below), scale=0.1)))
        h, degree = h if last else g("Relu", h), below
    t, s = g("Split", h, g.ints(dims, dims), axis=1, outputs=2)
    z = g("Add", g("Mul", "x", g("Exp", s)), t)
    g.save(path, [dims], z, [dims], g("ReduceSum", s, g.ints(1), keepdims=0))


def tarflow_block(g, x, tokens, patch, width):
    """a, b of each token from the tokens before it: attention, then two dense layers."""
    norm = lambda v: g("LayerNormalization", v, g.const(1 + g.normal(width, scale=0.1)),
                       g.const(g.normal(width, scale=0.1)), axis=-1)
    h = g("Add", g.dense(x, patch, width), g.const(g.normal(tokens, width, scale=0.1)))
    n = norm(h)
    q, k, v = (g.dense(n, width, width) for _ in range(3))
    logits = g("Mul", g("MatMul", q, g("Transpose", k, perm=[0, 2, 1])), g.const(width**-0.5))
    shares = g("Softmax", g("Add", logits, g.const(np.where(np.tri(tokens, dtype=bool), 0, -np.inf))), axis=-1)
    h = g("Add", h, g.dense(g("MatMul", shares, v), width, width))
    u = g.dense(norm(h), width, 4 * width)
    u = g("Mul", g("Mul", u, g.const(0.5)), g("Add", g("Erf", g("Mul", u, g.const(0.5**0.5))), g.const(1.0)))
    h = g("Add", h, g.dense(u, 4 * width, width))
    out = g.slice(g.dense(h, width, 2 * patch, 0.05), 1, 0, tokens - 1)
    return g("Split", g("Pad", out, g.ints(0, 1, 0, 0, 0, 0)), g.ints(patch, patch), axis=2, outputs=2)


def tarflow(path, tokens=256, blocks=8, patch=12, width=64):
    """z = (x - b) exp(-a) per token, the tokens in the other order in every second block (Zhai et al. 2024)."""
    g, x, log_det = Graph(5), "x", None
    for block in range(blocks):
        x = g.slice(x, 1, -1, -2**31, -1) if block else x
        a, b = tarflow_block(g, x, tokens, patch, width)
        x = g("Mul", g("Sub", x, b), g("Exp", g("Neg", a)))
        term = g("Neg", g("ReduceSum", a, g.ints(1, 2), keepdims=0))
        log_det = g("Add", log_det, term) if log_det else term
    g.save(path, [tokens, patch], x, [tokens, patch], log_det)


def glow_step(g, x, channels, size, width):
    """ActNorm, a 1x1 convolution and a coupling (Kingma and Dhariwal 2018); the constant part of log_det
    comes along."""
    scale = g.normal(1, channels, 1, 1, scale=0.1)
    w = np.linalg.qr(g.random.standard_normal((channels, channels)))[0] * np.exp(g.normal(channels, scale=0.1))
    w = w.astype(np.float32)
    constant = size * size * (scale.sum(dtype=float) + np.linalg.slogdet(w.astype(float))[1])
    x = g("Mul", g("Add", x, g.const(g.normal(1, channels, 1, 1, scale=0.1))), g.const(np.exp(scale)))
    x = g("Conv", x, g.const(w.reshape(channels, channels, 1, 1)))
    half = channels // 2
    kept, moved = g("Split", x, g.ints(half, half), axis=1, outputs=2)
    conv = lambda v, i, o, n, f: g("Conv", v, g.const(g.normal(o, i, n, n, scale=f / (i * n * n)**0.5)),
                                   g.const(g.normal(o, scale=0.05)), pads=[n // 2] * 4)
    h = g("Relu", conv(g("Relu", conv(kept, half, width, 3, 1)), width, width, 1, 1))
    t, s = g("Split", conv(h, width, channels, 3, 0.3), g.ints(half, half), axis=1, outputs=2)
    s = g("Sigmoid", g("Add", s, g.const(2.0)))
    moved = g("Mul", g("Add", moved, t), s)
    return g("Concat", kept, moved, axis=1), g("ReduceSum", g("Log", s), g.ints(1, 2, 3), keepdims=0), constant


def glow(path, size=64, levels=3, steps=4, width=64):
    """Levels of squeeze and steps; half of the channels leave after each."""
    g, x, channels, terms, constant, parts, shape = Graph(5), "x", 3, [], 0.0, [], [3, size, size]
    for level in range(levels):
        size //= 2
        x = g("Transpose", g("Reshape", x, g.ints(0, channels, size, 2, size, 2)), perm=[0, 1, 3, 5, 2, 4])
        channels *= 4
        x = g("Reshape", x, g.ints(0, channels, size, size))
        for _ in range(steps):
            x, term, more = glow_step(g, x, channels, size, width)
            terms.append(term)
            constant += more
        if level + 1 < levels:
            channels //= 2
            x, left = g("Split", x, g.ints(channels, channels), axis=1, outputs=2)
            parts.append(g("Reshape", left, g.ints(0, -1)))
    z = g("Concat", *parts, g("Reshape", x, g.ints(0, -1)), axis=1)
    g.save(path, shape, z, [int(np.prod(shape))], g("Add", g("Sum", *terms), g.const(constant)))


def coupling(g, x, dims, hidden, layers, strength):
    """One half scaled and moved by a net of the other; the halves change places. A weak one of many keeps the
    flow tame."""
    kept, moved = g("Split", x, g.ints(dims // 2, dims // 2), axis=1, outputs=2)
    h = kept
    for layer in range(layers):
        h = g("Relu", g.dense(h, hidden if layer else dims // 2, hidden))
    h = g("Mul", g.dense(h, hidden, dims), g.const(strength))
    s, t = g("Split", h, g.ints(dims // 2, dims // 2), axis=1, outputs=2)
    s = g("Tanh", s)
    return g("Concat", g("Add", g("Mul", moved, g("Exp", s)), t), kept, axis=1), \
        g("ReduceSum", s, g.ints(1), keepdims=0)


def realnvp(path, dims, blocks, hidden, layers):
    g, x, log_det = Graph(5), "x", None
    for _ in range(blocks):
        x, term = coupling(g, x, dims, hidden, layers, 0.5 / blocks)
        log_det = g("Add", log_det, term) if log_det else term
    g.save(path, [dims], x, [dims], log_det)


def deep(path, blocks=1180):
    """17 nodes a block."""
    realnvp(path, 8, blocks, 8, 2)


def wide(path, hidden=4096, blocks=3):
    """Two matrices of hidden x hidden a block."""
    realnvp(path, 32, blocks, hidden, 3)


def terms(path, count):
    """No flow: one cluster of 3 elementwise nodes a term."""
    g, total = Graph(5), "x"
    for _ in range(count):
        total = g("Add", total, g("Mul", g("Sigmoid", "x"), g.const(g.normal(4))))
    g.save(path, [4], total, [4], g("ReduceSum", total, g.ints(1), keepdims=0))


def slopes(path, count):
    """No flow: dense layers, a leaky relu behind each whose slope no other has."""
    g, h = Graph(5), "x"
    for i in range(count):
        h = g("LeakyRelu", g.dense(h, 8, 8), alpha=0.1 + 0.5 * i / count)
    g.save(path, [8], h, [8], g("ReduceSum", h, g.ints(1), keepdims=0))


Measured = collections.namedtuple("Measured", "stdout stderr seconds peak")  # of CPU; bytes


def measured(*command):
    """Runs a command. A small process starts it: a new process counts its parent's memory as its own peak."""
    start = ("import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
             "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
             "print(used.ru_utime, used.ru_maxrss * 1024); sys.exit(code)")
    done = subprocess.run([sys.executable, "-c", start, *command], capture_output=True, text=True, check=True)
    *lines, used = done.stdout.splitlines()
    seconds, peak = used.split()
    return Measured("\n".join(lines), done.stderr, float(seconds), int(peak))


MODELS = {"maf": maf, "tarflow": tarflow, "glow": glow, "deep": deep, "wide": wide}


def steps_of(path, program="to_event"):
    """Steps in the list of a program, and in all rounds of its repeats."""
    text = subprocess.run([NFCC, path, "--no-verify", "--stop-after", "plan"], capture_output=True, text=True,
                          check=True).stdout
    part = re.search(rf"^program {program}: (\d+) steps.*?(?=^program|\Z)", text, re.M | re.S)
    repeats = [tuple(map(int, r)) for r in re.findall(r": repeat .* (\d+) times the next (\d+) steps", part[0])]
    listed = int(part[1])
    return listed, listed + sum((count - 1) * length - 1 for count, length in repeats), repeats


def show(name, folder, verify):
    path, so = os.path.join(folder, name + ".onnx"), os.path.join(folder, name + ".so")
    MODELS[name](path)
    done = measured(NFCC, path, "-o", so, "--time", *([] if verify else ["--no-verify"]))
    print(f"{name}\n{done.stderr.rstrip()}")
    sections = subprocess.run(["size", "-A", so], capture_output=True, text=True, check=True).stdout
    code = int(re.search(r"^\.text\s+(\d+)", sections, re.M)[1])
    listed, done_steps, repeats = steps_of(path)
    weights = re.search(r"weights ([\d.]+ \w+)", done.stdout)
    print(f"   {done.seconds:.1f} s of CPU, peak {done.peak / 2**20:.0f} MiB\n"
          f"   code {code} bytes, file {os.path.getsize(so)} bytes, "
          f"weights and tables {weights[1] if weights else '?'}\n"
          f"   to_event: {done_steps} steps in a list of {listed}, {len(repeats)} repeats")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", choices=[*MODELS, []], help="all unless said")
    parser.add_argument("--no-verify", action="store_true", help="without the checks")
    parser.add_argument("--keep", help="a folder for the models")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for model in words.models or MODELS:
            show(model, words.keep or scratch, not words.no_verify)
            sys.stdout.flush()
