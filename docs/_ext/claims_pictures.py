"""The pictures of the page on the theory, from a full run of the claims, in 256 colours.

python -m advnets.verify --full --out claims && python docs/_ext/claims_pictures.py claims
"""

import sys
from pathlib import Path

from PIL import Image

from advnets.verify import CLAIMS

TO = Path(__file__).parent.parent / "_static" / "claims"

if __name__ == "__main__":
    TO.mkdir(exist_ok=True)
    for old in TO.glob("*.png"):
        old.unlink()
    for name in CLAIMS:
        picture = Path(sys.argv[1], f"{name}.png")
        if picture.exists():
            Image.open(picture).convert("RGB").quantize(256).save(TO / picture.name, optimize=True)
