"""The command line: what it prints, writes, refuses and returns."""
import filecmp
import hashlib
import json
import os
import pty
import re
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import nfcc
import zoo


@pytest.fixture(scope="session")
def rows(tool):
    with np.load(tool.model("lander_nfbc")[:-5] + ".npz") as f:
        return {k: f[k][:16] for k in f.files}


@pytest.fixture
def files(tmp_path, rows):
    """obs.npy, x.npy, z.npy in a folder of its own."""
    np.save(tmp_path / "obs.npy", rows["obs"])
    np.save(tmp_path / "x.npy", rows["x"])
    np.save(tmp_path / "z.npy", rows["noise"])
    return tmp_path


def outputs(folder):
    return {f[:-4]: np.load(os.path.join(folder, f)) for f in os.listdir(folder)}


# ---- help, usage, exit codes

def test_help_names_everything(tool):
    text = tool("--help").stdout
    for word in ("-o", "--emit", "--target", "--cpu", "--event", "--base", "--reference", "--stop-after", "nfcc run",
                 "nfcc check", "nfcc verify", "nfcc selftest", "nfcc info", "exit codes"):
        assert word in text
    assert "--samples" in tool("run", "--help").stdout
    assert re.match(r"nfcc \d+\.\d+\.\d+, LLVM [\d.]+, ABI \d+\n$", tool("--version").stdout)


@pytest.mark.parametrize("words,said", [
    ([], "usage"),
    (["m.onnx", "-o", "p.so", "--evnet", "x"], "did you mean '--event'"),
    (["m.onnx", "-o", "p.so", "--seed", "1"], "nfcc run"),
    (["m.onnx"], "-o POLICY.so"),
    (["m.onnx", "-o"], "needs a value"),
    (["m.onnx", "-o", "p.so", "--emit", "exe"], "so, o, h, ll, ir"),
    (["m.onnx", "-o", "p.so", "--clip", "1,-1"], "--clip"),
    (["m.onnx", "-o", "p.so", "--entries", "smaple"], "did you mean 'sample'"),
    (["m.onnx", "-o", "p.so", "--backend", "blas"], "llvm"),
    (["m.onnx", "-o", "p.so", "--base", "student_t:0"], "student_t:DF"),
    (["m.onnx", "-o", "p.so", "--target", "z80"], "z80"),
    (["m.onnx", "-o", "p.so", "--name", "7 up"], "--name"),
    (["m.onnx", "-o", "p.so", "--max-error", "much"], "number"),
    (["m.onnx", "-o", "p.so", "--max-error", "0"], "above 0"),
    (["m.onnx", "-o", "p.so", "--max-graph-error", "much"], "number"),
    (["m.onnx", "-o", "p.so", "--normalize", "obs"], "NAME=FILE.npz"),
    (["m.onnx", "-o", "--emit", "h"], "-o needs a value"),
    (["bench", "m.onnx", "--json", "--html", "page.html"], "--json needs a value"),
    (["m.onnx", "--output", "p.so"], "did you mean '-o'"),
    (["m.onnx", "-o", "p.so", "--no-verify", "--reference", "rows.npz"], "--no-verify and --reference contradict"),
    (["m.onnx", "-o", "p.so", "--no-verify", "--verify-inputs", "rows.npz"], "--verify-inputs contradict"),
    (["m.onnx", "-o", "p.nf", "--stop-after", "plan", "--emit", "h"], "--stop-after and --emit contradict"),
    (["bench", "m.onnx", "--max-error", "much"], "number"),
    (["bench", "m.onnx", "--max-graph-error", "much"], "number"),
    (["m.onnx", "-o", "p.so", "--weights", "f8"], "bf16"),
    (["m.onnx", "--stop-after", "merge-linaer"], "did you mean 'merge-linear'"),
    (["chekc", "m.onnx"], "did you mean 'check'"),
    (["run", "m.onnx"], "usage"),
    (["run", "m.onnx", "sample", "-o", ""], "-o DIR is missing"),
    (["run", "m.onnx", "sample", "-o", "d", "--seed", "0y"], "a whole number"),
    (["run", "m.onnx", "smaple", "-o", "d"], "entries:"),
])
def test_usage_errors(tool, tmp_path, words, said):
    done = tool(*words, code=2, cwd=tmp_path)
    assert said in done.stderr
    assert os.listdir(tmp_path) == []


def test_missing_and_broken_models(tool, tmp_path):
    for name in ("none.onnx", "none.nf"):
        assert name in tool(name, "-o", "p.so", code=3, cwd=tmp_path).stderr
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "noise.onnx").write_bytes(os.urandom(1000))
    for name in ("empty.onnx", "noise.onnx"):
        assert tool(name, "-o", "p.so", code=1, cwd=tmp_path).stderr.startswith("nfcc: error: " + name) or name in \
            tool(name, "-o", "p.so", code=1, cwd=tmp_path).stderr
    assert not (tmp_path / "p.so").exists()


@pytest.mark.parametrize("start,said", [(b"\x7fELF\2\1", "nfcc info"), (b"PK\3\4", "torch.onnx.export"),
                                        (b"\x80\2}q", "torch.onnx.export"), (b"\x89HDF\r\n", "HDF5"),
                                        (b"\x93NUMPY\1\0", "NumPy"),
                                        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull")])
def test_other_files(tool, tmp_path, start, said):
    (tmp_path / "m.onnx").write_bytes(start + bytes(100))
    assert said in tool("m.onnx", "-o", "p.so", cwd=tmp_path, code=1).stderr


def test_pipe_is_no_model(tool, tmp_path):
    os.mkfifo(tmp_path / "m.onnx")
    assert "save what comes through a pipe" in tool("m.onnx", "-o", "p.so", cwd=tmp_path, code=3).stderr


@pytest.mark.parametrize("name", ["m.onnx", "./m.onnx", "link.onnx", "m.onnx.data"])
def test_output_is_not_the_model(tool, tmp_path, name):
    shutil.copy(tool.model("nf4rl_tiny__density__dyn"), tmp_path / "m.onnx")
    (tmp_path / "m.onnx.data").write_bytes(b"weights")
    (tmp_path / "link.onnx").symlink_to("m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()
    for words in (["-o", name], ["-o", name, "--emit", "h"], ["-o", name, "--stop-after", "import"]):
        assert "of the model itself" in tool("m.onnx", *words, cwd=tmp_path, code=3).stderr
    for option in ("--json", "--html"):
        assert "of the model itself" in tool("bench", "m.onnx", option, name, cwd=tmp_path, code=3).stderr
    assert (tmp_path / "m.onnx").read_bytes() == before and (tmp_path / "m.onnx.data").read_bytes() == b"weights"


def test_output_is_looked_at_first(tool, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    assert "make the folder first" in tool("m.onnx", "-o", "nowhere/p.so", cwd=tmp_path, code=3).stderr


def test_a_link_to_standard_output_stays(tool, tmp_path):
    """/dev/stdout is such a link: where standard output is a file, root's policy took the link's place."""
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    model = tool.model("nf4rl_tiny__density__dyn")
    for words in ([], ["--emit", "h"], ["--stop-after", "import"]):
        with open(tmp_path / "file", "w") as out:
            done = subprocess.run([zoo.NFCC, model, "-o", "stdout", *words], cwd=tmp_path, stdout=out,
                                  stderr=subprocess.PIPE, text=True)
        assert done.returncode == 3 and "link to an open file" in done.stderr
    assert (tmp_path / "stdout").is_symlink() and sorted(os.listdir(tmp_path)) == ["file", "stdout"]


def test_a_link_is_replaced(tool, tmp_path):
    """As compilers and linkers do: what it led to, a policy in use perhaps, stays."""
    (tmp_path / "old").write_text("of before")
    for words, name in ([], "p.so"), (["--emit", "h"], "p.h"), (["--stop-after", "import"], "p.nf"):
        (tmp_path / name).symlink_to("old")
        tool(tool.model("nf4rl_tiny__density__dyn"), "-o", name, "--no-verify", *words, cwd=tmp_path)
        assert (tmp_path / name).is_file() and not (tmp_path / name).is_symlink()
    assert (tmp_path / "old").read_text() == "of before"


@pytest.mark.parametrize("limit,now,most,code,said", [
    (resource.RLIMIT_STACK, 64 << 10, resource.RLIM_INFINITY, 0, ""),
    (resource.RLIMIT_STACK, 64 << 10, 64 << 10, 4, "the stack ended"),
    (resource.RLIMIT_NOFILE, 5, 5, 3, "ulimit -n")], ids=["small_stack", "very_small_stack", "few_files"])
def test_limits(tool, tmp_path, limit, now, most, code, said):
    """LLVM wants more than 64 KiB of stack: a limit that may be raised is, else its end is told."""
    done = subprocess.run([zoo.NFCC, tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so"], cwd=tmp_path,
                          capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(limit, (now, most)))
    assert done.returncode == code and said in done.stderr and os.listdir(tmp_path) == ([] if code else ["p.so"])


@pytest.mark.parametrize("path", ["/nowhere/p.so", "/proc/p.so", ".", "-", ""])
def test_unwritable_output(tool, tmp_path, path):
    done = tool(tool.model("nf4rl_tiny__density__dyn"), "-o", path, cwd=tmp_path, code=3)
    assert "error" in done.stderr and os.listdir(tmp_path) == []


def test_full_output(tool):
    done = subprocess.run(f'"{zoo.NFCC}" --help >/dev/full', shell=True, capture_output=True, text=True)
    assert done.returncode == 3 and "standard output" in done.stderr


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams(tool, tmp_path, closed):
    """Their numbers went to the pipe from the linker, and the compile waited for itself."""
    words = "".join(f" {fd}>&-" for fd in closed)
    done = subprocess.run(f'exec "{zoo.NFCC}" "{tool.model("nf4rl_tiny__density__dyn")}" -o p.so' + words, shell=True,
                          cwd=tmp_path, timeout=120)
    assert done.returncode == (3 if 1 in closed else 0)
    assert "golden rows are equal" in tool("selftest", "p.so", cwd=tmp_path).stdout


# ---- compile

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
    tool(tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so", "--emit", "so,o,h,ll,ir", cwd=tmp_path)
    assert {"p.so", "p.o", "p.h", "p.ll", "p.nf"} <= set(os.listdir(tmp_path))
    assert "define" in (tmp_path / "p.ll").read_text()
    subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-I", os.path.join(tool.root, "runtime"),
                    "-x", "c", tmp_path / "p.h"], check=True)


def test_modes_of_files(tool, lander, tmp_path):
    """What the user's mask leaves of rw for all; a library may be run, too, and is written by its owner."""
    np.save(tmp_path / "obs.npy", np.zeros((1, 8), np.float32))
    for mask in (0o002, 0o027):
        for words in ([tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so", "--emit", "so,o,h,ll,ir", "--no-verify"],
                      ["run", lander / "policy.so", "sample", "obs=obs.npy", "-o", "out"]):
            subprocess.run([zoo.NFCC, *words], cwd=tmp_path, stdout=subprocess.DEVNULL, umask=mask, check=True)
        for name in ("p.so", "p.o", "p.h", "p.ll", "p.nf", "out/x.npy"):
            assert (tmp_path / name).stat().st_mode & 0o777 == (0o755 if name == "p.so" else 0o666) & ~mask, name


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


def test_run_many_outputs_in_double(tool, tmp_path):
    names = [f"o{i}" for i in range(300)]
    lines = ["port in \"x\" f32[2] batch 0", *(f"port out \"{name}\" f32[2] batch 0" for name in names),
             "func @main(x: f32[1,2]) {", *(f"    {name}: f32[1,2] = add x, {i}" for i, name in enumerate(names)),
             f"    return {', '.join(names)}", "}\n"]
    (tmp_path / "m.nf").write_text("\n".join(lines))
    np.save(tmp_path / "x.npy", np.float32([[1, 2], [3, 4]]))
    tool("run", "m.nf", "run", "x=x.npy", "-o", "out", "--backend", "interp", "--entries", "run", cwd=tmp_path)
    assert np.array_equal(np.load(tmp_path / "out" / "o299.npy"), [[300, 301], [302, 303]])


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


@pytest.mark.parametrize("key,value", [("shape", "1"), ("shape", "600"), ("shape", "1048575 " * 8), ("contexts", ""),
                                       ("contexts", "0 0"), ("ports", "-1 -1 -1 0 1 -1"), ("direction", "sampling")])
def test_saved_flow_that_does_not_fit(tool, tmp_path, key, value):
    tool(tool.model("nf4rl_tiny__density__dyn"), "--stop-after", "derive", "-o", tmp_path / "m.nf")
    text = (tmp_path / "m.nf").read_text()
    changed = re.sub(f'("flow.{key}") "[^"]*"', rf'\1 "{value}"', text)
    assert changed != text
    (tmp_path / "m.nf").write_text(changed)
    said = tool(tmp_path / "m.nf", "-o", tmp_path / "p.so", code=1).stderr
    assert "do not describe a flow of this module" in said and not (tmp_path / "p.so").exists()


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


@pytest.mark.parametrize("stage", ["import", "normal", "lanes", "derive", "merge-linear", "hoist-context",
                                   "merge-siblings"])
def test_text_form_is_read_back(tool, tmp_path, stage):
    model = tool.model("nf4rl_tiny__density__dyn")
    tool(model, "--stop-after", stage, "-o", tmp_path / "m.nf")
    tool(model, "-o", tmp_path / "a.so", "--name", "p")
    tool(tmp_path / "m.nf", "-o", tmp_path / "b.so", "--name", "p")
    x = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    y = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    a, b = (nfcc.open(tmp_path / name).to_latent(x, y=y) for name in ("a.so", "b.so"))
    assert (a[0] == b[0]).all() and (a[1] == b[1]).all()


# ---- run

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_compile_leaves_nothing_behind(tool, tmp_path, number):
    """While the linker writes (one that never ends), as Ctrl-C does: to all processes. The policy of before stays."""
    linker, folder = tmp_path / "bin" / "ld.lld-19", tmp_path / "out"
    linker.parent.mkdir()
    folder.mkdir()
    (folder / "p.so").write_text("of before")
    linker.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\nprintf half > "$2"\n'
                      'printf half > "$2.tmp1"\n: > "$STARTED"\nexec sleep 60\n')
    linker.chmod(0o755)
    run = subprocess.Popen([zoo.NFCC, tool.model("lander_nfbc"), "-o", folder / "p.so"], start_new_session=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                           env=os.environ | {"PATH": f"{linker.parent}:{os.environ['PATH']}",
                                             "STARTED": tmp_path / "started"},
                           preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    while not (tmp_path / "started").exists():
        assert run.poll() is None
        time.sleep(0.01)
    assert len(os.listdir(folder)) == 3
    os.killpg(run.pid, number)
    assert run.wait(30) == -number
    run.stderr.close()
    assert os.listdir(folder) == ["p.so"] and (folder / "p.so").read_text() == "of before"


@pytest.mark.parametrize("words,said", [
    (["run", "policy.so", "sample", "obs=obs.npy", "--samples", "100000", "-o", "out"], "x.npy"),
    (["MODEL", "-o", "out/p.so", "--no-verify"], "p.so"),
    (["MODEL", "-o", "out/p", "--emit", "o,h", "--no-verify"], "p.o")])
def test_full_disk_leaves_nothing_behind(tool, lander, tmp_path, words, said):
    """A disk (here: a limit of the file size) that is too small is said at once; no file is left."""
    np.save(tmp_path / "obs.npy", np.zeros((1, 8), np.float32))
    (tmp_path / "policy.so").symlink_to(lander / "policy.so")
    (tmp_path / "out").mkdir()
    done = subprocess.run([zoo.NFCC, *(tool.model("lander_nfbc") if word == "MODEL" else word for word in words)],
                          cwd=tmp_path,
                          capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
    assert done.returncode == 3 and said + ": cannot be written: File too large" in done.stderr
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("words", [["run", "sample", "obs=obs.npy", "--samples", "100000000", "-o", "out"],
                                   ["bench", "--rows", "1", "--seconds", "1", "--warmup", "0"]])
def test_interrupted_work_leaves_nothing_behind(tool, tmp_path, words):
    """Ctrl-C while rows are written, or while a model that was compiled under TMPDIR is measured."""
    np.save(tmp_path / "obs.npy", np.zeros((1, 8), np.float32))
    (tmp_path / "tmp").mkdir()
    run = subprocess.Popen([zoo.NFCC, words[0], tool.model("lander_nfbc"), *words[1:], "--no-verify"], cwd=tmp_path,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                           env=os.environ | {"TMPDIR": tmp_path / "tmp"},
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    if words[0] == "run":
        while not (tmp_path / "out").exists() or not os.listdir(tmp_path / "out"):
            assert run.poll() is None
            time.sleep(0.01)
    else:
        assert any(line.startswith(b"llvm") for line in run.stdout)
    run.send_signal(signal.SIGINT)
    assert run.wait(30) == -signal.SIGINT
    run.stdout.close()
    left = [f for _, _, files in os.walk(tmp_path) for f in files]
    assert left == ["obs.npy"] and os.listdir(tmp_path / "tmp") == []


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


def test_not_finite_rows(tool, lander, files, rows):
    x = rows["x"].copy()
    x[3, 2] = np.nan
    np.save(files / "x.npy", x)
    done = tool("run", lander / "policy.so", "log_prob", "x=x.npy", "obs=obs.npy", "-o", "out", cwd=files)
    out = outputs(files / "out")["log_prob"]
    assert "row 3" in done.stderr and "event" not in done.stderr and np.isnan(out[3]) and \
        np.isfinite(np.delete(out, 3)).all()


# ---- check, verify, info, selftest

def test_overflow_is_told(tool, lander, files, rows):
    obs = rows["obs"].copy()
    obs[5, 3] = 3e38
    np.save(files / "obs.npy", obs)
    for words in (["sample"], ["act"], ["sample_best", "--samples", "3"]):
        done = tool("run", lander / "policy.so", *words, "obs=obs.npy", "-o", "out", cwd=files)
        assert done.stderr == "nfcc: note: x: event 5 is not finite\n"
    assert tool("run", lander / "policy.so", "log_prob", "x=x.npy", "obs=obs.npy", "-o", "out", cwd=files).stderr == ""


def test_policy_of_another_machine(tool, tmp_path):
    for target, machine in (("aarch64-linux-gnu", "aarch64"), ("x86_64-linux-gnu", "x86-64")):
        tool(tool.model("nf4rl_tiny__density__dyn"), "-o", tmp_path / "p.so", "--target", target, "--no-verify")
        done = tool("selftest", tmp_path / "p.so", code=None)
        assert done.returncode == 0 or (done.returncode == 1 and f"was compiled for {machine}" in done.stderr and
                                        "the checksum is right; no golden row was computed" in done.stderr)
        text = tool("info", "p.so", cwd=tmp_path).stdout
        assert f"target: {target}" in text and "event: x [6]" in text and "prepared state 0" not in text


def test_bf16_is_not_openblas(tool, tmp_path):
    """It multiplied unrounded numbers, and the check called that a bug of nfcc's."""
    done = tool(tool.model("lander_nfbc"), "-o", "p.so", "--backend", "openblas", "--weights", "bf16", cwd=tmp_path,
                code=1)
    assert "--weights f16" in done.stderr and os.listdir(tmp_path) == []


def test_info_of_openblas(tool, tmp_path):
    done = tool(tool.model("nf4rl_tiny__density__dyn"), "-o", tmp_path / "p.so", "--backend", "openblas", code=None)
    assert "equal the Plan's" not in done.stdout  # they are near
    if "libopenblas was not found" in done.stderr:
        pytest.skip("OpenBLAS is missing")
    assert "event: x [6]" in tool("info", tmp_path / "p.so").stdout
    assert "no golden row was compared" in tool("selftest", tmp_path / "p.so").stdout
    without = (tmp_path / "p.so").read_bytes().replace(b"libopenblas.so", b"libnothing_.so")
    (tmp_path / "p.so").write_bytes(without)
    assert "cannot be opened: Can not access a needed shared library" in tool("info", tmp_path / "p.so", code=3).stderr


def test_noexec(tool, lander, tmp_path):
    """A folder that holds no code: nothing is called a bug or damaged, and an unchecked policy may be written there."""
    space = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
             'mount -t tmpfs -o noexec none "$0" && "$@"', tmp_path]
    if not shutil.which("unshare") or subprocess.run([*space, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")

    def run(*words, code=3):
        done = subprocess.run([*space, *map(str, words)], cwd=tmp_path.parent, capture_output=True, text=True,
                              env=os.environ | {"TMPDIR": str(tmp_path)})
        assert done.returncode == code, done.stdout + done.stderr
        return done

    model = tool.model("nf4rl_tiny__density__dyn")
    for words in (["verify", model], [model, "-o", tmp_path / "p.so"]):
        done = run(zoo.NFCC, *words)
        assert "Operation not permitted" in done.stderr and "mounted noexec" in done.stderr and \
            "compiled:" not in done.stdout
    run(zoo.NFCC, model, "-o", tmp_path / "p.so", "--no-verify", code=0)
    done = run("sh", "-c", 'cp "$0" "$1" && "$2" info "$1" && "$2" selftest "$1"', lander / "policy.so",
               tmp_path / "p.so", zoo.NFCC)
    assert "event: x [8]" in done.stdout and "is its folder mounted noexec?" in done.stderr and \
        "damaged" not in done.stderr


def test_without_proc(tool, tmp_path):
    space = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && "$0" "$@"']
    if not shutil.which("unshare") or subprocess.run([*space, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    done = subprocess.run([*space, zoo.NFCC, tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so"], cwd=tmp_path,
                          capture_output=True,
                          text=True)
    assert done.returncode == 3 and "/proc is not there" in done.stderr and os.listdir(tmp_path) == []


def test_where_no_space_can_be_reserved(tool, tmp_path):
    """As under a sandbox that does not know the system call."""
    (tmp_path / "no.c").write_text("#include <errno.h>\nint posix_fallocate(int f, long a, long n)\n"
                                   "{ (void)f, (void)a, (void)n; return ENOSYS; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "no.c", "-o", "no.so"], cwd=tmp_path, check=True)
    done = subprocess.run([zoo.NFCC, tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so"], cwd=tmp_path,
                          capture_output=True, text=True,
                          env=os.environ | {"LD_PRELOAD": str(tmp_path / "no.so"),
                                            "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"})
    assert done.returncode == 0 and (tmp_path / "p.so").exists(), done.stderr


def test_json_is_utf8_whatever_the_name(tool, tmp_path):
    for name in (b"m\xff.onnx", b"\xe2\x82\xac\xc3.onnx", b"\xed\xa0\x80.onnx", "\U0001f916.onnx".encode()):
        done = subprocess.run([zoo.NFCC, "check", name, "--json"], cwd=tmp_path, capture_output=True)
        assert json.loads(done.stdout)["file"] == name.decode(errors="replace")


def test_info_json(tool, lander):
    report = json.loads(tool("info", "policy.so", "--json", cwd=lander).stdout)
    text = tool("info", "policy.so", cwd=lander).stdout
    assert report["event"] == {"name": "x", "type": "float32", "shape": [8]} and report["flow"]
    assert report["contexts"] == [{"name": "obs", "type": "float32", "shape": [8]}]
    assert [p["name"] for p in report["outputs"]] == ["z", "logdet"] and "act" in report["entries"]
    assert report["bytes"] == os.path.getsize(lander / "policy.so") > report["weights_bytes"] > 0
    for key in ("policy", "target", "needs", "compiler", "model_sha256", "checksum", "work_bytes", "stack_bytes"):
        assert str(report[key]) in text
    assert report["checksum_right"] and report["notes"].endswith("\nclip: act keeps every number in -1..1")
    assert all(line in text for line in report["notes"].split("\n"))


def test_info_json_of_no_flow(tool, tmp_path):
    tool(tool.model("gauss_policy__mean_std__ts17"), "-o", tmp_path / "p.so")
    report = json.loads(tool("info", tmp_path / "p.so", "--json").stdout)
    assert not report["flow"] and report["entries"] == ["run"] and "event" not in report


def loaded_end(elf):
    """Where the last of the segments that are loaded ends."""
    start, count = struct.unpack_from("<Q", elf, 32)[0], struct.unpack_from("<H", elf, 56)[0]
    heads = [struct.unpack_from("<IIQQQQ", elf, start + 56 * i) for i in range(count)]
    return max(offset + size for kind, _, offset, _, _, size in heads if kind == 1)


@pytest.mark.parametrize("name,options", [("p.so", []), ("p.so", ["--cpu", "dispatch"]), ("p.o", ["--emit", "o"])])
def test_a_damaged_file(tool, tmp_path, name, options):
    """One bit anywhere: in headers, tables, weights, code, between them; and bytes that are missing."""
    tool(tool.model("nf4rl_tiny__density__dyn"), "-o", tmp_path / name, *options)
    assert "the checksum is right" in tool("selftest", tmp_path / name).stdout
    assert name == "p.so" or "is an object, to be linked" in tool("info", tmp_path / name, code=3).stderr
    good = (tmp_path / name).read_bytes()
    end = len(good) if name == "p.o" else loaded_end(good)
    for at in [*range(0, 64, 7), *range(64, end, end // 24), end - 1]:
        (tmp_path / "d").write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1:])
        for command in ("selftest", "info") if name == "p.so" else ("selftest",):
            done = tool(command, "d", cwd=tmp_path, code=3)
            assert "is not as nfcc wrote it" in done.stderr or "or a damaged one" in done.stderr
    for other in (good[:-1], good[:len(good) // 2]):
        (tmp_path / "d").write_bytes(other)
        tool("selftest", "d", cwd=tmp_path, code=3)


def test_a_stripped_policy_is_whole(tool, tmp_path):
    """Packaging tools strip shared objects unasked."""
    tool(tool.model("nf4rl_tiny__density__dyn"), "-o", tmp_path / "p.so")
    before = (tmp_path / "p.so").read_bytes()
    subprocess.run(["strip", tmp_path / "p.so"], check=True)
    assert (tmp_path / "p.so").read_bytes() != before
    assert "the checksum is right" in tool("selftest", tmp_path / "p.so").stdout


def test_a_damaged_weight_is_told(tool, lander, tmp_path):
    """The low bit of a weight or two may be too little for the golden rows, and is no structure that could be wrong."""
    good = (lander / "policy.so").read_bytes()
    report = json.loads(tool("info", lander / "policy.so", "--json").stdout)
    at = report["bytes"] // 2 // 4 * 4
    assert report["weights_bytes"] > report["bytes"] * 3 // 4
    (tmp_path / "d.so").write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
    done = tool("selftest", tmp_path / "d.so", code=3)
    assert f"it holds the checksum {report['checksum']}, its bytes make" in done.stderr and \
        "bit for bit" not in done.stdout
    done = tool("info", tmp_path / "d.so", "--json", code=3)
    assert json.loads(done.stdout)["checksum_right"] is False


def test_selftest_of_several_files(tool, lander, tmp_path):
    """All of them are looked at; the worst decides the exit code."""
    (tmp_path / "bad.so").write_bytes((lander / "policy.so").read_bytes()[:-1])
    done = tool("selftest", lander / "policy.so", tmp_path / "bad.so", lander / "policy.so", code=3)
    assert done.stdout.count("bit for bit") == 2 and done.stderr.count("error") == 1 and "bad.so" in done.stderr
    assert tool("selftest", lander / "policy.so", lander / "policy.so").stdout.count("bit for bit") == 2


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


def test_check(tool):
    model = tool.model("lander_nfbc")
    assert "no problem found" in tool("check", model).stdout
    assert len(tool("check", model, "--explain").stdout) > 1000
    report = json.loads(tool("check", model, "--json").stdout)
    assert report["ok"] and report["direction"] == "density" and report["base_assumed"] and \
        "sample" in report["entries"]
    assert report["contexts"][0] == {"name": "obs", "type": "float32", "shape": [8]}
    refused = json.loads(tool("check", tool.model("w_freia__fwd__def"), "--json", code=1).stdout)
    assert not refused["ok"] and any("x_or_z" in p["text"] for p in refused["problems"])


def test_no_flow(tool):
    done = tool("check", tool.model("gauss_policy__mean_std__ts17"))
    assert "flow: no" in done.stdout and "entries: run\n" in done.stdout


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_verify_reference(tool, files, rows, save):
    known = {"x": rows["x"], "obs": rows["obs"], "z": rows["z"], "log_det": rows["logdet"],
             "log_prob": rows["log_prob"],
             "noise": rows["noise"], "to_event.x": rows["sample"]}
    save(files / "good.npz", **known)
    report = json.loads(tool("verify", tool.model("lander_nfbc"), "--reference", files / "good.npz", "--json").stdout)
    assert report["ok"] and report["reference_error"] < 1e-6 and report["compiled_rows"] == 4
    save(files / "wrong.npz", **{**known, "log_prob": rows["log_prob"] + 1})
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "wrong.npz", code=1)
    assert "'log_prob' differs from the reference" in done.stderr
    save(files / "unknown.npz", **known, extra=rows["x"])
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "unknown.npz", code=1)
    assert "unknown key 'extra'" in done.stderr and "to_event.log_det" in done.stderr
    save(files / "two.npz", **known, extra=rows["x"], more=rows["x"])
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "two.npz", code=1)
    assert "unknown keys 'extra', 'more'" in done.stderr and done.stderr.count("error") == 1
    save(files / "own.npz", **{**known, "logdet": rows["logdet"] + 1, "x": rows["x"]})
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "own.npz", code=1)
    assert "'log_det' is there twice" in done.stderr


def test_verify_reference_by_the_graphs_names(tool, files, rows):
    np.savez(files / "own.npz", obs=rows["obs"], x=rows["x"], logdet=rows["logdet"] + 1)
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "own.npz", code=1)
    assert "'log_det' differs from the reference" in done.stderr


def test_verify_reference_compares_something(tool, files, rows):
    np.savez(files / "rows.npz", obs=rows["obs"], x=rows["x"], noise=rows["noise"])
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "rows.npz", code=1)
    assert "nothing to compare" in done.stderr and "to_event.x" in done.stderr


def test_verify_inputs(tool, files, rows):
    np.savez(files / "in.npz", x=rows["x"], obs=rows["obs"])
    report = json.loads(tool("verify", tool.model("lander_nfbc"), "--inputs", files / "in.npz", "--json").stdout)
    assert report["rows"] == 16
    tool(tool.model("lander_nfbc"), "-o", files / "p.so", "--verify-inputs", files / "in.npz")


def test_info_and_selftest(tool, lander, tmp_path):
    text = tool("info", "policy.so", cwd=lander).stdout
    assert re.search(r"target: .*; needs (AVX2, FMA|NEON)\n", text)
    assert "standard normal (assumed" in text and "obs [8]" in text and "sample_and_log_prob" in text
    assert "bit for bit" in tool("selftest", "policy.so", cwd=lander).stdout
    shutil.copy(lander / "policy.so", tmp_path / "short.so")
    os.truncate(tmp_path / "short.so", 1000)
    for path in (tmp_path / "short.so", tool.model("lander_nfbc")):
        for command in ("info", "selftest"):
            assert "is no policy of nfcc, or a damaged one" in tool(command, path, code=3).stderr
    assert "none.so: cannot be opened: No such file" in tool("info", tmp_path / "none.so", code=3).stderr


def test_test_wants_cases(tool, tmp_path):
    assert "no case was found" in tool("test", tmp_path, code=3).stderr


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
