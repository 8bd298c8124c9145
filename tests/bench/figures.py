"""What the turns of ./dev bench add up to, and how the table and the page say it."""
import statistics

from engines import ENGINES, OURS


def summarise(works, results):
    """{work: [result]}, fastest first within nfcc and the peers; peers' figures of a work that shares them are
    copied."""
    table = {}
    for key, work in works.items():
        mine = [r for (w, e), r in results.items() if w == key and r["turns"]]
        if work.same:
            mine += [{**r, "work": key} for (w, e), r in results.items() if w == work.same and e not in OURS
                     and r["turns"]]
        for r in mine:
            r["min_us"] = min(t["min"] for t in r["turns"]) / 1e3
            r["p50_us"] = statistics.median(t["p50"] for t in r["turns"]) / 1e3
            r["p99_us"] = statistics.median(t["p99"] for t in r["turns"]) / 1e3
            r["calls"] = sum(t["calls"] for t in r["turns"])
        best = {r["engine"]: r for r in mine}["nfcc"]
        for r in mine:
            r["ratio"], r["ratio_p50"] = r["min_us"] / best["min_us"], r["p50_us"] / best["p50_us"]
        table[key] = sorted(mine, key=lambda r: (r["engine"] not in OURS, r["min_us"]))
    return table


def fastest(rows):
    return min(rows, key=lambda r: r["min_us"], default=None)


def verdict(rows, bits):
    """Of the peers with such weights the best, against nfcc's best with such weights, or else with 32-bit ones."""
    same = [r for r in rows if ENGINES[r["engine"]].bits == bits]
    peer = fastest(r for r in same if r["engine"] not in OURS)
    if not peer:
        return None
    mine = fastest(r for r in same if r["engine"] in OURS) or next(r for r in rows if r["engine"] == "nfcc")
    name, its = ENGINES[peer["engine"]].title, ENGINES[mine["engine"]].bits
    with_what = "" if its == bits else f" with {its}-bit weights"
    ratio = peer["min_us"] / mine["min_us"]
    said = f"nfcc{with_what} is {ratio:.2f}x as fast as {name}"
    if ratio < 1:
        said = f"{name} WINS: {1 / ratio:.2f}x as fast as nfcc{with_what}"
    return {"bits": bits, "peer": peer["engine"], "ratio": ratio, "text": f"best peer of {bits} bits: {said}"}


def verdicts(rows):
    return [v for v in (verdict(rows, bits) for bits in (32, 16)) if v]


def time_text(us):
    return f"{us:.2f} µs" if us < 100 else f"{us:.1f} µs" if us < 1e4 else f"{us / 1e3:.2f} ms"


def distance_text(r):
    return "" if r["distance"] is None else f"{r['distance']:.0e}"


def left_out_text(s):
    return f"{ENGINES[s['engine']].title}{', ' + s['work'] if s['work'] else ''}: {s['reason']}"


def versions_text(found):
    return ", ".join(f"{ENGINES[e].title} {v}" for e, v in found.items())
