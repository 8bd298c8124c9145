"""./dev: --help and wrong arguments are answered at once, before anything is installed, built or tested; what it says
where packages cannot be installed."""
import os
import shutil
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMANDS = ("build", "demo", "test", "bench", "format", "install")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Nothing could be built here: there is no CMakeLists.txt. And nothing is written."""
    folder = tmp_path_factory.mktemp("dev")
    shutil.copy(os.path.join(ROOT, "dev"), folder)
    shutil.copytree(os.path.join(ROOT, "tests", "bench"), folder / "tests" / "bench",
                    ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def dev(copy, *words):
    done = subprocess.run([copy / "dev", *words], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert sorted(os.listdir(copy)) == ["dev", "tests"]
    return done


@pytest.mark.parametrize("word", ["-h", "--help"])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(copy, command, word):
    done = dev(copy, *([command] if command else []), word)
    assert done.returncode == 0 and "usage: ./dev" in done.stdout and not done.stderr
    assert ("--peers" in done.stdout) == ("--quick" in done.stdout)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_unknown_argument(copy, command):
    done = dev(copy, *([command] if command else []), "--bogus")
    assert done.returncode == 2 and "--bogus" in done.stderr and "usage: ./dev" in done.stderr and not done.stdout


@pytest.mark.parametrize("words", [["--peers", "abacus"], ["--pin", "100000"], ["--seconds", "long"]])
def test_wrong_value_for_bench(copy, words):
    done = dev(copy, "bench", *words)
    assert done.returncode == 2 and "error" in done.stderr and not done.stdout


def test_bench_writes_where_it_was_called(tmp_path):
    """Nothing is built here: cmake does nothing, and peers.py says where it is."""
    (tmp_path / "project" / "tests" / "bench").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "other").mkdir()
    for name, text in (("cmake", "true"), ("dpkg-query", "echo install ok installed")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    shutil.copy(os.path.join(ROOT, "dev"), tmp_path / "project")
    (tmp_path / "project" / "tests" / "bench" / "peers.py").write_text(
        "import os, sys\nif '--options-only' not in sys.argv: print(os.getcwd())\n")
    done = subprocess.run(["../project/dev", "bench"], cwd=tmp_path / "other", capture_output=True, text=True,
                          stdin=subprocess.DEVNULL,
                          env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == str(tmp_path / "other")


def bare(tmp_path, **programs):
    """A PATH on which of bash's helpers only those are that ./dev uses at once, and these shell scripts."""
    (tmp_path / "bin").mkdir()
    for name in {"bash", "dirname", "id", "mktemp", "cat", "rm", "mkdir", "find", "grep", "xargs"} - set(programs):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    for name, text in {"dpkg-query": "exit 1", **programs}.items():
        (tmp_path / "bin" / name).write_text(f"#!{shutil.which('sh')}\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}


@pytest.mark.parametrize("programs,said", [
    ({"id": "echo 1000"}, "packages are missing, and here are neither root nor sudo"),
    ({"id": "echo 1000", "sudo": "echo a password is required >&2; exit 1"}, "packages could not be installed"),
    ({"id": "echo 0", "apt-get": "echo no network; exit 100"}, "packages could not be installed")])
@pytest.mark.parametrize("command", ["build", "demo", "test", "install"])
def test_what_cannot_be_installed(copy, tmp_path, command, programs, said):
    environment = bare(tmp_path, **programs)
    done = subprocess.run([copy / "dev", command], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env=environment)
    assert done.returncode == 1 and f"dev: error: {said}" in done.stderr and \
        "apt-get install --no-install" in done.stderr
    assert "command not found" not in done.stderr and "building" not in done.stdout
    assert sorted(os.listdir(copy)) == ["dev", "tests"]


def test_without_a_python_and_a_formatter(copy, tmp_path):
    environment = bare(tmp_path)
    asked = subprocess.run([copy / "dev", "bench", "--help"], capture_output=True, text=True, env=environment)
    assert asked.returncode == 0 and "usage: ./dev" in asked.stdout and not asked.stderr
    formatted = subprocess.run([copy / "dev", "format"], capture_output=True, text=True, env=environment)
    assert formatted.returncode == 1 and "clang-format-19 is not there" in formatted.stderr
