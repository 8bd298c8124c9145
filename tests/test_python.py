"""The Python package on the fake policy (NFCC_FAKE: fake_policy.c with its descriptor, x = 2 z + prep), and on compiled
ones (NFCC: the compiler)."""
import copy
import multiprocessing
import os
import pickle
import shutil
import stat
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import nfcc

FAKE = os.environ["NFCC_FAKE"]
ROOT = Path(__file__).resolve().parents[1]
WEIGHT = (0.25 + 0.125 * np.arange(3)).astype(np.float32)


def contexts(*batch):
    rng = np.random.default_rng(len(batch))
    return {
        "obs": rng.standard_normal(batch + (5,)).astype(np.float32),
        "a/goal": rng.integers(-9, 9, batch + (2, 1)),
        "flag": rng.random(batch) > 0.5,
    }


def normals(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def x_of(z, obs, extra=0):
    prep = obs[..., :3] * WEIGHT + np.arange(3, dtype=np.float32)
    return 2 * z + prep.reshape(obs.shape[:-1] + (1,) * extra + (3,))


@pytest.fixture
def policy():
    with nfcc.open(FAKE) as opened:
        yield opened


def test_info(policy):
    info = policy.info
    assert info.name == "fake" and info.base == "standard normal" and info.model_hash.startswith("010203")
    assert [c.name for c in info.contexts] == ["obs", "a/goal", "flag"]
    assert info.contexts[1] == nfcc.Value("a/goal", np.dtype(np.int64), (2, 1))
    assert info.contexts[2].shape == () and info.event.shape == (3,)
    assert info.entries == ("to_latent", "to_event", "log_prob", "sample", "sample_and_log_prob", "act", "run",
                            "score", "sample_best")
    assert "sample_and_log_prob" in repr(policy)


@pytest.mark.parametrize("batch", [(), (1,), (7,), (100,)])
@pytest.mark.parametrize("n", [None, 1, 5, 64])
def test_entries(policy, batch, n):
    lead = batch if n is None else batch + (n,)
    given, z = contexts(*batch), normals(*lead, 3)
    expected = x_of(z, given["obs"], n is not None)
    x, log_det = policy.to_event(z, contexts=given)
    assert x.dtype == np.float32 and np.array_equal(x, expected)
    assert log_det.shape == lead and np.all(log_det == np.float32(2.0794415))
    back, log_det = policy.to_latent(x, contexts=given)
    assert np.allclose(back, z, atol=1e-5) and np.all(log_det == np.float32(-2.0794415))
    log_prob = policy.log_prob(x, contexts=given)
    assert log_prob.shape == lead and np.allclose(log_prob, -0.5 * (z * z).sum(-1) - 4.8363119, atol=1e-4)
    for entry in (policy.sample, policy.act):
        assert entry(z=z, contexts=given).shape == lead + (3,)
    assert np.array_equal(policy.sample(n, z=z, contexts=given), expected)
    assert np.array_equal(policy.act(z=z, contexts=given), np.clip(expected, -1, 1))
    noise = nfcc.Noise(seed=3, next=10)
    drawn, log_prob = policy.sample_and_log_prob(n, contexts=given, noise=noise)
    rows = int(np.prod(lead))
    stream = policy.draw(3, rows, first_row=10).reshape(lead + (3,))
    assert noise.next == 10 + rows and log_prob.shape == lead
    assert np.array_equal(drawn, x_of(stream, given["obs"], n is not None))


@pytest.mark.parametrize("batch", [(), (1,), (7,), (100,)])
def test_best_of_n(policy, batch):
    given, noise = contexts(*batch), nfcc.Noise(5, next=9)
    x, log_prob = policy.sample_and_log_prob(20, contexts=given, noise=nfcc.Noise(5, next=9))
    best, largest = policy.sample_best(20, contexts=given, noise=noise)
    assert noise.next == 9 + 20 * int(np.prod(batch)) and best.shape == batch + (3,) and largest.shape == batch
    assert np.array_equal(largest, log_prob.max(-1))
    winner = log_prob.argmax(-1)[..., np.newaxis, np.newaxis]
    assert np.array_equal(best, np.take_along_axis(x, winner, -2).reshape(batch + (3,)))
    out = np.empty_like(best), None
    assert policy.sample_best(20, contexts=given, noise=nfcc.Noise(5, 9), out=out)[0] is out[0]
    assert np.array_equal(out[0], best)
    z = policy.draw(5, 20 * int(np.prod(batch)), first_row=9).reshape(batch + (20, 3))
    assert np.array_equal(policy.prepare(given).sample_best(20, z=z)[0], best)
    with pytest.raises(ValueError, match="at least one"):
        policy.sample_best(0, contexts=given, noise=noise)


@pytest.mark.parametrize("batch,n", [((), None), ((), 3000), ((1,), 2), ((700,), None), ((300,), 7)])
def test_threads_give_the_same_bits(policy, batch, n):
    given, lead = contexts(*batch), batch if n is None else batch + (n,)
    z = normals(*lead, 3)
    for threads in (0, 1, 2, 3, 8):
        for entry in ("to_latent", "to_event", "log_prob", "score"):
            one, many = (getattr(policy, entry)(z, contexts=given, threads=t) for t in (None, threads))
            assert np.array_equal(np.asarray(one if isinstance(one, np.ndarray) else one[0]),
                                  many if isinstance(many, np.ndarray) else many[0])
            assert isinstance(one, np.ndarray) or np.array_equal(one[1], many[1])
        for entry in ("sample", "act", "sample_and_log_prob") + (("sample_best",) if n else ()):
            noise = nfcc.Noise(5, 77), nfcc.Noise(5, 77)
            one, many = (getattr(policy, entry)(n, noise=w, contexts=given, threads=t)
                         for w, t in zip(noise, (None, threads)))
            assert noise[0] == noise[1]
            for a, b in zip(*((r,) if isinstance(r, np.ndarray) else r for r in (one, many))):
                assert a.shape == b.shape and np.array_equal(a, b)
        assert np.array_equal(policy.sample(z=z, contexts=given, threads=threads),
                              policy.to_event(z, contexts=given)[0])


def test_threads_arguments(policy):
    given = contexts(5)
    for threads in (-1, 1025, 1.5, True, "2"):
        with pytest.raises(ValueError, match="threads"):
            policy.log_prob(normals(5, 3), contexts=given, threads=threads)
    given["obs"][2, 1] = np.nan
    with pytest.warns(nfcc.NotFiniteWarning, match="log_prob"):
        log_prob = policy.log_prob(normals(5, 3), contexts=given, threads=2)
        assert np.isnan(log_prob).tolist() == [r == 2 for r in range(5)]
    assert policy.sample(noise=nfcc.Noise(1), contexts=contexts(0), threads=2).shape == (0, 3)
    wide, count = normals(300, 8, 5), np.arange(900).reshape(300, 3)
    one, many = (policy.run(wide=wide, count=count, threads=t) for t in (None, 3))
    assert one.keys() == many.keys() and all(np.array_equal(one[k], many[k]) for k in one)


def test_prepared_is_reusable(policy):
    given = contexts(4)
    prepared = policy.prepare(given)
    z = normals(4, 3)
    assert np.array_equal(prepared.sample(z=z), policy.sample(z=z, contexts=given))
    assert np.array_equal(prepared.sample(2, noise=nfcc.Noise(1)),
                          policy.sample(2, noise=nfcc.Noise(1), contexts=given))


def test_noise(policy):
    given = contexts()
    noise = nfcc.Noise(seed=2**64 + 5, next=2**64 - 1)
    first = policy.sample(noise=noise, contexts=given)
    assert noise.next == 0
    assert np.array_equal(first, policy.sample(noise=nfcc.Noise(5, 2**64 - 1), contexts=given))
    still = policy.sample(noise=nfcc.Noise(temperature=0), contexts=given)
    assert np.array_equal(still, x_of(np.zeros(3, np.float32), given["obs"]))
    for temperature in (-1, float("nan"), float("inf"), 1e39, "1"):
        with pytest.raises(ValueError, match="temperature: wanted a finite float32"):
            policy.sample(noise=nfcc.Noise(1, 0, temperature), contexts=given)
    for refused in ({"out": np.empty(5, np.float32)}, {"n": 10**12}):
        with pytest.raises((ValueError, MemoryError)):
            policy.sample(noise=noise, contexts=given, **refused)
    assert noise.next == 0  # a call that is refused draws nothing
    for arguments in ({}, {"noise": nfcc.Noise(1), "z": normals(3)}):
        with pytest.raises(TypeError, match="either noise="):
            policy.sample(contexts=given, **arguments)


def test_contexts_are_shared(policy):
    many, z = contexts(6), normals(6, 3)
    one = {**many, "a/goal": many["a/goal"][0], "flag": True}
    same = {**many, "a/goal": np.repeat(many["a/goal"][:1], 6, 0), "flag": np.ones(6, bool)}
    assert np.array_equal(policy.sample(z=z, contexts=one), policy.sample(z=z, contexts=same))
    row = {**many, "obs": many["obs"][:1]}
    assert np.array_equal(policy.sample(z=z, contexts=row), x_of(z, np.repeat(many["obs"][:1], 6, 0)))
    single = contexts(1)
    assert policy.log_prob(normals(9, 3), contexts=single).shape == (9,)
    assert policy.sample(contexts=contexts(0), noise=nfcc.Noise(1)).shape == (0, 3)
    assert policy.sample(0, contexts=many, noise=nfcc.Noise(1)).shape == (6, 0, 3)


def test_keywords(policy):
    given = contexts(2)
    z = normals(2, 3)
    rest = {"a/goal": given["a/goal"]}
    assert np.array_equal(policy.sample(z=z, obs=given["obs"], flag=given["flag"], contexts=rest),
                          policy.sample(z=z, contexts=given))
    with pytest.raises(TypeError, match="obs: given as a keyword and in contexts="):
        policy.sample(z=z, obs=given["obs"], contexts=given)
    with pytest.raises(TypeError, match=r"speed: no context of this name \(obs, a/goal, flag\)"):
        policy.sample(z=z, speed=1, contexts=given)
    with pytest.raises(TypeError, match=r"flag: missing context, wanted as a keyword, \[N\]"):
        policy.sample(z=z, obs=given["obs"], contexts=rest)


def test_wrong_shapes(policy):
    def refuse(message, error=ValueError, z=None, **changed):
        with pytest.raises(error) as caught:
            policy.sample(z=normals(2, 3) if z is None else z, contexts={**contexts(2), **changed})
        assert str(caught.value) == message

    refuse("obs: wanted [2, 5], got [5, 3]", obs=normals(5, 3))
    refuse("obs: wanted [2, 5], got [2, 2, 5]", obs=normals(2, 2, 5))
    refuse("a/goal: wanted int64, got float64", TypeError, **{"a/goal": np.zeros((2, 2, 1))})
    refuse("z: wanted [2, 3] or [2, n, 3], got [3]", z=normals(3))
    refuse("z: wanted [2, 3] or [2, n, 3], got [2, 4]", z=normals(2, 4))
    refuse("z: wanted [2, 3] or [2, n, 3], got []", z=1.0)
    with pytest.raises(ValueError, match=r"obs: wanted \[N, 5\], got \[5, 3\]"):
        policy.sample(z=normals(3), contexts={**contexts(), "obs": normals(5, 3)})
    with pytest.raises(ValueError, match=r"obs: wanted \[3, 5\], got \[2, 5\]"):
        policy.sample(z=normals(3, 3), contexts={**contexts(3), "obs": normals(2, 5)})
    with pytest.raises(ValueError, match=r"z: wanted \[2, 4, 3\], got \[2, 5, 3\]"):
        policy.sample(4, z=normals(2, 5, 3), contexts=contexts(2))


def test_out(policy):
    given, x, log_prob = contexts(4), np.empty((4, 3), np.float32), np.empty(4, np.float32)
    z = normals(4, 3)
    made = policy.sample_and_log_prob(z=z, contexts=given, out=(x, log_prob))
    assert made[0] is x and made[1] is log_prob and np.array_equal(x, x_of(z, given["obs"]))
    assert policy.log_prob(x, contexts=given, out=log_prob) is log_prob
    with pytest.raises(ValueError, match=r"out of x: wanted \[4, 3\], got \[3, 4\]"):
        policy.sample(z=z, contexts=given, out=np.empty((3, 4), np.float32))
    for bad in (np.empty((4, 3)), np.empty((4, 6), np.float32)[:, ::2], [0.0]):
        with pytest.raises(TypeError, match="out of x: wanted a writable C-contiguous float32 array"):
            policy.sample(z=z, contexts=given, out=bad)
    with pytest.raises(TypeError, match="pair"):
        policy.to_event(z, contexts=given, out=x)


@pytest.mark.parametrize("threads", [None, 2])
@pytest.mark.parametrize("n", [1, 5, 67, 300])
def test_written_over_what_was_given(policy, n, threads):
    given = normals(n, 3)
    given[n // 2, 1] = np.nan
    calls = {"to_latent": lambda a, out: policy.to_latent(a, contexts=contexts(n), out=out and (out[0], None),
                                                          threads=threads)[0],
             "to_event": lambda a, out: policy.to_event(a, contexts=contexts(n), out=out and (out[0], None),
                                                        threads=threads)[0],
             "sample": lambda a, out: policy.sample(z=a, contexts=contexts(n), out=out and out[0], threads=threads),
             "score": lambda a, out: policy.score(a, contexts=contexts(n), out=out and out[0], threads=threads)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nfcc.NotFiniteWarning)
        for name, call in calls.items():
            over = given.copy()
            call(over, [over])
            assert np.array_equal(over, call(given, None), equal_nan=True), name


def test_conversions(policy, tmp_path):
    given, z = contexts(4), normals(4, 3)
    expected = policy.sample(z=z, contexts=given)
    wide = {"obs": given["obs"].astype(np.float64), "a/goal": given["a/goal"].astype(np.int8),
            "flag": given["flag"].tolist()}
    assert np.array_equal(policy.sample(z=np.asfortranarray(z.astype(">f8")), contexts=wide), expected)
    np.save(tmp_path / "z.npy", z)
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    assert nfcc._convert("z", mapped, np.dtype(np.float32)).ctypes.data == mapped.ctypes.data
    assert np.array_equal(policy.sample(z=mapped, contexts=given), expected)
    odd = np.frombuffer(b"\0" + z.tobytes(), np.uint8)[1:].view(np.float32).reshape(z.shape)
    assert np.array_equal(policy.sample(z=odd, contexts=given), expected)


def test_not_finite(policy):
    given, z = contexts(3), normals(3, 3)
    expected = policy.sample(z=z, contexts=given)
    z[1, 2] = np.inf
    with pytest.warns(nfcc.NotFiniteWarning, match="an input's row") as warned:
        x = policy.sample(z=z, contexts=given)
    assert np.isnan(x[1]).all() and np.array_equal(x[[0, 2]], expected[[0, 2]])
    assert warned[0].filename == __file__
    with pytest.warns(nfcc.NotFiniteWarning) as warned:
        policy.prepare(given).sample(z=z)
    assert warned[0].filename == __file__


def test_overflow_is_told(policy):
    z = normals(3, 3)
    z[1, 2] = 3e38
    with pytest.warns(nfcc.NotFiniteWarning, match="an event computed"):
        x = policy.sample(z=z, contexts=contexts(3))
    assert np.isinf(x[1, 2]) and np.isfinite(np.delete(x.ravel(), 5)).all()


@pytest.mark.parametrize("rows", [-1, 3.0, None])
def test_draw_wants_a_number_of_rows(policy, rows):
    with pytest.raises(TypeError, match="rows: wanted a number"):
        policy.draw(0, rows)


class Tensor:
    """As one of torch that requires grad."""

    def __array__(self, *_, **__):
        raise RuntimeError("Use tensor.detach().numpy() instead.")


@pytest.mark.parametrize("change,said", [
    ({"noise": 42}, "noise: wanted nfcc.Noise"), ({"noise": nfcc.Noise(seed=1.5)}, "seed: wanted a whole number"),
    ({"obs": [[0.0] * 5, [0.0]]}, "obs: cannot be made"), ({"obs": Tensor()}, "obs: cannot be made .*detach"),
    ({"obs": None}, "obs: missing context, wanted as a keyword"),
    ({"noise": np.zeros((99, 9))}, r"noise: wanted nfcc.Noise\(seed=...\), got .{1,40}$"),
])
def test_messages_name_the_argument(policy, change, said):
    given = {**contexts(2), **change}
    noise = given.pop("noise", nfcc.Noise(1))
    with pytest.raises(TypeError, match=said):
        policy.sample(noise=noise, contexts=given)


def test_score_context_of_a_policy_without(policy):
    with pytest.raises(nfcc.Error, match="--score-context"):
        policy.score_context(normals(3), contexts=contexts())


def test_pickle(policy, tmp_path, monkeypatch):
    given, z = contexts(3), normals(3, 3)
    monkeypatch.chdir(tmp_path)
    shutil.copy(FAKE, "here.so")
    with nfcc.open("here.so", shared=True) as relative:
        monkeypatch.chdir("/")
        for other in (pickle.loads(pickle.dumps(relative)), copy.deepcopy(relative)):
            assert np.array_equal(other.sample(z=z, contexts=given), policy.sample(z=z, contexts=given))
        (tmp_path / "here.so").unlink()
        with pytest.raises(TypeError, match="the file is gone"):
            pickle.dumps(relative)
    assert pickle.loads(pickle.dumps(nfcc.Noise(3, 4))) == nfcc.Noise(3, 4)
    assert pickle.loads(pickle.dumps(policy.info)) == policy.info
    with pytest.raises(TypeError, match="prepare there"):
        pickle.dumps(policy.prepare(given))


def in_a_process(policy):
    return policy.sample(noise=nfcc.Noise(7), contexts=contexts(4))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes(policy, method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert np.array_equal(pool.apply(in_a_process, (policy,)), in_a_process(policy))


@pytest.mark.parametrize("batch", [(), (5,), (70,)])
def test_run(policy, batch):
    wide, count = normals(*batch, 8, 5), np.arange(3 * int(np.prod(batch))).reshape(batch + (3,))
    made = policy.run(wide=wide, count=count)
    assert np.allclose(made["sum"], wide.reshape(batch + (40,)) + count.sum(-1, keepdims=True), rtol=1e-6)
    assert np.array_equal(made["twice"], 2 * count) and made["twice"].dtype == np.int64
    assert np.array_equal(made["positive"], wide[..., 0, 0] > 0) and made["positive"].dtype == np.bool_
    out = np.empty(batch + (3,), np.int64)
    assert policy.run({"wide": wide}, count=count, out={"twice": out})["twice"] is out
    with pytest.raises(TypeError, match="thrice: no output"):
        policy.run(wide=wide, count=count, out={"thrice": out})


def test_selftest_and_close():
    policy = nfcc.open(FAKE, shared=True)
    policy.selftest()
    prepared = policy.prepare(contexts())
    policy.close()
    policy.close()
    for call in (policy.selftest, lambda: prepared.sample(z=normals(3)), lambda: policy.prepare(contexts())):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_close_during_a_call():
    """The policy stays until the call has ended, whoever closes or drops it; the next call is refused."""
    given = contexts(30_000)
    for _ in range(10):
        policy, ended, started = nfcc.open(FAKE), [], threading.Event()

        def work(policy=policy):
            started.set()
            with pytest.raises(ValueError, match="closed"):
                while True:
                    ended.append(policy.sample(noise=nfcc.Noise(1), threads=1, **given))

        thread = threading.Thread(target=work)
        thread.start()
        started.wait()
        while not ended:
            time.sleep(0.001)
        policy.close()
        thread.join()
        assert all(np.array_equal(x, ended[0]) for x in ended)


def test_open_errors(tmp_path):
    with pytest.raises(nfcc.Error, match="none.so: cannot be opened: No such file") as caught:
        nfcc.open(tmp_path / "none.so")
    assert caught.value.status == 7
    (tmp_path / "text.so").write_text("text")
    with pytest.raises(nfcc.Error, match="text.so: is no policy of nfcc"):
        nfcc.open(tmp_path / "text.so")


    with pytest.raises(ValueError, match=r"'text\.so\\x00': a path holds no null"):
        nfcc.open("text.so\0")


def test_another_library_is_told():
    environment = {**os.environ, "NFCC_LIBRARY": FAKE}
    done = subprocess.run([sys.executable, "-c", "import nfcc"], env=environment, capture_output=True, text=True)
    assert "has no nfcc_open: it is not the libnfcc.so" in done.stderr


def test_threads(policy):
    prepared, results = policy.prepare(contexts(50)), []
    expected = prepared.sample(40, noise=nfcc.Noise(9))

    def work():
        results.append(all(np.array_equal(prepared.sample(40, noise=nfcc.Noise(9)), expected) for _ in range(5)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 6


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_compile(tmp_path, monkeypatch):
    monkeypatch.setenv("NFCC", script(tmp_path / "nfcc", f'cp "{FAKE}" "$2"; shift 2; echo "$@"'))
    policy = nfcc.compile("m.onnx", clip=[-1, 1], max_error=1e-3, verify=False, context=("a", "b"), shared=None)
    assert " ".join(policy.report.split()) == \
        "--no-verify --clip -1,1 --max-error 0.001 --context a --context b -- m.onnx"
    assert not os.path.exists(policy.path) and policy.info.name == "fake"
    for no_path in (b"\x08\x07", object()):
        with pytest.raises(TypeError, match="path of an ONNX file"):
            nfcc.compile(no_path)
    kept = nfcc.compile("m.onnx", tmp_path / "kept.so")
    assert kept.path == str(tmp_path / "kept.so") and os.path.exists(kept.path)
    monkeypatch.setenv("NFCC", script(tmp_path / "bad", "echo 'm.onnx: cannot tell data from noise' >&2; exit 2"))
    with pytest.raises(nfcc.CompileError, match="cannot tell data from noise") as caught:
        nfcc.compile("m.onnx")
    assert caught.value.exit_code == 2
    monkeypatch.setenv("NFCC", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    if not (ROOT / "build" / "nfcc").exists():
        with pytest.raises(FileNotFoundError, match="set NFCC to its path"):
            nfcc.compile("m.onnx")


def test_write(tmp_path, monkeypatch):
    """What cannot be opened here is written all the same, and `compile` says how."""
    monkeypatch.setenv("NFCC", script(tmp_path / "nfcc", 'echo "of $4" > "$2"; echo "$@"'))
    report = nfcc.write("m.onnx", tmp_path / "p.h", emit="h", verify=False)
    assert report.split() == ["-o", str(tmp_path / "p.h"), "--no-verify", "--emit", "h", "--", "m.onnx"]
    assert (tmp_path / "p.h").exists()
    for output in (None, tmp_path / "q.so"):
        with pytest.raises(nfcc.Error, match=r"[pq]\w*\.so: is no policy of nfcc.*\nnfcc\.write\(") as caught:
            nfcc.compile("m.onnx", output, emit="h")
        assert caught.value.status == 7
    assert (tmp_path / "q.so").exists()


def test_wheel(tmp_path):
    sys.path.insert(0, str(ROOT / "runtime" / "python"))
    import build_wheel

    name = build_wheel.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as wheel:
        names = wheel.namelist()
        wheel.extractall(tmp_path / "site")
    assert {"nfcc/__init__.py", "nfcc/py.typed"} <= set(names)
    assert {"LICENSE", "METADATA", "RECORD", "WHEEL", "entry_points.txt"} == \
        {n.split("/")[1] for n in names if "info/" in n}
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = f"import nfcc; print(nfcc.__file__); nfcc.open({FAKE!r}).selftest()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout


def test_editable_wheel(tmp_path):
    import build_wheel

    with zipfile.ZipFile(tmp_path / build_wheel.build_editable(str(tmp_path))) as wheel:
        assert wheel.read("nfcc.pth").decode().strip() == str(ROOT / "runtime" / "python")
    assert f'version = "{nfcc.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_command_line():
    code, environment = [sys.executable, "-m", "nfcc", "--version"], \
        {**os.environ, "PYTHONPATH": str(ROOT / "runtime" / "python")}
    assert subprocess.run(code, env=environment, capture_output=True, text=True).stdout.startswith("nfcc ")
    if not (ROOT / "build" / "nfcc").exists():
        environment.update(NFCC="", PATH="")
        done = subprocess.run(code, env=environment, capture_output=True, text=True)
        assert done.returncode == 1 and "set NFCC to its path" in done.stderr


# ---- compiled policies


@pytest.fixture(scope="module")
def real():
    """Compiled models by name, each once, with given rows of its contexts."""
    made = {}

    def get(name, rows=None):
        if name not in made:
            made[name] = nfcc.compile(ROOT / "tests" / "models" / f"{name}.onnx", verify=False)
        policy, batch = made[name], () if rows is None else (rows,)
        return policy, {c.name: normals(*batch, *c.shape) for c in policy.info.contexts}

    return get


FLOWS = ["nf4rl_tiny__density__dyn", "nflows_additive__sample__ts17", "freia_rnvp__density__ts17",
         "nfpo_quad_idx__policy_lp__dyn"]


@pytest.mark.parametrize("name", FLOWS)
def test_real_selftest(real, name):
    policy, _ = real(name)
    policy.selftest()
    assert policy.report.strip() and policy.info.base.startswith("standard normal")


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("rows", [3, 16, 17, 83])
def test_real_rows_alone(real, name, rows):
    """A row's bits depend on that row alone: not on its neighbours, nor on the form of the prepared state."""
    policy, given = real(name, rows)
    if not given:
        many = policy.sample_and_log_prob(rows, noise=nfcc.Noise(1))
        alone = [policy.sample_and_log_prob(noise=nfcc.Noise(1, r)) for r in range(rows)]
    else:
        many = policy.sample_and_log_prob(5, noise=nfcc.Noise(1), contexts=given)
        one = [policy.prepare({k: v[r] for k, v in given.items()}) for r in range(rows)]
        alone = [p.sample_and_log_prob(5, noise=nfcc.Noise(1, 5 * r)) for r, p in enumerate(one)]
    for k in range(2):
        assert np.array_equal(many[k], np.stack([row[k] for row in alone]))


@pytest.mark.parametrize("name", FLOWS)
def test_real_entries_agree(real, name):
    policy, given = real(name, 20)
    z = normals(20, *policy.info.event.shape)
    x, log_prob = policy.sample_and_log_prob(z=z, contexts=given)
    back, to_latent = policy.to_latent(x, contexts=given)
    again, to_event = policy.to_event(z, contexts=given)
    assert np.array_equal(again, x) and np.array_equal(policy.sample(z=z, contexts=given), x)
    assert np.allclose(back, z, atol=1e-3) and np.allclose(to_latent, -to_event, atol=1e-2)
    assert np.allclose(policy.log_prob(x, contexts=given), log_prob, atol=2e-2)
    base = -0.5 * (z.reshape(20, -1) ** 2).sum(-1) - 0.5 * np.log(2 * np.pi) * policy.info.event.shape[0]
    assert np.allclose(log_prob, base - to_event, atol=1e-3)


def test_real_noise_is_normal(real):
    policy, _ = real(FLOWS[0])
    z = policy.draw(5, 50000)
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01 and abs(np.corrcoef(z.T) - np.eye(6)).max() < 0.02
    assert np.array_equal(policy.draw(5, 10, first_row=123), z[123:133])


def test_real_far_outside(real):
    """-inf where nothing can be, never NaN, for finite x."""
    policy, given = real("nfpo_quad_idx__policy_lp__dyn", 4)
    for scale in (1, 2, 1e10, 3e38):
        x = np.full((4,) + policy.info.event.shape, scale, np.float32)
        assert not np.isnan(policy.log_prob(x, contexts=given)).any()


def test_real_graph_that_is_no_flow(real):
    policy, _ = real("gauss_policy__mean_std__ts17")
    policy.selftest()
    inputs = {v.name: normals(30, *v.shape) for v in policy.info.inputs}
    made = policy.run(inputs)
    for r in (0, 29):
        one = policy.run({k: v[r] for k, v in inputs.items()})
        assert all(np.array_equal(one[k], made[k][r]) for k in made)
    with pytest.raises(nfcc.Error, match="sample: the policy has no such entry; it has run"):
        policy.sample(noise=nfcc.Noise(1))


def test_real_compile_again(tmp_path):
    """The same name compiled with other options while the first is open is the new policy."""
    model, path = ROOT / "tests" / "models" / "nf4rl_tiny__density__dyn.onnx", tmp_path / "p.so"
    first = nfcc.compile(model, path, verify=False)
    second = nfcc.compile(model, path, verify=False, clip=(-0.5, 0.5))
    y = normals(100, 8)
    assert np.abs(first.act(noise=nfcc.Noise(1), y=y)).max() > 0.5
    assert np.abs(second.act(noise=nfcc.Noise(1), y=y)).max() == 0.5


def test_real_write(tmp_path):
    model = ROOT / "tests" / "models" / "nf4rl_tiny__density__dyn.onnx"
    other = "x86_64-linux-gnu" if os.uname().machine == "aarch64" else "aarch64-linux-gnu"
    assert other in nfcc.write(model, tmp_path / "p.so", target=other, emit=("so", "h"), verify=False)
    assert (tmp_path / "p.so").read_bytes()[:4] == b"\x7fELF" and (tmp_path / "p.h").exists()
    with pytest.raises(nfcc.Error, match=r"(?s)--target.*nfcc\.write"):
        nfcc.compile(model, target=other, verify=False)


def test_real_refusal(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(nfcc.CompileError, match="m.onnx"):
        nfcc.compile(tmp_path / "m.onnx")
