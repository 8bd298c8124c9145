"""A uniform base is read from its test of range, however that is written: lane by lane, or once for all lanes. Of a
base of no known form the log_prob is the graph's own; --base names one where the graph shows none."""
import numpy as np
import pytest

import nfcc

MODEL = """module stage=imported
port in "x" f32[3] batch 0
port out "log_prob" f32[] batch 0
func @main(x: f32[1,3]) {{
    t: f32[1,3] = sub x, [0.5, -1, 2]
    z: f32[1,3] = mul t, 2
    low: bool[1,3] = lt z, -2
    high: bool[1,3] = lt 2, z
{test}
    log_prob: f32[1] = add v, -2.0794415416798357
    return log_prob
}}
"""
BELOW = """    out: bool[1,3] = or low, high
"""
INSIDE = """    a: bool[1,3] = not low
    b: bool[1,3] = not high
    in: bool[1,3] = and a, b
"""
TESTS = {
    "count above 0": BELOW + """    n: i64[1,3] = add out, i64 [0]
    count: i64[1] = reduce_sum n
    any: bool[1] = lt i64 0, count
    v: f32[1] = select any, -inf, 0""",
    "any": BELOW + """    f: f32[1,3] = select out, 1, 0
    any: f32[1] = reduce_max out
    v: f32[1] = select any, -inf, 0""",
    "not any": BELOW + """    any: bool[1] = reduce_max out
    no: bool[1] = not any
    v: f32[1] = select no, 0, -inf""",
    "all": INSIDE + """    all: bool[1] = reduce_min in
    v: f32[1] = select all, 0, -inf""",
    "each": INSIDE + """    l: f32[1,3] = select in, 0, -inf
    v: f32[1] = reduce_sum l""",
}


@pytest.mark.parametrize("name", TESTS)
def test_written_so(tool, tmp_path, name):
    path = tmp_path / "m.nf"
    path.write_text(MODEL.format(test=TESTS[name]))
    # the density of 3 numbers on -2..2, of z = 2 (x - mean): 3 log 2 - 3 log 4 = -2.0794
    done = tool(path, "-o", tmp_path / "p.so")
    assert "uniform" in done.stdout
    policy = nfcc.open(str(tmp_path / "p.so"))
    x = policy.sample(200, noise=nfcc.Noise(seed=1))
    middle = np.array([0.5, -1, 2], np.float32)
    assert (np.abs(x - middle) <= 1).all() and np.abs(x - middle).max() > 0.9
    np.testing.assert_allclose(policy.log_prob(x), np.full(200, -2.0794415), atol=1e-5)
    outside = policy.log_prob(np.array([[0.5, -1, 3.5], [0.5, -2.5, 2], [0.5, -1, 2]], np.float32))
    assert np.isneginf(outside[:2]).all() and np.isfinite(outside[2])


def test_the_negative_of_a_uniform(tool, tmp_path):
    text = MODEL.format(test=TESTS["each"]).replace("return log_prob", "loss: f32[1] = neg log_prob\n    return loss")
    (tmp_path / "m.nf").write_text(text.replace('port out "log_prob"', 'port out "loss"'))
    said = tool(tmp_path / "m.nf", "-o", tmp_path / "p.so").stdout
    assert "'loss' (negative)" in said and "uniform" in said
    x = np.array([[0.5, -1, 2], [0.5, -1, 3.5]], np.float32)
    np.testing.assert_allclose(nfcc.open(tmp_path / "p.so").log_prob(x), [-2.0794415, -np.inf], atol=1e-5)


# z = 2 x + 0.5; a mixture of two normals of equal weight, with means 1 and -1: both terms and their logarithm.
MIXTURE = """module stage=imported
port in "{x}" f32[2] batch 0
{outs}
func @main({x}: f32[1,2]) {{
    t: f32[1,2] = mul {x}, 2
    y: f32[1,2] = add t, 0.5
    a: f32[1,2] = sub {base}, 1
    b: f32[1,2] = add {base}, 1
    p: f32[1,2] = mul a, a
    q: f32[1,2] = mul b, b
    u: f32[1] = reduce_sum p
    v: f32[1] = reduce_sum q
    s: f32[1] = mul u, -0.5
    r: f32[1] = mul v, -0.5
    e: f32[1] = exp s
    f: f32[1] = exp r
    g: f32[1] = add e, f
    l: f32[1] = log g
    log_prob: f32[1] = add l, {constant}
    return {returns}
}}
"""
NORM = -np.log(2) - np.log(2 * np.pi)


def mixture(folder, x, base, outs):
    """outs: {name: (value, shape)}; base: the name of the latent's value."""
    path = folder / "mixture.nf"
    lines = "\n".join(f'port out "{name}" f32[{shape}] batch 0' for name, (_, shape) in outs.items())
    log_det = 2 * np.log(2) * (1 if x == "x" else -1)
    path.write_text(MIXTURE.format(x=x, base=base, outs=lines, constant=repr(float(NORM + log_det)),
                                   returns=", ".join(v for v, _ in outs.values())))
    return path


def mixture_log_prob(x):
    z = 2 * x.astype(np.float64) + 0.5
    parts = [-0.5 * ((z - m) ** 2).sum(1) for m in (1, -1)]
    return np.logaddexp(*parts) + NORM + 2 * np.log(2)


def mixture_score(x):
    step = 1e-5 * np.eye(2)
    return np.stack([(mixture_log_prob(x + h) - mixture_log_prob(x - h)) / 2e-5 for h in step], 1)


X = np.random.default_rng(4).standard_normal((30, 2)).astype(np.float32)


def test_a_mixture_gives_its_density(tool, tmp_path):
    path = mixture(tmp_path, "x", "y", {"log_prob": ("log_prob", "")})
    done = tool(path, "-o", tmp_path / "p.so")
    assert "entries: log_prob, score, run" in done.stdout and "the density alone" in done.stdout
    policy = nfcc.open(str(tmp_path / "p.so"))
    np.testing.assert_allclose(policy.log_prob(X), mixture_log_prob(X), atol=1e-5)
    np.testing.assert_allclose(policy.score(X), mixture_score(X), atol=1e-4)
    with pytest.raises(nfcc.Error):
        policy.to_latent(X)
    assert "bit for bit" in tool("selftest", tmp_path / "p.so").stdout
    assert "no output is a latent" in tool(path, "-o", tmp_path / "p.so", "--entries", "sample", code=1).stderr
    tool(path, "-o", tmp_path / "p.so", "--denoise", "0.1", code=1)
    later = tmp_path / "later.nf"
    later.write_text(tool(path, "--stop-after", "derive").stdout)
    assert "entries: log_prob, score, run" in tool(later, "-o", tmp_path / "q.so").stdout
    (tmp_path / "h").mkdir()
    tool(path, "-o", tmp_path / "h" / "p.so", "--emit", "so,h", "--name", "p")


# A mixture of two normals for each number, as a logarithm of a sum of exponentials.
MIXTURES = """module stage=imported
port in "x" f32[2] batch 0
port out "log_prob" f32[] batch 0
func @main(x: f32[1,2]) {
    t: f32[1,2] = mul x, 2
    y: f32[1,2,2] = move t [0, 0, 1, 1]
    a: f32[1,2,2] = sub y, [[[0.5, -1.5], [0.5, -1.5]]]
    p: f32[1,2,2] = mul a, a
    s: f32[1,2,2] = mul p, -0.5
    m: f32[1,2] = reduce_max s
    n: f32[1,2,2] = move m [0, 0, 1, 1]
    d: f32[1,2,2] = sub s, n
    e: f32[1,2,2] = exp d
    g: f32[1,2] = reduce_sum e
    l: f32[1,2] = log g
    k: f32[1,2] = add l, m
    r: f32[1] = reduce_sum k
    log_prob: f32[1] = add r, -1.8378770664093453
    return log_prob
}
"""


def test_mixtures_of_each_number_are_no_normals(tool, tmp_path):
    """Unfolded, the first component of each would look like the base, and what is left like a wrong log_det."""
    (tmp_path / "m.nf").write_text(MIXTURES)
    assert "entries: log_prob, score, run" in tool(tmp_path / "m.nf", "-o", tmp_path / "p.so").stdout
    z = 2 * X[..., None].astype(np.float64) + [-0.5, 1.5]
    want = np.log(np.exp(-0.5 * z**2).sum(-1)).sum(1) - np.log(2 * np.pi)
    np.testing.assert_allclose(nfcc.open(str(tmp_path / "p.so")).log_prob(X), want, atol=1e-5)


def test_a_mixture_beside_its_latent_has_both_directions(tool, tmp_path):
    path = mixture(tmp_path, "x", "y", {"z": ("y", "2"), "log_prob": ("log_prob", "")})
    assert "z must be given" in tool(path, "-o", tmp_path / "p.so").stdout
    policy = nfcc.open(str(tmp_path / "p.so"))
    np.testing.assert_allclose(policy.to_latent(X)[0], 2 * X + 0.5, atol=1e-5)
    np.testing.assert_allclose(policy.to_event(2 * X + 0.5)[0], X, atol=1e-5)
    np.testing.assert_allclose(policy.log_prob(X), mixture_log_prob(X), atol=1e-5)
    np.testing.assert_allclose(policy.sample_and_log_prob(z=2 * X + 0.5)[1], mixture_log_prob(X), atol=1e-5)
    with pytest.raises(nfcc.Error):
        policy.sample(3, noise=nfcc.Noise(seed=1))


def test_hints_about_a_base_of_no_known_form_lead_on(tool, tmp_path):
    path = mixture(tmp_path, "a_0", "y", {"add_7": ("log_prob", "")})
    said = ("-o", tmp_path / "p.so", "--log-prob", "add_7")
    assert "hint: --event NAME" in tool(path, *said, code=1).stderr
    assert "leave --base out" in tool(path, *said, "--event", "a_0", "--base", "normal", code=1).stderr
    assert "entries: log_prob, score, run" in tool(path, *said, "--event", "a_0").stdout


def test_a_sampler_of_a_mixture_is_not_taken_for_a_normal(tool, tmp_path):
    path = mixture(tmp_path, "noise", "noise", {"x_sample": ("y", "2"), "log_prob": ("log_prob", "")})
    assert "z must be given" in tool(path, "-o", tmp_path / "p.so").stdout
    policy = nfcc.open(str(tmp_path / "p.so"))
    x, log_prob = policy.sample_and_log_prob(z=X)
    want = np.logaddexp(*[-0.5 * ((X - m) ** 2).sum(1) for m in (1, -1)]) + NORM - 2 * np.log(2)
    np.testing.assert_allclose(x, 2 * X + 0.5, atol=1e-5)
    np.testing.assert_allclose(log_prob, want, atol=1e-5)
    np.testing.assert_allclose(policy.log_prob(x), want, atol=1e-5)


def test_names_and_options_decide(tool, tmp_path):
    path = mixture(tmp_path, "a_0", "y", {"add_7": ("log_prob", "")})
    assert "flow: no" in tool(path, "-o", tmp_path / "p.so").stdout
    done = tool(path, "-o", tmp_path / "p.so", "--event", "a_0", "--log-prob", "add_7")
    assert "entries: log_prob, score, run" in done.stdout
    assert "not a log_prob that nfcc can split" in tool(path, "-o", tmp_path / "p.so", "--log-prob", "add_7",
                                                        code=1).stderr


# ---- a mean and scale of the base, of an exported latent: sampling runs the program @base, and so do the golden rows

SCALED = """module stage=imported
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
port out "log_prob" f32[] batch 0
func @main(x: f32[1,2]) {
    z: f32[1,2] = mul x, 2
    d: f32[1,2] = sub z, 0.5
    u: f32[1,2] = div d, 4
    q: f32[1,2] = mul u, u
    s: f32[1] = reduce_sum q
    h: f32[1] = mul s, -0.5
    log_prob: f32[1] = add h, -3.2241714275292352
    return z, log_prob
}
"""


def test_a_scaled_base_passes_the_self_test(tool, tmp_path):
    path = tmp_path / "scaled.nf"
    path.write_text(SCALED)
    assert "z is the exported latent" in tool(path, "-o", tmp_path / "p.so").stdout
    assert "bit for bit" in tool("selftest", tmp_path / "p.so").stdout


# ---- said with --base, where the graph shows none

AFFINE = """module stage=imported
port in "x" f32[3] batch 0
port out "z" f32[3] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,3]) {
    z: f32[1,3] = mul x, 2
    log_det: f32[1] = constant [2.0794415416798357]
    return z, log_det
}
"""


@pytest.mark.parametrize("base, log_density", [
    ("laplace", lambda z: -np.abs(z) - np.log(2)),
    ("logistic", lambda z: -z - 2 * np.log1p(np.exp(-z))),
    ("uniform", lambda z: np.where((z >= 0) & (z <= 1), 0, -np.inf)),
    ("student_t:1", lambda z: -np.log(np.pi * (1 + z * z))),
])
def test_base_that_is_said(tool, tmp_path, base, log_density):
    (tmp_path / "m.nf").write_text(AFFINE)
    said = tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", "--base", base).stdout
    assert "assumed" not in said
    x = np.linspace(0.1, 0.7, 12, dtype=np.float32).reshape(4, 3)
    got = nfcc.open(tmp_path / "p.so").log_prob(x)
    wanted = log_density(2.0 * x.astype(np.float64)).sum(1) + 3 * np.log(2)
    finite = np.isfinite(wanted)
    assert np.array_equal(np.isfinite(got), finite) and np.abs(got[finite] - wanted[finite]).max() < 1e-5


def test_another_base_than_shown(tool, tmp_path):
    (tmp_path / "m.nf").write_text(MODEL.format(test=TESTS["count above 0"]))
    said = tool("check", tmp_path / "m.nf", "--base", "laplace", code=1).stderr
    assert "--base laplace, but the log_prob output 'log_prob' shows another base: uniform" in said
    assert "no problem found" in tool("check", tmp_path / "m.nf", "--base", "uniform").stdout


# ---- other ways to write a base; what is beside it is 3 log 2

WRITTEN = """module stage=imported
port in "a_0" f32[3] batch 0
port out "add_7" f32[] batch 0
func @main(a_0: f32[1,3]) {{
    t: f32[1,3] = sub a_0, [0.5, -1, 2]
    z: f32[1,3] = mul t, 2
{base}
    add_7: f32[1] = add v, {constant}
    return add_7
}}
"""
FORMS = {
    "a product": ("standard normal", """    row: f32[1,1,3] = move z
    col: f32[1,3,1] = move z
    p: f32[1,1,1] = matmul row, col
    q: f32[1] = move p
    v: f32[1] = mul q, -0.5"""),
    "a norm": ("standard normal", """    s: f32[1,3] = mul z, z
    q: f32[1] = reduce_sum s
    n: f32[1] = sqrt q
    m: f32[1] = pow n, 2
    v: f32[1] = mul m, -0.5"""),
    "half of a lane times it": ("standard normal", """    h: f32[1,3] = mul z, -0.5
    s: f32[1,3] = mul h, z
    v: f32[1] = reduce_sum s"""),
    "log sigmoids": ("standard logistic", """    s: f32[1,3] = sigmoid z
    m: f32[1,3] = neg z
    r: f32[1,3] = sigmoid m
    ls: f32[1,3] = log s
    lr: f32[1,3] = log r
    l: f32[1,3] = add ls, lr
    v: f32[1] = reduce_sum l"""),
    "softplus twice": ("standard logistic", """    s: f32[1,3] = softplus z
    m: f32[1,3] = neg z
    r: f32[1,3] = softplus m
    l: f32[1,3] = add s, r
    n: f32[1] = reduce_sum l
    v: f32[1] = neg n"""),
}


@pytest.mark.parametrize("name", FORMS)
def test_another_form(tool, tmp_path, name):
    base, text = FORMS[name]
    constant = 3 * np.log(2) - (1.5 * np.log(2 * np.pi) if "normal" in base else 0)
    (tmp_path / "m.nf").write_text(WRITTEN.format(base=text, constant=repr(float(constant))))
    assert f"base: {base}\n" in tool(tmp_path / "m.nf", "-o", tmp_path / "p.so").stdout
    policy = nfcc.open(tmp_path / "p.so")
    x = np.random.default_rng(3).standard_normal((20, 3)).astype(np.float32)
    z = 2 * (x.astype(np.float64) - [0.5, -1, 2])
    density = -0.5 * z * z - 0.5 * np.log(2 * np.pi) if "normal" in base else -z - 2 * np.log1p(np.exp(-z))
    np.testing.assert_allclose(policy.to_latent(x)[0], z, atol=1e-5)
    np.testing.assert_allclose(policy.log_prob(x), density.sum(1) + 3 * np.log(2), rtol=1e-5, atol=1e-4)


# A tanh's log-determinant looks like a logistic density of the noise.
SQUASH = """module stage=imported
port in "z.1" f32[3] batch 0
port out "280" f32[] batch 0
port out "281" f32[3] batch 0
func @main(z.1: f32[1,3]) {
    t: f32[1,3] = mul z.1, 0.7
    a: f32[1,3] = tanh t
    d: f32[1,3] = mul t, -2
    s: f32[1,3] = softplus d
    e: f32[1,3] = add t, s
    f: f32[1,3] = sub 0.6931471805599453, e
    g: f32[1,3] = mul f, 2
    h: f32[1] = reduce_sum g
    k: f32[1] = add h, -1.0700248317952946
    return k, a
}
"""


def test_a_log_det_is_not_taken_for_a_base(tool, tmp_path):
    path = tmp_path / "m.nf"
    path.write_text(SQUASH)
    assert "--latent z.1 (it is noise)" in tool(path, "-o", tmp_path / "p.so", code=1).stderr
    assert "sampling" in tool(path, "-o", tmp_path / "p.so", "--latent", "z.1").stdout
    z = np.random.default_rng(5).standard_normal((9, 3)).astype(np.float32)
    x, log_det = nfcc.open(tmp_path / "p.so").to_event(z)
    np.testing.assert_allclose(x, np.tanh(0.7 * z), atol=1e-6)
    np.testing.assert_allclose(log_det, np.log(0.7 * (1 - np.tanh(0.7 * z.astype(np.float64)) ** 2)).sum(1), atol=1e-5)


def test_several_degrees_of_freedom_are_no_base(tool, tmp_path):
    """Student t with 3, 5 and 7 degrees of freedom: the density as it is exported, which nothing else is claimed of."""
    text = """    s: f32[1,3] = mul z, z
    q: f32[1,3] = div s, [3, 5, 7]
    l: f32[1,3] = log1p q
    w: f32[1,3] = mul l, [-2, -3, -4]
    v: f32[1] = reduce_sum w"""
    named = WRITTEN.replace("add_7", "log_prob").replace("a_0", "x")
    (tmp_path / "m.nf").write_text(named.format(base=text, constant=0.25))
    assert "none that nfcc knows" in tool(tmp_path / "m.nf", "-o", tmp_path / "p.so").stdout
    x = np.random.default_rng(4).standard_normal((20, 3)).astype(np.float32)
    z = 2 * (x.astype(np.float64) - [0.5, -1, 2])
    wanted = (np.log1p(z * z / [3, 5, 7]) * [-2, -3, -4]).sum(1) + 0.25
    np.testing.assert_allclose(nfcc.open(tmp_path / "p.so").log_prob(x), wanted, rtol=1e-5, atol=1e-4)
