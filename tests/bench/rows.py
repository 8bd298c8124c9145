#!/usr/bin/env python3
"""rows.py MODEL.onnx ...: how long nfcc takes for n = 1 .. 200 rows of a model, each with a context of its own. A cliff
is an n for which cutting the call in two would pay: t(n) > 1.1 (t(m) + t(n - m)) for some m. Prints t(n), t(n) / t(1)
and the best split for each n, then the worst of all. Entries alone read contexts that are prepared; of more than 256
rows the rest of that is done in the entry. Smallest times of several rounds; a shared machine needs many."""
import argparse
import json
import os
import subprocess
import tempfile


def measure(args, model, rows):
    """Microseconds by entry and number of rows: the smallest of one round."""
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "rows.json")
        command = [args.nfcc, "bench", model, "--backend", "llvm", "--entries", args.entries, "--cpu", args.cpu,
                   "--base", args.base, "--rows", ",".join(map(str, rows)), "--seconds", str(args.seconds), "--warmup",
                   str(args.seconds / 4), "--no-verify", "--json", path] + ["--cold"] * args.cold
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(path) as file:
            return {(r["entry"], r["rows"]): r["min_us"] for r in json.load(file)["results"] if r["backend"] == "llvm"}


def best_split(t, n):
    """(t(n) over the cheapest cut in two, its smaller part)"""
    return max(((t[n] / (t[m] + t[n - m]), m) for m in range(1, n // 2 + 1)), default=(0.0, 0))


def report(model, entry, t):
    print(f"\n{os.path.basename(model)}, {entry}")
    print(f"{'rows':>5} {'us':>10} {'us/row':>9} {'t(n)/t(1)':>10}   over the best split")
    worst = (0.0, 0, 0)
    for n in sorted(t):
        ratio, m = best_split(t, n)
        worst = max(worst, (ratio, n, m))
        split = f"{ratio:10.2f} = {m} + {n - m}" if m else ""
        print(f"{n:5} {t[n]:10.2f} {t[n] / n:9.2f} {t[n] / t[1]:10.2f}   {split}")
    ratio, n, m = worst
    print(f"worst: t({n}) = {ratio:.2f} (t({m}) + t({n - m}))")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--nfcc", default="build/nfcc")
    parser.add_argument("--cpu", default="native")
    parser.add_argument("--base", default="normal")
    parser.add_argument("--entries", default="prepare+sample,prepare+log_prob")
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.02, help="for each number of rows, in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="no cache holds the policy when a call begins")
    args = parser.parse_args()
    for model in args.models:
        smallest = {}
        for _ in range(args.rounds):
            for key, us in measure(args, model, range(1, args.most + 1)).items():
                smallest[key] = min(us, smallest.get(key, us))
        for entry in args.entries.split(","):
            report(model, entry, {n: us for (e, n), us in smallest.items() if e == entry})


if __name__ == "__main__":
    main()
