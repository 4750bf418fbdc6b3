"""Inference of z in a finished run: a network fitted to its generator, compared with search.

Section 7 of the paper lists it as an extension; the released code has a network for it that no
recipe enables.
"""

import contextlib
import dataclasses
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jaxtyping import Array, Float, Key

import advnets
from advnets import _files, _locks, _progress, _signals, _style, inference
from advnets._style import BLUE, GREEN, GREY, INK
from advnets.bench import frames, results
from advnets.bench._parts import identity_of
from advnets.bench.folders import LAST, can_be_remade, check_writable
from advnets.bench.protocol import on_host
from advnets.bench.rescoring import data_of, open_run
from advnets.bench.results import Provenance
from advnets.bench.settings import check_counts
from advnets.bench.systems.rows import mean_of
from advnets.bench.watching import pictured
from advnets.model_files import load_model, save_model
from advnets.players import inputs_taken

# The folder in the run's folder, and its files: the network and its results.
FOLDER, NETWORK, FOUND = "inference", "network.safetensors", "inference.json"
FIT, PARTS, SETTINGS = "fit", "parts", "settings.json"
# Images per block of search, images in the picture, lines of the walk, and steps between real ends.
BLOCK, SHOWN, LINES, STEPS = 100, 10, 6, 9
# Pairs on which R² is measured.
PAIRS = 10_000
# The ways of inferring u that the picture shows, with their labels.
SEARCHED = {"network": "network", "searched": "then search", "from_zero": "search from 0"}
# A search begins near 0 but not at it, where a spherical prior's latent vector has no direction.
NEXT_TO_0 = 1e-3
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is fitted and measured.

    Attributes:
        steps: updates of the network.
        batch_size: fresh pairs in each update.
        units: rectified linear units in each of the network's two hidden layers.
        noise: σ of the normal noise on the examples that the network is fitted to.
        rows: the number of test images, and of fresh samples, that are reconstructed.
        search: steps of gradient descent on u.
        neighbours: the number of training images among which the nearest is looked up.

    Raises:
        ValueError: for a number below 1, or noise below 0.
    """

    steps: int = 2500
    batch_size: int = 200
    units: int = 1000
    noise: float = 0.0
    rows: int = 1000
    search: int = 200
    neighbours: int = 10_000

    def __post_init__(self) -> None:
        check_counts(
            {
                "the number of updates": self.steps,
                "the batch size": self.batch_size,
                "the number of units": self.units,
                "the number of rows": self.rows,
                "the number of search steps": self.search,
                "the number of neighbours": self.neighbours,
            }
        )
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"the noise's scale must be at least 0 and finite; got {self.noise}")


FULL = Effort()
QUICK = Effort(steps=500, batch_size=100, units=400, rows=100)


class Mean(msgspec.Struct, frozen=True):
    """The mean over rows of a squared distance, summed over pixels.

    Attributes:
        mean: the mean.
        standard_error: its standard error over rows; None for one row.
        n: the number of rows.
    """

    mean: float
    standard_error: float | None
    n: int


class Reconstructed(msgspec.Struct, frozen=True):
    """Squared errors of reconstructions, summed over pixels.

    Attributes:
        network: G at the u that the network infers.
        searched: G after a search that begins there.
        from_zero: G after a search that begins at 0.
        mean_image: the mean training image.
        nearest: the nearest of some training images.
    """

    network: Mean
    searched: Mean
    from_zero: Mean
    mean_image: Mean
    nearest: Mean


class InferenceFound(msgspec.Struct, frozen=True):
    """What `inference.json` holds.

    Attributes:
        benchmark: the run's.
        seed: the run's.
        model_sha256: the SHA-256 of its model's file.
        effort: how much was fitted and measured.
        r_squared: R² of each component of u, on fresh pairs.
        deviation: the network's standard deviation of u, averaged over components and pairs; 1
            means that it knows nothing.
        samples: the errors of fresh samples.
        test: the errors of test images.
        curve: the network's cost in nats, and its squared error, every 100 updates.
        data: where the data came from.
        data_sha256: the SHA-256 of the data.
        seconds: how long it took, without parts done before.
        provenance: the provenance of the results.
    """

    benchmark: str
    seed: int
    model_sha256: str
    effort: Effort
    r_squared: tuple[float, ...]
    deviation: float
    samples: Reconstructed
    test: Reconstructed
    curve: tuple[tuple[float, float], ...]
    data: str
    data_sha256: str
    seconds: float
    provenance: Provenance

    @property
    def mean_r_squared(self) -> float:
        """The mean of R² over the components."""
        return float(np.mean(self.r_squared))


class _Part(msgspec.Struct, frozen=True):
    """The results for images of one kind, kept on disk, with u of those in the picture."""

    found: Reconstructed
    shown: dict[str, list[list[float]]]


@dataclasses.dataclass(frozen=True)
class _Subject:
    """A run, opened."""

    model: advnets.Model
    key: Key[Array, ""]
    data: advnets.data.Dataset
    preprocess: Callable[..., np.ndarray]
    effort: Effort


def prepare(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    effort: Effort = FULL,
    data_dir: str | os.PathLike[str] | None = None,
) -> Callable[[bool], InferenceFound]:
    """Checks all that can be checked before a network is fitted to a run's generator.

    Args:
        run: the folder of a finished run whose samples are G(z).
        out: where the results go; by default `inference/` in the run's folder. Results of another
            model or with other settings are replaced.
        effort: how much is fitted and measured.
        data_dir: where the run's data are, see [`advnets.data.load`][].

    Returns:
        A function that fits, measures and writes, given whether to show progress. After an
        interruption it continues, without repeating finished parts.

    Raises:
        FileNotFoundError: if the folder holds no finished run.
        ValueError: if its samples are not made of latent vectors, or its generator takes a
            condition; if the data are not the run's, or a file is damaged.
        OSError: if the results can't be written.
    """
    origin, folder = Provenance.here(), Path(run)
    model, config, system, result = open_run(folder)
    if not isinstance(model, advnets.Model):
        raise ValueError(
            f"{folder} is a run of {config.benchmark}, which has no generator of latent vectors; "
            "name the run of an adversarial recipe"
        )
    if inputs_taken(model.generator)[0] > 1:
        raise ValueError(
            f"{folder} is a run of {config.benchmark}, whose generator takes more than a latent "
            "vector; name the run of an unconditional recipe, such as mnist"
        )
    inference.check(model, "latent", effort.noise, effort.steps, effort.batch_size)
    data = data_of(folder, system, result, data_dir)
    place = folder / FOLDER if out is None else Path(out)
    check_writable(place / FOUND)
    adapted = system.adapted(data)
    effort = dataclasses.replace(
        effort,
        rows=min(effort.rows, len(adapted.test)),
        neighbours=min(effort.neighbours, len(adapted.train)),
    )
    key = jax.random.fold_in(jax.random.key(config.seed), 7)
    settings = system.settings
    subject = _Subject(model, key, adapted, on_host(settings.preprocessing), effort)
    digest = _files.sha256(folder / LAST)
    identity = _identity(digest, data.fingerprint(), effort)

    def work(progress: bool) -> InferenceFound:
        place.mkdir(exist_ok=True)
        with _locks.locked(place), system.context():
            done = _begun(place, identity)
            if done is not None:
                return done
            began = time.monotonic()
            found, curve = _fitted(subject, place / FIT, progress=progress)
            r_squared, deviation = _identified(subject, found)
            parts = {
                name: _part(subject, found, name, place / PARTS, progress=progress)
                for name in ("samples", "test")
            }
            whole = InferenceFound(
                benchmark=config.benchmark,
                seed=config.seed,
                model_sha256=digest,
                effort=effort,
                r_squared=tuple(r_squared.tolist()),
                deviation=deviation,
                samples=parts["samples"].found,
                test=parts["test"].found,
                curve=curve,
                data=data.source,
                data_sha256=data.fingerprint(),
                seconds=time.monotonic() - began,
                provenance=origin,
            )
            save_model(place / NETWORK, found)
            show = pictured(settings, SHOWN)
            _draw(place / "inference.png", subject, whole, parts["test"], show)
            _walk(place / "walk.png", subject, found, parts["test"], show)
            _files.replace(place / "inference.md", markdown(whole).encode())
            results.write(place / FOUND, whole)
            shutil.rmtree(place / FIT, ignore_errors=True)
            shutil.rmtree(place / PARTS, ignore_errors=True)
        return whole

    return work


def read(run: str | os.PathLike[str]) -> tuple[InferenceFound, inference.Inference] | None:
    """The inference results in a run's folder, if they belong to its current model.

    Args:
        run: the run's folder.

    Returns:
        The results and the network, or None.

    Raises:
        ValueError: if a file is damaged.
    """
    place = Path(run) / FOLDER
    if not ((place / FOUND).is_file() and (place / NETWORK).is_file()):
        return None
    with can_be_remade(f"advnets.bench inference {run} writes it again"):
        found = results.read(place / FOUND, InferenceFound)
        if found.model_sha256 != _files.sha256(Path(run) / LAST):
            return None
        return found, load_model(place / NETWORK, known=[inference.Inference])


def _identity(model: str, data: str, effort: Effort) -> str:
    parts = [VERSION, model, data, dataclasses.asdict(effort)]
    return identity_of(parts)


def _begun(place: Path, identity: str) -> InferenceFound | None:
    """The finished results, if there are any; parts with another identity are removed."""
    known = False
    if (place / SETTINGS).is_file():
        try:
            known = results.read(place / SETTINGS, dict) == {"identity": identity}
            if known and (place / FOUND).is_file():
                return results.read(place / FOUND, InferenceFound)
        except ValueError:  # damaged: it is done again
            known = False
    if not known:
        shutil.rmtree(place / FIT, ignore_errors=True)
        shutil.rmtree(place / PARTS, ignore_errors=True)
        (place / FOUND).unlink(missing_ok=True)
        results.write(place / SETTINGS, {"identity": identity})
    return None


def _fitted(
    subject: _Subject, folder: Path, *, progress: bool
) -> tuple[inference.Inference, tuple[tuple[float, float], ...]]:
    effort, model = subject.effort, subject.model
    start, fit = jax.random.split(subject.key)
    outputs, shape = inference.check(model, "latent", effort.noise, effort.steps, effort.batch_size)
    sizes = (effort.units, effort.units)
    net = inference.inference_network(start, shape, 2 * outputs, hidden_sizes=sizes)
    found, metrics = inference.fit_inference(
        fit,
        model,
        net,
        noise=effort.noise,
        steps=effort.steps,
        batch_size=effort.batch_size,
        folder=folder,
        progress=progress,
    )
    rows: list[Any] = [row["model"] for row in metrics]
    return found, tuple((row["cost"], row["squared_error"]) for row in rows)


def _identified(
    subject: _Subject, found: inference.Inference
) -> tuple[Float[np.ndarray, " size"], float]:
    """R² of each component on fresh pairs, and the mean standard deviation."""
    key = jax.random.fold_in(subject.key, 1)
    truth: list[np.ndarray] = []
    guessed: list[np.ndarray] = []
    deviations: list[np.ndarray] = []

    @eqx.filter_jit
    def some(key: Key[Array, ""], model: Any, found: inference.Inference) -> Any:
        u, examples = inference.pairs(key, model, PAIRS // 10, noise=subject.effort.noise)
        return u, *found(examples)

    for number in range(10):
        one = some(jax.random.fold_in(key, number), subject.model, found)
        for kept, rows in zip((truth, guessed, deviations), one, strict=True):
            kept.append(np.asarray(rows))
    r_squared = inference.r_squared(np.concatenate(truth), np.concatenate(guessed))
    return r_squared, float(np.mean(np.concatenate(deviations), dtype=np.float64))


def _images(subject: _Subject, name: str) -> Float[np.ndarray, " rows *shape"]:
    if name == "test":
        return subject.preprocess(subject.data.test[: subject.effort.rows])
    return subject.model.sample(jax.random.fold_in(subject.key, 2), subject.effort.rows)


def _part(
    subject: _Subject, found: inference.Inference, name: str, folder: Path, *, progress: bool
) -> _Part:
    """The results for images of one kind: those kept on disk, or measured now in blocks."""
    path = folder / f"{name}.json"
    if path.is_file():
        with contextlib.suppress(ValueError):  # damaged: it is measured again
            return results.read(path, _Part)
    images = _images(subject, name)
    size = subject.model.prior.size
    near = NEXT_TO_0 * jax.random.normal(jax.random.fold_in(subject.key, 3), (len(images), size))
    squared: dict[str, list[np.ndarray]] = {way: [] for way in SEARCHED}
    shown: dict[str, list[list[float]]] = {}
    blocks = range(0, len(images), BLOCK)
    label = {"samples": "samples", "test": "test images"}[name]
    bar = _progress.bar(len(blocks), f"searching z of {label}", unit="block", enabled=progress)
    with bar as counted:
        for first in blocks:
            rows = slice(first, first + BLOCK)
            inferred, errors = _reconstructed(
                subject.model, found, jnp.asarray(images[rows]), near[rows], subject.effort.search
            )
            for way, one in errors.items():
                squared[way].append(np.asarray(one))
            if not first:
                shown = {way: np.asarray(inferred[way][:SHOWN]).tolist() for way in squared}
            counted.update(1)
            _signals.check()
    train = subject.preprocess(subject.data.train[: subject.effort.neighbours])
    _, distances = advnets.neighbours.nearest(images, train)
    mean = _mean_image(subject)
    away = ((images - mean[None]) ** 2).reshape(len(images), -1).sum(axis=1, dtype=np.float64)
    every = {way: np.concatenate(each) for way, each in squared.items()} | {
        "mean_image": away,
        "nearest": np.asarray(distances, np.float64) ** 2,
    }
    means = {way: msgspec.convert(mean_of(each), Mean) for way, each in every.items()}
    part = _Part(Reconstructed(**means), shown)
    folder.mkdir(exist_ok=True)
    results.write(path, part)
    return part


def _mean_image(subject: _Subject) -> Float[np.ndarray, "*shape"]:
    train = subject.data.train
    total = np.zeros(train.shape[1:])
    for first in range(0, len(train), 10_000):
        rows = subject.preprocess(train[first : first + 10_000])
        total += rows.sum(axis=0, dtype=np.float64)
    return np.asarray(total / len(train), np.float32)


@eqx.filter_jit
def _reconstructed(
    model: advnets.Model,
    found: inference.Inference,
    images: Float[Array, " n *shape"],
    near: Float[Array, " n size"],
    steps: int,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """u of images inferred in three ways, and the squared error of G there."""

    def decoder(u: Array) -> Array:
        return inference.decode(model, u)

    means, _ = found(images)
    inferred = {
        "network": means,
        "searched": inference.search(decoder, images, means, steps=steps),
        "from_zero": inference.search(decoder, images, near, steps=steps),
    }
    errors = {
        way: jnp.sum((decoder(u) - images).reshape(len(images), -1) ** 2, axis=1)
        for way, u in inferred.items()
    }
    return inferred, errors


def markdown(found: InferenceFound) -> str:
    """The results as Markdown.

    Args:
        found: the results.

    Returns:
        A table of squared errors, and further results and settings below it.
    """
    lines = [
        f"| squared error, summed over pixels | {found.samples.network.n:,} fresh samples | "
        f"{found.test.network.n:,} test images |",
        "|---|---|---|",
    ]
    for way, name in ways(found.effort).items():
        of_samples, of_test = (getattr(one, way) for one in (found.samples, found.test))
        lines.append(f"| {name} | {_as_text(of_samples)} | {_as_text(of_test)} |")
    lines += [
        "",
        f"R² of a component of u on {PAIRS:,} fresh pairs: {found.mean_r_squared:.3f} on average, "
        f"from {min(found.r_squared):.3f} to {max(found.r_squared):.3f}; the network's standard "
        f"deviation of u: {found.deviation:.2f} on average, where 1 means to know nothing.",
        "",
        f"{found.benchmark}, seed {found.seed}; {found.data}. A network of two layers of "
        f"{found.effort.units:,} rectified linear units, {found.effort.steps:,} updates of "
        f"{found.effort.batch_size} fresh pairs each, noise {found.effort.noise:g}; "
        f"{found.effort.search} steps of Adam (0.05) on u. Means ± standard error over images. "
        f"{found.provenance.line(f'{found.seconds:.0f} s')}.",
    ]
    return "\n".join(lines) + "\n"


def ways(effort: Effort) -> dict[str, str]:
    """The ways of reconstructing an image, by name.

    Args:
        effort: how much was measured.

    Returns:
        The fields of [`advnets.bench.inference.Reconstructed`][], with a description of each.
    """
    return {
        "network": "G at what the network infers",
        "searched": f"after {effort.search} steps of search from there",
        "from_zero": f"after {effort.search} steps of search from 0",
        "mean_image": "the mean training image",
        "nearest": f"the nearest of {effort.neighbours:,} training images",
    }


def _as_text(mean: Mean) -> str:
    error = mean.standard_error
    if not error:
        return f"{mean.mean:.3g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{mean.mean:.{digits}f} ± {error:.{digits}f}"


def _draw(
    path: Path, subject: _Subject, found: InferenceFound, part: _Part, show: Callable[..., Any]
) -> None:
    """Draws test images and their reconstructions, squared errors, and R² of each component."""
    images = _images(subject, "test")[: len(part.shown["network"])]
    train = subject.preprocess(subject.data.train[: subject.effort.neighbours])
    rows, _ = advnets.neighbours.nearest(images, train)
    drawn = {
        "test image": images,
        **{name: _decoded(subject.model, part.shown[way]) for way, name in SEARCHED.items()},
        "nearest\ntraining image": train[np.asarray(rows)],
    }
    pictures = show(np.concatenate(list(drawn.values())))
    mosaic = frames.mosaic(np.asarray(pictures), len(images), max(1, images.shape[2] // 14))
    tall = 9.0 * mosaic.shape[0] / mosaic.shape[1]
    with _style.drawing(10, tall + 3.4, layout=None) as figure:
        whole = tall + 3.4
        top = figure.add_axes((0.14, 3.2 / whole, 0.84, tall / whole))
        grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
        top.imshow(mosaic, aspect="auto", interpolation="nearest", **grey)
        top.set_xticks([])
        centres = (np.arange(len(drawn)) + 0.5) * mosaic.shape[0] / len(drawn)
        top.set_yticks(centres, list(drawn))
        top.tick_params(length=0)
        top.spines[:].set_visible(False)
        errors = figure.add_axes((0.31, 0.55 / whole, 0.30, 2.3 / whole))
        names = ways(found.effort)
        for shift, colour, label, of in (
            (0.12, GREEN, "fresh samples", found.samples),
            (-0.12, INK, "test images", found.test),
        ):
            means = [getattr(of, way) for way in names]
            errors.errorbar(
                [one.mean for one in means],
                [shift - place for place in range(len(names))],
                xerr=[one.standard_error or 0 for one in means],
                fmt="o", ms=4, color=colour, label=label,
            )  # fmt: skip
        errors.set_yticks([-place for place in range(len(names))], list(names.values()), fontsize=8)
        errors.tick_params(axis="y", length=0)
        errors.set_xlim(left=-0.03 * errors.get_xlim()[1])
        errors.set_xlabel("squared error, summed over pixels")
        errors.grid(axis="x", color=GREY, alpha=0.2, lw=0.8)
        errors.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
        shares = figure.add_axes((0.71, 0.55 / whole, 0.27, 2.3 / whole))
        known = sorted(found.r_squared, reverse=True)
        shares.bar(range(1, len(known) + 1), known, color=BLUE, width=0.9)
        shares.set_ylim(min(0, *known, 0), max(1.15 * known[0], 0.1))
        shares.set(xlabel="component of u, in order", ylabel="R² on fresh samples")
        _style.save(path, figure)


@eqx.filter_jit
def _decoded_rows(model: advnets.Model, u: Float[Array, " n size"]) -> Array:
    return inference.decode(model, u)


def _decoded(model: advnets.Model, u: Sequence[Sequence[float]]) -> Float[np.ndarray, " n *shape"]:
    return np.asarray(_decoded_rows(model, jnp.asarray(u, jnp.zeros(0).dtype)))


def _walk(
    path: Path,
    subject: _Subject,
    found: inference.Inference,
    part: _Part,
    show: Callable[..., Any],
) -> None:
    """Draws lines in z between the inferred z of two real images, which are shown at the ends."""
    images = _images(subject, "test")[: len(part.shown["network"])]
    lines = min(LINES, len(images) // 2)
    if lines == 0:
        return
    u = jnp.asarray(part.shown["searched"], jnp.zeros(0).dtype)[: 2 * lines]
    z = inference.latents_of(subject.model.prior, u)
    between = subject.model.interpolate_between(
        jax.random.fold_in(subject.key, 4), z[:lines], z[lines:], STEPS
    )
    ends = images[: 2 * lines].reshape(2, lines, 1, *images.shape[1:])
    rows = np.concatenate([ends[0], np.asarray(between), ends[1]], axis=1)
    shown = np.asarray(show(rows.reshape(-1, *images.shape[1:]))).reshape(rows.shape)
    advnets.figures.interpolations(path, shown)


def summary(found: InferenceFound) -> str:
    """The results for a terminal.

    Args:
        found: the results.

    Returns:
        A line for each number.
    """
    lines = ["Squared error, summed over pixels (fresh samples; test images):"]
    for way, name in ways(found.effort).items():
        of_samples, of_test = (getattr(one, way) for one in (found.samples, found.test))
        lines.append(f"  {name}: {_as_text(of_samples)}; {_as_text(of_test)}")
    lines.append(f"R² of a component of u on fresh samples: {found.mean_r_squared:.3f} on average")
    return "\n".join(lines)
