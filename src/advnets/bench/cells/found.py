"""The numbers of Table 2's cells, and the runs that they are measured on."""

import contextlib
import dataclasses
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jaxtyping import Array, Float, Key

import advnets
from advnets import _documents
from advnets.bench.protocol import on_host
from advnets.bench.results import Config, Json, Provenance, Result
from advnets.bench.systems import StackedCAE, System, VariationalAutoencoder
from advnets.bench.systems.chained import CHAINS, ChainsFound, chains_found
from advnets.bench.systems.dbn import DeepBeliefNetwork
from advnets.bench.systems.gsn import DeepGSN
from advnets.bench.systems.rows import mean_of
from advnets.chains import Chained

T = TypeVar("T")
Column = Literal["directed", "undirected", "autoencoders", "adversarial"]
RowName = Literal["training", "inference", "sampling", "likelihood", "design"]


class Number(msgspec.Struct, frozen=True, omit_defaults=True):
    """A number of a cell, or why there is none.

    Attributes:
        name: what it is, in a few words.
        definition: its definition, in a sentence.
        unit: its unit; empty for a count or a ratio.
        run: the run that it was measured on.
        value: the number; None if it was not measured.
        standard_error: for a mean, its standard error.
        noise: for a distance, its size due to sampling alone, estimated from halves of the samples.
        at_least: whether the value is a lower bound, because measuring ended there.
        reason: why it was not measured.
    """

    name: str
    definition: str
    unit: str
    run: str
    value: float | None = None
    standard_error: float | None = None
    noise: float | None = None
    at_least: bool = False
    reason: str = ""


class Curve(msgspec.Struct, frozen=True, omit_defaults=True):
    """Points that belong together.

    Attributes:
        name: what it shows, in a few words.
        definition: its definition, in a sentence.
        run: the run.
        x: the label of the x axis.
        y: the label of the y axis.
        points: x, y and the standard error of y, if there is one.
        labels: the labels of the points, if they need any.
    """

    name: str
    definition: str
    run: str
    x: str
    y: str
    points: tuple[tuple[float, float, float | None], ...]
    labels: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True):
    """The numbers and curves of one run for one cell.

    Attributes:
        numbers: the numbers.
        curves: the curves.
    """

    numbers: tuple[Number, ...]
    curves: tuple[Curve, ...] = ()


class Measured(msgspec.Struct, frozen=True):
    """When, where and how long a run was measured for a cell.

    Attributes:
        seconds: how long it took.
        provenance: that of the command that measured it.
    """

    seconds: float
    provenance: Provenance


class Cell(msgspec.Struct, frozen=True):
    """A cell of the table.

    Attributes:
        row: its row.
        column: its column.
        claim: the paper's claim there, in short.
        numbers: the numbers of all runs.
        curves: the curves of all runs.
        measured: when and where it was measured, by run, for those that were.
    """

    row: RowName
    column: Column
    claim: str
    numbers: tuple[Number, ...]
    curves: tuple[Curve, ...] = ()
    measured: dict[str, Measured] = {}  # msgspec copies it


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured; smaller numbers are for a quick try.

    Attributes:
        samples: the most samples of a likelihood, at least 1,000.
        steps: Gibbs steps of the reference for an RBM's gradient, in multiples of 100.
        updates: updates of a discriminator; a small inference network has five times as many.
        limit: the most steps until chains must agree, in multiples of 50.
        consecutive: consecutive samples of each of 20 chains whose autocorrelation time is
            measured.

    Raises:
        ValueError: for a number out of range.
    """

    samples: int = 100_000
    steps: int = 10_000
    updates: int = 300
    limit: int = 2000
    consecutive: int = 1000

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("the number of samples", self.samples, 1000, 10**7),
            ("the number of Gibbs steps", self.steps, 200, 10**6),
            ("the number of updates", self.updates, 1, 10**5),
            ("the limit of steps", self.limit, 50, 10**6),
            ("the number of consecutive samples", self.consecutive, 2, 10**6),
        ):
            if not least <= value <= most:
                raise ValueError(f"{name} must be from {least:,} to {most:,}; got {value}")


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished run, opened.

    Attributes:
        label: its label in the table.
        folder: its folder.
        model: the model that samples are drawn from.
        config: its settings.
        system: its system.
        result: its result.
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
        """A number measured on this run."""
        return Number(name, definition, unit, self.label, **more)

    def key(self, what: str) -> Key[Array, ""]:
        """The key of a measurement, the same in every call."""
        key = jax.random.key(self.config.seed)
        return jax.random.fold_in(key, zlib.crc32(f"table 2: {what}".encode()))

    def images(
        self, split: Literal["train", "validation", "test"], most: int | None = None
    ) -> Float[np.ndarray, " rows *shape"]:
        """The first rows of a split, in [0, 1]."""
        return on_host(self.system.settings.preprocessing)(getattr(self.data, split)[:most])

    def binary(self, most: int) -> Float[np.ndarray, " rows *shape"]:
        """The first test rows, binarised at random by their grey levels, the same for every run."""
        grey = self.images("test")
        drawn = np.random.default_rng(0).random(grey.shape) < grey
        return drawn[:most].astype(np.float32)

    def evaluation(self, name: str) -> Json:
        """An evaluation of the run's result; `MissingError` if it has none of that name."""
        if name not in self.result.evaluations:
            raise MissingError(
                f"{self.folder} has no evaluation {name!r}; run it again with this version"
            )
        return self.result.evaluations[name]

    def entry(self, evaluation: str, *path: str) -> Any:
        """An entry of an evaluation; `MissingError` if there is none."""
        found: Any = self.evaluation(evaluation)
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            raise MissingError(
                f"{self.folder}: the evaluation {evaluation} has no {'.'.join(path)}"
            )
        return found

    def mean(self, evaluation: str, *path: str) -> dict[str, Any]:
        """A mean and its standard error in an evaluation, as keyword arguments of `number`.

        Raises `MissingError` if there is none.
        """
        source = f"{self.folder}: evaluation {'.'.join([evaluation, *path])}"
        with reasons():
            read = _documents.convert(self.entry(evaluation, *path), Mean, source)
        return {"value": read.mean, "standard_error": read.standard_error}

    def rows(self, evaluation: str, *path: str) -> str:
        """The rows of a mean in an evaluation, in words; `MissingError` if there is none."""
        held, whole = self.entry(evaluation, *path), self.entry(evaluation)
        n = held.get("n", whole.get("rows")) if isinstance(held, dict) else None
        return f"the first {n:,} binarised test rows" if isinstance(n, int) else "binarised rows"

    def chains(self) -> ChainsFound:
        """The run's own measurements of its chains; `MissingError` if there are none."""
        with reasons():
            return chains_found(self.evaluation(CHAINS), self.folder)

    @property
    def chain(self) -> Any:
        """Its Markov chain; a TypeError for a system that has none."""
        if not isinstance(self.model, Chained):
            raise TypeError(f"{self.label} does not draw its samples by a chain")
        return self.model.chain


def instance_of(kind: type[T], value: Any) -> T:
    """The value, if it is an instance of a class; a TypeError otherwise."""
    if not isinstance(value, kind):
        raise TypeError(f"what is measured must be a {kind.__name__}; got a {type(value).__name__}")
    return value


class MissingError(ValueError):
    """Something that a number needs is missing, damaged or not a number; the message says why."""


@contextlib.contextmanager
def reasons() -> Iterator[None]:
    """A context in which a ValueError is a reason for a missing number, not a bug."""
    try:
        yield
    except ValueError as error:
        raise MissingError(str(error)) from error


class Mean(msgspec.Struct, frozen=True):
    """A mean, as evaluations keep it.

    Attributes:
        mean: the mean.
        standard_error: its standard error; None for one row.
    """

    mean: float
    standard_error: float | None = None


def column_of(system: System) -> Column:
    """The column of Table 2 that a system belongs to."""
    if isinstance(system, VariationalAutoencoder):
        return "directed"
    if isinstance(system, DeepBeliefNetwork):
        return "undirected"
    return "autoencoders" if isinstance(system, DeepGSN | StackedCAE) else "adversarial"


def finite(trained: Trained, found: Found) -> Found:
    """The findings, with a reason in place of each number that is not finite."""

    def checked(number: Number) -> Number:
        value = number.value
        if value is None or math.isfinite(value):
            error = number.standard_error
            known = error is None or math.isfinite(error)
            return number if known else msgspec.structs.replace(number, standard_error=None)
        return trained.number(
            number.name, number.definition, number.unit, reason=f"it came out as {value}"
        )

    def drawn(curve: Curve) -> Curve:
        kept = [n for n, (x, y, _) in enumerate(curve.points) if math.isfinite(x + y)]
        return msgspec.structs.replace(
            curve,
            points=tuple(curve.points[n] for n in kept),
            labels=tuple(curve.labels[n] for n in kept if n < len(curve.labels)),
        )

    return Found(tuple(map(checked, found.numbers)), tuple(map(drawn, found.curves)))


def mean_and_error(rows: Float[np.ndarray, " rows"]) -> dict[str, Any]:
    """The mean of numbers, one per row, and its standard error, as keyword arguments of `number`.

    Raises a ValueError if there are none.
    """
    found = mean_of(rows)
    return {"value": found["mean"], "standard_error": found["standard_error"]}


def product_flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Floating-point operations of a function's matrix products and convolutions only.

    Random draws and elementwise functions are not counted. Of branches the most expensive counts.

    Args:
        function: a pure function of arrays. A loop that contains products must have a known length.
        arguments: arrays, or their shapes.

    Returns:
        The number of operations, two for each multiply-add.

    Raises:
        ValueError: if a product is in a loop of unknown length.
    """
    return _flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def _flops(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name: str = equation.primitive.name
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += (
                2 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
            )
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval
            channels = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
            total += 2 * equation.outvars[0].aval.size * kernel.size / channels
        else:
            inner = [_flops(one) for one in _inner(equation)]
            _check_loop(equation, any(inner))
            if name == "cond":
                total += max(inner)
            else:
                total += sum(inner) * (equation.params["length"] if name == "scan" else 1)
    return total


def _inner(equation: Any) -> list[Any]:
    """The jaxprs inside an equation: of a call, a loop or a branch."""
    found = []
    for value in equation.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            one = getattr(one, "jaxpr", one)
            if hasattr(one, "eqns"):
                found.append(one)
    return found


def _check_loop(equation: Any, has_products: bool) -> None:
    if has_products and equation.primitive.name == "while":
        raise ValueError("a matrix product is in a loop of unknown length, so it can't be counted")


def sequential_products(function: Callable[..., Any], *arguments: Any) -> int:
    """The depth of a function in matrix products: how many must wait for each other.

    Args:
        function: a pure function of arrays. A loop that contains products must have a known length.
        arguments: arrays, or their shapes.

    Returns:
        The number of products on the longest path from its arguments to its results.

    Raises:
        ValueError: if a product is in a loop of unknown length.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return max(_depths(jaxpr, [0] * len(jaxpr.invars)), default=0)


def _depths(jaxpr: Any, given: list[int]) -> list[int]:
    """The number of products before each result, given the number before each argument."""
    known = dict(zip(jaxpr.invars, given, strict=True))

    def depth(variable: Any) -> int:
        return known.get(variable, 0) if not hasattr(variable, "val") else 0

    for equation in jaxpr.eqns:
        before = [depth(variable) for variable in equation.invars]
        name, inner = equation.primitive.name, _inner(equation)
        worst = [max(before, default=0)] * len(equation.outvars)
        if name in ("dot_general", "conv_general_dilated"):
            after = [one + 1 for one in worst]
        elif not any(_flops(one) for one in inner):
            after = worst
        elif name == "cond":
            branches = [_depths(one, before[1:]) for one in inner]
            after = [max(before[0], *ways) for ways in zip(*branches, strict=True)]
        elif name == "scan":
            after = _scanned(equation, inner[0], before)
        else:
            _check_loop(equation, True)
            after = _depths(inner[0], before)
        known.update(zip(equation.outvars, after, strict=True))
    return [depth(variable) for variable in jaxpr.outvars]


def _scanned(equation: Any, jaxpr: Any, before: list[int]) -> list[int]:
    """The same for a loop of known length, iteration by iteration."""

    def whole(pairs: Any) -> int:
        """How many are carried or constant, not split over iterations."""
        return sum(len(one.aval.shape) == len(inner.aval.shape) for one, inner in pairs)

    carried = whole(zip(equation.outvars, jaxpr.outvars, strict=True))
    consts = whole(zip(equation.invars, jaxpr.invars, strict=True)) - carried
    held, carry, rows = before[:consts], before[consts:][:carried], before[consts + carried :]
    outputs = [0] * (len(jaxpr.outvars) - carried)
    for _ in range(equation.params["length"]):
        after = _depths(jaxpr, [*held, *carry, *rows])
        carry = after[:carried]
        outputs = [max(pair) for pair in zip(outputs, after[carried:], strict=True)]
    return [*carry, *outputs]


def in_unit_interval(means: Float[Array, " n *shape"]) -> Float[Array, " n *shape"]:
    """Means of pixels, clipped to lie strictly between 0 and 1 in spite of rounding."""
    return jnp.clip(means, advnets.csl.CLIPPED, 1 - advnets.csl.CLIPPED)
