"""What this process has held in memory, by Linux's own counts."""

from pathlib import Path


def counted(field):
    """A field of /proc/self/status in MiB: VmHWM, RssAnon, VmData and so on."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {field}")


def peak_mib():
    """The most that this process has held.

    That of `resource` starts at what the parent held.
    """
    return counted("VmHWM")
