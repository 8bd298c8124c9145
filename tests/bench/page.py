"""The page of ./dev bench: for each work a bar for each engine, as a multiple of nfcc's time on a logarithmic axis, and
the figures. One file, no references; light and dark."""
import html
import math

from engines import ENGINES, OURS
from figures import distance_text, left_out_text, time_text, verdicts, versions_text

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1a1c20;--dim:#5f6672;--grid:#e3e6ea;
--ours:#157a5c;--peer:#8a94a6;--wins:#c2411b}
@media(prefers-color-scheme:dark){:root{--bg:#15171b;--fg:#e6e8ec;--dim:#9aa2ae;--grid:#2c3038;
--ours:#4fd0a5;--peer:#6f7a8c;--wins:#ff8a5c}}
body{margin:2rem auto;padding:0 1rem;max-width:980px;
background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:2rem 0 .2rem}p{color:var(--dim);margin:.3rem 0}
svg{width:100%;height:auto;display:block}svg text{font-size:12px;fill:var(--fg)}
svg .dim{fill:var(--dim)}.grid{stroke:var(--grid)}
.ours{fill:var(--ours)}.peer{fill:var(--peer)}.wins{fill:var(--wins)}strong.wins{color:var(--wins)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
th{color:var(--dim);font-weight:500}
th:nth-child(-n+2),td:nth-child(-n+2){text-align:left}
"""


def kind(row):
    return "ours" if row["engine"] in OURS else "wins" if row["ratio"] < 1 else "peer"


def bars(rows, span):
    """A bar runs from 1 (nfcc's time) to its own multiple."""
    width, left, right, height = 940, 130, 200, 26
    low, high = span
    share = lambda ratio: (math.log(ratio) - math.log(low)) / (math.log(high) - math.log(low))
    x = lambda ratio: left + share(ratio) * (width - left - right)
    total = height * len(rows) + 24
    out = [f'<svg viewBox="0 0 {width} {total}" role="img" aria-label="multiples of nfcc\'s time">']
    for tick in (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200):
        if low <= tick <= high:
            out.append(f'<path class="grid" d="M{x(tick):.1f} 0V{total - 20}"/>'
                       f'<text class="dim" x="{x(tick):.1f}" y="{total - 6}" '
                       f'text-anchor="middle">{tick:g}x</text>')
    for i, r in enumerate(rows):
        a, b = sorted((x(1), x(r["ratio"])))
        y = i * height
        label = time_text(r["min_us"]) + ("" if r["engine"] == "nfcc" else f", {r['ratio']:.2f}x")
        out.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">'
                   f'{html.escape(ENGINES[r["engine"]].title)}</text>'
                   f'<rect class="{kind(r)}" x="{a - (2 if b - a < 2 else 0):.1f}" y="{y + 5}" '
                   f'width="{max(b - a, 4):.1f}" height="{height - 9}" rx="2"/>'
                   f'<text x="{b + 6:.1f}" y="{y + 17}">{label}</text>')
    return "\n".join(out) + "</svg>"


def table_of(table):
    out = ["<div class=\"wide\"><table><tr><th>work</th><th>engine</th>"
           "<th>best</th><th>P50</th><th>P99</th><th>calls</th>"
           "<th>of nfcc's best</th><th>of nfcc's P50</th><th>off by</th></tr>"]
    for key, rows in table.items():
        for r in rows:
            out.append(f"<tr><td>{html.escape(key)}</td><td>{html.escape(ENGINES[r['engine']].title)}</td>"
                       f"<td>{time_text(r['min_us'])}</td>"
                       f"<td>{time_text(r['p50_us'])}</td><td>{time_text(r['p99_us'])}</td><td>{r['calls']}</td>"
                       f"<td>{r['ratio']:.2f}x</td>"
                       f"<td>{r['ratio_p50']:.2f}x</td><td>{distance_text(r)}</td></tr>")
    return "\n".join(out) + "</table></div>"


def page(works, table, skipped, where, found, o):
    ratios = [r["ratio"] for rows in table.values() for r in rows] or [1]
    span = min(0.8, 0.8 * min(ratios)), max(4, 1.2 * max(ratios))
    out = ["<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">"
           "<meta name=\"viewport\" content=\"width=device-width\">",
           f"<title>nfcc beside other runtimes</title><style>{STYLE}</style>", "<h1>nfcc beside other runtimes</h1>",
           f"<p>{html.escape(where['cpu'])}; one thread on processor {where['pinned_to']}; "
           f"the engines took {o.rounds} turns of {o.seconds:g} s; "
           f"{html.escape(versions_text(found))}</p>",
           "<p>A bar is the best time of an engine as a multiple of nfcc's best; to the left of 1 an engine is faster "
           "than nfcc. All are called from Python with arrays bound once. Before they were timed, the outputs of each "
           "were compared with nfcc's.</p>"]
    for key, rows in table.items():
        out.append(f"<h2>{html.escape(works[key].title)}</h2>")
        for v in verdicts(rows):
            text = html.escape(v["text"])
            out.append(f"<p><strong class=\"wins\">{text}</strong></p>" if v["ratio"] < 1 else f"<p>{text}</p>")
        out.append(bars(rows, span))
    out.append("<h2>Figures</h2>" + table_of(table))
    if skipped:
        items = "".join(f"<li>{html.escape(left_out_text(s))}</li>" for s in skipped)
        out.append(f"<h2>Left out</h2><ul>{items}</ul>")
    return "\n".join(out) + "</html>\n"
