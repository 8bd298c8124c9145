"""Lanes that are found together: mixes of several lanes written op by op, with what is known beside them."""
import numpy as np

import nfcc

# A net's shift, a rotation in the plane of each pair, then the rows of a matrix written as products and sums.
HEAD = """module stage=imported
port in "x" f32[4] batch 0
port in "obs" f32[1] batch 0
port out "z" f32[4] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,4], obs: f32[1,1]) {
    even: f32[1,2] = move x [0, 2]
    odd: f32[1,2] = move x [1, 3]
    net: f32[1,2] = linear even, [[0.5, -0.25], [0.125, 0.75]]
    t: f32[1,2] = tanh net
    y: f32[1,2] = add odd, t
    c: f32[1,2] = constant [[0.8, -0.28]]
    s: f32[1,2] = constant [[0.6, 0.96]]
    ce: f32[1,2] = mul even, c
    so: f32[1,2] = mul s, y
    se: f32[1,2] = mul s, even
    co: f32[1,2] = mul y, c
    a: f32[1,2] = sub ce, so
    b: f32[1,2] = add se, co
    ob: f32[1,1] = sin obs
"""
MATRIX = np.array([[2, 1, 0, 0.5], [-1, 1, 3, 0], [0, 0.25, 1, 1], [1, 0, 0, -2]])


def mixed(matrix):
    """z_j = -(sum_k matrix[j][k] v_k + sin obs) of the lanes v of a and b."""
    lines = [f"    v{k}: f32[1,1] = move {'ab'[k % 2]} [{k // 2}]" for k in range(4)]
    for j, row in enumerate(matrix):
        total = "ob"
        for k, m in enumerate(row):
            if m == 0:
                continue
            lines += [f"    m{j}{k}: f32[1,1] = mul v{k}, {m}", f"    s{j}{k}: f32[1,1] = add {total}, m{j}{k}"]
            total = f"s{j}{k}"
        lines.append(f"    z{j}: f32[1,1] = neg {total}")
    return "\n".join(lines) + f"""
    z: f32[1,4] = move z0, z1, z2, z3
    log_det: f32[1] = constant [{np.linalg.slogdet(MATRIX)[1]}]
    return z, log_det
}}
"""


def forward(x, obs):
    even, odd = x[:, 0::2], x[:, 1::2] + np.tanh(x[:, 0::2] @ np.array([[0.5, -0.25], [0.125, 0.75]]))
    c, s = np.array([0.8, -0.28]), np.array([0.6, 0.96])
    v = np.stack([c * even - s * odd, s * even + c * odd], -1).reshape(len(x), 4)
    return -(v @ MATRIX.T + np.sin(obs))


def test_mixes_written_op_by_op_are_solved_together(tool, tmp_path):
    (tmp_path / "m.nf").write_text(HEAD + mixed(MATRIX))
    explained = tool("check", tmp_path / "m.nf", "--explain").stdout
    assert "system" in explained and "4 lanes" in explained
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")
    policy = nfcc.open(tmp_path / "p.so")
    rng = np.random.default_rng(3)
    x, obs = rng.standard_normal((50, 4)), rng.standard_normal((50, 1))
    z = forward(x, obs)
    back, log_det = policy.to_event(z.astype(np.float32), obs=obs.astype(np.float32))
    np.testing.assert_allclose(back, x, atol=2e-5)
    np.testing.assert_allclose(log_det, -np.linalg.slogdet(MATRIX)[1], rtol=1e-6)


def test_a_mix_that_loses_a_lane_has_no_way_back(tool, tmp_path):
    flat = MATRIX.copy()
    flat[3] = flat[0] - 2 * flat[1]
    (tmp_path / "m.nf").write_text(HEAD + mixed(flat))
    said = tool("check", tmp_path / "m.nf", code=1).stderr
    assert "cannot be found" in said or "waits at" in said


def test_haar_written_lane_by_lane(tool, tmp_path):
    """p + q beside q - p of couplings' halves: two lanes of two unknown ones."""
    (tmp_path / "m.nf").write_text("""module stage=imported
port in "z" f32[4] batch 0
port out "x" f32[4] batch 0
func @main(z: f32[1,4]) {
    p: f32[1,2] = move z [0, 2]
    q0: f32[1,2] = move z [1, 3]
    t: f32[1,2] = tanh p
    q: f32[1,2] = add q0, t
    a: f32[1,2] = add q, p
    d: f32[1,2] = sub p, q
    h: f32[1,2] = mul a, 0.7071067811865476
    l: f32[1,2] = mul d, 0.7071067811865476
    x: f32[1,4] = move l, h
    return x
}
""")
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")
    z = np.random.default_rng(4).standard_normal((50, 4))
    p, q = z[:, 0::2], z[:, 1::2] + np.tanh(z[:, 0::2])
    back, log_det = nfcc.open(tmp_path / "p.so").to_latent((np.hstack([p - q, p + q]) / np.sqrt(2)).astype(np.float32))
    np.testing.assert_allclose(back, z, atol=2e-6)
    np.testing.assert_allclose(log_det, 0, atol=1e-6)


def module(lanes, numbers, body):
    """An event x of some lanes, a context c of numbers, and what z and log_det are."""
    return f"""module stage=imported
port in "x" f32[{lanes}] batch 0
port in "c" f32[{numbers}] batch 0
port out "z" f32[{lanes}] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,{lanes}], c: f32[1,{numbers}]) {{
{body}
    return z, log_det
}}
"""


def differences(f, x, step=1e-5):
    """d f / d x of one row: [outputs, lanes]."""
    return np.stack([(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(x.size)], -1)


def check_both_ways(policy, f, log_det, x, c):
    """z, x, log_det and score of rows against f and log_det, functions of one row and one context in double."""
    z = np.stack([f(*row) for row in zip(x, c)])
    wanted = np.array([log_det(*row) for row in zip(x, c)])
    got, got_log_det = policy.to_latent(x.astype(np.float32), c=c.astype(np.float32))
    np.testing.assert_allclose(got, z, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got_log_det, wanted, rtol=1e-5, atol=1e-5)
    back, back_log_det = policy.to_event(z.astype(np.float32), c=c.astype(np.float32))
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(back_log_det, -wanted, rtol=1e-4, atol=1e-4)
    density = [differences(lambda v, k=k: np.atleast_1d(log_det(v, k) - f(v, k) @ f(v, k) / 2), row)[0]
               for row, k in zip(x, c)]
    np.testing.assert_allclose(policy.score(x.astype(np.float32), c=c.astype(np.float32)), density, rtol=1e-4,
                               atol=1e-4)


def rows_of(lanes, numbers, n=40):
    rng = np.random.default_rng(8)
    return rng.standard_normal((n, lanes)), rng.standard_normal((n, numbers)).round(2)


DET3 = """    p: f32[1,3] = move m [0, 1, 2]
    q: f32[1,3] = move m [4, 5, 3]
    r: f32[1,3] = move m [8, 6, 7]
    q2: f32[1,3] = move m [5, 3, 4]
    r2: f32[1,3] = move m [7, 8, 6]
    qr: f32[1,3] = mul q, r
    qr2: f32[1,3] = mul q2, r2
    minor: f32[1,3] = sub qr, qr2
    part: f32[1,3] = mul p, minor
    det: f32[1] = reduce_sum part
    size: f32[1] = abs det
    log_det: f32[1] = log size"""


def test_a_computed_matrix_is_eliminated(tool, tmp_path):
    """Pivots by the data: in some rows the first entry is 0."""
    (tmp_path / "m.nf").write_text(module(3, 9, f"""    m: f32[1,9] = move c
    a: f32[1,3,3] = move c
    column: f32[1,3,1] = move x
    y: f32[1,3,1] = matmul a, column
    z: f32[1,3] = move y
{DET3}"""))
    assert "3 at a time, by a computed matrix" in tool("check", tmp_path / "m.nf", "--explain").stdout
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")
    x, c = rows_of(3, 9)
    c = (c + 2 * np.eye(3)[[2, 0, 1]].ravel()).astype(np.float32).astype(float)
    c[::3, 0] = 0
    check_both_ways(nfcc.open(tmp_path / "p.so"), lambda v, k: k.reshape(3, 3) @ v,
                    lambda v, k: np.linalg.slogdet(k.reshape(3, 3))[1], x, c)


def test_a_matrix_of_other_lanes(tool, tmp_path):
    """The matrix is made of a lane that passes, so that the score has the derivatives of its determinant."""
    (tmp_path / "m.nf").write_text(module(4, 9, f"""    own: f32[1,1] = move x [3]
    wave: f32[1,1] = sin own
    m: f32[1,9] = add c, wave
    a: f32[1,3,3] = move m
    column: f32[1,3,1] = move x [0..2]
    y: f32[1,3,1] = matmul a, column
    z: f32[1,4] = move y, own
{DET3}"""))
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")
    x, c = rows_of(4, 9)
    c = (c + 3 * np.diag([1, -1, 1]).ravel()).astype(np.float32).astype(float)

    def a(v, k):
        return (k + np.sin(v[3])).reshape(3, 3)
    check_both_ways(nfcc.open(tmp_path / "p.so"), lambda v, k: np.append(a(v, k) @ v[:3], v[3]),
                    lambda v, k: np.linalg.slogdet(a(v, k))[1], x, c)


def test_a_computed_triangle_is_solved_lane_by_lane(tool, tmp_path):
    (tmp_path / "m.nf").write_text(module(3, 6, """    d: f32[1,3] = move c [0..2]
    e: f32[1,3] = exp d
    zero: f32[1] = constant [0]
    l: f32[1,3,3] = move e, c, zero [0, 9, 9, 6, 1, 9, 7, 8, 2]
    column: f32[1,3,1] = move x
    y: f32[1,3,1] = matmul l, column
    z: f32[1,3] = move y
    log_det: f32[1] = reduce_sum d"""))
    assert "1 at a time, by a computed matrix" in tool("check", tmp_path / "m.nf", "--explain").stdout
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")

    def lower(k):
        return np.array([[np.exp(k[0]), 0, 0], [k[3], np.exp(k[1]), 0], [k[4], k[5], np.exp(k[2])]])
    check_both_ways(nfcc.open(tmp_path / "p.so"), lambda v, k: lower(k) @ v, lambda v, k: k[:3].sum(), *rows_of(3, 6))


def test_a_reflection_at_a_computed_plane(tool, tmp_path):
    """x - 2 c (c x) / (c c), op by op."""
    (tmp_path / "m.nf").write_text(module(4, 4, """    cx: f32[1,4] = mul c, x
    cc: f32[1,4] = mul c, c
    along: f32[1] = reduce_sum cx
    size: f32[1] = reduce_sum cc
    twice: f32[1] = mul along, 2
    part: f32[1] = div twice, size
    back: f32[1,4] = mul c, part
    z: f32[1,4] = sub x, back
    log_det: f32[1] = constant [0]"""))
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so")
    check_both_ways(nfcc.open(tmp_path / "p.so"), lambda v, k: v - 2 * k * (k @ v) / (k @ k), lambda v, k: 0.0,
                    *rows_of(4, 4))


def test_computed_matrices_that_are_not_solved(tool, tmp_path):
    (tmp_path / "wide.nf").write_text(module(17, 289, """    a: f32[1,17,17] = move c
    column: f32[1,17,1] = move x
    y: f32[1,17,1] = matmul a, column
    z: f32[1,17] = move y
    log_det: f32[1] = constant [0]"""))
    assert "17 lanes are mixed by a computed matrix" in tool("check", tmp_path / "wide.nf", code=1).stderr
    (tmp_path / "flat.nf").write_text(module(3, 3, """    cx: f32[1,3] = mul c, x
    along: f32[1] = reduce_sum cx
    z: f32[1,3] = mul c, along
    log_det: f32[1] = constant [0]"""))
    assert "not invertible" in tool("check", tmp_path / "flat.nf", code=1).stderr
    plane = """    cx: f32[1,4] = mul c, x
    cc: f32[1,4] = mul c, c
    along: f32[1] = reduce_sum cx
    size: f32[1] = reduce_sum cc
    part: f32[1] = div along, size
    back: f32[1,4] = mul c, part
    z: f32[1,4] = sub x, back
    log_det: f32[1] = constant [0]"""  # onto a plane: singular only by what c c is
    only_z = module(4, 4, plane).replace('port out "log_det" f32[] batch 0\n', "")
    only_z = only_z.replace("return z, log_det", "return z")
    (tmp_path / "plane.nf").write_text(only_z)
    assert "error: " in tool(tmp_path / "plane.nf", "-o", tmp_path / "p.so", code=1).stderr
    assert not (tmp_path / "p.so").exists()
