"""One row reads a compact image of large weights, which nfcc_open makes: the numbers are those of the file."""
import numpy as np
import pytest

import nfcc
from onnx_bytes import model, node

HALF, HIDDEN = 12, 1100
# These have no compact form, or one of their own: 0, -0, a denormal, numbers far smaller than the others.
ODD = np.array([0, -0.0, 1e-42, 1e-9, -3e-6, 0.4], np.float32)


def weights(random, inputs, outputs):
    w = (random.standard_normal((inputs, outputs)) / inputs**0.5).astype(np.float32)
    return np.where(random.random(w.shape) < 1e-4, random.choice(ODD, w.shape), w)


def coupling():
    """z = (a, b exp(s) + t) of x = (a, b); s and t by a net of two hidden layers."""
    random, ints = np.random.default_rng(7), lambda *values: np.array(values, np.int64)
    held = [("w1", weights(random, HALF, HIDDEN)), ("w2", weights(random, HIDDEN, HIDDEN)),
            ("ws", weights(random, HIDDEN, HALF)), ("wt", weights(random, HIDDEN, HALF)), ("zero", ints(0)),
            ("half", ints(HALF)), ("all", ints(2 * HALF)), ("axis", ints(1))]
    nodes = [node("Slice", ["x", "zero", "half", "axis"], ["a"]), node("Slice", ["x", "half", "all", "axis"], ["b"]),
             node("MatMul", ["a", "w1"], ["m1"]), node("Relu", ["m1"], ["h1"]),
             node("MatMul", ["h1", "w2"], ["m2"]), node("Relu", ["m2"], ["h2"]),
             node("MatMul", ["h2", "ws"], ["ms"]), node("Tanh", ["ms"], ["s"]), node("MatMul", ["h2", "wt"], ["t"]),
             node("Exp", ["s"], ["e"]), node("Mul", ["b", "e"], ["scaled"]), node("Add", ["scaled", "t"], ["shifted"]),
             node("Concat", ["a", "shifted"], ["z"], axis=1), node("ReduceSum", ["s", "axis"], ["log_det"], keepdims=0)]
    return model(nodes, [("x", ["N", 2 * HALF])], [("z", ["N", 2 * HALF]), ("log_det", ["N"])], held)


@pytest.fixture(scope="module", params=["f32", "bf16"])
def path(request, tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compact")
    (folder / "model.onnx").write_bytes(coupling())
    tool(folder / "model.onnx", "-o", folder / "policy.so", "--cpu", "native", "--weights", request.param,
         "--event", "x")
    return folder / "policy.so"


@pytest.mark.parametrize("options", [{}, {"bulk": True}, {"shared": True}], ids=str)
def test_a_row_alone_has_the_bits_it_has_beside_others(path, options):
    policy, plain = nfcc.open(path, **options), nfcc.open(path, shared=True)
    policy.selftest()
    x = np.random.default_rng(3).standard_normal((70, 2 * HALF)).astype(np.float32)
    (z, _), score = plain.to_latent(x), plain.score(x)
    for i in range(5):
        assert policy.to_latent(x[i:i + 1])[0].tobytes() == z[i:i + 1].tobytes()
        assert policy.score(x[i:i + 1]).tobytes() == score[i:i + 1].tobytes()
    assert policy.to_latent(x)[0].tobytes() == z.tobytes()
