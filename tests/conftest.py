"""Shared by the Python tests: where the built programs are, a compiled policy that several tests use, its rows."""
import os
import subprocess
import sys

import numpy as np
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(ROOT, "runtime", "python")]
NFCC = os.environ.get("NFCC", os.path.join(ROOT, "build", "nfcc"))


class Tool:
    """The command line: run(words) gives the completed process."""

    models = os.path.join(HERE, "models")
    root = ROOT

    def __call__(self, *words, cwd=None, code=0, timeout=120):
        done = subprocess.run([NFCC, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL)
        assert code is None or done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def model(self, name):
        return os.path.join(self.models, name + ".onnx")


@pytest.fixture(scope="session")
def tool():
    return Tool()


@pytest.fixture(scope="session")
def rows(tool):
    """Rows of the lander policy and what its framework makes of them."""
    with np.load(tool.model("lander_nfbc")[:-5] + ".npz") as f:
        return {k: f[k][:16] for k in f.files}


@pytest.fixture
def files(tmp_path, rows):
    """obs.npy, x.npy, z.npy in a folder of its own."""
    for name, key in (("obs", "obs"), ("x", "x"), ("z", "noise")):
        np.save(tmp_path / f"{name}.npy", rows[key])
    return tmp_path


@pytest.fixture(scope="session")
def lander(tool, tmp_path_factory):
    """A folder with policy.so, the lander policy clipped to -1..1."""
    folder = tmp_path_factory.mktemp("lander")
    tool(tool.model("lander_nfbc"), "-o", folder / "policy.so", "--clip", "-1,1")
    return folder
