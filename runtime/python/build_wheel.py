"""Build backend of the Python package (PEP 517): a wheel is a zip file, so nothing needs to be downloaded.

The wheel holds the package nfcc and, if the checkout is built, libnfcc.so and the compiler nfcc beside it.
"""
from __future__ import annotations

import base64
import hashlib
import os
import re
import sysconfig
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent / "nfcc"
ROOT = PACKAGE.parents[2]
SOURCES = ("__init__.py", "__main__.py", "py.typed")
BUILT = ("libnfcc.so", "nfcc")


def _project(key: str) -> str:
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(rf'^{key} = "(.*)"$', text, re.MULTILINE)
    if not found:
        raise RuntimeError(f"pyproject.toml: no {key}")
    return found.group(1)


def _metadata() -> str:
    return (f"Metadata-Version: 2.1\nName: nfcc\nVersion: {_project('version')}\nSummary: {_project('description')}\n"
            f"License: MIT\nLicense-File: LICENSE\nRequires-Python: {_project('requires-python')}\n"
            "Requires-Dist: numpy>=1.20\n")


def _built() -> list[Path]:
    folder = Path(os.environ.get("NFCC_BUILD", ROOT / "build"))
    return [folder / name for name in BUILT if (folder / name).is_file()]


def _tag() -> str:
    platform = re.sub(r"[-.]", "_", sysconfig.get_platform())
    return f"py3-none-{platform if _built() else 'any'}"


def _record(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def _write(folder, tag: str, files) -> str:
    """The wheel of these (path, bytes, mode) and what every wheel holds; returns its name."""
    info, name = f"nfcc-{_project('version')}.dist-info", f"nfcc-{_project('version')}-{tag}.whl"
    pure = str(tag.endswith("-any")).lower()
    wheel = f"Wheel-Version: 1.0\nGenerator: nfcc\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"
    files = files + [(f"{info}/METADATA", _metadata().encode(), 0o644), (f"{info}/WHEEL", wheel.encode(), 0o644),
                     (f"{info}/entry_points.txt", b"[console_scripts]\nnfcc = nfcc.__main__:main\n", 0o644),
                     (f"{info}/LICENSE", (ROOT / "LICENSE").read_bytes(), 0o644)]
    record = "".join(_record(path, data) for path, data, _ in files) + f"{info}/RECORD,,\n"
    files.append((f"{info}/RECORD", record.encode(), 0o644))
    with zipfile.ZipFile(Path(folder) / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data, mode in files:
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):  # noqa: ARG001
    """Write the wheel into the folder; returns its name."""
    files = [(f"nfcc/{name}", (PACKAGE / name).read_bytes(), 0o644) for name in SOURCES]
    files += [(f"nfcc/{path.name}", path.read_bytes(), 0o755) for path in _built()]
    return _write(wheel_directory, _tag(), files)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):  # noqa: ARG001
    """`pip install -e .`: a wheel that points to this checkout, whose build/ the package finds."""
    return _write(wheel_directory, "py3-none-any", [("nfcc.pth", f"{PACKAGE.parent}\n".encode(), 0o644)])


def build_sdist(sdist_directory, config_settings=None):  # noqa: ARG001
    """There is none: the source is the checkout."""
    raise RuntimeError("nfcc has no source distribution; run `pip install .` in a checkout")
