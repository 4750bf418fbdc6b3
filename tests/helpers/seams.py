"""The one door to internals: what tests replace, or look at, that is no public name, and why."""

import jax

import advnets
from advnets import parzen
from advnets.training import devices, program, run, sources


def samples_per_call(monkeypatch, n):
    """Small blocks, so that a few samples fill several."""
    monkeypatch.setattr(advnets.model, "SAMPLES_PER_CALL", n)


def iterations_per_call(monkeypatch, n):
    """Short programs, so that a few iterations take several."""
    monkeypatch.setattr(run, "ITERATIONS_PER_CALL", n)


def bytes_per_chunk(monkeypatch, n):
    """Small chunks of streamed data, so that a few rows take several."""
    monkeypatch.setattr(sources, "BYTES_PER_CHUNK", n)


def games_in_a_loop(monkeypatch, yes):
    """Many games one after another, as on a CPU, or side by side, as on a GPU."""
    monkeypatch.setattr(program, "on_cpu", lambda: yes)
