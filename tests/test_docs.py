"""The folders' README.md files against the tree: every file has a line, every name a file; options are in --help."""
import fnmatch
import glob
import os
import re

import pytest

from conftest import ROOT

FOLDERS = ["ir", "passes", "frontend", "backends", "runtime"]
DOCUMENTS = ["README.md", "frontend/EXPORT.md", "runtime/REALTIME.md", *(f"{folder}/README.md" for folder in FOLDERS)]


def read(*path):
    with open(os.path.join(ROOT, *path)) as f:
        return f.read()


def sources(folder):
    """C files and tables; a header that is named like its C file needs no line of its own."""
    found = [os.path.relpath(f, os.path.join(ROOT, folder))
             for f in glob.glob(os.path.join(ROOT, folder, "**"), recursive=True) if re.search(r"\.(c|h|def)$", f)]
    return [f for f in found if not (f.endswith(".h") and f[:-1] + "c" in found)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_readme_lists_the_folder(folder):
    text, files = read(folder, "README.md"), sources(folder)
    names = re.findall(r"`((?:[\w*]+/)*[\w*]+\.(?:c|h|def))`", text)
    listed = lambda f, name: fnmatch.fnmatch(f, name) or fnmatch.fnmatch(os.path.basename(f), name)
    whole = [part for part in re.findall(r"^\| `([\w/]+)/`", text, re.M)]  # a folder in one line
    missing = [f for f in files if not any(listed(f, name) for name in names)
               and not any(f.startswith(part + "/") for part in whole)]
    assert not missing, f"{folder}/README.md does not say what these are for"
    everywhere = files + glob.glob("**/*.[chd]*", root_dir=ROOT, recursive=True)
    gone = [name for name in names if not any(listed(f, name) for f in everywhere)]
    assert not gone, f"{folder}/README.md names files that are not there"


def test_options_exist(tool):
    commands = ["", "run", "check", "verify", "bench", "selftest", "info", "test"]
    known = set(re.findall(r"--[a-z][\w-]+", "".join(tool(*command.split(), "--help").stdout for command in commands)))
    for document in DOCUMENTS:
        used = re.findall(r"`(?:nfcc [^`]*?)?(--[a-z][a-z-]+)[^`]*`", read(document))
        assert set(used) - known <= {"--build", "--long", "--write", "--only", "--quick", "--peers"}, document
