"""The one door to internals: what tests replace, or look at, that is no public name, and why."""

import advnets
from advnets import _distances, parzen
from advnets.training import program, run, sources

# The error that a distance is told to have at most, which no public function returns.
squared_distances = _distances.squared_distances
# The log densities that scores are means of.
streamed_log_density = parzen._streamed_log_density


def samples_per_call(monkeypatch, n):
    """Small blocks, so that a few samples fill several."""
    monkeypatch.setattr(advnets.model, "SAMPLES_PER_CALL", n)


def group_rows(monkeypatch, n):
    """Small groups of samples, so that a few fill several."""
    monkeypatch.setattr(parzen, "GROUP_ROWS", n)


def seconds_between_notes(monkeypatch, seconds):
    """Notes of an evaluation after every group, as a long one would leave."""
    monkeypatch.setattr(parzen, "SECONDS_BETWEEN_NOTES", seconds)


def recompute(monkeypatch, function):
    """To see which distances are taken for doubtful."""
    monkeypatch.setattr(parzen, "recompute", function)


def compiled_log_density(monkeypatch, function):
    """To count how often it is traced."""
    monkeypatch.setattr(parzen, "_compiled_log_density", function)


def iterations_per_call(monkeypatch, n):
    """Short programs, so that a few iterations take several."""
    monkeypatch.setattr(run, "ITERATIONS_PER_CALL", n)


def bytes_per_chunk(monkeypatch, n):
    """Small chunks of streamed data, so that a few rows take several."""
    monkeypatch.setattr(sources, "BYTES_PER_CHUNK", n)


def games_in_a_loop(monkeypatch, yes):
    """Many games one after another, as on a CPU, or side by side, as on a GPU."""
    monkeypatch.setattr(program, "on_cpu", lambda: yes)
