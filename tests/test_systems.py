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
