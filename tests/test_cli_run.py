"""nfcc run: an entry on .npy files has the numbers of the package, whatever their form; on other machines, too."""
import os
import pty
import resource
import shutil
import subprocess
import time

import numpy as np
import pytest

import nfcc
import zoo


def outputs(folder):
    return {f[:-4]: np.load(os.path.join(folder, f)) for f in os.listdir(folder)}


def test_run_equals_the_package(tool, lander, files, rows):
    policy = nfcc.open(lander / "policy.so")
    tool("run", lander / "policy.so", "to_latent", "x=x.npy", "obs=obs.npy", "-o", "out", cwd=files)
    z, log_det = policy.to_latent(rows["x"], obs=rows["obs"])
    out = outputs(files / "out")
    assert set(out) == {"z", "log_det"} and (out["z"] == z).all() and (out["log_det"] == log_det).all()


def test_run_samples(tool, lander, files, rows):
    policy = nfcc.open(lander / "policy.so")
    tool("run", lander / "policy.so", "sample_and_log_prob", "obs=obs.npy", "--samples", "0x5", "--seed", "010",
         "--first-row", 3, "-o", "out", cwd=files)
    x, log_prob = policy.sample_and_log_prob(5, obs=rows["obs"], noise=nfcc.Noise(10, next=3))
    out = outputs(files / "out")
    assert out["x"].shape == (16, 5, 8) and (out["x"] == x).all() and (out["log_prob"] == log_prob).all()


def test_run_best_of(tool, lander, files, rows):
    policy = nfcc.open(lander / "policy.so")
    x, log_prob = policy.sample_and_log_prob(9, obs=rows["obs"], noise=nfcc.Noise(7, next=3))
    tool("run", lander / "policy.so", "sample_best", "obs=obs.npy", "--samples", 9, "--seed", 7, "--first-row", 3,
         "-o", "out", cwd=files)
    out, best = outputs(files / "out"), log_prob.argmax(1)
    assert (out["x"] == x[np.arange(16), best]).all() and (out["log_prob"] == log_prob.max(1)).all()
    tool("run", tool.model("lander_nfbc"), "sample_best", "obs=obs.npy", "--samples", 9, "--seed", 7, "--first-row", 3,
         "--backend", "interp", "-o", "interp", cwd=files)
    assert np.abs(outputs(files / "interp")["x"] - out["x"]).max() < 1e-4
    np.save(files / "one.npy", rows["obs"][:1])
    np.save(files / "many.npy", policy.draw(7, 18).reshape(2, 9, 8))  # two rows of candidates for one observation
    tool("run", lander / "policy.so", "sample_best", "obs=one.npy", "z=many.npy", "--samples", 9, "-o", "two",
         cwd=files)
    x, log_prob = policy.sample_best(9, obs=rows["obs"][[0, 0]], noise=nfcc.Noise(7))
    out = outputs(files / "two")
    assert (out["x"] == x).all() and (out["log_prob"] == log_prob).all() and x.shape == (2, 8)


def test_run_without_samples_and_temperature(tool, lander, files, rows):
    policy = nfcc.open(lander / "policy.so")
    tool("run", lander / "policy.so", "act", "obs=obs.npy", "--temperature", 0, "-o", "out", cwd=files)
    x = policy.act(obs=rows["obs"], z=np.zeros((16, 8), np.float32))
    assert (outputs(files / "out")["x"] == x).all() and np.abs(x).max() <= 1


def test_run_graph_and_interp(tool, files, rows):
    model = tool.model("lander_nfbc")
    for backend in ("llvm", "interp", "openblas"):
        tool("run", model, "run", "x=x.npy", "obs=obs.npy", "--backend", backend, "-o", backend, cwd=files)
        tool("run", model, "sample_and_log_prob", "z=z.npy", "obs=obs.npy", "--backend", backend, "-o", backend + "2",
             cwd=files)
        out = {**outputs(files / backend), **outputs(files / (backend + "2"))}
        assert set(out) == {"z", "logdet", "x", "log_prob"}
        limit = 1e-4 if backend != "interp" else 1e-5  # W was rounded by the exporter
        assert np.abs(out["z"] - rows["z"]).max() < limit and np.abs(out["x"] - rows["sample"]).max() < limit


def test_interp_draws_the_same_noise(tool, files):
    model = tool.model("lander_nfbc")
    for backend in ("llvm", "interp"):
        tool("run", model, "sample", "obs=obs.npy", "--samples", 2, "--seed", 9, "--backend", backend, "-o", backend,
             cwd=files)
    a, b = (outputs(files / backend)["x"] for backend in ("llvm", "interp"))
    assert a.shape == b.shape == (16, 2, 8) and np.abs(a - b).max() < 1e-4


def test_run_many_outputs_in_double(tool, tmp_path):
    names = [f"o{i}" for i in range(300)]
    lines = ["port in \"x\" f32[2] batch 0", *(f"port out \"{name}\" f32[2] batch 0" for name in names),
             "func @main(x: f32[1,2]) {", *(f"    {name}: f32[1,2] = add x, {i}" for i, name in enumerate(names)),
             f"    return {', '.join(names)}", "}\n"]
    (tmp_path / "m.nf").write_text("\n".join(lines))
    np.save(tmp_path / "x.npy", np.float32([[1, 2], [3, 4]]))
    tool("run", "m.nf", "run", "x=x.npy", "-o", "out", "--backend", "interp", "--entries", "run", cwd=tmp_path)
    assert np.array_equal(np.load(tmp_path / "out" / "o299.npy"), [[300, 301], [302, 303]])


# ---- files and rows

def test_run_shares_one_row(tool, lander, files, rows):
    np.save(files / "one.npy", rows["obs"][:1])
    np.save(files / "flat.npy", rows["obs"][0])
    for name in ("one.npy", "flat.npy"):
        tool("run", lander / "policy.so", "log_prob", "x=x.npy", "obs=" + name, "-o", name + ".d", cwd=files)
    a, b = (outputs(files / (n + ".d"))["log_prob"] for n in ("one.npy", "flat.npy"))
    assert a.shape == (16,) and (a == b).all()


def test_run_without_rows(tool, lander, files, rows):
    """As a shard of a data set may be: files without rows, of the right shapes."""
    np.save(files / "none.npy", rows["obs"][:0])
    np.save(files / "one.npy", rows["obs"][:1])
    for words in (["to_latent", "x=none.npy", "obs=none.npy"], ["to_latent", "x=none.npy", "obs=one.npy"],
                  ["sample", "obs=none.npy", "--samples", "3"]):
        tool("run", lander / "policy.so", *words, "-o", "out", cwd=files)
    out = outputs(files / "out")
    assert out["z"].shape == (0, 8) and out["log_det"].shape == (0,) and out["x"].shape == (0, 3, 8)


@pytest.mark.parametrize("convert,said", [
    (lambda a: a.astype(np.float64), "float64"), (lambda a: a.astype(np.float16), "float16"),
    (lambda a: np.asfortranarray(a), "Fortran"), (lambda a: a.astype(">f4"), "big endian")])
def test_run_converts_and_says(tool, lander, files, rows, convert, said):
    np.save(files / "x.npy", convert(rows["x"]))
    done = tool("run", lander / "policy.so", "log_prob", "x=x.npy", "obs=obs.npy", "-o", "out", cwd=files)
    assert said in done.stderr
    x = convert(rows["x"]).astype(np.float32)
    want = nfcc.open(lander / "policy.so").log_prob(np.ascontiguousarray(x), obs=rows["obs"])
    assert (outputs(files / "out")["log_prob"] == want).all()


def test_not_finite_rows(tool, lander, files, rows):
    x = rows["x"].copy()
    x[3, 2] = np.nan
    np.save(files / "x.npy", x)
    done = tool("run", lander / "policy.so", "log_prob", "x=x.npy", "obs=obs.npy", "-o", "out", cwd=files)
    out = outputs(files / "out")["log_prob"]
    assert "row 3" in done.stderr and "event" not in done.stderr and np.isnan(out[3]) and \
        np.isfinite(np.delete(out, 3)).all()


def test_overflow_is_told(tool, lander, files, rows):
    obs = rows["obs"].copy()
    obs[5, 3] = 3e38
    np.save(files / "obs.npy", obs)
    for words in (["sample"], ["act"], ["sample_best", "--samples", "3"]):
        done = tool("run", lander / "policy.so", *words, "obs=obs.npy", "-o", "out", cwd=files)
        assert done.stderr == "nfcc: note: x: event 5 is not finite\n"
    assert tool("run", lander / "policy.so", "log_prob", "x=x.npy", "obs=obs.npy", "-o", "out", cwd=files).stderr == ""


def limit_data(mib):
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, (mib << 20, mib << 20))


def test_run_bulk(tool, tmp_path):
    """Many rows, in pieces, in 12 MiB; whatever the threads and types, the bits are those of one call."""
    tool(tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so", "--no-verify", cwd=tmp_path)
    rows, policy, rng = 300_000, nfcc.open(tmp_path / "p.so"), np.random.default_rng(1)
    x, y = (rng.standard_normal((rows, n), dtype=np.float32) for n in (6, 8))
    x[250_001, 3] = np.nan
    for name, array in (("x", x), ("y", y), ("wide", x.astype(np.float64)), ("one", y[:1])):
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.warns(nfcc.NotFiniteWarning):
        log_prob = policy.log_prob(x, y=y, threads=2)
    for i, words in enumerate((["x=x.npy"], ["x=wide.npy", "--threads", "3"])):
        done = subprocess.run([zoo.NFCC, "run", "p.so", "log_prob", "y=y.npy", *words, "-o", f"out{i}"], cwd=tmp_path,
                              capture_output=True, text=True, preexec_fn=limit_data(64 if i else 12))
        assert done.returncode == 0, done.stderr
        assert "row 250001 holds" in done.stderr and "rows/s" not in done.stderr
        assert np.array_equal(outputs(tmp_path / f"out{i}")["log_prob"], log_prob, equal_nan=True)
    for words, want in ((["--samples", rows, "y=one.npy"], lambda n: policy.sample_and_log_prob(rows, y=y[0], noise=n)),
                        (["--samples", 2, "y=y.npy"],
                         lambda n: policy.sample_and_log_prob(2, y=y, noise=n, threads=2))):
        tool("run", "p.so", "sample_and_log_prob", *words, "--seed", 5, "--first-row", 9, "--threads", 0, "-o", "drawn",
             cwd=tmp_path)
        x, log_prob = want(nfcc.Noise(5, next=9))
        out = outputs(tmp_path / "drawn")
        assert (out["x"].reshape(x.shape) == x).all() and (out["log_prob"].reshape(log_prob.shape) == log_prob).all()


def test_run_progress(lander, tmp_path):
    """On a terminal, and only of what takes longer than a second."""
    np.save(tmp_path / "obs.npy", np.zeros((1, 8), np.float32))
    for samples, shown in ((100, False), (500_000, True)):
        try:
            main, other = pty.openpty()
        except OSError:  # a chroot without /dev/pts
            pytest.skip("no pseudo-terminals")
        start = time.monotonic()
        run = subprocess.Popen([zoo.NFCC, "run", lander / "policy.so", "sample", "obs=obs.npy", "--samples",
                                str(samples), "-o", "out"], cwd=tmp_path, stderr=other, stdout=subprocess.DEVNULL)
        os.close(other)
        text = b""
        try:
            while chunk := os.read(main, 1 << 16):
                text += chunk
        except OSError:  # the other end is closed
            pass
        os.close(main)
        assert run.wait() == 0
        assert (b"rows/s" in text) == shown or time.monotonic() - start < 1.5


# ---- what is refused

@pytest.mark.parametrize("words,code,said", [
    (["to_latent", "obs=obs.npy"], 2, "x=FILE.npy"),
    (["to_latent", "x=x.npy"], 2, "obs=FILE.npy"),
    (["to_latent", "x=x.npy", "obs=obs.npy", "y=x.npy"], 2, "its inputs: obs, x"),
    (["to_latent", "x=x.npy", "obs=obs.npy", "--samples", "3"], 2, "--samples"),
    (["sample", "obs=obs.npy", "z=z.npy", "--temperature", "0.5"], 2,
     "--temperature is about drawn noise; z= is used as it is"),
    (["sample", "obs=obs.npy", "z=z.npy", "--first-row", "5"], 2,
     "--first-row is about drawn noise; z= is used as it is"),
    (["log_prob", "obs=obs.npy", "x=x.npy", "--seed", "0"], 2, "--seed is about drawn noise; this entry draws none"),
    (["sample", "obs=obs.npy", "--temperature", "1e39"], 2, "too large for float32"),
    (["sample", "obs=obs.npy", "--samples", "0"], 2, "at least 1"),
    (["log_prob", "x=x.npy", "obs=empty.npy"], 2, "16 rows; wanted 0"),
    (["act", "obs=obs.npy", "--clip", "-1,1"], 2, "--clip belongs to a model"),
    (["sample", "obs=obs.npy", "--weights", "bf16"], 2, "--weights belongs to a model"),
    (["sample", "obs=obs.npy", "--backend", "interp"], 2, "--backend belongs to a model"),
    (["log_prob", "x=x.npy", "obs=obs.npy", "--context", "obs"], 2, "--context belongs to a model"),
    (["sample_best", "obs=obs.npy"], 2, "needs --samples"),
    (["log_prob", "x=bad.npy", "obs=obs.npy"], 2, "wanted as [N, 8], got [3, 5]"),
    (["log_prob", "x=few.npy", "obs=obs.npy"], 2, "3 rows"),
    (["log_prob", "x=none.npy", "obs=obs.npy"], 3, "none.npy"),
    (["log_prob", "x=/dev/zero", "obs=obs.npy"], 3, "/dev/zero (input 'x'): not a .npy file"),
    (["scores", "x=x.npy", "obs=obs.npy"], 2, "'scores' is no entry; entries: to_latent")])
def test_run_refuses(tool, lander, files, words, code, said):
    np.save(files / "bad.npy", np.zeros((3, 5), np.float32))
    np.save(files / "few.npy", np.zeros((3, 8), np.float32))
    np.save(files / "empty.npy", np.zeros((0, 8), np.float32))
    done = tool("run", lander / "policy.so", *words, "-o", "out", cwd=files, code=code)
    assert said in done.stderr and not (files / "out").exists()


@pytest.mark.parametrize("rows,samples", [(1, 1 << 40), (16, 1 << 39), (1 << 21, 1 << 39), (1, 1 << 61),
                                          (1, (1 << 64) - 1)])
def test_run_refuses_more_than_fits(tool, lander, tmp_path, rows, samples):
    """Also where the size in bytes is 0 modulo 2^64."""
    np.lib.format.open_memmap(tmp_path / "obs.npy", "w+", np.float32, (rows, 8))
    done = tool("run", lander / "policy.so", "sample", "obs=obs.npy", "--samples", samples, "-o", "out", cwd=tmp_path,
                code=2)
    assert "the outputs would be larger than any disk" in done.stderr and not (tmp_path / "out").exists()


# ---- another machine

AARCH64 = os.path.join(zoo.ROOT, "build", "run_policy_aarch64")
QEMU = shutil.which("qemu-aarch64")


@pytest.mark.skipif(not (QEMU and os.path.exists(AARCH64)), reason="qemu-user or the cross compiler is missing")
@pytest.mark.parametrize("cpu", [[], ["--cpu", "cortex-a72"]])
@pytest.mark.parametrize("path", zoo.models_of([os.path.join(zoo.HERE, "models")], issue3=True),
                         ids=lambda p: os.path.basename(p)[:-5])
def test_aarch64_has_the_same_bits(tool, tmp_path, path, cpu):
    model = zoo.Model(path)
    here = nfcc.compile(path, tmp_path / "here.so", **zoo.keywords(model))
    done = zoo.compile_model(model, tmp_path / "there.so", [*model.options, "--target", "aarch64-linux-gnu", *cpu])
    assert done.returncode == 0, done.stderr
    words = []
    for k, c in enumerate(here.info.contexts if model.is_flow else here.info.inputs):
        np.save(tmp_path / f"c{k}.npy", model.input_rows(c.name))
        lead = "ctx." if model.is_flow and c.name in ("x", "z") else ""
        words.append(f"{lead}{c.name}={tmp_path}/c{k}.npy")
    for entry in ("sample_and_log_prob", "to_latent") if model.is_flow else ("run",):
        event = []
        if entry == "to_latent":
            np.save(tmp_path / "x.npy", model.npz["x"])
            event = [f"x={tmp_path}/x.npy"]
        subprocess.run([QEMU, "-L", "/usr/aarch64-linux-gnu", AARCH64, tmp_path / "there.so", entry, *words, *event,
                        "-o", tmp_path / "there"], check=True, stdout=subprocess.DEVNULL)
        tool("run", tmp_path / "here.so", entry, *words, *event, "-o", tmp_path / "here")
        a, b = outputs(tmp_path / "here"), outputs(tmp_path / "there")
        assert a.keys() == b.keys() and all((a[k].view(np.uint32) == b[k].view(np.uint32)).all() for k in a)
