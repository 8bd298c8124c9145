"""nfcc info and selftest: what a policy is, and whether it is as it was written."""
import ctypes
import json
import os
import platform
import re
import shutil
import struct
import subprocess

import pytest

import conftest


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


def test_info_names_what_the_processor_must_have(tool, lander, tmp_path):
    policy = bytearray((lander / "policy.so").read_bytes())
    descriptor = policy.index(struct.pack("<II", 0x6363666e, 3))
    names = ["AVX2, FMA", "AVX-512 F, VL, BW, DQ", "AVX512_BF16", "AMX_BF16", "NEON"]
    for cpu, needs in [(8, names[2:3]), (16, names[3:4]), (31, names)]:
        struct.pack_into("<I", policy, descriptor + 12, cpu)
        (tmp_path / "p.so").write_bytes(policy)
        done = tool("info", tmp_path / "p.so", "--json", code=3)  # the checksum is wrong now
        assert json.loads(done.stdout)["needs"] == ", ".join(needs)


@pytest.mark.parametrize("model, weights, cpu, tiles", [("lander_nfbc", "bf16", "sapphirerapids", True),
                                                        ("lander_nfbc", "bf16", "graniterapids", True),
                                                        ("lander_nfbc", "bf16", "znver4", False),
                                                        ("lander_nfbc", "f16", "sapphirerapids", False),
                                                        ("nflows_affine_ctx__density__ts18", "bf16", "sapphirerapids",
                                                         False)])
def test_tiles_are_used_where_they_pay(tool, tmp_path, model, weights, cpu, tiles):
    """Products of bf16 weights, on CPUs that have them, unless maps of few lanes take most of the time."""
    tool(tool.model(model), "-o", tmp_path / "p.so", "--no-verify", "--weights", weights, "--cpu", cpu)
    assert ("AMX_BF16" in tool("info", tmp_path / "p.so").stdout) == tiles


def refuse_tiles():
    """In a child: arch_prctl(ARCH_REQ_XCOMP_PERM) is EPERM from now on, by a filter of seccomp(2) as sandboxes have."""
    LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
    rules = [(LOAD, 0, 0, 0), (EQUAL, 0, 3, 158), (LOAD, 0, 0, 16), (EQUAL, 0, 1, 0x1023), (RETURN, 0, 0, 0x50001),
             (RETURN, 0, 0, 0x7fff0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(rules), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AMX is x86-64's")
@pytest.mark.parametrize("cpu, tiles", [("sapphirerapids", True), ("native", False)])
def test_compiling_where_the_kernel_refuses_tiles(tool, tmp_path, cpu, tiles):
    """A named CPU's code cannot be run here then, and is made all the same; `native` is what may be used."""
    words = [conftest.NFCC, tool.model("lander_nfbc"), "-o", tmp_path / "p.so", "--weights", "bf16", "--cpu", cpu]
    done = subprocess.run(words, capture_output=True, text=True, preexec_fn=refuse_tiles)
    if cpu == "native" and "this machine has less than" in done.stderr:
        pytest.skip("this CPU has no AVX2")
    assert done.returncode == 0, done.stderr
    assert ("AMX_BF16" in tool("info", tmp_path / "p.so").stdout) == tiles


def test_info_json_of_no_flow(tool, tmp_path):
    tool(tool.model("gauss_policy__mean_std__ts17"), "-o", tmp_path / "p.so")
    report = json.loads(tool("info", tmp_path / "p.so", "--json").stdout)
    assert not report["flow"] and report["entries"] == ["run"] and "event" not in report


def test_policy_of_another_machine(tool, tmp_path):
    for target, machine in (("aarch64-linux-gnu", "aarch64"), ("x86_64-linux-gnu", "x86-64")):
        tool(tool.model("nf4rl_tiny__density__dyn"), "-o", tmp_path / "p.so", "--target", target, "--no-verify")
        done = tool("selftest", tmp_path / "p.so", code=None)
        assert done.returncode == 0 or (done.returncode == 1 and f"was compiled for {machine}" in done.stderr and
                                        "the checksum is right; no golden row was computed" in done.stderr)
        text = tool("info", "p.so", cwd=tmp_path).stdout
        assert f"target: {target}" in text and "event: x [6]" in text and "prepared state 0" not in text


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


# ---- damage

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
