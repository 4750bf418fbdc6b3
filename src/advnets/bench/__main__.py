"""`python -m advnets.bench`."""

import sys

from advnets import _signals

try:
    from advnets.bench.cli import main
except ModuleNotFoundError as missing:
    print(f"error: {missing.name} is missing; pip install 'advnets[bench]'", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    code = main()
    _signals.ignore()
    sys.exit(code)
