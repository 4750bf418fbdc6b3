"""Times calls in interleaved rounds, A B C C B A ..., and compares them round by round.

On a shared machine, only the ratio of two adjacent times is meaningful.
"""

import os
import time
from collections.abc import Callable

import numpy as np


def paired(calls: dict[str, Callable[[], object]], rounds: int, warm_up: int = 2):
    """Seconds of each call in each round, without compilation and the first calls.

    Each call must wait for its own result. Every other round runs backwards, so that no call always
    follows the same one.
    """
    for call in calls.values():
        for _ in range(warm_up):
            call()
    seconds = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls)[:: 1 if number % 2 == 0 else -1]:
            start = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median_seconds(call, calls: int = 5, warm_up: int = 2):
    """The median time of several calls, for a process that times only this one."""
    return float(np.median(paired({"": call}, calls, warm_up)[""]))


def spread(values):
    """The median, quartiles and range of some values."""
    least, lower, median, upper, most = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return {"median": median, "quartiles": [lower, upper], "min": least, "max": most}


def ratios(seconds, base):
    """How many times as long as `base` each other call takes, round by round."""
    return {
        name: spread(np.divide(times, seconds[base]))
        for name, times in seconds.items()
        if name != base
    }


def cores():
    """The number of cores this process may use: the number of threads of both sides."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def line(name, spread, unit=""):
    """A spread as a line of text."""
    lower, upper = spread["quartiles"]
    return (
        f"{name:<34}{spread['median']:9.3f}{unit}   quartiles {lower:.3f} to {upper:.3f}, "
        f"all {spread['min']:.3f} to {spread['max']:.3f}"
    )
