#!/usr/bin/env python3
"""./dev bench: the same work on nfcc and on outside runtimes, side by side in one run on one core.

Makes the environment .venv-bench with the peers that pip gives, writes two policies with random weights, compiles them
with nfcc, starts a worker process for each engine, all pinned to one processor, compares every output with nfcc's, and
then lets the engines take turns. Times are the best of all turns; P50 is the median of the turns' medians. Peers that
cannot be installed, cannot do a work or compute something else are named with the reason. """
import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
from engines import ENGINES  # noqa: E402

USUAL = ["ort", "openvino", "openvino-bf16", "iree", "jax", "torch"]


def options():
    p = argparse.ArgumentParser(prog="./dev bench", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="two short turns instead of five longer ones")
    p.add_argument("--peers", default=",".join(USUAL),
                   help="with commas, of: " + ", ".join(e for e in ENGINES if not e.startswith("nfcc")))
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
        if name not in ENGINES or name.startswith("nfcc"):
            p.error(f"no peer {name!r}; there are: " + ", ".join(e for e in ENGINES if not e.startswith("nfcc")))
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
    wanted = [("", ["numpy", "onnx"])] + [(e, ENGINES[e][1]) for e in o.peers]
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
        self.name, self.weight_bits, self.title = name, ENGINES[name][3], ENGINES[name][4]
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


def compile_models(o, folder, works):
    """policy.so of each model and precision that this nfcc has; the names of its engines."""
    import flows
    makers = {"small": flows.Small, "pusht": flows.PushT}
    text = subprocess.run([o.nfcc, "--help"], capture_output=True, text=True).stdout
    precisions = ["f32"] + (["f16", "bf16"] if "--weights" in text else [])
    notes, names = [], {"f32": "nfcc", "f16": "nfcc-f16", "bf16": "nfcc-bf16"}
    engines = []
    for precision in precisions:
        for model in sorted({w.model for w in works.values()}):
            path = os.path.join(folder, model + ".onnx")
            if not os.path.exists(path):
                flows.write_density(path, makers[model]())
            more = [] if precision == "f32" else ["--weights", precision]
            start = time.perf_counter()
            done = subprocess.run([o.nfcc, path, "-o", os.path.join(folder, f"{model}-{precision}.so"), "--base",
                                   "normal", "--denoise", "0.1", "--cpu", "native", *more], capture_output=True,
                                  text=True)
            if done.returncode:
                if precision == "f32":
                    sys.exit(done.stderr)
                notes.append(f"nfcc {precision}: {done.stderr.strip().splitlines()[0]}")
                break
            if precision == "f32":
                print(f"compiled {model}.onnx in {time.perf_counter() - start:.2f} s")
        else:
            engines.append(names[precision])
    return engines, notes


def distance(a, b):
    """Largest difference, relative to the largest number (at least 1)."""
    import numpy as np
    a, b = np.asarray(a, np.float64).reshape(-1), np.asarray(b, np.float64).reshape(-1)
    if a.size != b.size or not np.isfinite(a).all():
        return float("inf")
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


def outputs_of(path):
    import numpy as np
    with np.load(path) as f:
        return [f[k] for k in f.files]


def load(worker, work, ours):
    """(distance from nfcc, None) or (None, why not)."""
    reply = worker.ask(do="load", work=work.key)
    if "error" in reply:
        return None, reply["error"]
    made = outputs_of(reply["outputs"])
    os.remove(reply["outputs"])
    limit = 1e-3 if worker.weight_bits == 32 else 1e-1
    if ours is None:  # nfcc itself: against double
        reference = work.reference()
        far = max([distance(m[:len(r)], r) for m, r in zip(made, reference)], default=0) if reference else None
        return (made, far), None if far is None or far < limit else f"{far:.1e} from double"
    far = max(distance(m, r) for m, r in zip(made, ours))
    return (far, None) if far < limit else (None, f"computes something else: {far:.1e} from nfcc")


# ---- the run
def prepare(o, workers, works, results, skipped):
    """Loads every work into every engine, and leaves those that cannot do it or are wrong."""
    for work in works.values():
        ours = None
        for worker in workers:
            if worker.name != "nfcc" and work.same:
                continue
            show(f"loading {work.key} into {worker.title}")
            far, why_not = load(worker, work, ours)
            if worker.name == "nfcc":
                if why_not:
                    sys.exit(f"error: nfcc, {work.key}: {why_not}")
                ours, far = far
            show("")
            if why_not:
                skipped.append({"engine": worker.name, "work": work.key, "reason": why_not})
                continue
            results[work.key, worker.name] = {"work": work.key, "engine": worker.name, "distance": far, "turns": []}


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


def summarise(works, results):
    """{work: [result]}, fastest first within nfcc and the peers; peers' figures of a work that shares them are
    copied."""
    table = {}
    for key, work in works.items():
        mine = [r for (w, e), r in results.items() if w == key and r["turns"]]
        if work.same:
            mine += [{**r, "work": key} for (w, e), r in results.items() if w == work.same and not e.startswith("nfcc")
                     and r["turns"]]
        for r in mine:
            r["min_us"] = min(t["min"] for t in r["turns"]) / 1e3
            r["p50_us"] = statistics.median(t["p50"] for t in r["turns"]) / 1e3
            r["p99_us"] = statistics.median(t["p99"] for t in r["turns"]) / 1e3
            r["calls"] = sum(t["calls"] for t in r["turns"])
        best = {r["engine"]: r for r in mine}.get("nfcc")
        for r in mine:
            r["ratio"], r["ratio_p50"] = r["min_us"] / best["min_us"], r["p50_us"] / best["p50_us"]
        table[key] = sorted(mine, key=lambda r: (not r["engine"].startswith("nfcc"), r["min_us"]))
    return table


def verdict(rows, bits):
    """Of the peers with such weights the best, against nfcc's best with such weights."""
    ours = [r for r in rows if r["engine"].startswith("nfcc") and ENGINES[r["engine"]][3] == bits]
    peers = [r for r in rows if not r["engine"].startswith("nfcc") and ENGINES[r["engine"]][3] == bits]
    if not peers:
        return None
    peer = min(peers, key=lambda r: r["min_us"])
    name = ENGINES[peer["engine"]][4]
    ours = ours or [r for r in rows if r["engine"] == "nfcc"]
    mine = min(ours, key=lambda r: r["min_us"])
    with_what = "" if ENGINES[mine["engine"]][3] == bits else f" with {ENGINES[mine['engine']][3]}-bit weights"
    ratio = peer["min_us"] / mine["min_us"]
    said = f"nfcc{with_what} is {ratio:.2f}x as fast as {name}"
    if ratio < 1:
        said = f"{name} WINS: {1 / ratio:.2f}x as fast as nfcc{with_what}"
    return {"bits": bits, "peer": peer["engine"], "ratio": ratio, "text": f"best peer of {bits} bits: {said}"}


def microseconds(us):
    return f"{us:.2f} us" if us < 100 else f"{us:.1f} us" if us < 1e4 else f"{us / 1e3:.2f} ms"


def print_table(works, table, skipped):
    for key, rows in table.items():
        print(f"\n{works[key].title}")
        for r in rows:
            ratio = "" if r["engine"] == "nfcc" else f"{r['ratio']:8.2f} x nfcc"
            far = "" if r["distance"] is None else f"   off by {r['distance']:.0e}"
            print(f"  {ENGINES[r['engine']][4]:16}{microseconds(r['min_us']):>12}   "
                  f"P50 {microseconds(r['p50_us']):>12} {ratio:16}{far}")
        for bits in (32, 16):
            v = verdict(rows, bits)
            if v:
                print("  " + v["text"])
    if skipped:
        print("\nleft out:")
        for s in skipped:
            print(f"  {ENGINES[s['engine']][4]}{', ' + s['work'] if s['work'] else ''}: {s['reason']}")


def machine(o):
    cpu = platform.machine()
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), cpu)
    return {"cpu": cpu, "processors": os.cpu_count(), "pinned_to": o.pin}


def versions(workers):
    found = {}
    for w in workers:
        package = ENGINES[w.name][2]
        if package:
            found[w.name] = importlib.metadata.version(package)
    return found


def show(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def can_start(name):
    package = ENGINES[name][2]
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
                "verdicts": [{"work": key, **v} for key, rows in table.items()
                             for v in (verdict(rows, b) for b in (32, 16)) if v]}
    with open(path, "w") as f:
        json.dump(document, f, indent=1)


def run(o, folder):
    import page
    from works import all_works
    works = all_works(folder)
    if o.works:
        chosen = o.works.split(",")
        unknown = [w for w in chosen if w not in works]
        if unknown:
            sys.exit(f"no work {unknown[0]!r}; there are: {', '.join(works)}")
        chosen += [works[w].same for w in chosen if works[w].same]
        works = {k: w for k, w in works.items() if k in chosen}
    ours, notes = compile_models(o, folder, works)
    skipped = [{"engine": name, "work": None, "reason": why} for name in o.peers for why in [can_start(name)] if why]
    skipped += [{"engine": "nfcc", "work": None, "reason": note} for note in notes]
    absent = {s["engine"] for s in skipped if s["engine"] != "nfcc"}
    workers = [Worker(name, folder, o) for name in ours + [p for p in o.peers if p not in absent]]
    results = {}
    try:
        prepare(o, workers, works, results, skipped)
        take_turns(o, workers, works, results)
    finally:
        for w in workers:
            w.close()
    table, where, found = summarise(works, results), machine(o), versions(workers)
    print(f"\n{where['cpu']}, one thread on processor {o.pin}; best of {o.rounds} turns of {o.seconds:g} s; "
          + ", ".join(f"{ENGINES[e][4]} {v}" for e, v in found.items()))
    print_table(works, table, skipped)
    if o.json:
        write_json(o.json, o, table, skipped, where, found)
    if o.html:
        with open(o.html, "w") as f:
            f.write(page.page(works, table, skipped, where, found, o, verdict, ENGINES))
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
