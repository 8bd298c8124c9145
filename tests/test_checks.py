"""The checks of a compile: rows that saturate are drawn again, and a log_prob or log_det that is off is told how."""
import numpy as np
import pytest

import nfcc

# x = tanh(4 z + 0.1), with the clip that guards atanh at the way back: |4 z + 0.1| > 7.25 does not come back.
SQUASH = """module stage=imported
port in "x" f32[3] batch 0
port out "z" f32[3] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,3]) {
    low: f32[1,3] = max x, -0.999999
    u: f32[1,3] = min low, 0.999999
    v: f32[1,3] = atanh u
    t: f32[1,3] = sub v, 0.1
    z: f32[1,3] = mul t, 0.25
    p: f32[1,3] = mul u, u
    q: f32[1,3] = sub 1, p
    l: f32[1,3] = log q
    s: f32[1] = reduce_sum l
    m: f32[1] = neg s
    log_det: f32[1] = add m, -4.1588830833596715
    return z, log_det
}
"""


def test_rows_that_saturate_are_drawn_again(tool, tmp_path):
    (tmp_path / "m.nf").write_text(SQUASH)
    said = tool(tmp_path / "m.nf", "-o", tmp_path / "p.so").stdout
    assert "rows were drawn again nearer the base's centre" in said
    policy = nfcc.open(tmp_path / "p.so")
    z = np.random.default_rng(1).standard_normal((50, 3)).astype(np.float32)
    x, log_det = policy.to_event(z)
    v = 4 * z.astype(np.float64) + 0.1
    np.testing.assert_allclose(x, np.tanh(v), atol=1e-6)
    np.testing.assert_allclose(log_det, (2 * (np.log(2) - v - np.logaddexp(0, -2 * v)) + np.log(4)).sum(1), rtol=1e-5)


# What the base draws below the shift, or above shift + 1 of a sigmoid, has no event.
BOUNDED = """module stage=imported
port in "x" f32[1] batch 0
port out "z" f32[1] batch 0
func @main(x: f32[1,1]) {
    u: f32[1,1] = %s x
    z: f32[1,1] = add u, %s
    return z
}
"""


@pytest.mark.parametrize("op,shift,none", [("sigmoid", 3, True), ("exp", 3, True), ("exp", -1, False)])
def test_latents_without_an_event(tool, tmp_path, op, shift, none):
    """The graph was blamed for NaN that it gave for an event which was NaN; samples that are NaN were not mentioned."""
    (tmp_path / "m.nf").write_text(BOUNDED % (op, shift))
    done = tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", "--event", "x", code=int(none))
    if none:
        assert "latents drawn from the base have no event" in done.stderr and done.stderr.count("error:") == 1
        return
    with nfcc.open(tmp_path / "p.so") as policy, pytest.warns(nfcc.NotFiniteWarning):
        x, _ = policy.to_event(np.float32([[-1.5], [0.5]]))
    assert "latents drawn from the base: sample gives NaN there" in done.stdout and np.isnan(x[0]) and x[1] > 0


def test_where_nothing_saturates_all_rows_stay(tool, tmp_path):
    (tmp_path / "m.nf").write_text(SQUASH.replace("mul t, 0.25", "mul t, 1").replace("-4.1588830833596715", "0"))
    assert "drawn again" not in tool(tmp_path / "m.nf", "-o", tmp_path / "p.so").stdout


def test_a_wrong_clip_is_no_saturation(tool, tmp_path):
    (tmp_path / "m.nf").write_text(SQUASH.replace("0.999999", "0.3"))
    error = tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", code=1).stderr
    assert "to_latent(to_event(z)) differs from z" in error and "--base (uniform: on 0 to 1)" in error


# z = x W, of this condition number.
MIX = """module stage=imported
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,2]) {{
    z: f32[1,2] = linear x, [[1, 0], [1, {small!r}]]
    log_det: f32[1] = constant [{log!r}]
    return z, log_det
}}
"""


@pytest.mark.parametrize("condition,said", [(5e3, ""), (3e4, "the inverse loses digits"), (3e6, "above 1e+06")])
def test_condition_of_a_matrix(tool, tmp_path, condition, said):
    """Warned of from 1e4 on, refused from 1e6 on unless it is allowed."""
    small = 2 / (condition - 2)  # |W| = 2, |W^-1| = 1 + 1 / small
    (tmp_path / "m.nf").write_text(MIX.format(small=small, log=float(np.log(small))))
    refused = condition > 1e6
    done = tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", code=int(refused))
    assert said in done.stderr and ("condition number" in done.stderr) == bool(said)
    assert not refused or "--max-condition accepts it" in done.stderr
    more = "--max-condition", str(condition * 0.9)
    assert "--max-condition" in tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", *more, code=1).stderr
    if refused:
        more = "--max-condition", str(condition * 1.1), "--max-error", "1"
        tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", *more)


# z = 2 x; log_prob = -z.z / 2 + {rest}
NORMAL = """module stage=imported
port in "x" f32[3] batch 0
port out "{name}" f32[] batch 0
func @main(x: f32[1,3]) {{
    z: f32[1,3] = mul x, 2
    s: f32[1,3] = mul z, z
    r: f32[1] = reduce_sum s
    h: f32[1] = mul r, -0.5
    t: f32[1,3] = tanh z
    g: f32[1,3] = mul t, 0.01
    e: f32[1] = reduce_sum g
    n: f32[1] = add h, {rest}
    w: f32[1] = {last}
    return w
}}
"""
RIGHT = 3 * np.log(2) - 1.5 * np.log(2 * np.pi)


@pytest.mark.parametrize("rest, last, hint", [
    (3 * np.log(2), "add n, 0", "the normaliser 3 log(2 pi) / 2 is missing"),
    (RIGHT + 0.5, "add n, 0", "it is 0.5 too much in every row"),
    (RIGHT, "add n, e", "a guard like log(1 - a^2 + 1e-6)"),
])
def test_a_log_prob_that_is_off_is_told_how(tool, tmp_path, rest, last, hint):
    (tmp_path / "m.nf").write_text(NORMAL.format(name="log_prob", rest=repr(float(rest)), last=last))
    assert hint in tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", code=1).stderr


@pytest.mark.parametrize("bound, left_out", [(1e6, True), (50, False)])
def test_bounds_that_guard_a_log_prob(tool, tmp_path, bound, left_out):
    """clamp(log_prob, -1e6, 1e6): the flow's own has none. A bound that events reach makes another density of it."""
    text = NORMAL.format(name="log_prob", rest=repr(float(RIGHT)), last=f"max n, -{bound}")
    (tmp_path / "m.nf").write_text(text)
    said = tool("check", tmp_path / "m.nf").stdout
    assert ("its bounds left out" in said and "sample" in said) == left_out


@pytest.mark.parametrize("inside", ["float16", "float32"])
def test_a_normaliser_rounded_with_its_graph(tool, tmp_path, inside):
    """A converter keeps the ports in float32 and rounds all between; in a graph of float32 that normaliser is wrong."""
    onnx = pytest.importorskip("onnx")
    h, rounded = onnx.helper, np.float16(-1.5 * np.log(2 * np.pi))
    kind = onnx.TensorProto.FLOAT16 if inside == "float16" else onnx.TensorProto.FLOAT
    held = {"half": np.float16(-0.5), "rest": rounded, "last": np.int64([-1])}
    nodes = [("Cast", ["x"], "z", {"to": kind}), ("Mul", ["z", "z"], "s", {}), ("Mul", ["s", "half"], "h", {}),
             ("ReduceSum", ["h", "last"], "r", {"keepdims": 0}), ("Add", ["r", "rest"], "n", {}),
             ("Cast", ["n"], "log_prob", {"to": 1})]
    held = [onnx.numpy_helper.from_array(a if a.dtype == np.int64 else a.astype(inside), k) for k, a in held.items()]
    ports = [h.make_tensor_value_info(n, 1, shape) for n, shape in (("x", ["N", 3]), ("log_prob", ["N"]))]
    graph = h.make_graph([h.make_node(op, i, [o], **a) for op, i, o, a in nodes], "g", ports[:1], ports[1:], held)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8), tmp_path / "m.onnx")
    said = tool("check", tmp_path / "m.onnx", code=0 if inside == "float16" else 1)
    assert inside == "float16" or "output 'log_prob' differs" in said.stderr


def test_a_guard_in_the_log_prob_is_accepted_on_request(tool, tmp_path):
    """policy.so then has the transform's own log_prob, the graph's is off by the guard; half that limit refuses."""
    (tmp_path / "m.nf").write_text(NORMAL.format(name="log_prob", rest=repr(float(RIGHT)), last="add n, e"))
    done = tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", "--max-graph-error", "1e-2")
    off = float(done.stdout.split("in double: graph ")[1].split(",")[0])
    assert 1e-5 < off < 1e-2
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", "--max-graph-error", str(off / 2), code=1)
    x = np.zeros((1, 3), np.float32)
    assert nfcc.open(tmp_path / "p.so").log_prob(x)[0] == pytest.approx(RIGHT, abs=1e-5)


def test_a_log_det_of_the_other_sign(tool, tmp_path):
    (tmp_path / "m.nf").write_text(SQUASH.replace("mul t, 0.25", "mul t, 1").replace(
        "log_det: f32[1] = add m, -4.1588830833596715", "log_det: f32[1] = add s, 0"))
    assert "it is -1 times that in every row" in tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", code=1).stderr


# x = z e^{100 g} overflows in float32 where g is true, as the checks of the compiled code draw it.
OVERFLOW = """module stage=imported
port in "x" f32[2] batch 0
port in "g" bool[1] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,2], g: bool[1,1]) {
    s: f32[1,1] = select g, -100, 0
    e: f32[1,1] = exp s
    b: f32[1,2] = move e [0, 0]
    z: f32[1,2] = mul x, b
    t: f32[1] = move s [0]
    log_det: f32[1] = mul t, 2
    return z, log_det
}
"""


@pytest.mark.filterwarnings("ignore::nfcc.NotFiniteWarning")
def test_an_event_that_overflows_is_no_fault_of_the_compiled_code(tool, tmp_path):
    (tmp_path / "m.nf").write_text(OVERFLOW)
    np.savez(tmp_path / "v.npz", g=np.zeros((8, 1), bool))
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", "--verify-inputs", tmp_path / "v.npz")
    policy = nfcc.open(tmp_path / "p.so")
    x, _ = policy.to_event(np.array([[2.0, 1.0]], np.float32), g=np.array([[True]]))
    assert np.isinf(x).all() and np.isnan(policy.log_prob(x, g=np.array([[True]]))).all()


# Two of four latents are above -1; a standard normal's are not always.
HALF_LINE = """module stage=imported
port in "x" f32[4] batch 0
port out "z" f32[4] batch 0
func @main(x: f32[1,4]) {
    a: f32[1,2] = move x [0, 1]
    b: f32[1,2] = move x [2, 3]
    c: f32[1,2] = elu b {alpha=1}
    z: f32[1,4] = move a, c
    return z
}
"""


@pytest.mark.filterwarnings("ignore::nfcc.NotFiniteWarning")
def test_stored_rows_may_have_no_event(tool, tmp_path):
    """The self test takes what the entries make of it: NaN, of the lanes that have an event as well."""
    (tmp_path / "m.nf").write_text(HALF_LINE)
    assert "were drawn again" in tool(tmp_path / "m.nf", "-o", tmp_path / "p.so").stdout
    assert "golden rows are equal" in tool("selftest", tmp_path / "p.so").stdout


# z = x - the largest of the points that a mask keeps.
MASKED = """module stage=imported
port in "x" f32[2] batch 0
port in "points" f32[3] batch 0
port in "mask" bool[3] batch 0
port out "z" f32[2] batch 0
func @main(x: f32[1,2], points: f32[1,3], mask: bool[1,3]) {
    kept: f32[1,3] = select mask, points, -1e30
    most: f32[1] = reduce_max kept
    z: f32[1,2] = sub x, most
    return z
}
"""


@pytest.mark.parametrize("kept", ["points, -1e30", "-1e30, points"])
def test_drawn_masks_leave_something(tool, tmp_path, kept):
    """Whether true or false is what remains."""
    (tmp_path / "m.nf").write_text(MASKED.replace("points, -1e30", kept))
    assert "verified" in tool(tmp_path / "m.nf", "-o", tmp_path / "p.so").stdout


# z = x e^s, s by the task's row of a table; the exported log_det is right for task 0 alone.
TASKS = """module stage=imported
port in "x" f32[2] batch 0
port in "task" i64[1] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,2], task: i64[1,1]) {
    s: f32[1,1] = take [[0.5, 0.25]], task
    e: f32[1,1] = exp s
    z: f32[1,2] = mul x, e
    t: f32[1,1] = take [[1, WRITTEN]], task
    log_det: f32[1] = move t
    return z, log_det
}
"""


def test_checks_draw_more_than_the_first_row_of_a_table(tool, tmp_path):
    (tmp_path / "m.nf").write_text(TASKS.replace("WRITTEN", "0.5"))
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")
    (tmp_path / "m.nf").write_text(TASKS.replace("WRITTEN", "0.75"))
    assert "output 'log_det' differs" in tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", code=1).stderr
