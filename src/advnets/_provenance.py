"""Where a number comes from: command, commit, versions, machine."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("advnets", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy")


def provenance() -> dict[str, Any]:
    """The command, commit, versions and device of this process, for a results file."""
    versions = {"python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "command": _command(),
        "commit": _commit(),
        "versions": versions,
        "device": _device(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def version() -> str:
    """The versions of this package and of JAX, and what JAX computes on."""
    found = {name: importlib.metadata.version(name) for name in ("advnets", "jax")}
    versions = ", ".join(f"{name} {number}" for name, number in found.items())
    device = _device()
    return f"{versions}, {device['platform']} ({device['count']} × {device['kind']})"


def _command() -> str:
    return shlex.join(["python", *sys.orig_argv[1:]])


def _commit() -> str | None:
    """The commit of the package's own checkout or of the wheel's source; None if neither is known.

    A checkout's commit is marked if the working tree differs.
    """
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An unrelated repository may contain the installation.
        if Path(git("rev-parse", "--show-toplevel")) / "src" / "advnets" != here:
            return _commit_of_wheel()
        git("ls-files", "--error-unmatch", "--", Path(__file__).name)
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--", str(here))
    except (OSError, subprocess.CalledProcessError):
        return _commit_of_wheel()
    return commit + "+changes" if changed else commit


def _commit_of_wheel() -> str | None:
    """The commit that was noted when the wheel was built (`hatch_build.py`)."""
    note = Path(__file__).with_name("_commit.txt")
    return note.read_text("utf-8") if note.is_file() else None


def _device() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "kind": device.device_kind if device.platform != "cpu" else _processor(),
        "platform": device.platform,
        "count": jax.device_count(),
        "cpu_cores": os.cpu_count(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
