#!/usr/bin/env python3
"""Every model of a folder: imported, @main evaluated in double, and its outputs compared with float64 references.

    tests/check_import.py TOOL FOLDER|MODEL.onnx ... [--only GLOB] [--limit 1e-5]

TOOL is the program import_check. A model is NAME.onnx beside NAME.json and NAME.npz; the reference of output OUT is
out_OUT there, the rows of input IN are what the json says (npz_keys, else its own name). Prints one line a model and
exits with 1 if one fails.
"""
import argparse
import fnmatch
import glob
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np


def models(paths):
    for path in paths:
        if os.path.isdir(path):
            yield from sorted(glob.glob(os.path.join(path, "*.onnx")))
        else:
            yield path


def run(command):
    start = time.time()
    p = subprocess.run(command, capture_output=True, text=True)
    return p, time.time() - start


def references(path):
    base = path[:-5]
    if not os.path.exists(base + ".json") and base.endswith("_sample"):
        base = base[: -len("_sample")]
    if not (os.path.exists(base + ".json") and os.path.exists(base + ".npz")):
        return {}, {}
    with open(base + ".json") as f:
        return json.load(f), np.load(base + ".npz")


def input_rows(info, npz, name):
    for key in (info.get("npz_keys", {}).get(name), name):
        if key is not None and key in npz:
            return npz[key]
    key = described(info, "inputs", name).get("npz_key")
    return npz[key] if key in npz else None


def distance(ours, want):
    """Largest |difference| / (1 + |reference|); infinite where only one is finite."""
    want = np.asarray(want, dtype=np.float64).reshape(ours.shape)
    same = (ours == want) | (np.isnan(ours) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        d = np.abs(ours - want) / (1 + np.abs(want))
    d = np.where(same, 0, d)
    return float(np.max(np.where(np.isfinite(d), d, np.inf), initial=0))


def described(info, kind, name):
    """What the json says about a port: a dictionary, perhaps empty."""
    entries = info.get(kind, [])
    return next((e for e in entries if isinstance(e, dict) and e["name"] == name), {})


def reference_of(info, npz, name):
    entry = described(info, "outputs", name)
    keys = [entry.get("reference_key"), "out_" + name, *(["sample"] if name == "x" and "sample" in npz else []), name]
    return next((npz[k] for k in keys if k and k in npz), None)


def allowed(info, name, limit):
    """The limit, or what the json advises for this output where that is more."""
    key = described(info, "outputs", name).get("canonical", name)
    advised = info.get("tolerance", {}).get(key, {}).get("advised_atol", 0)
    return max(limit, advised)


def compare(tool, path, extra, limit):
    info, npz = references(path)
    p, _ = run([tool, path, *extra])
    if p.returncode:
        return p.returncode, p.stderr.strip(), 0, 0.0
    ports = [line.split(" ", 3) for line in p.stdout.splitlines()[1:]]
    inputs = [x[3] for x in ports if x[0] == "input"]
    outputs = [x[3] for x in ports if x[0] == "output"]
    rows = {name: input_rows(info, npz, name) for name in inputs}
    missing = [n for n in inputs if rows[n] is None]
    if missing:
        return 1, f"no rows for inputs {missing}; npz has {list(npz)}", 0, 0.0
    n = max([len(r) for r in rows.values()], default=1)
    with tempfile.TemporaryDirectory() as folder:
        pairs = []
        for i, name in enumerate(inputs):
            file = os.path.join(folder, f"in{i}")
            np.ascontiguousarray(rows[name], dtype=np.float64).tofile(file)
            pairs.append(f"{name}={file}")
        p, seconds = run([tool, path, *extra, "--rows", str(n), folder, *pairs])
        if p.returncode:
            return p.returncode, p.stderr.strip(), seconds, 0.0
        worst, where, checked = -1.0, "", 0
        for i, name in enumerate(outputs):
            want = reference_of(info, npz, name)
            if want is None:
                continue
            ours = np.fromfile(os.path.join(folder, str(i)), dtype=np.float64).reshape(n, -1)
            if np.size(want) * n == ours.size:
                want = np.broadcast_to(np.ravel(want), ours.shape)
            if np.size(want) != ours.size:
                return 1, f"output {name}: {ours.shape} against {np.shape(want)}", seconds, 0.0
            checked += 1
            d = distance(ours, want)
            if d / allowed(info, name, limit) >= worst:
                worst, where = d / allowed(info, name, limit), f"{d:9.2e} at {name}"
    if not checked:
        return 1, f"no reference for outputs {outputs}; npz has {list(npz)}", seconds, 0.0
    return 0, where, seconds, worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--only", default="*")
    parser.add_argument("--limit", type=float, default=1e-5)
    args = parser.parse_args()
    failed = total = 0
    for path in models(args.paths):
        name = os.path.basename(path)[:-5]
        if not fnmatch.fnmatch(name, args.only):
            continue
        total += 1
        info, _ = references(path)
        options = info.get("options", "")
        text = options if isinstance(options, str) else " ".join(options)
        extra = ["--external-data", os.path.dirname(path)] if "--external-data" in text else []
        code, message, seconds, worst = compare(args.tool, path, extra, args.limit)
        bad = code != 0 or worst > 1
        failed += bad
        print(f"{'FAIL' if bad else 'ok  '} {name:48s} {seconds:5.2f} s  {message}", flush=True)
    print(f"{total - failed} of {total} models agree within {args.limit}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
