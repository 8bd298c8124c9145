"""./dev bench: its flows agree with themselves, and a whole run on one small work. Needs onnx; peers are optional."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BENCH = os.path.join(ROOT, "tests", "bench")
sys.path.insert(0, BENCH)
import flows  # noqa: E402
import peers  # noqa: E402


@pytest.mark.parametrize("make", [flows.Small, flows.PushT, flows.Camera])
def test_what_peers_are_given_is_what_nfcc_derives(make):
    """The sampling direction by hand inverts the density; folding changes nothing; log_prob is base + log_det."""
    flow, rng = make(), np.random.default_rng(1)
    z, obs = rng.normal(size=(3, flow.dims)), rng.normal(size=(3, flow.obs))
    exported, folded = flows.NumPy(flow.params), flows.NumPy(flow.folded)
    made = (flow.sample_and_log_prob if issubclass(make, flows.Small) else flow.sample)(folded, z, obs)
    back, log_det = flow.density(exported, made[0], obs)
    assert np.abs(back - z).max() < 1e-5
    log_prob = flow.log_prob(folded, made[0], obs)[0]
    assert np.abs(log_prob - flows.base(folded, back, flow.dims) - log_det).max() < 1e-4
    if issubclass(make, flows.Small):
        assert np.abs(log_prob - made[1]).max() < 1e-6
    else:
        shared = flow.sample_shared(folded, z, np.broadcast_to(obs[:1], obs.shape))[0]
        assert np.abs(shared[0] - made[0][0]).max() < 1e-9
        assert sum(v.size for k, v in flow.params.items() if not k.endswith((".inv.w", "x.w", "c.w"))) == 10_861_196


def run(tmp_path, *words, code=0):
    done = subprocess.run([sys.executable, os.path.join(BENCH, "peers.py"), "--here", "--seconds", "0.01", "--rounds",
                           "2", "--json",
                           tmp_path / "b.json", "--html", tmp_path / "b.html", *words], capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_a_run(tmp_path):
    pytest.importorskip("onnx")
    done = run(tmp_path, "--peers", "ort", "--works", "small_prepared")
    document = json.loads((tmp_path / "b.json").read_text())
    ours = [r for r in document["results"] if r["engine"] == "nfcc"]
    assert [r["work"] for r in ours] == ["small_decision", "small_prepared"]
    for engine in {r["engine"] for r in document["results"]} - {"ort"}:
        assert [r["work"] for r in document["results"] if r["engine"] == engine] == ["small_decision", "small_prepared"]
    for r in document["results"]:
        limit = 1e-5 if r["engine"] in ("nfcc", "ort") else 0.1  # 16-bit weights are rounded
        assert 0 < r["min_us"] <= r["p50_us"] <= r["p99_us"] and r["distance"] < limit and r["calls"] >= 2
        assert r["engine"] != "nfcc" or r["ratio"] == 1
    for s in document["skipped"]:
        assert s["engine"] == "ort" and "not installed" in s["reason"]
    full = [r for r in document["results"] if r["engine"] in ("nfcc", "ort")]
    assert len(full) == (2 if document["skipped"] else 4)
    for v in document["verdicts"]:
        assert ("WINS" in v["text"]) == (v["ratio"] < 1) and v["text"] in done.stdout
    text = (tmp_path / "b.html").read_text()
    assert "http" not in text and "src=" not in text and text.count("<svg") == text.count("</svg>") == 2


class Worker:
    bits = 32


def test_what_computes_something_else_is_left_out():
    ones = np.ones((4, 3))
    assert peers.compare(Worker, [ones, ones + 1e-5], [ones, ones], "nfcc") == (pytest.approx(1e-5), None)
    assert peers.compare(Worker, [ones], [ones[:2]], "double") == (0, None)
    for outputs in ([ones], [ones, ones + 1], [ones, ones[:, :2]], [ones, ones * np.nan]):
        assert "computes something else" in peers.compare(Worker, outputs, [ones, ones], "nfcc")[1]


def test_wrong_words(tmp_path):
    pytest.importorskip("onnx")
    assert "no peer 'tensorrt'" in run(tmp_path, "--peers", "tensorrt", code=2).stderr
    assert "no work 'x'" in run(tmp_path, "--peers", "", "--works", "x", code=1).stderr
