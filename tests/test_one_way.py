"""Flows with no inverse (planar, radial): the exported direction with the exported log_det; the rest says why not."""
import json

import numpy as np
import pytest

import nfcc

# One radial layer: y = x + beta h (x - x0), h = 1 / (alpha + r), r = |x - x0|;
# log|det dy/dx| = 3 log(1 + beta h) + log(1 + beta h - beta h^2 r).
RADIAL = """module stage=imported
port in "{x}" f32[4] batch 0
{outs}
func @main({x}: f32[1,4]) {{
    c: f32[4] = constant [0.5, -1.5, 0.25, 1]
    x4: f32[4] = move {x}
    d: f32[4] = sub x4, c
    s: f32[4] = mul d, d
    s1: f32[1,4] = move s
    r2: f32[1] = reduce_sum s1
    r: f32[1] = sqrt r2
    one: f32[1] = constant [1]
    a: f32[1] = constant [0.7]
    b: f32[1] = constant [{beta}]
    ar: f32[1] = add r, a
    h: f32[1] = div one, ar
    bh: f32[1] = mul b, h
    step: f32[4] = mul bh, d
    y: f32[4] = add x4, step
    u: f32[1] = add one, bh
    hr: f32[1] = mul h, r
    bhh: f32[1] = mul bh, hr
    v: f32[1] = sub u, bhh
    lu: f32[1] = log u
    lv: f32[1] = log v
    three: f32[1] = constant [{factor}]
    lu3: f32[1] = mul three, lu
    log_det: f32[1] = add lu3, lv
{more}
    return {returns}
}}
"""
LOG_PROB = """    yy: f32[4] = mul y, y
    y1: f32[1,4] = move yy
    q: f32[1] = reduce_sum y1
    half: f32[1] = constant [-0.5]
    hq: f32[1] = mul half, q
    lp: f32[1] = add hq, log_det"""


FULL_LOG_PROB = LOG_PROB.replace("lp: f32[1] = add hq, log_det", """norm: f32[1] = constant [-3.6757541328186907]
    base: f32[1] = add hq, norm
    lp: f32[1] = add base, log_det""")
# A base with scale 2: u = y / 2.
WIDE_LOG_PROB = "    w: f32[4] = mul y, 0.5\n" + FULL_LOG_PROB.replace("mul y, y", "mul w, w").replace(
    "-3.6757541328186907", "-6.448342855058469")
NOISE_LOG_PROB = FULL_LOG_PROB.replace("mul y, y", "mul x4, x4").replace("add base, log_det", "sub base, log_det")


def radial(folder, x, outputs, factor=3, beta=0.9, more=""):
    """outputs: {name: (value, shape)}."""
    lines = [f'port out "{name}" f32[{shape}] batch 0' for name, (_, shape) in outputs.items()]
    path = folder / "radial.nf"
    path.write_text(RADIAL.format(x=x, outs="\n".join(lines), factor=factor, beta=beta, more=more,
                                  returns=", ".join(v for v, _ in outputs.values())))
    return path


def exact(x):
    x = np.asarray(x, np.float64)
    d = x - [0.5, -1.5, 0.25, 1]
    r = np.sqrt((d * d).sum(1))
    h = 1 / (0.7 + r)
    return x + 0.9 * h[:, None] * d, 3 * np.log(1 + 0.9 * h) + np.log(1 + 0.9 * h - 0.9 * h * h * r)


def are_near(got, want):
    for value, wanted in zip(got, want):
        np.testing.assert_allclose(value, wanted, atol=1e-5)


def normal(z):
    return -0.5 * (z ** 2).sum(1) - 2 * np.log(2 * np.pi)


SAMPLING = {"x_sample": ("y", "4"), "logdet_sample": ("log_det", "")}


def test_sampling(tool, tmp_path):
    model = radial(tmp_path, "noise", SAMPLING)
    done = tool(model, "-o", tmp_path / "p.so")
    assert "to_event, sample, sample_and_log_prob, sample_best, act, run" in done.stdout
    assert "finite differences" in done.stdout and "noise[0] waits at" in done.stdout
    policy = nfcc.open(str(tmp_path / "p.so"))
    z = np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32)
    want, log_det = exact(z)
    are_near(policy.to_event(z), (want, log_det))
    x, log_prob = policy.sample_and_log_prob(z=z)
    np.testing.assert_allclose(log_prob, normal(z) - log_det, atol=1e-4)
    np.testing.assert_array_equal(policy.act(z=z), x)
    assert "one way" in policy.info.notes
    with pytest.raises(nfcc.Error):
        policy.log_prob(x)
    assert "bit for bit" in tool("selftest", tmp_path / "p.so").stdout


def test_density(tool, tmp_path):
    model = radial(tmp_path, "x", {"z": ("y", "4"), "log_det": ("log_det", "")})
    done = tool(model, "-o", tmp_path / "p.so")
    assert "entries: to_latent, log_prob, score, run" in done.stdout
    policy = nfcc.open(str(tmp_path / "p.so"))
    x = np.random.default_rng(2).standard_normal((20, 4))
    want, log_det = exact(x)
    are_near(policy.to_latent(x.astype(np.float32)), (want, log_det))
    np.testing.assert_allclose(policy.log_prob(x.astype(np.float32)), normal(want) + log_det, atol=1e-4)
    score = policy.score(x.astype(np.float32))
    for k in range(4):
        up, down = x.copy(), x.copy()
        up[:, k] += 1e-5
        down[:, k] -= 1e-5
        (zu, lu), (zd, ld) = exact(up), exact(down)
        np.testing.assert_allclose(score[:, k], (normal(zu) + lu - normal(zd) - ld) / 2e-5, atol=1e-3)
    assert "bit for bit" in tool("selftest", tmp_path / "p.so").stdout


def test_the_mean_log_det_of_an_event(tool, tmp_path):
    more = "    quarter: f32[1] = constant [0.25]\n    mean: f32[1] = mul quarter, log_det"
    model = radial(tmp_path, "noise", {"x_sample": ("y", "4"), "log_det": ("mean", "")}, more=more)
    tool(model, "-o", tmp_path / "p.so")
    z = np.zeros((1, 4), np.float32)
    np.testing.assert_allclose(nfcc.open(str(tmp_path / "p.so")).to_event(z)[1], exact(z)[1], atol=1e-5)


def test_unnamed_numbers_are_found_and_options_decide(tool, tmp_path):
    model = radial(tmp_path, "inp", {"add_1": ("y", "4"), "add_2": ("log_det", "")})
    assert "flow: no" in tool(model, "-o", tmp_path / "p.so").stdout
    assert "sampling" in tool(model, "-o", tmp_path / "p.so", "--latent", "inp").stdout
    assert "entries: to_latent, log_prob" in tool(model, "-o", tmp_path / "p.so", "--event", "inp").stdout


@pytest.mark.parametrize("outputs,factor,said", [
    ({"x_sample": ("y", "4")}, 3, "export the log_det too"),
    (SAMPLING, 2, "'logdet_sample' is not log|det|"),
])
def test_refusals(tool, tmp_path, outputs, factor, said):
    model = radial(tmp_path, "noise", outputs, factor)
    done = tool(model, "-o", tmp_path / "p.so", code=1)
    assert said in done.stderr and "noise[0] waits at" in done.stderr and "--entries run" in done.stderr
    assert "run" in tool(model, "-o", tmp_path / "p.so", "--entries", "run").stdout


@pytest.mark.parametrize("name", ["log_prob", "log_prob_x", "add_7"])
def test_a_log_prob_that_does_not_solve_is_no_run(tool, tmp_path, name):
    model = radial(tmp_path, "x", {name: ("lp", "")}, more=LOG_PROB)
    done = tool(model, "-o", tmp_path / "p.so", code=1)
    assert f"'{name}' shows the 4 terms of a standard normal" in done.stderr
    assert "x[0] waits at" in done.stderr and "--entries run" in done.stderr
    tool(model, "-o", tmp_path / "p.so", "--entries", "run")


def test_a_log_prob_alone_is_enough(tool, tmp_path):
    model = radial(tmp_path, "x", {"add_7": ("lp", "")}, more=FULL_LOG_PROB)
    done = tool(model, "-o", tmp_path / "p.so")
    assert "entries: to_latent, log_prob, score, run" in done.stdout and "base: standard normal\n" in done.stdout
    assert "'x' cannot be found from the log_prob's terms: x[0] waits at" in done.stdout
    policy = nfcc.open(str(tmp_path / "p.so"))
    x = np.random.default_rng(2).standard_normal((20, 4)).astype(np.float32)
    z, log_det = exact(x)
    np.testing.assert_allclose(policy.log_prob(x), normal(z) + log_det, atol=1e-4)
    np.testing.assert_allclose(policy.to_latent(x)[0], z, atol=1e-5)
    assert np.isfinite(policy.score(x)).all()
    said = tool(model, "-o", tmp_path / "p.so", "--entries", "sample", code=1).stderr
    assert "x[0] waits at" in said


def test_the_exported_latent_is_kept(tool, tmp_path):
    model = radial(tmp_path, "x", {"add_7": ("lp", ""), "add_5": ("y", "4")}, more=WIDE_LOG_PROB)
    done = tool(model, "-o", tmp_path / "p.so")
    assert "z is the exported latent" in done.stdout and "entries: to_latent, log_prob, score, run" in done.stdout
    policy = nfcc.open(str(tmp_path / "p.so"))
    x = np.random.default_rng(4).standard_normal((20, 4)).astype(np.float32)
    want, log_det = exact(x)
    are_near(policy.to_latent(x), (want, log_det))
    np.testing.assert_allclose(policy.log_prob(x), normal(want / 2) - 4 * np.log(2) + log_det, atol=1e-4)


def test_a_sampler_with_its_log_prob(tool, tmp_path):
    model = radial(tmp_path, "inp", {"add_7": ("y", "4"), "add_9": ("lp", "")}, more=NOISE_LOG_PROB)
    done = tool(model, "-o", tmp_path / "p.so")
    assert "sampling" in done.stdout and "sample_and_log_prob" in done.stdout and "one way" in done.stdout
    z = np.random.default_rng(3).standard_normal((9, 4)).astype(np.float32)
    x, log_prob = nfcc.open(str(tmp_path / "p.so")).sample_and_log_prob(z=z)
    want, log_det = exact(z)
    np.testing.assert_allclose(x, want, atol=1e-5)
    np.testing.assert_allclose(log_prob, normal(z) - log_det, atol=1e-4)


def test_absent_entries_say_why(tool, tmp_path):
    model = radial(tmp_path, "noise", SAMPLING)
    said = tool(model, "-o", tmp_path / "p.so", "--entries", "log_prob", code=1).stderr
    assert "'log_prob'" in said and "noise[0] waits at" in said
    tool(model, "-o", tmp_path / "p.so")
    np.save(tmp_path / "x.npy", np.zeros((1, 4), np.float32))
    for words in (["p.so"], ["radial.nf"], ["radial.nf", "--backend", "interp"]):
        said = tool("run", *words, "log_prob", "x=x.npy", "-o", "out", cwd=tmp_path, code=2).stderr
        assert "no entry 'log_prob'" in said and "noise[0] waits at" in said
    said = tool(model, "-o", tmp_path / "p.so", "--denoise", "0.1", code=1).stderr
    assert "both directions" in said
    assert "noise[0] waits at" in json.loads(tool("check", "--json", model).stdout)["one_way"]


def test_a_log_det_that_is_right_only_near_the_centre(tool, tmp_path):
    """Rows that are given are looked at as the drawn ones, by which it was taken for one."""
    more = "    far: bool[1] = lt 20, r\n    off: f32[1] = select far, 0.001, 0\n    almost: f32[1] = add log_det, off"
    model = radial(tmp_path, "noise", {**SAMPLING, "logdet_sample": ("almost", "")}, more=more)
    tool(model, "-o", tmp_path / "p.so")
    np.savez(tmp_path / "far.npz", z=np.full((4, 4), 30.0))
    done = tool(model, "-o", tmp_path / "p.so", "--verify-inputs", tmp_path / "far.npz", code=1)
    assert "differs from the finite-difference Jacobian's" in done.stderr


def test_a_saved_stage_gives_the_same_file(tool, tmp_path):
    model = radial(tmp_path, "noise", SAMPLING)
    tool(model, "-o", tmp_path / "a.so", "--name", "p")
    tool(model, "--stop-after", "derive", "-o", tmp_path / "d.nf")
    out = tool(tmp_path / "d.nf", "-o", tmp_path / "b.so", "--name", "p").stdout
    entries = out.split("entries:")[1].split("\n")[0]
    assert "to_event, sample, sample_and_log_prob" in entries
    assert "log_prob," not in entries.replace("sample_and_log_prob,", "")


# A function with linear tails: 2 v inside -1..1, shifted outside, so log|dx/dz| is log 2 or 0 as the range test says.
TAILS = """module stage=imported
port in "noise" f32[2] batch 0
port out "x_sample" f32[2] batch 0
port out "{name}" f32[] batch 0
func @main(noise: f32[1,2]) {{
    v: f32[2] = move noise
    low: bool[2] = le -1, v
    high: bool[2] = le v, 1
    inside: bool[2] = and low, high
    twice: f32[2] = mul v, 2
    side: f32[2] = sign v
    tail: f32[2] = add v, side
    x: f32[2] = select inside, twice, tail
    l: f32[2] = select inside, 0.6931471805599453, 0
    l1: f32[1,2] = move l
    log_det: f32[1] = reduce_sum l1
    return x, log_det
}}
"""


@pytest.mark.parametrize("name", ["log_det", "add_3"])
def test_tails_are_no_uniform_base(tool, tmp_path, name):
    path = tmp_path / "tails.nf"
    path.write_text(TAILS.format(name=name))
    done = tool("check", path, code=None)
    assert "z -> x (sampling)" in done.stdout and "uniform" not in done.stdout


SINE = """module stage=imported
port in "noise" f32[3] batch 0
port out "x_sample" f32[3] batch 0
port out "log_det" f32[1] batch 0
func @main(noise: f32[1,3]) {
    z: f32[3] = move noise
    x: f32[3] = sin z
    c: f32[3] = cos z
    l: f32[3] = log c
    l1: f32[1,3] = move l
    log_det: f32[1] = reduce_sum l1
    return x, log_det
}
"""


def test_a_log_det_of_its_base_alone(tool, tmp_path):
    """Past 0 to 1 the sine falls, and its log_det is no number: what is drawn to see that it is one comes from the
    base."""
    (tmp_path / "sine.nf").write_text(SINE)
    done = tool(tmp_path / "sine.nf", "-o", tmp_path / "sine.so", "--base", "uniform")
    assert "to_event" in done.stdout and "one way" in done.stdout
    z = np.random.default_rng(1).random((50, 3)).astype(np.float32)
    with nfcc.open(str(tmp_path / "sine.so")) as policy:
        x, log_det = policy.to_event(z)
    assert np.abs(x - np.sin(z)).max() < 1e-6 and np.abs(log_det - np.log(np.cos(z)).sum(1)).max() < 1e-5
