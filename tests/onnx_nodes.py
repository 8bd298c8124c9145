#!/usr/bin/env python3
"""ONNX's own node tests through `nfcc test`, in float32.

    tests/onnx_nodes.py [--backend interp|llvm|openblas] [--only GLOB] [--all] [-j N]

The `onnx` package makes the cases, written as the folders that ONNX ships them in. A case made of operators of
onnx_ops.def must pass or stand in onnx_excluded.txt (GLOB, reason); one with another operator must be unsupported. A
line of that file that no case needs is an error, so that it cannot go stale. Exits with 1 then. --all prints every
verdict.
"""
import argparse
import collections
import concurrent.futures
import fnmatch
import os
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
from onnx import numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
NFCC = os.environ.get("NFCC", os.path.join(os.path.dirname(HERE), "build", "nfcc"))
EXCLUDED = os.path.join(HERE, "onnx_excluded.txt")
DEFAULT = (1e-3, 1e-7)


def cases(only="*"):
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite divides by zero on purpose
        return [c for c in collect_testcases(None) if fnmatch.fnmatch(c.name, only)]


def excluded():
    """[(glob, reason)]"""
    with open(EXCLUDED) as f:
        lines = [line.split(None, 1) for line in f if line.strip() and line[0] != "#"]
    return [(glob, reason.strip()) for glob, reason in lines]


def imported_ops():
    """Names of the operators in the importer's table, ONNX's own domain."""
    with open(os.path.join(HERE, "..", "frontend", "onnx_ops.def")) as f:
        return {line.split('"')[1] for line in f if line.startswith("ONNX(")}


def proto(value, info):
    kind = info.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list(value, info.name)
    if kind == "optional_type":
        return numpy_helper.from_optional(value, info.name)
    return value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value), info.name)


def raised(model):
    """The model at opset 11 if it asks for an older one and its operators are defined there as they were."""
    m = onnx.ModelProto()
    m.CopyFrom(model)
    for opset in m.opset_import:
        if opset.domain not in ("", "ai.onnx") or opset.version >= 11:
            continue
        since = [[onnx.defs.get_schema(n.op_type, v).since_version for n in m.graph.node] for v in (opset.version, 11)]
        if since[0] == since[1]:
            opset.version = 11
    return m


def write(case, folder):
    path = os.path.join(folder, case.name)
    data = os.path.join(path, "test_data_set_0")
    os.makedirs(data)
    with open(os.path.join(path, "model.onnx"), "wb") as f:
        f.write(raised(case.model).SerializeToString())
    inputs, outputs = case.data_sets[0]
    for kind, values, infos in (("input", inputs, case.model.graph.input),
                                ("output", outputs, case.model.graph.output)):
        for i, (value, info) in enumerate(zip(values, infos)):
            with open(os.path.join(data, f"{kind}_{i}.pb"), "wb") as f:
                f.write(proto(value, info).SerializeToString())
    return path


def tolerance(case):
    return case.rtol or DEFAULT[0], case.atol or DEFAULT[1]


def run(group, backend):
    """{case name: (verdict, note)} of cases that share a tolerance."""
    with tempfile.TemporaryDirectory() as folder:
        for case in group:
            write(case, folder)
        rtol, atol = tolerance(group[0])
        done = subprocess.run([NFCC, "test", folder, "--backend", backend, "--rtol", str(rtol), "--atol", str(atol)],
                              capture_output=True, text=True, timeout=1200, stdin=subprocess.DEVNULL)
    found = {}
    for line in done.stdout.splitlines()[:-1]:
        verdict, rest = line.split(None, 1)
        name, _, note = rest.partition(": ")
        found[name] = verdict, note
    for case in group:
        found.setdefault(case.name, ("CRASH", f"exit {done.returncode} {done.stderr[-200:]}"))
    return found


def groups(chosen, size=24):
    by = collections.defaultdict(list)
    for case in chosen:
        by[tolerance(case)].append(case)
    return [list_[i:i + size] for list_ in by.values() for i in range(0, len(list_), size)]


def run_all(chosen, backend="interp", jobs=None):
    """{case name: (verdict, note)}; what the runs of a group did not reach is run alone."""
    found = {}
    with concurrent.futures.ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        for part in pool.map(lambda g: run(g, backend), groups(chosen)):
            found.update(part)
        again = [c for c in chosen if found[c.name][0] == "CRASH"]
        for part in pool.map(lambda c: run([c], backend), again):
            found.update(part)
    return found


def judge(chosen, found):
    """(problems, count): what is wrong with the verdicts, given the list of the excluded."""
    listed, problems, count, ops = excluded(), [], collections.Counter(), imported_ops()
    idle = {glob for glob, _ in listed}
    for case in chosen:
        verdict, note = found[case.name]
        globs = [glob for glob, _ in listed if fnmatch.fnmatch(case.name, glob)]
        other = not {n.op_type for n in case.model.graph.node} <= ops
        if verdict != "PASS":
            idle -= set(globs)
        wanted = ["PASS"] if not globs and not other else ["UNSUPPORTED"] if other else ["PASS", "UNSUPPORTED", "FAIL"]
        count["of other operators" if other else "excluded" if globs and verdict != "PASS" else verdict] += 1
        if verdict not in wanted:
            problems.append(f"{verdict} {case.name}: {note}")
    return problems + [f"no case that fails is left for '{glob}' of onnx_excluded.txt" for glob in sorted(idle)], count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="interp")
    parser.add_argument("--only", default="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("-j", type=int)
    args = parser.parse_args()
    chosen = cases(args.only)
    found = run_all(chosen, args.backend, args.j)
    for name, (verdict, note) in sorted(found.items()):
        if args.all:
            print(f"{verdict:11} {name:60} {note[:200]}")
    problems, count = judge(chosen, found)
    print("\n".join(problems))
    print(", ".join(f"{n} {v}" for v, n in sorted(count.items())))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
