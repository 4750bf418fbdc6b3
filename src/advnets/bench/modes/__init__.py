"""Toy data with separate modes, games that are trained on them, and how modes are counted."""

from advnets.bench.modes import drawing as drawing
from advnets.bench.modes import gaussians as gaussians
from advnets.bench.modes import methods as methods
from advnets.bench.modes import scores as scores
