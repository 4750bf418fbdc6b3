"""Atomic writes of files, and their SHA-256."""

import errno
import hashlib
import os
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Writes a temporary file and moves it to its place, over any file that is there.

    The content is on disk, not only in memory, when this returns. On failure, an existing file is
    unchanged. A device or a pipe, such as /dev/null, would be replaced, so it is refused. For a
    link, its target is replaced.
    """
    if path.is_symlink():
        path = Path(os.path.realpath(path))
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "there is something here that is not a file", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, "there is no such folder; make it first", str(path.parent)
        )
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)  # of a killed process; or a link, which must not be followed
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        # A full disk does not name the file, and opening names the temporary one.
        if isinstance(error, OSError) and error.errno and error.filename2 is None:
            error.filename = str(path)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Waits until a folder's entries are on disk, where the system supports that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sha256(path: Path, *, sync: bool = False) -> str:
    """The SHA-256 of a file's content; with `sync`, the content is on disk when this returns."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
    return digest
