"""Several processes that run one command together, on one host or on many."""

import dataclasses
import socket

import jax


@dataclasses.dataclass(frozen=True)
class Processes:
    """How a process finds the others; by default it is the only one."""

    distributed: bool = False
    """This is one of several processes started by Slurm, Open MPI or on Cloud TPU, which JAX
    detects."""
    coordinator: str | None = None
    """For processes started by hand: HOST:PORT at which the first one listens."""
    processes: int | None = None
    """For processes started by hand: their number."""
    process: int | None = None
    """For processes started by hand: the index of this one, from 0."""


def join(given: Processes) -> None:
    """Connects to the other processes, before JAX does anything else.

    Args:
        given: how to find them.

    Raises:
        ValueError: if an option is missing or out of range, or the others are not found.

    Example:
        >>> from advnets.bench.processes import Processes, join
        >>> join(Processes())
    """
    by_hand = (given.coordinator, given.processes, given.process)
    missing = by_hand.count(None)
    if missing == 3 and not given.distributed:
        return
    if missing < 3 and (missing or given.distributed):
        raise ValueError(
            "several processes started by hand need all of --coordinator HOST:PORT, --processes "
            "and --process, and no --distributed"
        )
    if given.processes is not None and not 0 <= (given.process or 0) < given.processes:
        raise ValueError(
            f"--process must be at least 0 and below --processes {given.processes}; got "
            f"{given.process}"
        )
    if given.coordinator is not None:
        _check_address(given.coordinator)
    try:
        jax.distributed.initialize(*by_hand)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the other processes were not found ({error}); where JAX can't detect them, give "
            "--coordinator, --processes and --process"
        ) from error


def _check_address(coordinator: str) -> None:
    """Refuses an invalid address, on which JAX would end the process after minutes."""
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 2**16):
        raise ValueError(
            f"--coordinator must be HOST:PORT, with a port from 1 to 65535; got {coordinator!r}"
        )
    try:
        socket.getaddrinfo(host.strip("[]"), int(port))
    except (OSError, UnicodeError) as error:
        raise ValueError(f"--coordinator: there is no host {host!r} ({error})") from None
