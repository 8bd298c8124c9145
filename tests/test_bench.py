"""nfcc bench: what it measures, prints and writes. Nothing here depends on how fast the machine is."""
import hashlib
import json
import math
import re

import pytest

TINY = ["--warmup", "0.001"]
KEYS = {"backend", "entry", "rows", "samples", "threads", "weights", "calls", "min_us", "p50_us", "p90_us", "p99_us",
        "p999_us", "p9999_us", "max_us", "mean_us", "rows_per_s", "limit_fraction", "limit_us", "flops",
        "weight_bytes", "read_gb_s"}
ENTRIES = ["to_latent", "to_event", "log_prob", "sample", "sample_and_log_prob", "sample_best", "act", "score", "run",
           "prepare", "prepare+sample", "prepare+act"]


@pytest.fixture
def bench(tool, tmp_path):
    def run(*words, model="lander_nfbc", seconds="0.005", code=0):
        done = tool("bench", tool.model(model), *TINY, "--seconds", seconds, "--json", tmp_path / "b.json", *words,
                    code=code, timeout=300)
        if code:
            return done
        done.json = json.loads((tmp_path / "b.json").read_text())
        return done
    return run


def by(results, **want):
    found = [r for r in results if all(r[k] == v for k, v in want.items())]
    assert len(found) == 1, want
    return found[0]


def test_json(bench, tool):
    done = bench("--rows", "1,8", "--entries", "log_prob,sample", "--backend", "llvm,openblas,interp")
    doc = done.json
    assert set(doc) == {"results", "machine", "model_sha256", "nfcc_version", "options"}
    with open(tool.model("lander_nfbc"), "rb") as f:
        assert doc["model_sha256"] == hashlib.sha256(f.read()).hexdigest()
    assert f"nfcc {doc['nfcc_version']}" == tool("--version").stdout.split(",")[0]
    assert doc["options"]["rows"] == "1,8" and doc["options"]["cpu"] == "native"
    machine = doc["machine"]
    assert machine["fma_gflop_s"] > 0 and machine["read_l2_gb_s"] > 0 and machine["read_memory_gb_s"] > 0
    with open("/proc/cpuinfo") as f:
        flags = f.read().split()
    assert (machine["bf16_gflop_s"] > 0) == ("avx512_bf16" in flags)
    tiles = machine["amx_gflop_s"]  # 0 also where the kernel does not permit them
    assert tiles > 2 * machine["fma_gflop_s"] if tiles and "amx_bf16" in flags else tiles == 0
    cases = [(r["backend"], r["entry"], r["rows"]) for r in doc["results"]]
    assert cases == [(b, e, n) for b in ("llvm", "openblas", "interp") for e in ("log_prob", "sample") for n in (1, 8)]
    for r in doc["results"]:
        assert set(r) == KEYS
        assert r["calls"] >= 1 and r["threads"] == 1 and r["samples"] == 1
        times = [r[k] for k in ("min_us", "p50_us", "p90_us", "p99_us", "p999_us", "p9999_us", "max_us")]
        assert times == sorted(times) and times[0] > 0
        assert r["min_us"] <= r["mean_us"] * (1 + 1e-4) and r["mean_us"] <= r["max_us"] * (1 + 1e-4)
        assert math.isclose(r["rows_per_s"], r["rows"] / r["mean_us"] * 1e6, rel_tol=1e-4)
        assert math.isclose(r["limit_fraction"], r["limit_us"] / r["min_us"], rel_tol=1e-3)
        limit = max(r["flops"] / machine["fma_gflop_s"] / 1e3, r["weight_bytes"] / r["read_gb_s"] / 1e3)
        assert math.isclose(r["limit_us"], limit, rel_tol=1e-3)


def test_work_is_counted_from_the_plan(bench):
    """A net of the lander policy: its multiply-adds grow with the rows, its weights are read once."""
    results = bench("--rows", "1,8", "--entries", "log_prob,run,act,prepare", "--backend", "llvm", "--denoise",
                    "0.1").json["results"]
    one, eight = by(results, entry="log_prob", rows=1), by(results, entry="log_prob", rows=8)
    assert math.isclose(eight["flops"], 8 * one["flops"], rel_tol=1e-5) and eight["weight_bytes"] == one["weight_bytes"]
    assert one["flops"] < 2 * one["weight_bytes"] / 4 <= 1.3 * one["flops"]
    prepare, whole, act = (by(results, entry=e, rows=1) for e in ("prepare", "run", "act"))
    assert math.isclose(whole["flops"], prepare["flops"] + one["flops"], rel_tol=0.02)
    many, more = (by(bench("--rows", rows, "--entries", "log_prob", "--backend", "llvm").json["results"], rows=rows)
                  for rows in (256, 257))  # of more the call makes what depends on the contexts itself
    assert math.isclose(many["flops"], 256 * one["flops"], rel_tol=1e-5) and more["flops"] > 1.01 * 257 * one["flops"]
    assert act["flops"] > 1.9 * one["flops"] and act["weight_bytes"] < 1.1 * one["weight_bytes"]


def test_weights_of_16_bits(bench):
    """Types of weights are measured one after the other, with llvm alone; matrices count as they are stored."""
    done = bench("--rows", "1", "--entries", "log_prob", "--weights", "f32,f16,bf16", "--backend", "llvm,interp")
    results = done.json["results"]
    assert [(r["backend"], r["weights"]) for r in results] == [("llvm", "f32"), ("llvm", "f16"), ("llvm", "bf16"),
                                                               ("interp", "f32")]
    names = [line.split()[0] for line in done.stdout.split("\n") if " log_prob " in line]
    assert names == ["llvm", "llvm-f16", "llvm-bf16", "interp"] and done.json["options"]["weights"] == "f32,f16,bf16"
    f32, f16, bf16 = (r["weight_bytes"] for r in results[:3])
    assert 0.5 * f32 <= f16 == bf16 < 0.6 * f32
    assert "f32,f16,bf16" in bench("--weights", "f8", code=2).stderr


def test_every_entry_and_samples(bench):
    results = bench("--rows", "2", "--samples", "3", "--entries", ",".join(ENTRIES), "--backend",
                    "llvm").json["results"]
    assert [r["entry"] for r in results] == ENTRIES
    for r in results:
        assert (r["rows"], r["samples"]) == (2, 1 if r["entry"] in ("prepare", "run") else 3)


def test_threads(bench):
    done = bench("--rows", "64", "--threads", "1,2", "--entries", "log_prob,score,run,prepare+sample", "--backend",
                 "llvm")
    assert [(r["entry"], r["threads"]) for r in done.json["results"]] == [
        ("log_prob", 1), ("log_prob", 2), ("score", 1), ("score", 2), ("run", 1), ("run", 2), ("prepare+sample", 1)]
    assert "preparing is a part of every" in done.stderr


def test_default_entries(bench):
    flow = bench("--rows", "1", "--backend", "llvm").json["results"]
    assert [r["entry"] for r in flow] == ["log_prob", "sample", "sample_and_log_prob", "act", "score", "prepare+sample"]
    graph = bench("--rows", "1", "--backend", "llvm", model="gauss_policy__mean_std__ts17").json["results"]
    assert [r["entry"] for r in graph] == ["run"]


def test_fixed_rate(bench):
    done = bench("--rows", "1", "--rate", "1000", "--entries", "act", "--backend", "llvm", seconds="0.05")
    assert "missed" in done.stdout
    r, = done.json["results"]
    assert r["ticks"] == 50 and 0 <= r["deadline_misses"] <= 50 and r["calls"] <= 50
    assert r["calls"] + r["deadline_misses"] >= 50
    assert r["min_us"] <= r["late_max_us"] and r["late_p50_us"] <= r["late_p99_us"] <= r["late_max_us"]


def test_a_rate_that_cannot_be_held(bench):
    r, = bench("--rows", "4096", "--rate", "100000", "--entries", "log_prob", "--backend", "llvm",
               seconds="0.01").json["results"]
    assert r["ticks"] == r["deadline_misses"] == 1000 and r["calls"] < 1000


def test_cold_calls_wait_for_memory(bench, tmp_path):
    def run(*words):
        return bench("--rows", "1", "--entries", "log_prob", "--backend", "llvm", *words, seconds="0.05")
    page = tmp_path / "cold.html"
    warm, cold = run(), run("--cold", "--html", page)
    assert "of other memory" in cold.stdout and "of other memory" not in warm.stdout
    assert cold.json["options"]["cold"] is True and warm.json["options"]["cold"] is False
    assert cold.json["results"][0]["min_us"] > warm.json["results"][0]["min_us"]
    assert cold.json["results"][0]["read_gb_s"] == cold.json["machine"]["read_memory_gb_s"]  # one rate, measured twice
    assert "Cold:" in page.read_text()


def test_table(bench):
    done = bench("--rows", "1,8", "--entries", "sample", "--backend", "llvm", "--pin", "0")
    lines = done.stdout.split("\n")
    assert "pinned to 0" in lines[0] and "GFLOP/s" in lines[1]
    head = next(i for i, l in enumerate(lines) if l.startswith("backend"))
    assert lines[head].split() == ["backend", "entry", "rows", "samples", "thr", "min", "us", "P50", "P90", "P99",
                                   "P99.9",
                                   "P99.99", "max", "rows/s", "limit"]
    assert [l.split()[:3] for l in lines[head + 1:] if l] == [["llvm", "sample", "1"], ["llvm", "sample", "8"]]


def test_page_is_self_contained(bench, tmp_path):
    page = tmp_path / "bench.html"
    bench("--rows", "1,8,64", "--entries", "sample,prepare+sample", "--backend", "llvm,interp", "--html", page)
    text = page.read_text()
    for word in ("http", "src=", "href", "url(", "@import", "<script", "<link"):
        assert word not in text
    assert text.count("<svg") == text.count("</svg>") == 4 and text.count("<h2>") == 2
    assert "prefers-color-scheme:dark" in text and "nan" not in text.lower() and \
        "inf" not in re.sub("[^0-9. <>]*info[^0-9]*", "", text)
    names = re.findall(r"<(\w+)[ >]", text)
    for name in ("svg", "figure", "table", "div", "text", "title", "p", "h2"):
        assert names.count(name) == text.count(f"</{name}>"), name


def test_markup_of_a_name_is_escaped(tool, tmp_path):
    model = tmp_path / "a<b>&.onnx"
    with open(tool.model("gauss_policy__mean_std__ts17"), "rb") as f:
        model.write_bytes(f.read())
    tool("bench", model, *TINY, "--seconds", "0.005", "--rows", "1", "--backend", "llvm", "--html", tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text()
    assert "a&lt;b&gt;&amp;.onnx" in text and "a<b>" not in text


@pytest.mark.parametrize("words,said", [
    (["--rows", "0"], "whole numbers"),
    (["--rows", "1,x"], "whole numbers"),
    (["--threads", "5000"], "1024"),
    (["--backend", "llvm,openblsa"], "did you mean 'openblas'"),
    (["--entries", "smaple"], "no entry"),
    (["--entries", "prepare+run"], "no entry"),
    (["--rate", "0"], "calls a second"),
    (["--samples", "0"], "from 1 to"),
    (["--rate", "100", "--cold"], "take one"),
    (["--cpu", "i386"], "unknown --cpu"),
    (["--pin", "9999999"], "processors"),
    (["--temperature", "1"], "nfcc run"),
])
def test_usage_errors(bench, words, said):
    assert said in bench(*words, code=2).stderr


def test_a_line_takes_some_time(bench):
    assert "more than 0" in bench(seconds="0", code=2).stderr


def test_other_errors(bench, tool, tmp_path):
    bench("--entries", "sample", "--rows", "1", model="gauss_policy__mean_std__ts17", code=1)
    done = bench("--rows", "1", "--entries", "sample", "--backend", "llvm", "--html", tmp_path / "no" / "where.html",
                 code=3)
    assert "where.html" in done.stderr and not done.stdout  # before anything is measured
    assert "none.onnx" in tool("bench", "none.onnx", code=3).stderr


def test_json_stays_a_switch_elsewhere(tool):
    assert json.loads(tool("check", tool.model("lander_nfbc"), "--json").stdout)["ok"] is True
    assert "needs a value" in tool("bench", "m.onnx", "--json", code=2).stderr
