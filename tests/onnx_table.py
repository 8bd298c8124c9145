#!/usr/bin/env python3
"""frontend/OPS.md, made of frontend/onnx_ops.def.

    tests/onnx_table.py [--write]

Prints the document, or writes it. A row of the table is an operator: its name, the oldest opset it is read from, and
the limits that stand as a comment behind its row.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, "..", "frontend", "onnx_ops.def")
DOCUMENT = os.path.join(HERE, "..", "frontend", "OPS.md")
OLDEST = 11
HEAD = """# ONNX operators that nfcc reads

Made of `onnx_ops.def` by `tests/onnx_table.py --write`; a test compares the two.

Models of opset {oldest} and newer are read; an operator is read in every one of its versions from the opset shown on.
Elements: float32, and float16, bfloat16 and float64, which are computed in float32; integers of 8 to 64 bits, which are
exact up to 2^24 where they are computed from inputs; booleans. Tensors have at most 8 dimensions. "Known at import" is
a constant, or made of constants and shapes alone. Operators that a model defines itself (functions) are read as what
they are made of.

`nfcc test DIR...` runs ONNX's backend tests. `tests/onnx_nodes.py` runs the suite's node tests of every operator below,
in float32; `tests/onnx_excluded.txt` names those that do not pass, each with its reason.
"""


def rows():
    """[(section or None, name, opset, limits)] in the order of the table."""
    section, found = None, []
    with open(TABLE) as f:
        for line in f:
            row = re.match(r'ONNX\(\s*"([^"]+)",\s*(\d+),[^)]*\)(?:\s*//\s*(.*))?$', line)
            if row:
                found.append((section, row[1], max(OLDEST, int(row[2])), row[3] or ""))
            elif line.startswith("// ") and found or line.strip() == "// elementwise":
                section = line[3:].strip()
    return found


def operator(name):
    domain, _, op = name.rpartition(".")
    return f"{op} ({domain})" if domain else op


def document():
    text, last, table = HEAD.format(oldest=OLDEST), None, rows()
    for section, name, opset, limits in table:
        if section != last:
            text += f"\n## {section[0].upper()}{section[1:]}\n\n| operator | from opset | limits |\n|---|---|---|\n"
            last = section
        since = "any" if "." in name else str(opset)
        text += f"| {operator(name)} | {since} | {limits} |\n"
    return text + f"\n{len(table)} operators.\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        with open(DOCUMENT, "w") as f:
            f.write(document())
    else:
        sys.stdout.write(document())
