"""Files that appear whole or not at all."""

import os
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Writes a file beside its place and moves it there, over what there was."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
