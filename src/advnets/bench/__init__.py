"""The paper's experiments at full scale, by name: `python -m advnets.bench`.

An experiment consists of data, a system that is fitted to them, and a protocol that scores it. In
Python, take a benchmark from [`advnets.bench.BENCHMARKS`][] and change its recipe with
`dataclasses.replace`, or put a [`advnets.bench.Recipe`][] of your own into a
[`advnets.bench.Benchmark`][], and [`advnets.bench.run`][] it; [`advnets.bench.run_grid`][] runs
many seeds and settings at once. A system of another kind is a subclass of
[`advnets.bench.systems.System`][]. [`advnets.bench.load_model`][] loads the model of a finished
run, and [`advnets.bench.rescore`][] scores it with more samples.
"""

from advnets import _checking

_checking.of_modules_from_now_on("advnets.bench")

from advnets.bench.benchmark import Benchmark as Benchmark
from advnets.bench.catalogue import BENCHMARKS as BENCHMARKS
from advnets.bench.experiment import run as run
from advnets.bench.experiment import run_grid as run_grid
from advnets.bench.pages import write_comparison as write_comparison
from advnets.bench.pages import write_explorer as write_explorer
from advnets.bench.pages import write_report as write_report
from advnets.bench.recipes import DeconvolutionSpec as DeconvolutionSpec
from advnets.bench.recipes import DiscriminatorSpec as DiscriminatorSpec
from advnets.bench.recipes import GeneratorSpec as GeneratorSpec
from advnets.bench.recipes import Recipe as Recipe
from advnets.bench.recipes import SecondStage as SecondStage
from advnets.bench.reference_rows import references as references
from advnets.bench.rescoring import load_model as load_model
from advnets.bench.rescoring import rescore as rescore
from advnets.bench.settings import Settings as Settings
