"""The README's programs: the text is that of tests/examples, they are short, and they run."""
import errno
import os
import re
import shutil
import subprocess
import sys

import pytest

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "examples")
LANGUAGES = {".c": "c", ".cpp": "c++", ".py": "python"}


@pytest.mark.parametrize("name", sorted(os.listdir(EXAMPLES)))
def test_in_readme(tool, name):
    with open(os.path.join(EXAMPLES, name)) as f:
        text = f.read()
    with open(os.path.join(tool.root, "README.md")) as f:
        readme = f.read()
    assert len(text.splitlines()) <= 20
    assert f"```{LANGUAGES[os.path.splitext(name)[1]]}\n{text}```" in readme


def test_readme_quotes_real_messages(tool):
    with open(os.path.join(tool.root, "README.md")) as f:
        table = f.read().split("| message |")[1].split("\n\n")[0]
    sources = subprocess.run("cat frontend/*.c passes/*.c backends/*.c runtime/nfcc.h", shell=True, cwd=tool.root,
                             capture_output=True, text=True, check=True).stdout
    phrases = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert len(phrases) > 5 and not [p for p in phrases if p not in sources]


@pytest.mark.parametrize("name,compiler,standard", [("act.c", "cc", "c11"), ("batch.cpp", "c++", "c++17")])
def test_compiles_and_runs(tool, lander, name, compiler, standard):
    program = lander / name.replace(".", "_")
    subprocess.run([compiler, f"-std={standard}", "-Wall", "-Wextra", "-Werror", os.path.join(EXAMPLES, name), "-I",
                    os.path.join(tool.root, "runtime"), os.path.join(tool.root, "build", "libnfcc.a"), "-ldl", "-o",
                    program], check=True)
    done = subprocess.run([program], cwd=lander, capture_output=True, text=True, check=True)
    assert "log_prob" in done.stdout


@pytest.mark.parametrize("machine,compiler", [("here", "cc"), ("here", "musl-gcc"),
                                              ("aarch64", "aarch64-linux-gnu-gcc")])
def test_selftest_program(tool, tmp_path, machine, compiler):
    there = machine == "aarch64"
    if not shutil.which(compiler) or there and not shutil.which("qemu-aarch64"):
        pytest.skip(f"{compiler} or qemu-user is missing")
    policy, program = tmp_path / "policy.so", tmp_path / "selftest"
    target = ["--target", "aarch64-linux-gnu", "--cpu", "cortex-a76"] if there else []
    said = tool(tool.model("nf4rl_tiny__density__dyn"), "-o", policy, *target).stdout
    assert ("nfcc_selftest of nfcc.h" in said and "could not be run here" in said) or not there
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror",
                    os.path.join(EXAMPLES, "selftest.c"), os.path.join(tool.root, "runtime", "nfcc.c"), "-I",
                    os.path.join(tool.root, "runtime"), "-ldl", "-o", program], check=True)
    run = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", program] if there else [program]
    assert subprocess.run([*run, policy], capture_output=True, text=True, check=True).stdout == "done\n"


@pytest.mark.skipif(not shutil.which("musl-gcc"), reason="musl-gcc is missing")
def test_program_without_a_loader(tool, lander):
    """musl's -static has no dlopen: the file is not called damaged."""
    (lander / "open.c").write_text('#include "nfcc.h"\n#include <errno.h>\n'
                                   'int main(void)\n{\n    nfcc_policy *p;\n'
                                   '    return nfcc_open("./policy.so", 0, &p) == NFCC_FILE ? errno : 0;\n}\n')
    runtime = os.path.join(tool.root, "runtime")
    subprocess.run(["musl-gcc", "-static", "open.c", os.path.join(runtime, "nfcc.c"), "-I", runtime, "-o", "open"],
                   cwd=lander, check=True)
    assert subprocess.run([lander / "open"], cwd=lander).returncode == errno.ENOSYS


def test_python_runs(tool, lander):
    environment = {**os.environ, "PYTHONPATH": os.path.join(tool.root, "runtime", "python")}
    done = subprocess.run([sys.executable, os.path.join(EXAMPLES, "score_rows.py")], cwd=lander, env=environment,
                          capture_output=True, text=True, check=True)
    numbers = [float(line.split()[-1]) for line in done.stdout.splitlines()
               if line.startswith(("round trip", "log_prob"))]
    assert len(numbers) == 2 and max(numbers) < 1e-3


def test_library_made_by_hand(tool, lander):
    """As the README makes it on a board."""
    with open(os.path.join(tool.root, "README.md")) as f:
        text = f.read()
    make = re.search("^    (cc -O2 -shared .*)$", text, re.M)[1]
    use = re.search("^    (NFCC_LIBRARY=.*)$", text, re.M)[1].replace("python3", sys.executable)
    (lander / "runtime").symlink_to(os.path.join(tool.root, "runtime"))
    subprocess.run(f"{make} && {use}", shell=True, cwd=lander, check=True)
