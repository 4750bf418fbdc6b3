"""The paper's experiments at full scale, by name: `python -m advnets.bench`.

In Python: take a recipe from [`advnets.bench.BENCHMARKS`][], change what you like with
`dataclasses.replace`, or write a [`advnets.bench.Recipe`][] of your own into a
[`advnets.bench.Benchmark`][], and [`advnets.bench.run`][] it. [`advnets.bench.load_generator`][]
opens what a run has left, and [`advnets.bench.rescore`][] scores it with more samples.
"""

from advnets.bench.recipes import BENCHMARKS as BENCHMARKS
from advnets.bench.recipes import Benchmark as Benchmark
from advnets.bench.recipes import Deconvolution as Deconvolution
from advnets.bench.recipes import DiscriminatorSpec as DiscriminatorSpec
from advnets.bench.recipes import GeneratorSpec as GeneratorSpec
from advnets.bench.recipes import Recipe as Recipe
from advnets.bench.recipes import SecondStage as SecondStage
from advnets.bench.reference_rows import references as references
from advnets.bench.rescoring import rescore as rescore
from advnets.bench.runs import load_generator as load_generator
from advnets.bench.runs import run as run
from advnets.bench.seeds import run_seeds as run_seeds
from advnets.bench.sweeps import run_sweep as run_sweep
