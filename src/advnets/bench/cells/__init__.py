"""Table 2's rows, a module each: the measures of a trained system for every cell."""

from advnets.bench.cells import found as found
from advnets.bench.cells import inference as inference
from advnets.bench.cells import likelihood as likelihood
from advnets.bench.cells import sampling as sampling
from advnets.bench.cells import training as training
