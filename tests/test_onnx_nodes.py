"""ONNX's own node tests in float32 (onnx_nodes.py), `nfcc test`, and the table of operators in the documentation."""
import os
import shutil

import numpy as np
import pytest

import onnx_table


def test_the_document_is_the_table():
    with open(onnx_table.DOCUMENT) as f:
        assert f.read() == onnx_table.document(), "tests/onnx_table.py --write brings frontend/OPS.md up to date"


# ---- protobuf by hand, so that these need no package

def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, payload):
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def tensor(array):
    kind = {"float32": 1, "int64": 7, "bool": 9}[str(array.dtype)]
    return b"".join(field(1, d) for d in array.shape) + field(2, kind) + field(9, array.tobytes())


def value_info(name, dims):
    shape = b"".join(field(1, field(1, d) if isinstance(d, int) else field(2, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def case(folder, op, inputs, outputs, sets, dims=None):
    """A case of one node. sets: [([input array], [output array])]; dims: of the inputs as the model says them."""
    os.makedirs(folder)
    names = [f"i{i}" for i in range(inputs)]
    node = b"".join(field(1, n) for n in names) + b"".join(field(2, f"o{i}") for i in range(outputs)) + field(4, op)
    dims = dims or [a.shape for a in sets[0][0]]
    graph = field(1, node) + field(2, "g")
    graph += b"".join(field(11, value_info(n, d)) for n, d in zip(names, dims))
    graph += b"".join(field(12, value_info(f"o{i}", dims[0])) for i in range(outputs))
    (folder / "model.onnx").write_bytes(field(1, 8) + field(8, field(1, "") + field(2, 17)) + field(7, graph))
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


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Elu", "Tanh", "Sigmoid", "Softplus", "Selu"])
def test_a_product_fused_with_its_activation(tool, tmp_path, activation):
    onnx = pytest.importorskip("onnx")
    h = onnx.helper
    rng = np.random.default_rng(2)
    w, b, x = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 3), (4,), (5, 3)))
    alpha = {"activation_alpha": 0.25} if activation in ("LeakyRelu", "Elu") else {}
    said = {"domain": "com.microsoft", "transB": 1, "activation": activation, **alpha}
    node = h.make_node("FusedGemm", ["x", "w", "b"], ["y"], **said)
    ports = [h.make_tensor_value_info(n, 1, ["N", k]) for n, k in (("x", 3), ("y", 4))]
    weights = [onnx.numpy_helper.from_array(a, n) for a, n in ((w, "w"), (b, "b"))]
    graph = h.make_graph([node], "g", ports[:1], ports[1:], weights)
    opsets = [h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)]
    data = tmp_path / "gemm" / "test_data_set_0"
    os.makedirs(data)
    onnx.save(h.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "gemm" / "model.onnx")
    u = x @ w.T + b
    y = {"Relu": np.maximum(u, 0), "LeakyRelu": np.where(u > 0, u, 0.25 * u),
         "Elu": np.where(u > 0, u, 0.25 * np.expm1(u)), "Tanh": np.tanh(u),
         "Sigmoid": 1 / (1 + np.exp(-u)), "Softplus": np.logaddexp(0, u), "Selu": u}[activation]
    (data / "input_0.pb").write_bytes(tensor(x))
    (data / "output_0.pb").write_bytes(tensor(y.astype(np.float32)))
    out = tool("test", tmp_path / "gemm", "--backend", "interp", code=None).stdout
    assert ("activation 'Selu' is not supported" if activation == "Selu" else "1 passed") in out
