"""The bytes of a policy depend on the model and the options alone: a compile under a libm whose results are off, in
another folder, or on another CPU (qemu's models of them) gives the same file."""
import filecmp
import os
import shutil
import subprocess

import pytest

import conftest

ONE = ("exp expm1 log log1p log2 exp2 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc cbrt "
       "lgamma").split()
TWO = "pow atan2 hypot".split()


@pytest.fixture(scope="module")
def other_libm(tmp_path_factory):
    """A library that replaces libm's functions by ones that are off by 1e-9."""
    if "asan" in conftest.NFCC or not shutil.which("cc"):
        pytest.skip("needs a C compiler, and a program without a sanitizer")
    folder = tmp_path_factory.mktemp("libm")
    lines = ["#define _GNU_SOURCE", "#include <dlfcn.h>"]
    for name, args, call in [(n, "double x", "x") for n in ONE] + [(n, "double x, double y", "x, y") for n in TWO]:
        types = ", ".join(["double"] * (call.count(",") + 1))
        lines.append(f'double {name}({args}) {{ double (*f)({types}) = (double (*)({types}))dlsym(RTLD_NEXT, "{name}");'
                     f" return f({call}) * (1 + 1e-9); }}")
    (folder / "m.c").write_text("\n".join(lines))
    subprocess.run(["cc", "-shared", "-fPIC", "-fno-builtin", "-o", folder / "libother.so", folder / "m.c", "-ldl"],
                   check=True)
    return folder / "libother.so"


QEMU = shutil.which("qemu-x86_64")
LONG = os.environ.get("NFCC_LONG") == "1"
CPUS = ["Haswell", "Nehalem", "EPYC-Milan", "Skylake-Server"] if LONG else ["Haswell"]


@pytest.mark.skipif(not QEMU or "asan" in conftest.NFCC or os.uname().machine != "x86_64", reason="needs qemu-x86_64")
@pytest.mark.parametrize("options", [["--cpu", "dispatch"], ["--target", "aarch64-linux-gnu", "--weights", "f16"]],
                         ids=["x86-64", "aarch64"])
def test_same_bytes_on_other_cpus(tool, tmp_path, options):
    """The host, and CPUs with FMA, without AVX, of another maker; each compile in a folder of its own."""
    files = []
    for cpu in ["", *CPUS]:
        folder = tmp_path / ("host" + cpu)
        os.makedirs(folder)
        shutil.copy(tool.model("nf4rl_tiny__density__dyn"), folder / "m.onnx")
        words = [QEMU, "-cpu", cpu, conftest.NFCC] if cpu else [conftest.NFCC]
        done = subprocess.run([*words, "m.onnx", "-o", "p.so", "--no-verify", *options], cwd=folder, text=True,
                              capture_output=True)
        assert done.returncode == 0, f"{cpu}: {done.stderr}"
        files.append((folder / "p.so").read_bytes())
    assert len(files) > 1 and all(f == files[0] for f in files)


@pytest.mark.parametrize("name", ["nf4rl_tiny__density__dyn", "lander_nfbc", "zuko_realnvp_ctx__logprob_lib__dyn",
                                  "nflows_affine_ctx__density__ts18"])
def test_same_bytes(tool, tmp_path, other_libm, name):
    for libm in ("", str(other_libm)):
        folder = tmp_path / ("other" if libm else "host")
        os.makedirs(folder)
        done = subprocess.run([conftest.NFCC, tool.model(name), "-o", folder / "p.so", "--emit", "so,h,ir"], text=True,
                              capture_output=True, env={**os.environ, "LD_PRELOAD": libm})
        assert done.returncode == 0, done.stderr
    for file in sorted(os.listdir(tmp_path / "host")):
        assert filecmp.cmp(tmp_path / "host" / file, tmp_path / "other" / file, shallow=False), file
    assert len(os.listdir(tmp_path / "host")) >= 3
