"""The files that nfcc writes: what they may replace, their modes; none is left of what failed or was interrupted."""
import os
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

import zoo


@pytest.mark.parametrize("name", ["m.onnx", "./m.onnx", "link.onnx", "m.onnx.data", "m.onnx.bin"])
def test_output_is_not_the_model(tool, tmp_path, name):
    shutil.copy(tool.model("nf4rl_tiny__density__dyn"), tmp_path / "m.onnx")
    (tmp_path / "m.onnx.data").write_bytes(b"weights")
    (tmp_path / "m.onnx.bin").write_bytes(b"of a text")
    (tmp_path / "link.onnx").symlink_to("m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()
    for words in (["-o", name], ["-o", name, "--emit", "h"], ["-o", name, "--stop-after", "import"]):
        assert "of the model itself" in tool("m.onnx", *words, cwd=tmp_path, code=3).stderr
    for option in ("--json", "--html"):
        assert "of the model itself" in tool("bench", "m.onnx", option, name, cwd=tmp_path, code=3).stderr
    assert (tmp_path / "m.onnx").read_bytes() == before and (tmp_path / "m.onnx.data").read_bytes() == b"weights"


@pytest.mark.parametrize("option,value", [("--verify-inputs", "rows.npz"), ("--reference", "rows.npz"),
                                          ("--normalize", "obs=rows.npz"), ("--unnormalize", "rows.npz")])
def test_output_is_no_file_that_is_read(tool, tmp_path, option, value):
    (tmp_path / "rows.npz").write_bytes(b"rows")
    done = tool(tool.model("lander_nfbc"), option, value, "-o", "./rows.npz", cwd=tmp_path, code=3)
    assert f"rows.npz: is the file of {option}\n" in done.stderr
    assert (tmp_path / "rows.npz").read_bytes() == b"rows"


def test_reports_have_names_of_their_own(tool, tmp_path):
    done = tool("bench", tool.model("lander_nfbc"), "--json", "r", "--html", "r", cwd=tmp_path, code=3)
    assert "r: is named by --json and by --html" in done.stderr and os.listdir(tmp_path) == []


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


@pytest.mark.parametrize("path", ["/nowhere/p.so", "/proc/p.so", ".", "-", ""])
def test_unwritable_output(tool, tmp_path, path):
    done = tool(tool.model("nf4rl_tiny__density__dyn"), "-o", path, cwd=tmp_path, code=3)
    assert "error" in done.stderr and os.listdir(tmp_path) == []


def test_modes_of_files(tool, lander, tmp_path):
    """What the user's mask leaves of rw for all; a library may be run, too, and is written by its owner."""
    np.save(tmp_path / "obs.npy", np.zeros((1, 8), np.float32))
    for mask in (0o002, 0o027):
        for words in ([tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so", "--emit", "so,o,h,ll,ir", "--no-verify"],
                      ["run", lander / "policy.so", "sample", "obs=obs.npy", "-o", "out"]):
            subprocess.run([zoo.NFCC, *words], cwd=tmp_path, stdout=subprocess.DEVNULL, umask=mask, check=True)
        for name in ("p.so", "p.o", "p.h", "p.ll", "p.nf", "out/x.npy"):
            assert (tmp_path / name).stat().st_mode & 0o777 == (0o755 if name == "p.so" else 0o666) & ~mask, name


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


def run_with(source, folder, *words):
    """nfcc in this folder with functions of C in place of the system's."""
    (folder / "own.c").write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "own.c", "-o", "own.so"], cwd=folder, check=True)
    return subprocess.run([zoo.NFCC, *words], cwd=folder, capture_output=True, text=True,
                          env=os.environ | {"LD_PRELOAD": str(folder / "own.so"),
                                            "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"})


def test_where_no_space_can_be_reserved(tool, tmp_path):
    """As under a sandbox that does not know the system call."""
    done = run_with("#include <errno.h>\nint posix_fallocate(int f, long a, long n)\n"
                    "{ (void)f, (void)a, (void)n; return ENOSYS; }\n",
                    tmp_path, tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so")
    assert done.returncode == 0 and (tmp_path / "p.so").exists(), done.stderr


# Of a file that was synced, as a network's disk fails.
FAILS = {"fsync": "int fsync(int f) { (void)f; errno = EIO; return -1; }\n",
         "close": "static int synced = -1;\nint fsync(int f) { synced = f; return 0; }\n"
                  "int close(int f)\n{\n    long wrong = syscall(SYS_close, f);\n"
                  "    if (f != synced) return (int)wrong;\n    errno = EIO;\n    return -1;\n}\n"}


@pytest.mark.parametrize("name", FAILS)
def test_disk_that_fails_at_the_end(lander, tmp_path, name):
    """Results that the disk did not take are told; the files of before stay."""
    np.save(tmp_path / "obs.npy", np.zeros((1, 8), np.float32))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.npy").write_text("of before")
    done = run_with("#include <errno.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n" + FAILS[name], tmp_path,
                    "run", lander / "policy.so", "sample", "obs=obs.npy", "-o", "out")
    assert done.returncode == 3 and "x.npy: cannot be written: Input/output error" in done.stderr
    assert os.listdir(tmp_path / "out") == ["x.npy"] and (tmp_path / "out" / "x.npy").read_text() == "of before"


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


def space_with(script, *words):
    """What runs a command with mounts of its own, made by a script of the shell."""
    space = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, *words]
    if not shutil.which("unshare") or subprocess.run([*space, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    return space


def test_noexec(tool, lander, tmp_path):
    """A folder that holds no code: nothing is called a bug or damaged, and an unchecked policy may be written there."""
    space = space_with('mount -t tmpfs -o noexec none "$0" && "$@"', tmp_path)

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
    space = space_with('mount -t tmpfs none /proc && "$0" "$@"')
    done = subprocess.run([*space, zoo.NFCC, tool.model("nf4rl_tiny__density__dyn"), "-o", "p.so"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 3 and "/proc is not there" in done.stderr and os.listdir(tmp_path) == []
