"""The bytes of a policy do not depend on the host's libm: a compile under one whose results are off gives the same file."""
import filecmp
import os
import shutil
import subprocess

import pytest

import conftest

ONE = "exp expm1 log log1p log2 exp2 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc cbrt lgamma".split()
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
    subprocess.run(["cc", "-shared", "-fPIC", "-fno-builtin", "-o", folder / "libother.so", folder / "m.c", "-ldl"], check=True)
    return folder / "libother.so"


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
