#!/usr/bin/env python3
"""./dev bench: the same work on nfcc and on outside runtimes, side by side in one run on one core.

Makes the environment .venv-bench with the peers that pip gives, writes three policies with random weights, compiles
them with nfcc, starts a worker process for each engine, all pinned to one processor, compares every output with
nfcc's, and then lets the engines take turns. Times are the best of all turns; P50 is the median of the turns'
medians. Peers that cannot be installed, cannot do a work or compute something else are named with the reason."""
import argparse
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import page  # noqa: E402
from engines import ENGINES, OURS, PEERS  # noqa: E402
from figures import distance_text, left_out_text, summarise, time_text, verdicts, versions_text  # noqa: E402

USUAL = ["ort", "openvino", "openvino-bf16", "iree", "jax", "torch"]


def options():
    p = argparse.ArgumentParser(prog="./dev bench", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="two short turns instead of five longer ones")
    p.add_argument("--peers", default=",".join(USUAL),
                   help="with commas, of: " + ", ".join(PEERS))
    p.add_argument("--works", help="with commas; unless said all")
    p.add_argument("--json", metavar="FILE", help="write the results as JSON")
    p.add_argument("--html", metavar="FILE", default=None,
                   help="write a page with the ratios (build/bench.html unless --here)")
    p.add_argument("--pin", type=int, metavar="CPU", help="the processor for all (the last one)")
    p.add_argument("--seconds", type=float, help="of a turn (1; --quick 0.3)")
    p.add_argument("--rounds", type=int, help="turns (5; --quick 2)")
    p.add_argument("--nfcc", default=os.environ.get("NFCC", os.path.join(ROOT, "build", "nfcc")),
                   help=argparse.SUPPRESS)
    p.add_argument("--here", action="store_true", help="use this Python as it is: install nothing")
    p.add_argument("--options-only", action="store_true", help=argparse.SUPPRESS)  # ./dev asks before it builds
    p.add_argument("--ready", action="store_true", help=argparse.SUPPRESS)  # inside .venv-bench
    o = p.parse_args()
    o.peers = [w for w in o.peers.split(",") if w]
    for name in o.peers:
        if name not in PEERS:
            p.error(f"no peer {name!r}; there are: " + ", ".join(PEERS))
    o.seconds = o.seconds or (0.3 if o.quick else 1.0)
    o.rounds = o.rounds or (2 if o.quick else 5)
    o.pin = max(os.sched_getaffinity(0)) if o.pin is None else o.pin
    if o.pin not in os.sched_getaffinity(0):
        p.error(f"--pin {o.pin}: this process may use {sorted(os.sched_getaffinity(0))}")
    if o.html is None and not o.here:
        o.html = os.path.join(ROOT, "build", "bench.html")
    return o


# ---- the environment
def installed(python, package):
    code = "import importlib.metadata as m, sys; m.version(sys.argv[1])"
    return subprocess.run([python, "-c", code, package.split("==")[0]], capture_output=True).returncode == 0


def environment(o):
    """Goes on in .venv-bench with what could be installed there."""
    folder = os.path.join(ROOT, ".venv-bench")
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(python):
        print("making the environment .venv-bench", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    wanted = [("", ["numpy", "onnx"])] + [(e, PEERS[e].packages) for e in o.peers]
    for engine, packages in wanted:
        missing = [p for p in packages if not installed(python, p)]
        if not missing:
            continue
        print(f"installing {' '.join(missing)}", flush=True)
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                               "--only-binary=:all:", *missing], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
        if done.returncode and not engine:
            sys.exit(done.stderr)
        if done.returncode:
            print(f"  pip: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", flush=True)
    os.execv(python, [python, os.path.abspath(__file__), "--ready", *sys.argv[1:]])


# ---- workers
class Worker:
    def __init__(self, name, folder, o):
        self.name, self.bits, self.title = name, ENGINES[name].bits, ENGINES[name].title
        self.log = open(os.path.join(folder, f"log-{name}"), "w")
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "engines.py"), name, folder, str(o.pin)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)

    def ask(self, **request):
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"error": "the worker ended"}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compile_models(o, folder, works, skipped):
    """policy.so of each model for each of nfcc's engines; those whose weights a model cannot have are left out."""
    import flows
    engines = list(OURS)
    for model, flow in sorted({w.model: w.flow for w in works.values()}.items()):
        path = os.path.join(folder, model + ".onnx")
        flows.write_density(path, flow)
        for engine in list(engines):
            weights, start = OURS[engine].make.weights, time.perf_counter()
            policy = os.path.join(folder, f"{model}-{weights}.so")
            done = subprocess.run([o.nfcc, path, "-o", policy, "--base", "normal", "--denoise", "0.1", "--cpu",
                                   "native", "--weights", weights], capture_output=True, text=True)
            if done.returncode and engine == "nfcc":
                sys.exit(done.stderr)
            if done.returncode:
                skipped.append({"engine": engine, "work": None, "reason": done.stderr.strip().splitlines()[0]})
                engines.remove(engine)
            elif engine == "nfcc":
                print(f"compiled {model}.onnx in {time.perf_counter() - start:.2f} s")
    return engines


def distance(a, b):
    """Largest difference, relative to the largest number (at least 1)."""
    import numpy as np
    a, b = np.asarray(a, np.float64).reshape(-1), np.asarray(b, np.float64).reshape(-1)
    if a.size != b.size or not np.isfinite(a).all():
        return float("inf")
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


def load(worker, work):
    """(the outputs of a work's first call, None) or (None, why there are none)."""
    import numpy as np
    reply = worker.ask(do="load", work=work.key)
    if "error" in reply:
        return None, reply["error"]
    with np.load(reply["outputs"]) as f:
        outputs = [f[k] for k in f.files]
    os.remove(reply["outputs"])
    return outputs, None


def compare(worker, outputs, wanted, whose):
    """(distance, why that is too much or None); `wanted` may be the first rows, or None: nothing to compare with."""
    if wanted is None:
        return None, None
    far, limit = math.inf, 1e-3 if worker.bits == 32 else 1e-1
    if len(outputs) == len(wanted):
        far = max(distance(a[:len(b)], b) for a, b in zip(outputs, wanted))
    return far, None if far < limit else f"computes something else: {far:.1e} from {whose}"


# ---- the run
def prepare(workers, works, skipped):
    """Loads every work into every engine, and leaves out those that cannot do it or are wrong: nfcc, which comes first,
    against double, the others against nfcc."""
    results = {}
    for work in works.values():
        wanted, whose = work.reference(), "double"
        for worker in workers:
            if work.same and worker.name in PEERS:
                continue
            show(f"loading {work.key} into {worker.title}")
            outputs, why_not = load(worker, work)
            far, why_not = (None, why_not) if why_not else compare(worker, outputs, wanted, whose)
            show("")
            if why_not and worker.name == "nfcc":
                sys.exit(f"error: nfcc, {work.key}: {why_not}")
            if worker.name == "nfcc":
                wanted, whose = outputs, "nfcc"
            if why_not:
                skipped.append({"engine": worker.name, "work": work.key, "reason": why_not})
            else:
                results[work.key, worker.name] = {"work": work.key, "engine": worker.name, "distance": far, "turns": []}
    return results


def take_turns(o, workers, works, results):
    for turn in range(o.rounds):
        for work in works.values():
            for worker in workers:
                r = results.get((work.key, worker.name))
                if r is None:
                    continue
                show(f"turn {turn + 1} of {o.rounds}: {work.key}, {worker.title}")
                reply = worker.ask(do="time", work=work.key, seconds=o.seconds)
                if "error" not in reply:
                    r["turns"].append(reply)
    show("")


def print_table(works, table, skipped):
    for key, rows in table.items():
        print(f"\n{works[key].title}")
        for r in rows:
            ratio = "" if r["engine"] == "nfcc" else f"{r['ratio']:8.2f} x nfcc"
            far = distance_text(r)
            print(f"  {ENGINES[r['engine']].title:16}{time_text(r['min_us']):>12}   P50 {time_text(r['p50_us']):>12} "
                  f"{ratio:16}{'   off by ' + far if far else ''}")
        for v in verdicts(rows):
            print("  " + v["text"])
    if skipped:
        print("\nleft out:")
        for s in skipped:
            print("  " + left_out_text(s))


def machine(o):
    cpu = platform.machine()
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), cpu)
    return {"cpu": cpu, "processors": os.cpu_count(), "pinned_to": o.pin}


def versions(workers):
    return {w.name: importlib.metadata.version(PEERS[w.name].package) for w in workers if w.name in PEERS}


def show(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def cannot_start(name):
    package = PEERS[name].package
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return f"the package {package} is not installed" + (" and could not be" if "--ready" in sys.argv else "")
    return None


def write_json(path, o, table, skipped, where, found):
    keys = ("work", "engine", "min_us", "p50_us", "p99_us", "calls", "distance", "ratio", "ratio_p50")
    document = {"results": [{k: r[k] for k in keys} for rows in table.values() for r in rows], "skipped": skipped,
                "machine": where, "versions": found,
                "options": {"seconds": o.seconds, "rounds": o.rounds, "peers": o.peers},
                "verdicts": [{"work": key, **v} for key, rows in table.items() for v in verdicts(rows)]}
    with open(path, "w") as f:
        json.dump(document, f, indent=1)


def chosen_works(o, folder):
    from works import all_works
    works = all_works(folder)
    if not o.works:
        return works
    chosen = o.works.split(",")
    unknown = [w for w in chosen if w not in works]
    if unknown:
        sys.exit(f"no work {unknown[0]!r}; there are: {', '.join(works)}")
    chosen += [works[w].same for w in chosen]
    return {k: w for k, w in works.items() if k in chosen}


def run(o, folder):
    works = chosen_works(o, folder)
    skipped = [{"engine": name, "work": None, "reason": why} for name in o.peers for why in [cannot_start(name)] if why]
    absent = {s["engine"] for s in skipped}
    names = compile_models(o, folder, works, skipped) + [p for p in o.peers if p not in absent]
    workers = [Worker(name, folder, o) for name in names]
    try:
        results = prepare(workers, works, skipped)
        take_turns(o, workers, works, results)
    finally:
        for w in workers:
            w.close()
    table, where, found = summarise(works, results), machine(o), versions(workers)
    print(f"\n{where['cpu']}, one thread on processor {o.pin}; best of {o.rounds} turns of {o.seconds:g} s; "
          + versions_text(found))
    print_table(works, table, skipped)
    if o.json:
        write_json(o.json, o, table, skipped, where, found)
    if o.html:
        with open(o.html, "w") as f:
            f.write(page.page(works, table, skipped, where, found, o))
        print(f"\nwritten: {os.path.relpath(o.html)}")


def main():
    o = options()
    if o.options_only:
        return
    if not o.here and not o.ready:
        environment(o)
    with tempfile.TemporaryDirectory(prefix="nfcc-bench-") as folder:
        run(o, folder)


if __name__ == "__main__":
    main()
