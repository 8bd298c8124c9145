"""The same bits everywhere: the Plan's interpreter (same_bits_plan) against compiled policies (same_bits_run).

Every entry on every row, in calls of 1 to 200 rows, each row with its own context and all rows of a call with one, and
by 1 to 4 threads: x86-64-v3, x86-64-v4, both in one file, 16-bit weights, aarch64 under qemu. NFCC_LONG=1 (./dev test
--long) takes 10^5 rows of three models under 10^5 weights, 10^4 of them under qemu, a spline, an autoregressive flow,
and 200 rows of a policy of 10.9 M weights, 2 of them under qemu.
"""
import os
import shutil
import subprocess

import pytest

import conftest
import zoo

LONG = os.environ.get("NFCC_LONG") == "1"
BUILD = os.path.dirname(conftest.NFCC)
PLAN, RUN = (os.path.join(BUILD, "tests", "same_bits_" + name) for name in ("plan", "run"))
AARCH64 = os.path.join(BUILD, "same_bits_aarch64")
QEMU = shutil.which("qemu-aarch64")
SHARED = os.path.join(zoo.ROOT, "..", "shared", "zoo")
ZOO = [os.path.join(SHARED, "models", n + ".onnx") for n in ("nflows_rqs__density__ts17",
                                                             "nflows_maf_ctx__density__ts17")]
LARGE = os.path.join(SHARED, "perf", "nf4rl_pusht__density__dyn.onnx")
SMALL = [os.path.join(zoo.HERE, "models", n + ".onnx")
         for n in ("nf4rl_tiny__density__dyn", "zuko_realnvp_ctx__logprob_lib__dyn",
                   "nflows_affine_ctx__density__ts18")]
ROWS, FEW = (100000, 10000) if LONG else (20100, 200)  # 20100 rows are every size of call from 1 to 200 once
CODES = {"v3": ["--cpu", "x86-64-v3"], "v4": ["--cpu", "x86-64-v4"], "dispatch": ["--cpu", "dispatch"],
         "bf16": ["--cpu", "znver4"], "tiles": ["--cpu", "sapphirerapids"], "baseline": ["--cpu", "dispatch"],
         "aarch64": ["--target", "aarch64-linux-gnu"]}

FLAGS = {"bf16": "avx512_bf16", "tiles": "amx_bf16"}
TILED = os.path.join(zoo.HERE, "models", "lander_nfbc.onnx")

pytestmark = pytest.mark.skipif(not os.path.exists(RUN), reason="the programs of same_bits.cmake are not built")


def runs_here(code):
    if code == "aarch64":
        return QEMU and os.path.exists(AARCH64)
    with open("/proc/cpuinfo") as f:
        return code == "v3" or FLAGS.get(code, "avx512vl") in f.read()


def made(tmp, model, rows, most=200, weights=()):
    """The Plan's file of a model."""
    path = tmp / (os.path.basename(model) + ".bits")
    subprocess.run([PLAN, model, path, str(rows), str(most), *weights], check=True)
    return path


def compare(tmp, model, bits, code, rows, options=()):
    """The completed process of a comparison."""
    policy = tmp / f"{code}.so"
    subprocess.run([conftest.NFCC, model, "-o", policy, "--no-verify", *CODES[code], *options], check=True,
                   stdout=subprocess.DEVNULL)
    program = [QEMU, "-L", "/usr/aarch64-linux-gnu", AARCH64] if code == "aarch64" else [RUN]
    words = ["--baseline"] if code == "baseline" else []
    return subprocess.run([*program, policy, bits, "--rows", str(rows), *words], text=True, capture_output=True)


def check(tmp, model, rows, few, options=(), most=200, weights=()):
    bits = made(tmp, model, rows, most, weights)
    for code in ["tiles"] if weights == ["tiles"] else [c for c in CODES if c != "tiles"]:
        if runs_here(code):
            done = compare(tmp, model, bits, code, few if code == "aarch64" else rows, options)
            assert done.returncode == 0, f"{code}: {done.stderr}"
            print(f"{os.path.basename(model)} {code}: {done.stdout.strip()}")


def name_of(path):
    return os.path.basename(path)[:-5]


@pytest.mark.parametrize("model", SMALL, ids=name_of)
def test_same_bits(tmp_path, model):
    check(tmp_path, model, ROWS, FEW)


@pytest.mark.parametrize("weights", ["f16", "bf16"])
def test_same_bits_of_half_weights(tmp_path, weights):
    check(tmp_path, SMALL[0], 3000, 50, ["--weights", weights], weights=[weights])


@pytest.mark.skipif(not runs_here("tiles"), reason="this CPU has no AMX_BF16")
def test_same_bits_of_tiles(tmp_path):
    check(tmp_path, TILED, 20100 if LONG else 3000, 0, ["--weights", "bf16"], weights=["tiles"])


@pytest.mark.skipif(not LONG, reason="./dev test --long")
@pytest.mark.parametrize("model", ZOO, ids=name_of)
def test_same_bits_of_the_zoo(tmp_path, model):
    if not os.path.exists(model):
        pytest.skip("the zoo is not there")
    check(tmp_path, model, 20100, 1000)


@pytest.mark.skipif(not LONG, reason="./dev test --long")
def test_same_bits_of_a_large_policy(tmp_path):
    if not os.path.exists(LARGE):
        pytest.skip("the zoo is not there")
    check(tmp_path, LARGE, 200, 2, most=40)


def test_another_bit_is_seen(tmp_path):
    """Each record's last word with another last bit: a comparison fails whichever record it is of."""
    bits = made(tmp_path, SMALL[0], 6, most=3)
    assert compare(tmp_path, SMALL[0], bits, "v3", 6).returncode == 0
    data, at, seen = bits.read_bytes(), 16, []
    while at < len(data):
        name, lanes = data[at:at + 32].rstrip(b"\0").decode(), int.from_bytes(data[at + 32:at + 40], "little")
        at += 40 + 4 * 6 * lanes
        changed = bytearray(data)
        changed[at - 4] ^= 1
        bits.write_bytes(changed)
        if "to_" in name or "log_prob" in name or "score" in name or "out" in name:
            done = compare(tmp_path, SMALL[0], bits, "v3", 6)
            assert done.returncode == 1 and name in done.stderr, f"{name}: {done.stderr}"
            seen.append(name)
    assert len(seen) >= 13, seen


@pytest.mark.parametrize("tokens", [31, 32])
def test_products_of_many_tokens_write_no_further(tokens, tool, tmp_path):
    """One number of each token, a row's last buffer: a whole unit stored there was the next row's event (the compile
    compares calls of 4 rows with the Plan)."""
    places = ", ".join(str(0.3 * (i % 5) - 0.5) for i in range(2 * tokens))
    (tmp_path / "m.nf").write_text(f"""module stage=imported
port in "x" f32[2] batch 0
port in "obs" f32[2] batch 0
port out "z" f32[2] batch 0
func @main(x: f32[1,2], obs: f32[1,2]) {{
    first: f32[1] = move x [0]
    at: f32[{2 * tokens}] = mul first, [{places}]
    h: f32[{2 * tokens}] = sin at
    a: f32[{tokens},1,2] = move obs [{", ".join(["0, 1"] * tokens)}]
    b: f32[{tokens},2,1] = move h
    c: f32[{tokens},1,1] = matmul a, b
    row: f32[1,{tokens}] = move c
    t: f32[1] = reduce_sum row
    second: f32[1] = move x [1]
    y: f32[1] = add second, t
    z: f32[1,2] = move x, y [0, 2]
    return z
}}
""")
    tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", "--event", "x", "--latent", "z")
