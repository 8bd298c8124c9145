"""Every model at hand against its float64 references (see zoo.py), on both backends."""
import os

import pytest

import zoo

MODELS = zoo.models_of([os.path.join(zoo.HERE, "models")], issue3=True)
KNOWN = {os.path.basename(m) for m in MODELS}
SHARED = [m for m in zoo.models_of(zoo.default_folders(), issue3=True) if os.path.basename(m) not in KNOWN]


def names(paths):
    """A list, since Debian's pytest calls a function for the parameter that an empty list does not have."""
    return [os.path.basename(path)[:-5] for path in paths]


def check(path, backend):
    row = zoo.check_model(path, backend)
    assert row["status"] == "OK", f"{row['note']} {row['ratios']}"


@pytest.mark.parametrize("backend", ["llvm", "openblas"])
@pytest.mark.parametrize("path", MODELS, ids=names(MODELS))
def test_model(path, backend):
    check(path, backend)


@pytest.mark.parametrize("path", SHARED, ids=names(SHARED))
def test_shared_model(path):
    check(path, "llvm")
