"""The command line: help, words that mean nothing, models that are none."""
import json
import os
import re
import resource
import subprocess

import pytest

import zoo


def test_help_names_everything(tool):
    text = tool("--help").stdout
    for word in ("-o", "--emit", "--target", "--cpu", "--event", "--base", "--reference", "--stop-after", "nfcc run",
                 "nfcc check", "nfcc verify", "nfcc selftest", "nfcc info", "exit codes"):
        assert word in text
    for command in ("run", "check", "verify", "bench", "selftest", "info", "test"):
        usage, options = tool(command, "--help").stdout.split("\noptions:\n")
        assert f"nfcc {command} " in usage and usage.split("\n\n")[0].removeprefix("usage: ") in text
        assert set(re.findall(r"--[a-z-]+", usage)) <= set(re.findall(r"^  (--[a-z-]+) ", options, re.M))
    assert re.match(r"nfcc \d+\.\d+\.\d+, LLVM [\d.]+, ABI \d+\n$", tool("--version").stdout)


@pytest.mark.parametrize("words,said", [
    ([], "usage"),
    (["m.onnx", "-o", "p.so", "--evnet", "x"], "did you mean '--event'"),
    (["--hlep"], "did you mean '--help'"),
    (["m.onnx", "-o", "p.so", "--seed", "1"], "nfcc run"),
    (["m.onnx"], "-o POLICY.so"),
    (["m.onnx", "-o"], "needs a value"),
    (["m.onnx", "-o", "p.so", "--emit", "exe"], "so, o, h, ll, ir"),
    (["m.onnx", "-o", "p.so", "--clip", "1,-1"], "--clip"),
    (["m.onnx", "-o", "p.so", "--entries", "smaple"], "did you mean 'sample'"),
    (["m.onnx", "-o", "p.so", "--backend", "blas"], "llvm"),
    (["m.onnx", "-o", "p.so", "--base", "student_t:0"], "student_t:DF"),
    (["m.onnx", "-o", "p.so", "--target", "z80"], "z80"),
    (["m.onnx", "-o", "p.so", "--target", "x86_64-linux-gnu", "--cpu", "cortex-a76"], ": --target aarch64-linux-gnu"),
    (["m.onnx", "-o", "p.so", "--name", "7 up"], "--name"),
    (["m.onnx", "-o", "p.so", "--name", "n" * 200], "at most 199 letters"),
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
        assert tool(name, "-o", "p.so", code=1, cwd=tmp_path).stderr.startswith(f"error: {name}: ")
    assert not (tmp_path / "p.so").exists()


@pytest.mark.parametrize("start,said", [(b"\x7fELF\2\1", "nfcc info"), (b"PK\3\4", "torch.onnx.export"),
                                        (b"\x80\2}q", "torch.onnx.export"), (b"\x89HDF\r\n", "HDF5"),
                                        (b"\x93NUMPY\1\0", "NumPy"),
                                        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull")])
def test_other_files(tool, tmp_path, start, said):
    (tmp_path / "m.onnx").write_bytes(start + bytes(100))
    assert said in tool("m.onnx", "-o", "p.so", cwd=tmp_path, code=1).stderr


def test_what_follows_two_dashes_is_a_file(tool, tmp_path):
    assert "unknown option '-p.so'" in tool("info", "-p.so", cwd=tmp_path, code=2).stderr
    assert "-p.so: cannot be opened" in tool("info", "--", "-p.so", cwd=tmp_path, code=3).stderr


def test_pipe_is_no_model(tool, tmp_path):
    os.mkfifo(tmp_path / "m.onnx")
    assert "save what comes through a pipe" in tool("m.onnx", "-o", "p.so", cwd=tmp_path, code=3).stderr
    model = tool.model("nf4rl_tiny__density__dyn")
    for words in (["info", "m.onnx"], ["run", "m.onnx", "sample", "-o", "out"],
                  ["verify", model, "--inputs", "m.onnx"]):
        assert "m.onnx: " in tool(*words, cwd=tmp_path, code=3, timeout=30).stderr


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


def test_json_is_utf8_whatever_the_name(tool, tmp_path):
    for name in (b"m\xff.onnx", b"\xe2\x82\xac\xc3.onnx", b"\xed\xa0\x80.onnx", "\U0001f916.onnx".encode()):
        done = subprocess.run([zoo.NFCC, "check", name, "--json"], cwd=tmp_path, capture_output=True)
        assert json.loads(done.stdout)["file"] == name.decode(errors="replace")


def test_test_wants_cases(tool, tmp_path):
    assert "no case was found" in tool("test", tmp_path, code=3).stderr
