"""ONNX's own node tests in float32 (onnx_nodes.py), `nfcc test`, and the table of operators in the documentation."""
import math
import os
import shutil
from statistics import NormalDist

import numpy as np
import pytest

import nfcc
import onnx_bytes
import onnx_table
from onnx_bytes import tensor


def test_the_document_is_the_table():
    with open(onnx_table.DOCUMENT) as f:
        assert f.read() == onnx_table.document(), "tests/onnx_table.py --write brings frontend/OPS.md up to date"


def case(folder, op, inputs, outputs, sets, dims=None):
    """A case of one node. sets: [([input array], [output array])]; dims: of the inputs as the model says them."""
    os.makedirs(folder)
    names = [f"i{i}" for i in range(inputs)]
    dims = dims or [a.shape for a in sets[0][0]]
    of_inputs, of_outputs = list(zip(names, dims)), [(f"o{i}", dims[0]) for i in range(outputs)]
    node = onnx_bytes.node(op, names, [n for n, _ in of_outputs])
    (folder / "model.onnx").write_bytes(onnx_bytes.model([node], of_inputs, of_outputs))
    for s, (ins, outs) in enumerate(sets):
        data = folder / f"test_data_set_{s}"
        os.makedirs(data)
        for kind, arrays in (("input", ins), ("output", outs)):
            for i, array in enumerate(arrays):
                (data / f"{kind}_{i}.pb").write_bytes(tensor(array))
    return folder


X = np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize("backend", ["llvm", "interp"])
def test_verdicts(tool, tmp_path, backend):
    case(tmp_path / "all/right", "Exp", 1, 1, [([X], [np.exp(X)]), ([X * 2], [np.exp(X * 2)])])
    case(tmp_path / "all/wrong", "Exp", 1, 1, [([X], [np.exp(X)]), ([X * 2], [np.exp(X)])])
    case(tmp_path / "all/deep/unknown", "Hardmax", 1, 1, [([X], [X])])
    case(tmp_path / "all/deep/shape", "Abs", 1, 1, [([X], [np.abs(X).reshape(4, 3, 2)])])
    done = tool("test", tmp_path / "all", "--backend", backend, code=1)
    lines = dict(line.split(": ")[0].split()[::-1] for line in done.stdout.splitlines()[:-1])
    assert lines == {"right": "PASS", "wrong": "FAIL", "unknown": "UNSUPPORTED", "shape": "FAIL"}
    assert "expected 0.0183" not in done.stdout and "this operator is not supported" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 passed, 2 failed, 1 unsupported"
    tool("test", tmp_path / "all/right", "--backend", backend)


def test_a_named_batch_takes_the_rows_of_the_data(tool, tmp_path):
    case(tmp_path / "batch", "Tanh", 1, 1, [([X], [np.tanh(X)]), ([X[:1]], [np.tanh(X[:1])])], dims=[("N", 3, 4)])
    assert "1 passed" in tool("test", tmp_path / "batch").stdout


def test_inputs_that_set_shapes_are_constants(tool, tmp_path):
    to = np.array([4, 6], np.int64)
    folder = case(tmp_path / "reshape", "Reshape", 2, 1, [([X, to], [X.reshape(4, 6)])])
    done = tool("test", folder, "--backend", "interp")
    assert "PASS        reshape: integer inputs as constants" in done.stdout


def test_tolerances(tool, tmp_path):
    folder = case(tmp_path / "near", "Exp", 1, 1, [([X], [np.exp(X) * np.float32(1.005)])])
    tool("test", folder, "--backend", "interp", code=1)
    tool("test", folder, "--backend", "interp", "--rtol", "0.01")


@pytest.mark.parametrize("backend", ["llvm", "interp"])
def test_nan_is_near_nan_only(tool, tmp_path, backend):
    with np.errstate(invalid="ignore"):
        root = np.sqrt(X)
    case(tmp_path / "all/same", "Sqrt", 1, 1, [([X], [root])])
    case(tmp_path / "all/wanted", "Abs", 1, 1, [([X], [np.where(X == X.max(), np.nan, np.abs(X)).astype(X.dtype)])])
    case(tmp_path / "all/made", "Sqrt", 1, 1, [([X], [np.nan_to_num(root)])])
    text = tool("test", tmp_path / "all", "--backend", backend, code=1).stdout.replace("-nan", "nan")
    assert text.splitlines()[:-1] == ["FAIL        made: output 'o0' number 0 is nan, expected 0",
                                      "PASS        same",
                                      "FAIL        wanted: output 'o0' number 23 is 2, expected nan"]


def test_damaged_data(tool, tmp_path):
    folder = case(tmp_path / "bad", "Exp", 1, 1, [([X], [np.exp(X)])])
    whole = (folder / "test_data_set_0/input_0.pb").read_bytes()
    for bytes_ in (whole[:20], b"\xff" * 40, b"", whole[:-4]):
        (folder / "test_data_set_0/input_0.pb").write_bytes(bytes_)
        assert "UNSUPPORTED" in tool("test", folder, "--backend", "interp").stdout
    shutil.rmtree(folder / "test_data_set_0")
    assert "no test_data_set_0" in tool("test", folder).stdout
    tool("test", tmp_path / "absent", code=3)
    tool("test", folder, "--backend", "fpga", code=2)


def test_no_batch(tool, tmp_path):
    folder = case(tmp_path / "soft", "Softmax", 1, 1, [([X], [X])])
    tool(folder / "model.onnx", "-o", tmp_path / "p.so", "--no-batch")
    assert "i0 [2, 3, 4]" in tool("info", tmp_path / "p.so").stdout
    tool(folder / "model.onnx", "-o", tmp_path / "p.so")
    assert "i0 [3, 4]" in tool("info", tmp_path / "p.so").stdout


def test_node_tests_of_onnx():
    pytest.importorskip("onnx")
    import onnx_nodes

    chosen = onnx_nodes.cases()
    problems, count = onnx_nodes.judge(chosen, onnx_nodes.run_all(chosen, "interp"))
    assert not problems, "\n".join(problems)
    assert count["PASS"] > 1000


def test_node_tests_compiled():
    """One case of each operator through machine code; tests/onnx_nodes.py --backend llvm runs all."""
    pytest.importorskip("onnx")
    import onnx_nodes

    first = {}
    for c in onnx_nodes.cases("*"):
        if len(c.model.graph.node) == 1:
            first.setdefault(c.model.graph.node[0].op_type, c)
    names = onnx_nodes.imported_ops()
    chosen = [c for op, c in first.items() if op in names]
    problems, count = onnx_nodes.judge(chosen, onnx_nodes.run_all(chosen, "llvm"))
    problems = [p for p in problems if not p.startswith("no case")]
    assert not problems, "\n".join(problems)
    assert count["PASS"] > 100


# ---- what ONNX Runtime's optimiser writes, and exporters beside the standard

def fused(tool, folder, op, order, inputs, weights, output, domain="com.microsoft", opset=17, before=(), **said):
    """What `nfcc test` says of one node on the operands named in `order`; '-' is one that is left out."""
    onnx = pytest.importorskip("onnx")
    h = onnx.helper
    node = h.make_node(op, [n.strip("-") for n in order.split()], ["y"], domain=domain, **said)
    ports = [h.make_tensor_value_info(n, 1, ["N", *a.shape[1:]]) for n, a in {**inputs, "y": output}.items()]
    held = [onnx.numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()]
    opsets = [h.make_opsetid("", opset), h.make_opsetid("com.microsoft", 1)]
    data = folder / "case" / "test_data_set_0"
    os.makedirs(data)
    graph = h.make_graph([*before, node], "g", ports[:-1], ports[-1:], held)
    onnx.save(h.make_model(graph, opset_imports=opsets, ir_version=8), folder / "case" / "model.onnx")
    for i, array in enumerate(inputs.values()):
        (data / f"input_{i}.pb").write_bytes(tensor(array.astype(np.float32)))
    (data / "output_0.pb").write_bytes(tensor(output.astype(np.float32)))
    return tool("test", folder / "case", "--backend", "interp", code=None).stdout


def numbers(seed, **shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


# name: (parameters, values)
ACTIVATIONS = {
    "Relu": ({}, lambda u: np.maximum(u, 0)), "LeakyRelu": ({"alpha": 0.25}, lambda u: np.where(u > 0, u, 0.25 * u)),
    "ThresholdedRelu": ({"alpha": 0.25}, lambda u: np.where(u > 0.25, u, 0)),
    "Elu": ({"alpha": 0.25}, lambda u: np.where(u > 0, u, 0.25 * np.expm1(u))),
    "Selu": ({"alpha": 1.5, "gamma": 1.25}, lambda u: 1.25 * np.where(u > 0, u, 1.5 * np.expm1(u))),
    "HardSigmoid": ({"alpha": 0.25, "beta": 0.375}, lambda u: np.clip(0.25 * u + 0.375, 0, 1)),
    "Softsign": ({}, lambda u: u / (1 + np.abs(u))), "Tanh": ({}, np.tanh),
    "Sigmoid": ({}, lambda u: 1 / (1 + np.exp(-u))), "Softplus": ({}, lambda u: np.logaddexp(0, u)),
    "Clip": ({"min": -0.5, "max": 0.75}, lambda u: np.clip(u, -0.5, 0.75)), "Cosine": ({}, np.cos),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_product_or_convolution_fused_with_its_activation(tool, tmp_path, activation):
    said, of = ACTIVATIONS[activation]
    v = numbers(2, x=(5, 3), w=(4, 3), b=(4,))
    named = {f"activation_{k}": p for k, p in said.items()}
    listed = {"activation_params": list(said.values())} if said else {}
    first = fused(tool, tmp_path / "gemm", "FusedGemm", "x w b", {"x": v["x"]}, {"w": v["w"], "b": v["b"]},
                  of(v["x"] @ v["w"].T + v["b"]), transB=1, activation=activation, **named)
    image = {"x": v["x"][:, :, None, None] * np.ones((2, 2)), "z": numbers(3, z=(5, 4, 2, 2))["z"]}
    y = of(np.einsum("nihw,oi->nohw", image["x"], v["w"]) + v["b"][:, None, None] + image["z"])
    weights = {"w": v["w"][:, :, None, None], "b": v["b"]}
    second = fused(tool, tmp_path / "conv", "FusedConv", "x w b z", image, weights, y, activation=activation, **listed)
    for out in (first, second):
        assert ("activation 'Cosine' is not supported" if activation == "Cosine" else "1 passed") in out


@pytest.mark.parametrize("said", ["", "A", "B", "AB", "a", "b", "ab", "AaBb"])
def test_a_product_fused_with_transpositions(tool, tmp_path, said):
    """A and B swap an operand's last two axes, a and b bring its batch axes in front: [M, B..., K]."""
    v = numbers(4, a=(5, 2, 5, 3), b=(5, 2, 3, 4))
    y = 0.5 * v["a"] @ v["b"]
    for name in "ab":
        v[name] = np.swapaxes(v[name], -1, -2) if name.upper() in said else v[name]
        v[name] = np.moveaxis(v[name], 2, 0) if name in said else v[name]
    flags = {flag: 1 for letter, flag in zip("ABab", ("transA", "transB", "transBatchA", "transBatchB"))
             if letter in said}
    data = tmp_path / "product"
    assert "1 passed" in fused(tool, data, "FusedMatMul", "a b", v, {}, y, alpha=0.5, **flags)


def test_a_bias_fused_with_its_gelu(tool, tmp_path):
    v = numbers(5, x=(5, 4), b=(4,))
    u = v["x"] + v["b"]
    y = u * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))
    assert "1 passed" in fused(tool, tmp_path, "FastGelu", "x b", {"x": v["x"]}, {"b": v["b"]}, y)
    y = u * 0.5 * (1 + np.vectorize(math.erf)(u / np.sqrt(2)))
    assert "1 passed" in fused(tool, tmp_path / "erf", "BiasGelu", "x b", {"x": v["x"]}, {"b": v["b"]}, y)


@pytest.mark.parametrize("centred", [True, False])
def test_a_residual_sum_fused_with_its_normalisation(tool, tmp_path, centred):
    v = numbers(6, x=(5, 3, 4), skip=(5, 3, 4), scale=(4,), shift=(4,), bias=(4,))
    u = v["x"] + v["skip"] + v["bias"]
    u = u - u.mean(-1, keepdims=True) * centred
    y = u / np.sqrt((u**2).mean(-1, keepdims=True) + 0.125) * v["scale"] + v["shift"] * centred
    weights = {k: v[k] for k in ("scale", "shift", "bias") if centred or k != "shift"}
    op = "SkipLayerNormalization" if centred else "SkipSimplifiedLayerNormalization"
    out = fused(tool, tmp_path, op, " ".join(["x skip", *weights]), {"x": v["x"], "skip": v["skip"]}, weights, y,
                epsilon=0.125)
    assert "1 passed" in out


def test_a_normalisation_in_a_file_older_than_its_operator(tool, tmp_path):
    v = numbers(7, x=(5, 4), scale=(4,))
    centred = v["x"] - v["x"].mean(-1, keepdims=True)
    for op, u in (("LayerNormalization", centred), ("SimplifiedLayerNormalization", v["x"])):
        y = u / np.sqrt((u**2).mean(-1, keepdims=True) + 0.125) * v["scale"]
        out = fused(tool, tmp_path / op, op, "x scale", {"x": v["x"]}, {"scale": v["scale"]}, y, domain="", opset=13,
                    epsilon=0.125)
        assert "1 passed" in out


def test_an_axis_that_is_not_one_is_not_squeezed(tool, tmp_path):
    """As torch's exporter writes aten.squeeze.dim of any axis."""
    x = numbers(8, x=(5, 4))["x"]
    assert "1 passed" in fused(tool, tmp_path, "Squeeze", "x", {"x": x}, {}, x, domain="", opset=11, axes=[1])


def attention(q, k, v, heads, added=0.0):
    """softmax(Q K' / sqrt(size) + added) V of [rows, tokens, heads * size]."""
    q, k, v = (np.swapaxes(t.reshape(*t.shape[:2], heads, -1), 1, 2) for t in (q, k, v))
    s = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1]) + added
    p = np.exp(s - s.max(-1, keepdims=True))
    y = np.swapaxes(p / p.sum(-1, keepdims=True) @ v, 1, 2)
    return y.reshape(*y.shape[:2], -1)


def packed(*parts, heads):
    return np.stack([t.reshape(*t.shape[:2], heads, -1) for t in parts], 3)


CAUSAL = np.triu(np.full((3, 3), -np.inf), 1)


@pytest.mark.parametrize("form", ["plain", "queries-keys-values", "keys-values", "heads", "biased", "masked"])
def test_attention_of_several_heads(tool, tmp_path, form):
    v = numbers(9, q=(5, 3, 6), k=(5, 4, 6), v=(5, 4, 6), b=(18,), s=(1, 2, 3, 4))
    if form == "queries-keys-values":
        v.update(numbers(10, k=(5, 3, 6), v=(5, 3, 6)))
        inputs, order = {"q": packed(v["q"], v["k"], v["v"], heads=2)}, "q"
        y = attention(v["q"], v["k"], v["v"], 2, CAUSAL)
    else:
        inputs, order = {n: v[n] for n in "qkv"}, "q k v"
        y = attention(v["q"], v["k"], v["v"], 2)
    if form == "keys-values":
        inputs, order = {"q": v["q"], "k": packed(v["k"], v["v"], heads=2)}, "q k"
    if form == "heads":
        for n in "kv":
            inputs[n] = np.swapaxes(v[n].reshape(5, 4, 2, 3), 1, 2)
    weights = {}
    if form == "biased":
        weights, order = {"b": v["b"], "s": v["s"]}, "q k v b - s"
        y = attention(v["q"] + v["b"][:6], v["k"] + v["b"][6:12], v["v"] + v["b"][12:], 2, v["s"])
    if form == "masked":
        inputs["m"], order = np.tile(np.float32([1, 0, 1, 1]), (5, 1)), "q k v - m"
        y = attention(v["q"], v["k"], v["v"], 2, np.float64([0, -10000, 0, 0]))
    said = {"unidirectional": 1} if form == "queries-keys-values" else {}
    assert "1 passed" in fused(tool, tmp_path, "MultiHeadAttention", order, inputs, weights, y, num_heads=2, **said)


@pytest.mark.parametrize("sizes", [None, [4, 4, 6]])
def test_attention_with_its_projections(tool, tmp_path, sizes):
    cuts = np.cumsum(sizes or [4, 4, 4])
    v = numbers(11, x=(5, 3, 7), w=(7, cuts[2]), b=(cuts[2],))
    y = attention(*np.split(v["x"] @ v["w"] + v["b"], cuts[:2], -1), 2, 0 if sizes else CAUSAL)
    said = {"qkv_hidden_sizes": sizes} if sizes else {"unidirectional": 1}
    out = fused(tool, tmp_path, "Attention", "x w b", {"x": v["x"]}, {"w": v["w"], "b": v["b"]}, y, num_heads=2, **said)
    assert "1 passed" in out


@pytest.mark.parametrize("neighbours", [0, 1])
def test_rotary_positions_from_the_first_token_on(tool, tmp_path, neighbours):
    onnx = pytest.importorskip("onnx")
    v = numbers(12, x=(5, 3, 8))
    angle = np.arange(9)[:, None] / 10.0 ** np.arange(2)
    turn = np.exp(1j * angle[4:7])[None, :, None]
    x = v["x"].reshape(5, 3, 2, 4)
    u, w = (x[..., 0::2], x[..., 1::2]) if neighbours else (x[..., :2], x[..., 2:])
    z = (u + 1j * w) * turn
    y = (np.stack([z.real, z.imag], -1) if neighbours else np.concatenate([z.real, z.imag], -1)).reshape(5, 3, 8)
    first = onnx.helper.make_node("Constant", [], ["at"], value_ints=[4])
    out = fused(tool, tmp_path, "RotaryEmbedding", "x at c s", {"x": v["x"]}, {"c": np.cos(angle), "s": np.sin(angle)},
                y, before=[first], interleaved=neighbours)
    assert "1 passed" in out


def one_selected(folder, *end):
    """v = the number x[x > 0] of a batch of one, as torch's legacy exporter writes it; then the nodes of `end`."""
    onnx = pytest.importorskip("onnx")
    h = onnx.helper
    nodes = [h.make_node("Greater", ["x", "zero"], ["m"]), h.make_node("NonZero", ["m"], ["i"]),
             h.make_node("Transpose", ["i"], ["t"]), h.make_node("GatherND", ["x", "t"], ["p"]),
             h.make_node("Reshape", ["p", "none"], ["v"]), *[h.make_node(*n) for n in end]]
    held = [onnx.numpy_helper.from_array(np.float32(0), "zero"),
            onnx.numpy_helper.from_array(np.zeros(0, np.int64), "none")]
    ports = [h.make_tensor_value_info(n, 1, [1, 1]) for n in "xy"]
    graph = h.make_graph(nodes, "g", ports[:1], ports[1:], held)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    return folder / "m.onnx"


def test_one_selected_number_is_chosen_by_its_mask(tool, tmp_path):
    """x[x > 0] = exp(x[x > 0]): where one number is selected torch writes Where, not ScatterND."""
    path = one_selected(tmp_path, ("Exp", ["v"], ["w"]), ("Where", ["m", "w", "x"], ["y"]))
    tool(path, "-o", tmp_path / "p.so", "--entries", "run")
    x = np.float32([[-1], [0.5], [2], [-3]])
    y = nfcc.open(str(tmp_path / "p.so")).run({"x": x})["y"]
    np.testing.assert_allclose(y, np.where(x > 0, np.exp(x), x), rtol=1e-6)


def test_one_selected_number_is_read_nowhere_else(tool, tmp_path):
    path = one_selected(tmp_path, ("Where", ["m", "v", "x"], ["w"]), ("Add", ["w", "v"], ["y"]))
    assert "not a tensor of fixed shape" in tool(path, "-o", tmp_path / "p.so", code=1).stderr
    path = one_selected(tmp_path, ("Not", ["m"], ["n"]), ("Where", ["n", "v", "x"], ["y"]))
    assert "not a tensor of fixed shape" in tool(path, "-o", tmp_path / "p.so", code=1).stderr


# ---- what tf2onnx leaves of TensorFlow

UNARY = {"Log1p": np.log1p, "Expm1": np.expm1, "Erfc": np.vectorize(math.erfc),
         "Ndtri": np.vectorize(lambda p: NormalDist().inv_cdf(p))}


@pytest.mark.parametrize("op, of", UNARY.items())
def test_functions_of_tensorflow(tool, tmp_path, op, of):
    x = 1 / (1 + np.exp(numbers(7, x=(5, 4))["x"]))
    assert "1 passed" in fused(tool, tmp_path, op, "x", {"x": x}, {}, of(x), domain="")


@pytest.mark.parametrize("op, shift", [("Xlogy", 0), ("Xlog1py", 1)])
def test_a_number_times_a_logarithm_of_tensorflow(tool, tmp_path, op, shift):
    v = numbers(8, x=(5, 4), w=(5, 4))
    v["x"][:, 1] = v["w"][:, 1] = 0
    v["w"] = np.abs(v["w"]) - shift * np.array([0, 1, 0, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(v["x"] == 0, 0, v["x"] * np.log(v["w"] + shift))
    assert "1 passed" in fused(tool, tmp_path, op, "x w", v, {}, z, domain="")


@pytest.mark.parametrize("shapes, want", [("4, 5x1", (5, 4)), ("1, 4", (4,)), ("5x1x4, 3x1", (5, 3, 4)),
                                          ("4, 3", None)])
def test_shapes_broadcast_by_tensorflow(tool, tmp_path, shapes, want):
    onnx = pytest.importorskip("onnx")
    named = {f"s{i}": np.array(s.split("x"), np.int64) for i, s in enumerate(shapes.split(", "))}
    x = numbers(9, x=(2, 1))["x"]
    constants = [onnx.helper.make_node("Constant", [], [n], value_ints=a) for n, a in named.items()]
    args = onnx.helper.make_node("BroadcastArgs", list(named), ["s"])
    place = onnx.helper.make_node("Reshape", ["x", "first"], ["row"])
    first = onnx.helper.make_node("Constant", [], ["first"], value_ints=[-1] + [1] * len(want or (4,)))
    y = np.broadcast_to(x.reshape(2, *[1] * len(want or (4,))), (2, *(want or (4,))))
    out = fused(tool, tmp_path, "Expand", "row s", {"x": x}, {}, y, domain="",
                before=[*constants, args, first, place])
    assert ("1 passed" if want else "dims 4 and 3 do not fit") in out


@pytest.mark.parametrize("lower", [0, 1])
@pytest.mark.parametrize("adjoint", [0, 1])
@pytest.mark.parametrize("computed", [False, True])
def test_a_triangular_system_of_tensorflow(tool, tmp_path, lower, adjoint, computed):
    """What stands in the other triangle is not read."""
    v = numbers(10, a=(5, 3, 3), b=(5, 3, 2))
    v["a"] = v["a"] + 4 * np.eye(3) if computed else v["a"][0] + 4 * np.eye(3)
    triangle = np.tril(v["a"]) if lower else np.triu(v["a"])
    x = np.linalg.solve(np.swapaxes(triangle, -1, -2) if adjoint else triangle, v["b"])
    inputs = v if computed else {"b": v["b"]}
    out = fused(tool, tmp_path, "MatrixTriangularSolve", "a b", inputs, {} if computed else {"a": v["a"]}, x, domain="",
                lower=lower, adjoint=adjoint)
    assert "1 passed" in out


@pytest.mark.parametrize("length", [3, 4, 6])
@pytest.mark.parametrize("kind", ["fft", "ifft", "rfft", "irfft"])
def test_fourier_transforms_of_other_lengths(tool, tmp_path, kind, length):
    """Zeros fill a series of 4 up, and a shorter transform leaves numbers out; it lies along an axis in the middle."""
    v = numbers(11, x=(5, 4, 3, 1 if kind == "rfft" else 2))
    series = v["x"][..., 0] if kind == "rfft" else v["x"][..., 0] + 1j * v["x"][..., 1]
    y = getattr(np.fft, kind)(series, length, axis=1)
    y = y[..., None] if kind == "irfft" else np.stack([y.real, y.imag], -1)
    held = [pytest.importorskip("onnx").helper.make_node("Constant", [], ["n"], value_int=length)]
    said = {"inverse": int(kind[0] == "i"), "onesided": int("r" in kind), "axis": 1}
    assert "1 passed" in fused(tool, tmp_path, "DFT", "x n", v, {}, y, domain="", before=held, **said)
