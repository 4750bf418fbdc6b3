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


def _command() -> str:
    return shlex.join(["python", *sys.orig_argv[1:]])


def _commit() -> str | None:
    """The checkout's commit, marked if the working tree differs; None for an installed wheel."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--", str(here))
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + "+changes" if changed else commit


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
