"""Documents against the tree: every file of a folder has a line, every name is that of a file or stands in the sources, every
option is in --help."""
import fnmatch
import glob
import os
import re

import pytest

from conftest import ROOT

FOLDERS = ["ir", "passes", "frontend", "backends", "runtime", "tests"]
OF_CODE = ["backends/SPEED.md", "ir/MATH.md", "ir/TEXT.md", "passes/ROOTS.md", "runtime/REALTIME.md",
           *(f"{folder}/README.md" for folder in FOLDERS)]
DOCUMENTS = ["README.md", "frontend/EXPORT.md", *OF_CODE]


def read(*path):
    with open(os.path.join(ROOT, *path)) as f:
        return f.read()


def files_of(folder):
    """C files, tables and tests, by their path in the folder."""
    ending = r"\.(c|h|def|py|sh)$"
    return [f for f in glob.glob("**", root_dir=os.path.join(ROOT, folder), recursive=True) if re.search(ending, f)]


def files_named(text):
    return re.findall(r"`((?:[\w*]+/)*[\w*]+\.(?:c|h|def|py|sh))`", text)


def is_called(f, name):
    return fnmatch.fnmatch(f, name) or fnmatch.fnmatch(os.path.basename(f), name)


@pytest.mark.parametrize("folder", FOLDERS)
def test_readme_lists_the_folder(folder):
    """A header that is named like its C file needs no line of its own; nor does the Python package's inside."""
    text, files = read(folder, "README.md"), files_of(folder)
    whole = tuple(re.findall(r"^\|.*`(\w+/[\w/]*)` \|", text, re.M))  # folders in one line of a table
    paired = [f for f in files if f.endswith(".h") and f[:-1] + "c" in files]
    missing = [f for f in files if f not in paired and not f.startswith(whole or " ")
               and not any(is_called(f, name) for name in files_named(text))]
    assert not missing, f"{folder}/README.md does not say what these are for"


@pytest.mark.parametrize("document", OF_CODE)
def test_names_exist(document):
    """What a document calls by its name: a file, and in the sources a function, a table, a field."""
    folder, text = document.split("/")[0], read(document)
    there = files_of(folder) + [f"{other}/{f}" for other in FOLDERS for f in files_of(other)]
    assert not [name for name in files_named(text) if not any(is_called(f, name) for f in there)], document
    words = {word for other in FOLDERS for f in files_of(other) for word in re.findall(r"\w+", read(other, f))}
    assert not set(re.findall(r"`(?:\w+\.)?([A-Za-z]\w*_\w*)`", text)) - words, document


def test_options_exist(tool):
    commands = ["", "run", "check", "verify", "bench", "selftest", "info", "test"]
    known = set(re.findall(r"--[a-z][\w-]+", "".join(tool(*command.split(), "--help").stdout for command in commands)))
    for document in DOCUMENTS:
        used = re.findall(r"`(?:nfcc [^`]*?)?(--[a-z][a-z-]+)[^`]*`", read(document))
        assert set(used) - known <= {"--build", "--long", "--write", "--only", "--quick", "--peers"}, document


def test_one_version():
    places = {"CMakeLists.txt": r"project\(nfcc VERSION ([\d.]+)",
              "runtime/CMakeLists.txt": r"project\(libnfcc VERSION ([\d.]+)",
              "pyproject.toml": r'^version = "([\d.]+)"',
              "runtime/python/nfcc/__init__.py": r'__version__ = "([\d.]+)"',
              "backends/backend.h": r'NFCC_VERSION "([\d.]+)"'}
    found = {place: re.search(pattern, read(place), re.M).group(1) for place, pattern in places.items()}
    assert len(set(found.values())) == 1, found


def test_errors_of_functions_are_those_tested():
    """The table of ir/MATH.md against that of math_test.c, which shows that they are reached and not passed."""
    tested = re.findall(r"{OP_(\w+), [^}]*, ([\d.]+), (-?[\d.]+)f}", read("tests/math_test.c"))
    said = re.findall(r"^\| (\w+) \| ([\d.]+) \|.* worst at (-?[\d.]+)", read("ir/MATH.md"), re.M)
    as_said = sorted((n, e, float(f"{float(x):.6g}")) for n, e, x in tested)
    assert len(tested) > 20 and as_said == sorted((n, e, float(x)) for n, e, x in said)
