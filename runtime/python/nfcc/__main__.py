"""The command line, from Python: `python -m nfcc MODEL.onnx -o POLICY.so`; `pip install` puts it on PATH as nfcc."""
import os
import sys

from . import _find_compiler


def main() -> None:
    """Become the compiler, with this process's arguments."""
    try:
        compiler = _find_compiler()
    except FileNotFoundError as error:
        sys.exit(f"nfcc: error: {error}")
    os.execv(compiler, ["nfcc", *sys.argv[1:]])


if __name__ == "__main__":
    main()
