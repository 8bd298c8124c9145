#!/usr/bin/env python3
"""The acceptance harness: every model of a folder compiled and compared with float64 references.

    tests/zoo.py [FOLDER|MODEL.onnx ...] [--backend llvm,openblas] [--issue3] [--only GLOB] [-j N] [--json FILE]

A model is NAME.onnx beside NAME.json and NAME.npz (rows, references, tolerances). Each is compiled with build/nfcc and
its entries are run through the Python package: to_latent(x), to_event(noise), log_prob(x), sample_and_log_prob(noise),
score(x) and run. The table shows, per entry, the worst distance from the reference as a multiple of the advised
tolerance; up to 4 is right. A model whose json says so must be refused without its options, and right with them.
"""
import argparse
import concurrent.futures
import fnmatch
import json
import math
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
NFCC = os.environ.get("NFCC", os.path.join(ROOT, "build", "nfcc"))
sys.path.insert(0, os.path.join(ROOT, "runtime", "python"))
ALLOWED = 4.0
ENTRIES = ["to_latent", "to_event", "log_prob", "sample", "score", "run"]

# The families that the solver's affine and additive rules must handle; wild files of other families are left out.
FAMILIES = ["nf4rl*", "flax*", "nfpo*", "small_policy*", "gauss*", "critic*", "nflows_affine*", "nflows_additive*",
            "nflows_simple_realnvp*", "normflows_coupling*", "normflows_realnvp*", "normflows_unpatched*",
            "normflows_planar*", "normflows_radial*",
            "zuko_realnvp*", "zuko_nice*", "freia*", "nina_mlp*", "lander*", "cheetah*", "states*",
            "w_freia*", "w_nf4rl*", "w_nflows_aff*", "w_nflows_half*", "w_nflows_bf*", "w_nflows_types*",
            "w_nflows_condbase*", "w_normflows_base*", "w_own_actor*", "w_own_gauss*", "w_zuko_realnvp*"]


def default_folders():
    shared = os.path.join(ROOT, "..", "shared")
    folders = [os.path.join(shared, f) for f in ("zoo/models", "zoo/perf", "zoo/wild", "trained")]
    folders = [f for f in folders if os.path.isdir(f)]
    return folders or [os.path.join(HERE, "models")]


def beside(path, extension):
    """The json or npz of a model; NAME_sample.onnx shares those of NAME.onnx."""
    own = path[:-5] + extension
    return own if os.path.exists(own) else own.replace("_sample" + extension, extension)


def models_of(paths, only=None, issue3=False):
    found = []
    for path in paths:
        files = [path] if path.endswith(".onnx") else [os.path.join(path, f) for f in sorted(os.listdir(path))]
        found += [f for f in files if f.endswith(".onnx") and os.path.exists(beside(f, ".json"))
                  and os.path.exists(beside(f, ".npz"))]
    names = [(f, os.path.basename(f)[:-5]) for f in found]
    if issue3:
        names = [(f, n) for f, n in names if any(fnmatch.fnmatch(n, p) for p in FAMILIES)]
    return [f for f, n in names if only is None or any(fnmatch.fnmatch(n, p) for p in only)]


def normal_log_density(z):
    z = z.reshape(len(z), -1)
    return -0.5 * (z ** 2).sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)


class Model:
    """A model's rows and what its entries must give, in one naming whichever collection it is from."""

    def __init__(self, path):
        self.path, self.folder = path, os.path.dirname(os.path.abspath(path))
        self.name = os.path.basename(path)[:-5]
        with open(beside(path, ".json")) as f:
            self.json = json.load(f)
        with np.load(beside(path, ".npz")) as f:
            self.npz = {k: f[k] for k in f.files}
        j = self.json
        self.is_flow = j.get("is_flow", True) and j.get("direction") not in ("other", "plain")
        self.options = j.get("options", []) if j.get("options_needed") else []
        self.expect = j.get("expect", "compiles")
        self.assumed = not j.get("base", {}).get("in_graph", True) if "base" in j else False
        self.outputs = self.graph_outputs()
        self.references = self.flow_references() if self.is_flow else {}

    def tolerance(self, *keys):
        """(atol, rtol) of the first key that has one."""
        for key in keys:
            t = self.json.get("tolerance", {}).get(key)
            if t:
                return t["advised_atol"], t["advised_rtol"]
            for name in (key, {"x_sample": "sample"}.get(key), {"log_prob": "logdet"}.get(key)):
                t = self.json.get("checks", {}).get("pytorch_float32_vs_float64", {}).get(name)
                if t:
                    return max(8 * t["max_abs"], 1e-6), 1e-5
        return None

    def tolerance_of(self, keys, reference):
        finite = reference[np.isfinite(reference)]
        scale = float(np.abs(finite).max()) if finite.size else 1.0
        return self.tolerance(*keys) or (max(8e-6 * scale, 1e-6), 1e-5)

    def flow_references(self):
        n = self.npz
        u = self.json.get("latent_space", {}).get("graph_shows") == "u"
        z, noise = n.get("u" if u else "z"), n.get("noise_u" if u else "noise")
        log_det, log_prob = n.get("logdet"), n.get("log_prob")
        x, log_det_x = n.get("x_sample", n.get("sample")), n.get("logdet_sample")
        log_prob_x = n.get("log_prob_sample", n.get("sample_log_prob"))
        base = self.json.get("base", {}).get("type", "standard_normal")
        if u and base in ("diag_gaussian", "conditional_diag_gaussian"):
            log_det = log_prob - normal_log_density(z)
            log_det_x = None if log_prob_x is None else normal_log_density(noise) - log_prob_x
        elif u and base != "standard_normal":
            log_det = log_det_x = None
        if self.assumed and base != "standard_normal":
            log_prob = n.get("log_prob_if_standard_normal")
            log_prob_x = None if log_det_x is None else normal_log_density(noise) - log_det_x
        if base == "standard_normal" and log_prob_x is None and log_det_x is not None:
            log_prob_x = normal_log_density(noise) - log_det_x
        if base == "standard_normal" and log_det_x is None and log_prob_x is not None:
            log_det_x = normal_log_density(noise) - log_prob_x
        self.noise = noise  # as to_event takes it
        return {"to_latent": [(z, ("u", "z") if u else ("z",)), (log_det, ("logdet",))],
                "to_event": [(x, ("x_sample",)), (log_det_x, ("logdet_sample", "logdet"))],
                "log_prob": [(log_prob, ("log_prob",))],
                "sample": [(x, ("x_sample",)), (log_prob_x, ("log_prob_sample", "log_prob"))],
                "score": [(None if self.assumed and base != "standard_normal" else n.get("score"), ("score",))]}

    def graph_outputs(self):
        """(name, reference, tolerance keys) of the graph's own outputs, where the npz has them."""
        if isinstance(self.json.get("outputs"), dict):
            if self.name.endswith("_sample"):
                return [("x", self.npz["sample"], ("sample",))]
            return [(o, self.npz[o], (o,)) for o in self.json["outputs"] if o in self.npz]
        found = []
        for o in self.json.get("outputs", []):
            reference = self.npz.get("out_" + o["name"], self.npz.get(o.get("reference_key", o.get("npz"))))
            if reference is not None:
                found.append((o["name"], reference, (o["name"], o.get("canonical", "?"))))
        return found

    def input_rows(self, name):
        """The rows of a graph input, by its ONNX name."""
        keys = [self.json.get("npz_keys", {}).get(name), name, name.replace(".", "_")]
        for i in self.json.get("inputs", []) if isinstance(self.json.get("inputs"), list) else []:
            if i["name"] == name:
                keys.append(i.get("npz"))
        for key in keys:
            if key in self.npz:
                return self.npz[key]
        raise KeyError(f"the npz has no rows for input '{name}'")


def compile_model(model, output, options=(), backend="llvm", timeout=300):
    """Runs nfcc in the model's folder, as its user would; the completed process."""
    command = [NFCC, os.path.basename(model.path), "-o", output, "--backend", backend, *options]
    return subprocess.run(command, cwd=model.folder, capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL)


def keywords(model):
    """A model's options as nfcc.compile takes them."""
    words = [w.lstrip("-").replace("-", "_") if w.startswith("--") else w for w in model.options]
    made = dict(zip(words[::2], words[1::2]))
    return {k: model.folder if k == "external_data" else v for k, v in made.items()}


def ratio(value, reference, tolerance):
    """The worst distance as a multiple of the tolerance; equal infinities and NaNs are equal."""
    value = np.asarray(value, np.float64).reshape(-1)
    reference = np.asarray(reference, np.float64).reshape(-1)
    if value.shape != reference.shape:
        return math.inf
    same = (value == reference) | (np.isnan(value) & np.isnan(reference))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(value - reference) / (tolerance[0] + tolerance[1] * np.abs(reference)))
    return float(np.nan_to_num(distance, nan=math.inf).max(initial=0.0))


def run_entries(model, policy):
    """{entry: worst ratio} of an opened policy (the Python package)."""
    worst = {}
    if model.is_flow:
        contexts = {c.name: model.input_rows(c.name) for c in policy.info.contexts}
        shape = (-1, *policy.info.event.shape)
        x, noise = (None if v is None else v.astype(np.float32).reshape(shape)
                    for v in (model.npz.get("x"), model.noise))
        calls = {"to_latent": lambda: policy.to_latent(x, contexts=contexts),
                 "to_event": lambda: policy.to_event(noise, contexts=contexts),
                 "log_prob": lambda: (policy.log_prob(x, contexts=contexts),),
                 "sample": lambda: policy.sample_and_log_prob(z=noise, contexts=contexts),
                 "score": lambda: (policy.score(x, contexts=contexts),)}
        for entry, call in calls.items():
            if all(reference is None for reference, _ in model.references[entry]):
                continue  # a flow with one direction has no rows of the other
            worst[entry] = 0.0
            for value, (reference, keys) in zip(call(), model.references[entry]):
                if reference is not None:
                    worst[entry] = max(worst[entry], ratio(value, reference, model.tolerance_of(keys, reference)))
    if model.outputs:
        worst["run"] = run_graph(model, policy)
    return worst


def run_graph(model, policy):
    values = policy.run({i.name: model.input_rows(i.name) for i in policy.info.inputs})
    return max(ratio(values[name], reference, model.tolerance_of(keys, reference))
               for name, reference, keys in model.outputs)


def first_error(process):
    lines = [line for line in process.stderr.splitlines() if "error" in line] or process.stderr.splitlines() or ["?"]
    return lines[0][:230]


def must_be_refused(model, folder, backend):
    """None if a model is refused without its options as its json asks, else what happened."""
    if not model.expect.startswith("refused"):
        return None
    done = compile_model(model, os.path.join(folder, "refused.so"), (), backend)
    if done.returncode == 1 and done.stderr.strip():
        return None
    return f"exit code {done.returncode} without options, a refusal is wanted"


def check_model(path, backend):
    """One row of the table: a dict with name, backend, status, ratios, note and seconds."""
    import nfcc
    row = {"name": os.path.basename(path)[:-5], "backend": backend, "ratios": {}, "note": "", "seconds": 0.0}
    try:
        model = Model(path)
        with tempfile.TemporaryDirectory() as folder:
            policy_path = os.path.join(folder, "policy.so")
            wrong = must_be_refused(model, folder, backend)
            start = time.time()
            done = compile_model(model, policy_path, model.options, backend)
            row["seconds"] = time.time() - start
            if done.returncode:
                row["note"] = f"exit {done.returncode}: {first_error(done)}"
                named = model.expect.split()[-1] if "refuses naming" in model.expect else None
                allowed = named and done.returncode == 1 and named.lower() in done.stderr.lower()
                row["status"] = "OK" if allowed else "REFUSED" if done.returncode == 1 else "FAIL"
                return row
            policy = nfcc.open(policy_path)
            if model.is_flow and policy.info.event is None:
                row["status"], row["note"] = "REFUSED", "compiled to run only"
                return row
            row["ratios"] = run_entries(model, policy)
            if model.is_flow and model.assumed and "--base" not in model.options and "assumed" not in done.stdout:
                wrong = wrong or "the assumed base is not said"
            bad = [e for e, r in row["ratios"].items() if r > ALLOWED]
            row["status"] = "FAIL" if bad or wrong else "OK"
            row["note"] = wrong or ""
    except Exception as error:  # a row of the table, not the end of it
        row["status"], row["note"] = "FAIL", f"{type(error).__name__}: {error}"[:230]
    return row


def print_row(row):
    cells = [f"{row['ratios'][e]:10.2f}" if e in row["ratios"] else f"{'-':>10}" for e in ENTRIES]
    print(f"{row['name']:46} {row['backend']:9} {row['status']:8}{''.join(cells)} {row['seconds']:6.2f}  {row['note']}",
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", help="folders or models; ../shared unless said")
    parser.add_argument("--backend", default="llvm", help="with commas")
    parser.add_argument("--issue3", action="store_true", help="only the families of affine and additive flows")
    parser.add_argument("--only", action="append", help="a pattern of names; may be repeated")
    parser.add_argument("-j", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", help="write the rows to this file")
    args = parser.parse_args()
    models = models_of(args.paths or default_folders(), args.only, args.issue3)
    jobs = [(m, b) for m in models for b in args.backend.split(",")]
    print(f"{'model':46} {'backend':9} {'status':8}{''.join(f'{e:>10}' for e in ENTRIES)} seconds")
    rows = []
    with concurrent.futures.ThreadPoolExecutor(args.j) as pool:
        for row in pool.map(lambda job: check_model(*job), jobs):
            print_row(row)
            rows.append(row)
    count = {s: sum(r["status"] == s for r in rows) for s in ("OK", "REFUSED", "FAIL")}
    print(f"\n{len(rows)} rows: {count['OK']} OK, {count['REFUSED']} refused, {count['FAIL']} failed"
          f" (worst / advised tolerance; up to {ALLOWED:g} is OK)")
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=1)
    return 0 if count["OK"] == len(rows) and rows else 1


if __name__ == "__main__":
    sys.exit(main())
