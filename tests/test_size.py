"""policy.so beyond its weights: at most 64 KiB with the code of one CPU level, 48 KiB more for a second one; and its
functions.

Its weights are the float32 initializers that the graph's nodes read, and one inverse for each of them that is a D x D
matrix, D the event's numbers: those that mix the event. Where that is more than it says itself, that: the scales and
shifts of LayerNorm go into matrices."""
import glob
import json
import math
import os
import re
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KIB = 1024


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, value) of a protobuf message; value: an int, or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            size, at = varint(data, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def dims_of(tensor):
    dims = []
    for number, value in fields(tensor):
        if number == 1 and isinstance(value, int):
            dims.append(value)
        elif number == 1:
            at = 0
            while at < len(value):
                size, at = varint(value, at)
                dims.append(size)
    return dims


def weight_bytes(path, event):
    """Initializers are GraphProto.initializer (5), nodes GraphProto.node (1) with inputs (1)."""
    with open(path, "rb") as file:
        model = memoryview(file.read())
    graph = next(value for number, value in fields(model) if number == 7)
    read, tensors = set(), []
    for number, value in fields(graph):
        if number == 1:
            read |= {bytes(name) for n, name in fields(value) if n == 1}
        elif number == 5:
            tensors.append(value)
    total = 0
    for tensor in tensors:
        of = dict(fields(tensor))
        if bytes(of.get(8, b"")) not in read or of.get(2) != 1:
            continue
        dims, count = dims_of(tensor), 1
        for dim in dims:
            count *= dim
        total += 4 * count * (2 if dims == [event, event] else 1)
    return total


# name: D. The 10.9 million weights of the last are not in this folder's models.
MODELS = {"lander_nfbc": 2, "nf4rl_tiny__density__dyn": 6, "nf4rl_pusht__density__dyn": 32}


def path_of(name):
    found = glob.glob(os.path.join(ROOT, "tests", "models", name + ".onnx"))
    return (found + glob.glob(os.path.join(ROOT, "..", "shared", "zoo", "perf", name + ".onnx")) + [None])[0]


@pytest.mark.parametrize("name", MODELS)
def test_size(tool, tmp_path, name):
    if not path_of(name):
        pytest.skip("the model is not at hand")
    weights = weight_bytes(path_of(name), MODELS[name])
    assert weights > 10000
    for cpu, limit in ("x86-64-v3", 64), ("x86-64-v4", 64), ("dispatch", 64 + 48):
        tool(path_of(name), "--cpu", cpu, "--no-verify", "-o", tmp_path / "policy.so")
        own = json.loads(tool("info", "--json", tmp_path / "policy.so").stdout)["weights_bytes"]
        over = os.path.getsize(tmp_path / "policy.so") - min(weights, own)
        assert 0 < over <= limit * KIB, f"{cpu}: {over / KIB:.1f} KiB, at most {limit}"


@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("name", ["lander_nfbc", "zuko_realnvp_ctx__logprob_lib__dyn", "flax_unsup__zlogprob__jax21"])
def test_no_function_is_large(tool, tmp_path, name, cpu):
    """At most 2,000 vector instructions: LLVM's time is quadratic in straight-line code."""
    tool(path_of(name), "--cpu", cpu, "--no-verify", "--emit", "o", "-o", tmp_path / "policy.o")
    code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", tmp_path / "policy.o"], capture_output=True,
                          text=True, check=True).stdout
    counts = [len(re.findall("[xyz]mm.*", body)) for body in code.split(">:\n")[1:]]
    assert len(counts) > 20 and 100 < max(counts) <= 2000


def graph_weights(tool, folder, *lines):
    """Bytes of weights of a graph of x, which is checked against double."""
    ports = 'module stage=imported\nport in "x" f32[4096] batch 0\nport out "y" f32[4096] batch 0\n'
    body = "".join(f"    {line}\n" for line in lines)
    (folder / "m.nf").write_text(ports + "func @main(x: f32[4096]) {\n" + body + "    return y\n}\n")
    tool(folder / "m.nf", "-o", folder / "policy.so")
    return json.loads(tool("info", "--json", folder / "policy.so").stdout)["weights_bytes"]


def test_constants_that_repeat_are_stored_once(tool, tmp_path):
    """A scale for each of 64 places of 64 channels, and a bias for each channel: 64 numbers each."""
    numbers = [round(2.5 + math.sin(k), 3) for k in range(64)]
    scale, bias = [v for v in numbers for _ in range(64)], numbers * 64
    without = graph_weights(tool, tmp_path, "y: f32[4096] = neg x")
    both = graph_weights(tool, tmp_path, f"s: f32[4096] = constant {scale}", f"b: f32[4096] = constant {bias}",
                         "p: f32[4096] = mul x, s", "y: f32[4096] = add p, b")
    assert 64 * 4 <= both - without <= 2 * 64 * 4


def test_constants_repeat_at_the_length_of_other_arguments(tool, tmp_path):
    """A bias for each of 16 channels beside one computed number for each: 16 numbers, which alone would go by 32."""
    bias = [round(2.5 + math.sin(k), 3) for k in range(16)] * 256
    computed = ("s: f32[16] = move x [0..15]", "e: f32[16] = tanh s", "t: f32[4096] = move e [0..15*256]")
    without = graph_weights(tool, tmp_path, *computed, "y: f32[4096] = add x, t")
    both = graph_weights(tool, tmp_path, *computed, "p: f32[4096] = add x, t", f"b: f32[4096] = constant {bias}",
                         "y: f32[4096] = mul p, b")
    assert 16 * 4 <= both - without <= 64 * 4
