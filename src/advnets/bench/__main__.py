"""`python -m advnets.bench`."""

import sys

from advnets import _signals
from advnets._extras import MissingExtraError

try:
    from advnets.bench.cli import main
except MissingExtraError as missing:
    print(f"error: {missing}", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    code = main()
    _signals.ignore()
    sys.exit(code)
