"""What is measured for the cells of Table 2, and of what."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jaxtyping import Array, Float, Key

import advnets
from advnets import _documents
from advnets.bench.protocol import on_host
from advnets.bench.results import Config, Json, Result
from advnets.bench.systems import StackedCAE, System, VariationalAutoencoder
from advnets.bench.systems.chained import CHAINS, ChainsFound, chains_found
from advnets.bench.systems.dbn import DeepBeliefNetwork
from advnets.bench.systems.gsn import DeepGSN
from advnets.chains import Chained

Column = Literal["directed", "undirected", "autoencoders", "adversarial"]
RowName = Literal["training", "inference", "sampling", "likelihood", "design"]


class Number(msgspec.Struct, frozen=True, omit_defaults=True):
    """A number of a cell, or why there is none.

    Attributes:
        name: what it is, in a few words.
        definition: the same in a sentence.
        unit: its unit; empty for a count or a ratio.
        run: the run that it was measured of.
        value: the number; None if it was not measured.
        standard_error: of a mean, its standard error.
        at_least: whether the value is a lower bound, as measuring ended there.
        reason: why it was not measured.
    """

    name: str
    definition: str
    unit: str
    run: str
    value: float | None = None
    standard_error: float | None = None
    at_least: bool = False
    reason: str = ""


class Curve(msgspec.Struct, frozen=True, omit_defaults=True):
    """Points that belong together.

    Attributes:
        name: what they are of.
        definition: the same in a sentence.
        run: the run.
        x: what is across.
        y: what is upward.
        points: the points, with the standard error of each second number where there is one.
        labels: what each point is, where it needs a name.
    """

    name: str
    definition: str
    run: str
    x: str
    y: str
    points: tuple[tuple[float, float, float | None], ...]
    labels: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True):
    """What one run has for one cell.

    Attributes:
        numbers: the numbers.
        curves: the curves.
    """

    numbers: tuple[Number, ...]
    curves: tuple[Curve, ...] = ()


class Cell(msgspec.Struct, frozen=True):
    """A cell of the table.

    Attributes:
        row: its row.
        column: its column.
        claim: what the paper says there, in short.
        numbers: what was measured, of each run.
        curves: likewise.
    """

    row: RowName
    column: Column
    claim: str
    numbers: tuple[Number, ...]
    curves: tuple[Curve, ...] = ()


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured; smaller numbers are for trying.

    Attributes:
        samples: the most samples of a likelihood, at least 1,000.
        steps: Gibbs steps of the reference that an RBM's gradient is compared with.
        updates: updates of a discriminator, or of a small inference network.
        limit: steps after which chains are given up that do not agree, or draws of a chain.
    """

    samples: int = 100_000
    steps: int = 10_000
    updates: int = 300
    limit: int = 2000


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished run, opened.

    Attributes:
        label: what it is called in the table.
        folder: its folder.
        model: what samples are drawn from.
        config: its settings.
        system: its system.
        result: what it came to.
        data: its data.
    """

    label: str
    folder: Path
    model: Any
    config: Config
    system: System
    result: Result
    data: advnets.data.Dataset

    def number(self, name: str, definition: str, unit: str = "", **more: Any) -> Number:
        """A number of this run."""
        return Number(name, definition, unit, self.label, **more)

    def key(self, what: str) -> Key[Array, ""]:
        """A key for something to measure, the same for every call."""
        seed = jax.random.key(self.config.seed)
        return jax.random.fold_in(jax.random.fold_in(seed, 2**20), hash_of(what))

    def images(
        self, split: Literal["train", "validation", "test"], most: int | None = None
    ) -> Float[np.ndarray, " rows *shape"]:
        """The first rows of a split, in [0, 1]."""
        return on_host(self.system.settings.preprocessing)(getattr(self.data, split)[:most])

    def binary(self, most: int) -> Float[np.ndarray, " rows *shape"]:
        """The first test rows, each pixel drawn by its grey level, the same for every run."""
        grey = self.images("test")
        drawn = np.random.default_rng(0).random(grey.shape) < grey
        return drawn[:most].astype(np.float32)

    def evaluation(self, name: str) -> Json:
        """An evaluation of the run's result; a ValueError if the result has none of that name."""
        if name not in self.result.evaluations:
            raise ValueError(
                f"{self.folder} has no evaluation {name!r}; run it again with this version"
            )
        return self.result.evaluations[name]

    def entry(self, *path: str) -> Any:
        """An entry of an evaluation; a ValueError if there is none."""
        found: Any = self.evaluation(path[0])
        for part in path[1:]:
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            raise ValueError(f"{self.folder}: the evaluation {path[0]} has no {'.'.join(path[1:])}")
        return found

    def mean(self, *path: str) -> dict[str, Any]:
        """A mean and its standard error in an evaluation, as a number takes them."""
        source = f"{self.folder}: evaluation {'.'.join(path)}"
        read = _documents.convert(self.entry(*path), Mean, source)
        return {"value": read.mean, "standard_error": read.standard_error}

    def draws(self, evaluation: str) -> int:
        """By how many draws an evaluation's importance-weighted bound is."""
        found = self.evaluation(evaluation)
        inner = found.get("importance", found) if isinstance(found, dict) else None
        draws = inner.get("draws") if isinstance(inner, dict) else None
        if not isinstance(draws, int):
            raise ValueError(f"{self.folder}: the evaluation {evaluation} has no draws")
        return draws

    def chains(self) -> ChainsFound:
        """What the run measured of its chains."""
        return chains_found(self.evaluation(CHAINS), self.folder)

    @property
    def chain(self) -> Any:
        """Its Markov chain; a TypeError for a system that has none."""
        if not isinstance(self.model, Chained):
            raise TypeError(f"{self.label} draws no samples by a chain")
        return self.model.chain


class Mean(msgspec.Struct, frozen=True):
    """A mean, as evaluations keep it.

    Attributes:
        mean: it.
        standard_error: its standard error; None of one row.
    """

    mean: float
    standard_error: float | None = None


def hash_of(text: str) -> int:
    """A number for a text, the same in every process."""
    total = 0
    for character in text:
        total = (total * 31 + ord(character)) % 2**31
    return total


def column_of(system: System) -> Column:
    """The column of Table 2 that a system belongs to."""
    if isinstance(system, VariationalAutoencoder):
        return "directed"
    if isinstance(system, DeepBeliefNetwork):
        return "undirected"
    return "autoencoders" if isinstance(system, DeepGSN | StackedCAE) else "adversarial"


def mean_and_error(rows: Float[np.ndarray, " rows"]) -> dict[str, Any]:
    """The mean of numbers, one of each row, and its standard error, as a number takes them."""
    held = np.asarray(rows, np.float64)
    error = float(held.std(ddof=1) / len(held) ** 0.5) if len(held) > 1 else None
    return {"value": float(held.mean()), "standard_error": error}


def flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Floating-point operations of a function, by XLA's analysis; loops must not be in it.

    Args:
        function: a pure function of arrays.
        arguments: arrays, or their shapes.

    Returns:
        Their number: two for each multiplication and addition of a matrix product.
    """
    found: Any = jax.jit(function).lower(*arguments).cost_analysis()
    found = found[0] if isinstance(found, list) else found
    return float(found.get("flops", 0.0))  # of no arithmetic there is no entry


def sequential_products(function: Callable[..., Any], *arguments: Any) -> int:
    """How many matrix products of a function must wait for each other.

    Args:
        function: a pure function of arrays, without loops.
        arguments: arrays, or their shapes.

    Returns:
        The number on the longest way from its arguments to its results.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return max(_depths(jaxpr, [0] * len(jaxpr.invars)), default=0)


def _depths(jaxpr: Any, given: list[int]) -> list[int]:
    """How many products lie before each result, by how many lie before each argument."""
    known = dict(zip(jaxpr.invars, given, strict=True))

    def depth(variable: Any) -> int:
        return known.get(variable, 0) if not hasattr(variable, "val") else 0

    for equation in jaxpr.eqns:
        before = [depth(variable) for variable in equation.invars]
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        if inner is not None and equation.primitive.name not in ("while", "scan"):
            after = _depths(getattr(inner, "jaxpr", inner), before)
        else:
            is_product = equation.primitive.name in ("dot_general", "conv_general_dilated")
            after = [max(before, default=0) + is_product] * len(equation.outvars)
        known.update(zip(equation.outvars, after, strict=True))
    return [depth(variable) for variable in jaxpr.outvars]


def in_unit_interval(means: Float[Array, " n *shape"]) -> Float[Array, " n *shape"]:
    """Means of pixels, without what rounding put beyond 0 and 1, or right at them."""
    return jnp.clip(means, advnets.csl.CLIPPED, 1 - advnets.csl.CLIPPED)
