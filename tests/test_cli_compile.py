"""nfcc MODEL -o POLICY: what it says and writes, options, metadata, the text form."""
import filecmp
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import nfcc


def test_block(tool, tmp_path):
    text = tool(tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so", cwd=tmp_path).stdout
    lines = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in text.splitlines()}
    assert "x -> z" in lines["direction"]
    assert lines["base"] == "standard normal (assumed; confirm with --base normal)"
    assert lines["event"] == "x [6]" and lines["contexts"] == "y [8]"
    assert lines["entries"] == ("to_latent, to_event, log_prob, score, sample, sample_and_log_prob, sample_best, act, "
                                "run")
    assert "32 rows" in lines["verified"] and "4 rows" in lines["compiled"]
    assert lines["next"] == "nfcc run p.so sample y=y.npy -o out"
    assert os.listdir(tmp_path) == ["p.so"]
    confirmed = tool(tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so", "--base", "normal", cwd=tmp_path).stdout
    assert "assumed" not in confirmed


def test_next_command_can_be_pasted(tool, tmp_path):
    name = "a policy's é.so"
    text = tool(tool.model("nf4rl_tiny__density__dyn"), "-o", name, cwd=tmp_path).stdout
    assert shlex.split(text.split("next: ")[1])[2] == name
    assert "policy" in tool("info", name, cwd=tmp_path).stdout


@pytest.mark.parametrize("base", ["normal", "student_t:5"])
def test_next_command_runs(tool, tmp_path, base):
    """Of a base that is not drawn, with latents."""
    text = tool(tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so", "--base", base, cwd=tmp_path).stdout
    for name, width in (("y", 8), ("z", 6)):
        np.save(tmp_path / f"{name}.npy", np.zeros((2, width), np.float32))
    command = shlex.split(text.split("next: ")[1])
    assert command[0] == "nfcc" and ("z=z.npy" in command) == (base != "normal")
    tool(*command[1:], cwd=tmp_path)
    assert np.load(tmp_path / "out/x.npy").shape == (2, 6)


def test_equal_input_equal_bytes(tool, tmp_path):
    for name in ("a/p.so", "b/p.so"):
        os.makedirs(tmp_path / name[0])
        tool(tool.model("nflows_affine_ctx__density__ts18"), "-o", tmp_path / name)
    assert filecmp.cmp(tmp_path / "a/p.so", tmp_path / "b/p.so", shallow=False)


@pytest.mark.parametrize("weights", ["f16", "bf16"])
def test_weights_of_16_bits(tool, tmp_path, weights):
    """Half the file, the error said, refused above --max-error; compiled bits equal the interpreter's."""
    model = tool.model("lander_nfbc")
    tool(model, "-o", tmp_path / "f32.so")
    out = tool(model, "-o", tmp_path / "short.so", "--weights", weights).stdout
    assert f"weights {weights}: samples " in out and "rows of every entry equal" in out
    wide, short = (os.path.getsize(tmp_path / f) for f in ("f32.so", "short.so"))
    assert short < wide - 0.4 * nfcc.open(tmp_path / "f32.so").info.weights_size
    done = tool(model, "-o", tmp_path / "no.so", "--weights", weights, "--max-error", "1e-7", code=1)
    assert f"{weights} weights" in done.stderr and not (tmp_path / "no.so").exists()


def test_bf16_is_not_openblas(tool, tmp_path):
    """It multiplied unrounded numbers, and the check called that a bug of nfcc's."""
    done = tool(tool.model("lander_nfbc"), "-o", "p.so", "--backend", "openblas", "--weights", "bf16", cwd=tmp_path,
                code=1)
    assert "--weights f16" in done.stderr and os.listdir(tmp_path) == []


def test_dispatch(tool, tmp_path):
    """Code for two CPUs, weights once; one compile for all x86-64 has the bits of each."""
    model = tool.model("lander_nfbc")
    sizes = {}
    for cpu in ("x86-64-v3", "x86-64-v4", "dispatch"):
        tool(model, "-o", tmp_path / f"{cpu}.so", "--cpu", cpu)
        sizes[cpu] = os.path.getsize(tmp_path / f"{cpu}.so")
    weights = nfcc.open(tmp_path / "x86-64-v3.so").info.weights_size
    assert weights < sizes["dispatch"] < sizes["x86-64-v3"] + sizes["x86-64-v4"] - weights
    assert "dispatch" in tool(model, "-o", tmp_path / "no.so", "--cpu", "x86", code=2).stderr


def test_self_contained(lander):
    for command in (["readelf", "-r"], ["nm", "-u", "-D"]):
        out = subprocess.run([*command, lander / "policy.so"], capture_output=True, text=True, check=True).stdout
        assert not [line for line in out.splitlines() if line.strip() and "no relocations" not in line.lower()]


def test_emit_several(tool, tmp_path):
    said = tool(tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so", "--emit", "so,o,h,ll,ir", cwd=tmp_path).stdout
    assert {"p.so", "p.o", "p.h", "p.ll", "p.nf", "p.nf.bin"} == set(os.listdir(tmp_path))
    assert all(name in said for name in os.listdir(tmp_path))  # whoever moves one sees what belongs to it
    assert "define" in (tmp_path / "p.ll").read_text()
    subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-I", os.path.join(tool.root, "runtime"),
                    "-x", "c", tmp_path / "p.h"], check=True)


def test_other_external_data(tool, tmp_path):
    model = tool.model("w_own_gauss__lp__otherdata")
    done = tool(model, "-o", tmp_path / "p.so", code=1)
    assert "--external-data" in done.stderr and "weights.bin" in done.stderr
    tool(model, "-o", tmp_path / "p.so", "--external-data", tool.models)


def test_the_hash_names_the_weights_too(tool, tmp_path):
    """Trained further and exported again, the graph may be the same file: the weights beside it are not."""
    hashes, model, data = [], *(tmp_path / f"w_nflows_aff__lp__def.onnx{end}" for end in ("", ".data"))
    for change in (0, 1):
        shutil.copy(os.path.join(tool.models, model.name), model)
        weights = bytearray((Path(tool.models) / data.name).read_bytes())
        weights[100] ^= change
        data.write_bytes(weights)
        tool(model, "-o", tmp_path / "p.so", "--no-verify")
        hashes.append(json.loads(tool("info", tmp_path / "p.so", "--json").stdout)["model_sha256"])
        assert hashes[-1] == hashlib.sha256(model.read_bytes() + weights).hexdigest()
    assert hashes[0] != hashes[1]


def test_the_hash_of_a_text_is_of_its_bin_file_too(tool, tmp_path):
    text, bin_file = tmp_path / "m.nf", tmp_path / "m.nf.bin"
    tool(tool.model("nf4rl_tiny__density__dyn"), "-o", text, "--stop-after", "normal")
    for flip in (0, 1):
        weights = bytearray(bin_file.read_bytes())
        weights[-4] ^= flip  # the low bit of some f32
        bin_file.write_bytes(weights)
        tool(text, "-o", tmp_path / "p.so")
        report = json.loads(tool("info", tmp_path / "p.so", "--json").stdout)
        assert report["model_sha256"] == hashlib.sha256(text.read_bytes() + weights).hexdigest()


# ---- roles

def test_refused_where_only_names_told(tool, tmp_path):
    model = tool.model("w_freia__fwd__def")
    done = tool(model, "-o", tmp_path / "p.so", code=1)
    assert "x_or_z" in done.stderr and "--event x_or_z" in done.stderr and "--latent x_or_z" in done.stderr
    assert not (tmp_path / "p.so").exists()
    assert "options" in tool(model, "-o", tmp_path / "p.so", "--event", "x_or_z").stdout.splitlines()[0]


@pytest.mark.parametrize("words,said", [
    (["--context", "osb"], "its inputs are: obs, x"), (["--log-det", "ldj"], "no such output"),
    (["--log-prob", "obs"], "its outputs are: z, "), (["--neg-log-prob", "nll"], "no such output"),
    (["--log-prob", "z"], "not one number per row"), (["--entries", "run", "--context", "osb"], "no such input")])
def test_an_option_that_names_nothing(tool, tmp_path, words, said):
    """A spelling mistake must not pass as if it had said something."""
    done = tool(tool.model("lander_nfbc"), "-o", "p.so", *words, cwd=tmp_path, code=1)
    assert said in done.stderr and os.listdir(tmp_path) == []


def test_roles_that_the_log_prob_contradicts(tool, tmp_path):
    model = tool.model("zuko_realnvp_ctx__logprob_lib__dyn")
    said = tool("check", model, "--latent", "x", code=1).stderr
    assert "log_prob output 'log_prob' contradict --latent x" in said and "leave the option out" in said
    assert "no such input or output" in tool("check", model, "--event", "nosuch", code=1).stderr
    assert "density" in tool("check", model, "--event", "x").stdout.splitlines()[0]


def with_metadata(tool, folder, **words):
    """A model with more metadata_props: fields appended to a protobuf message are part of it."""
    def text(number, value):
        return bytes([number << 3 | 2, len(value)]) + value.encode()

    with open(tool.model("freia_rnvp__density__ts17"), "rb") as f:
        data = f.read()
    for key, value in words.items():
        entry = text(1, "nfcc." + key) + text(2, value)
        data += bytes([14 << 3 | 2, len(entry)]) + entry
    (folder / "m.onnx").write_bytes(data)
    return folder / "m.onnx"


def test_metadata(tool, tmp_path):
    said = tool(with_metadata(tool, tmp_path, event="x"), "-o", tmp_path / "p.so").stdout
    assert "the file's metadata" in said.splitlines()[0]
    said = tool(with_metadata(tool, tmp_path, event="nosuch"), "-o", tmp_path / "p.so", code=1).stderr
    assert "the file's metadata nfcc.event 'nosuch'" in said and "--event" in said
    # what passes note for each other is nothing that a file may say
    own = with_metadata(tool, tmp_path, **{"pass": "derive", "flow.event": "y", "floats": "16 bits", "units": "1"})
    assert "event: x" in tool(own, "-o", tmp_path / "p.so").stdout


def test_renamed_model_has_the_same_bits(tool, tmp_path):
    pair = []
    for name, x, obs, options in (("w_nflows_aff__lp__def", "action", "obs", []),
                                  ("w_nflows_aff__lp__v", "v0", "v1", [])):
        policy = nfcc.compile(tool.model(name), tmp_path / (name + ".so"))
        rng = np.random.default_rng(0)
        shapes = [c.shape for c in policy.info.contexts]
        contexts = {c.name: rng.standard_normal((33, *s)).astype(np.float32)
                    for c, s in zip(policy.info.contexts, shapes)}
        pair.append(policy.sample_and_log_prob(noise=nfcc.Noise(3), contexts=contexts))
    assert all((a == b).all() for a, b in zip(*pair))


# ---- the text form

@pytest.mark.parametrize("key,value", [("shape", "1"), ("shape", "600"), ("shape", "1048575 " * 8), ("contexts", ""),
                                       ("contexts", "0 0"), ("ports", "-1 -1 -1 0 1 -1"), ("direction", "sampling"),
                                       ("base", None)])
def test_saved_flow_that_does_not_fit(tool, tmp_path, key, value):
    tool(tool.model("nf4rl_tiny__density__dyn"), "--stop-after", "derive", "-o", tmp_path / "m.nf")
    text = (tmp_path / "m.nf").read_text()
    changed = re.sub(f'("flow.{key}") "[^"]*"', rf'\1 "{value}"' if value is not None else '"other" ""', text)
    assert changed != text
    (tmp_path / "m.nf").write_text(changed)
    said = tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", code=1).stderr
    assert "do not describe a flow of this module" in said and not (tmp_path / "p.so").exists()
    assert tool("check", tmp_path / "m.nf", code=1).stdout == ""


def test_list_and_stop_after(tool, tmp_path):
    model = tool.model("nf4rl_tiny__density__dyn")
    passes = [line.split()[0] for line in tool("--list-passes").stdout.splitlines()]
    assert "derive" in passes and "merge-linear" in passes and passes[-1] == "plan"
    assert "@main" in tool(model, "--stop-after", "import").stdout
    assert "@to_event" in tool(model, "--stop-after", "derive").stdout
    assert "gemm" in tool(model, "--stop-after", "plan").stdout


LAYER_NORM = """module stage=imported
port in "x" f32[4] batch 0
port out "y" f32[2] batch 0
func @main(x: f32[4]) {
    s: f32[] = reduce_sum x
    m: f32[] = div s, [4]
    d: f32[4] = sub x, m
    q: f32[4] = mul d, d
    v: f32[] = reduce_sum q
    t: f32[] = sqrt v
    h: f32[4] = div d, t
    row: f32[1,4] = move h
    p: f32[1,2] = linear row, [[2, 1], [3, 0], [4, 1], [2, 0]], [10, 20]
    y: f32[2] = move p
    return y
}
"""


def test_layer_norm_is_a_product_with_a_scale(tool, tmp_path):
    (tmp_path / "m.nf").write_text(LAYER_NORM)
    plan = tool(tmp_path / "m.nf", "--no-verify", "--stop-after", "plan").stdout.split("program run")[1]
    steps = [line.strip() for line in plan.splitlines() if re.match(r"    \d+: ", line)]
    assert [re.search(r": (\w+)", step)[1] for step in steps] == ["reduce", "map", "reduce", "map", "gemm"]
    assert "squared" in steps[2] and re.search(r" \* work\+\d+ \+ const", steps[4])


TOKENS = """module stage=imported
port in "x" f32[1] batch 0
port in "c" f32[20] batch 0
port out "z" f32[1] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1], c: f32[20]) {
    a: f32[20,1] = move c
    b: f32[20,2] = linear a, [[2, 3]]
    d: f32[20,2] = tanh b
    e: f32[20,3] = linear d, [[2, 3, 4], [5, 6, 7]]
    f: f32[20,3] = tanh e
    g: f32[60] = move f
    s: f32[] = reduce_sum g
    row: f32[1,20] = move c
    h: f32[1,2] = linear row, [[2, 3], [3, 4], [4, 5], [5, 6], [6, 7], [7, 8], [8, 9], [9, 8], [8, 7], [7, 6],
                              [2, 3], [3, 4], [4, 5], [5, 6], [6, 7], [7, 8], [8, 9], [9, 8], [8, 7], [7, 6]]
    i: f32[1,2] = tanh h
    j: f32[2] = move i
    k: f32[] = reduce_sum j
    t: f32[] = add s, k
    z: f32[1] = add x, t
    log_det: f32[] = constant 0
    return z, log_det
}
"""


def test_an_adjoint_of_many_tokens_is_a_product_of_its_own(tool, tmp_path):
    (tmp_path / "m.nf").write_text(TOKENS)
    plan = tool(tmp_path / "m.nf", "--score-context", "--stop-after", "plan").stdout
    score = plan.split("program score")[1].split("program ")[0]
    shapes = re.findall(r"gemm '\w+' (transposed )?m (\d+), k (\d+), n (\d+)", score)
    assert ("", "20", "3", "2") in shapes and ("", "20", "2", "1") in shapes
    assert [shape for shape in shapes if shape[0]] == [("transposed ", "1", "20", "2")]


def picture():
    """A convolution of 20 places and 16 channels, each of which is normalised, and a pool of three places."""
    turn = ", ".join(f"{c}..{304 + c}:16" for c in range(16))
    spread = ", ".join(f"{c}*20" for c in range(16))
    taps = ", ".join(str(1 + 20 * c + q if 0 <= q < 20 else 0)
                     for c in range(16) for p in range(20) for q in (p - 1, p, p + 1))
    return f"""module stage=imported
port in "x" f32[20] batch 0
port out "y" f32[320] batch 0
func @main(x: f32[20]) {{
    rows: f32[20,1] = move x
    a: f32[20,16] = linear rows, [{list(range(2, 18))}]
    p: f32[16,20] = move a [{turn}]
    s: f32[16] = reduce_sum p
    m: f32[16] = div s, [20]
    mm: f32[16,20] = move m [{spread}]
    d: f32[16,20] = sub p, mm
    q: f32[16,20] = mul d, d
    v: f32[16] = reduce_sum q
    t: f32[16] = sqrt v
    tt: f32[16,20] = move t [{spread}]
    h: f32[16,20] = div d, tt
    w: f32[320,3] = move -inf, h [{taps}]
    y: f32[320] = reduce_max w
    return y
}}
"""


def test_a_picture_is_normalised_and_pooled_where_it_lies(tool, tmp_path):
    (tmp_path / "m.nf").write_text(picture())
    plan = tool(tmp_path / "m.nf", "--no-verify", "--stop-after", "plan").stdout.split("program run")[1]
    steps = [line.strip() for line in plan.splitlines() if re.match(r"    \d+: ", line)]
    assert [re.search(r": (\w+)", step)[1] for step in steps if ": map" not in step] == [
        "gemm", "reduce", "reduce", "move", "move", "reduce"]
    sums = [step for step in steps if ": reduce" in step]
    assert all(" across" in step for step in sums) and "each, squared" in sums[1]


@pytest.mark.parametrize("stage", ["import", "normal", "lanes", "channels-last", "derive", "merge-linear",
                                   "hoist-context", "merge-siblings"])
def test_text_form_is_read_back(tool, tmp_path, stage):
    model = tool.model("nf4rl_tiny__density__dyn")
    tool(model, "--stop-after", stage, "-o", tmp_path / "m.nf")
    tool(model, "-o", tmp_path / "a.so", "--name", "p")
    tool(tmp_path / "m.nf", "-o", tmp_path / "b.so", "--name", "p")
    x = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    y = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    a, b = (nfcc.open(tmp_path / name).to_latent(x, y=y) for name in ("a.so", "b.so"))
    assert (a[0] == b[0]).all() and (a[1] == b[1]).all()


# ---- programs with policies linked in

LINKED = """
#include "one.h"
#include "two.h"
#include <stdio.h>
#include <stdlib.h>
static int works(nfcc_policy *p)
{
    size_t size = nfcc_selftest_size(p);
    return nfcc_selftest(p, malloc(size), size) == NFCC_OK;
}
static nfcc_status score(nfcc_policy *p)
{
    one_event x = {{0}}, score_x;
    one_context_y y = {{0}}, score_y;
    void *work = malloc(nfcc_get_info(p)->work_size), *prepared = malloc(nfcc_prepared_size(p, 1));
    nfcc_status status = one_prepare(p, 1, &y, prepared, work);
    return status ? status : one_score_context(p, prepared, 1, &x, &score_x, &score_y, work);
}
int main(void)
{
    static unsigned char a[1 << 14], b[1 << 14];
    nfcc_policy *one, *two;
    if (nfcc_open_static(&nfcc_model_one, a, sizeof a, &one)) return 1;
    if (nfcc_open_static(&nfcc_model_two, b, sizeof b, &two)) return 2;
    return one_is(one) && two_is(two) && !one_is(two) && works(one) && works(two) && !score(one) ? 0 : 3;
}
"""


@pytest.mark.parametrize("compiler", [["cc", "-std=c99", "-x", "c"],
                                      ["c++", "-std=c++17", "-x", "c++", "-Wold-style-cast"]])
def test_two_policies_linked_in(tool, tmp_path, compiler):
    """--emit o,h: two policies in one program, under the warnings of a careful user."""
    for name, model, words in (("one", "nf4rl_tiny__density__dyn", ["--score-context"]), ("two", "lander_nfbc", [])):
        tool(tool.model(model), "-o", tmp_path / f"{name}.o", "--emit", "o,h", "--no-verify", *words)
    (tmp_path / "main.c").write_text(LINKED)
    library = [os.path.join(tool.root, "build", "libnfcc.a"), "-ldl"]
    subprocess.run([*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow",
                    "-Wcast-qual", "-Werror", "-I", os.path.join(tool.root, "runtime"), "-I", ".", "main.c", "-x",
                    "none", "one.o", "two.o", *library, "-o", "main"], cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "main"], check=True)


BARE = r"""
#include <nfcc.h>
extern const nfcc_model nfcc_model_p;
static unsigned char memory[1 << 14], test[1 << 24];
void *memcpy(void *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n; i++) ((char *)to)[i] = ((const char *)from)[i];
    return to;
}
void *memmove(void *to, const void *from, size_t n)
{
    if (to < from) return memcpy(to, from, n);
    while (n-- > 0) ((char *)to)[n] = ((const char *)from)[n];
    return to;
}
void *memset(void *to, int value, size_t n) { for (size_t i = 0; i < n; i++) ((char *)to)[i] = (char)value; return to; }
void *memchr(const void *in, int c, size_t n)
{
    for (const char *at = in; n-- > 0; at++)
        if (*at == (char)c) return (char *)(uintptr_t)at;
    return NULL;
}
__attribute__((force_align_arg_pointer)) void _start(void)
{
    nfcc_policy *p = NULL;
    nfcc_status status = nfcc_open_static(&nfcc_model_p, memory, sizeof memory, &p);
    if (!status) status = nfcc_selftest(p, test, sizeof test);
    __asm__ volatile("syscall" : : "a"(60), "D"(status ? status : 42));
}
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="enters and leaves as x86-64 Linux does")
def test_linked_without_a_c_library(tool, tmp_path):
    """As for a microkernel: four functions of the C library are all that policy and runtime need."""
    tool(tool.model("nf4rl_tiny__density__dyn"), "-o", tmp_path / "p.o", "--emit", "o", "--no-verify")
    (tmp_path / "bare.c").write_text(BARE)
    runtime = os.path.join(tool.root, "runtime")
    subprocess.run(["gcc", "-U__linux__", "-O2", "-ffreestanding", "-fno-tree-loop-distribute-patterns", "-nostdlib",
                    "-static", "-I", runtime,
                    "bare.c", os.path.join(runtime, "nfcc.c"), "p.o", "-o", "bare"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "bare"]).returncode == 42


def test_weights_that_are_no_numbers(tool, tmp_path):
    """One bias of a layer that is NaN is refused; where the user takes it, all other numbers stay what they are."""
    good = Path(tool.model("gauss_policy__mean_std__ts17")).read_bytes()
    at = good.index(b"m.mu.biasJ") + len(b"m.mu.biasJ") + 1  # a TensorProto's name; raw_data and its length
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(good[:at] + np.float32(np.nan).tobytes() + good[at + 4:])
    refused = tool(bad, "-o", tmp_path / "p.so", code=1).stderr
    assert "m.mu.bias" in refused and "say --allow-nonfinite" in refused
    taken = nfcc.compile(bad, allow_nonfinite=True)
    obs = {v.name: np.ones(v.shape, np.float32) for v in taken.info.inputs}
    made, whole = taken.run(obs), nfcc.compile(tool.model("gauss_policy__mean_std__ts17")).run(obs)
    differ = [name for name in made if not np.array_equal(made[name], whole[name])]
    assert len(differ) == 1 and np.isnan(made[differ[0]]).tolist() == [True] + [False] * 11
    assert np.array_equal(made[differ[0]][1:], whole[differ[0]][1:])
