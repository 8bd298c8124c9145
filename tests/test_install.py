"""`cmake --install`: the compiler runs from there, and programs find libnfcc by pkg-config and by find_package(nfcc);
or their projects hold runtime/ as a part."""
import os
import shutil
import subprocess

import pytest

PROJECT = """cmake_minimum_required(VERSION 3.16)
project(robot C)
%s
foreach(kind static shared)
  add_executable(act_${kind} act.c)
  target_link_libraries(act_${kind} PRIVATE nfcc::${kind})
endforeach()
"""


def run(*words, cwd=None, **variables):
    done = subprocess.run([*map(str, words)], cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tool, tmp_path_factory):
    """An installed nfcc, moved after the installation: nothing in it may name where it was."""
    folder = tmp_path_factory.mktemp("install")
    run("cmake", "--install", os.path.join(tool.root, "build"), "--prefix", folder / "first")
    os.rename(folder / "first", folder / "usr")
    return folder / "usr"


def test_compiler(tool, prefix, tmp_path):
    run(prefix / "bin" / "nfcc", tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so", cwd=tmp_path)
    assert "the golden rows are equal" in run(prefix / "bin" / "nfcc", "selftest", "p.so", cwd=tmp_path)
    assert (prefix / "share" / "doc" / "nfcc" / "LICENSE").exists()


@pytest.mark.skipif(not shutil.which("pkg-config"), reason="pkg-config is missing")
@pytest.mark.parametrize("static", [[], ["--static"]])
def test_pkg_config(tool, lander, prefix, static):
    folder = prefix / "lib"
    config = next(folder.rglob("nfcc.pc")).parent
    flags = run("pkg-config", "--cflags", "--libs", *static, "nfcc", PKG_CONFIG_PATH=str(config)).split()
    source = os.path.join(tool.root, "tests", "examples", "act.c")
    run("cc", source, *flags, "-o", lander / "act_installed")
    assert "log_prob" in run(lander / "act_installed", cwd=lander, LD_LIBRARY_PATH=str(config.parent))


@pytest.mark.parametrize("part", ["find_package(nfcc 0.1 REQUIRED)", "add_subdirectory({root}/runtime nfcc)"])
def test_find_package(tool, lander, prefix, tmp_path, part):
    (tmp_path / "CMakeLists.txt").write_text(PROJECT % part.format(root=tool.root))
    shutil.copy(os.path.join(tool.root, "tests", "examples", "act.c"), tmp_path)
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path / "build")
    for kind in ("static", "shared"):
        assert "log_prob" in run(tmp_path / "build" / f"act_{kind}", cwd=lander)


def test_sources(tool, lander, prefix):
    """The pair of files that a target without libnfcc compiles."""
    share, source = prefix / "share" / "nfcc", os.path.join(tool.root, "tests", "examples", "act.c")
    run("cc", source, "-I", share, share / "nfcc.c", share / "nfcc_threads.c", "-ldl", "-lpthread", "-o",
        lander / "act_sources")
    assert "log_prob" in run(lander / "act_sources", cwd=lander)
