"""Few labels: linear classifiers on features of a finished run, compared with pixels and PCA.

Section 7 of the paper: features of the discriminator, or of the inference network, could improve a
classifier when labels are few. Each is compared with the same layer of an untrained discriminator.
"""

import dataclasses
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jaxtyping import Array, Float, Int

import advnets
from advnets import _files, _locks, _progress, _signals, _style
from advnets._counts import check_count, counted
from advnets._extras import needed_for
from advnets._style import BLUE, GREEN, GREY, INK
from advnets.bench import inference, results
from advnets.bench._parts import Part, identity_of, read_kept
from advnets.bench.folders import LAST, check_writable, newest_checkpoint
from advnets.bench.pages.players import players
from advnets.bench.protocol import on_host
from advnets.bench.rescoring import data_of, open_run
from advnets.bench.results import Config, Provenance
from advnets.bench.systems import Adversarial, Conditional, Inpainting
from advnets.bench.systems.games import stage_keys
from advnets.few_labels import draw_labelled
from advnets.players import apply

FOLDER, FOUND = "features", "features.json"
PARTS = "parts"
# Inverse strengths of regularisation, from which one is chosen on validation rows.
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
DRAWS = 10
# Validation rows of that choice; unlabelled training rows by which features are standardised.
CHOSEN_ON, UNLABELLED = 1000, 10_000
COMPONENTS = 50
# Rows in a block; the size of a feature vector beyond which it is left out.
BLOCK, LARGEST = 1000, 4096
# Steps of the classifier's solver; from this many rows on, fewer.
ITERATIONS, MANY, FEWER = 1000, 10_000, 100
VERSION = 1
GROUPS = {"raw": INK, "trained": GREEN, "untrained": GREY, "inference": BLUE}

# Maps preprocessed images to a feature vector for each.
Maker: TypeAlias = Callable[[Float[np.ndarray, " n *shape"]], Float[np.ndarray, " n features"]]


class Few(msgspec.Struct, frozen=True):
    """The errors of classifiers on features, with one number of labels.

    Attributes:
        labels: the number of labels, over all classes.
        c: the inverse strength of regularisation chosen on validation rows, the same for all
            draws.
        validation: the mean error of the draws on validation rows, as a fraction.
        test: the error of each draw on the test rows, as a fraction.
    """

    labels: int
    c: float
    validation: float
    test: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean test error over draws."""
        return float(np.mean(self.test))

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the test error over draws; None for one draw."""
        return float(np.std(self.test, ddof=1)) if len(self.test) > 1 else None


class FeatureRow(msgspec.Struct, frozen=True):
    """One kind of features.

    Attributes:
        name: the name of the features.
        group: `raw`, `trained`, `untrained` or `inference`.
        size: the size of an image's feature vector; 0 if there are no features.
        found: the errors, for each number of labels.
        reason: why there are no errors, if there are none.
    """

    name: str
    group: str
    size: int
    found: tuple[Few, ...]
    reason: str = ""


class FeaturesFound(msgspec.Struct, frozen=True):
    """What `features.json` holds.

    Attributes:
        benchmark: the run's.
        seed: the run's.
        model_sha256: the SHA-256 of its model's file.
        labels: the numbers of labels.
        draws: the number of draws of labels, with seeds from 0; all labels are one draw.
        rows: one for each kind of features.
        test_rows: the number of test rows.
        data: where the data came from.
        seconds: how long it took, without parts done before.
        provenance: the provenance of the results.
    """

    benchmark: str
    seed: int
    model_sha256: str
    labels: tuple[int, ...]
    draws: int
    rows: tuple[FeatureRow, ...]
    test_rows: int
    data: str
    seconds: float
    provenance: Provenance


def hidden_layers(
    player: Any, examples: Float[Array, " n *data"]
) -> list[Float[Array, " n features"]]:
    """The outputs of each hidden layer of a network, without noise; a pure function.

    A hidden layer ends where the next layer with weights begins, so it includes its activation.

    Args:
        player: an `eqx.nn.Sequential`.
        examples: a batch.

    Returns:
        Each hidden layer's outputs, flat.

    Raises:
        ValueError: for another kind of network.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> from advnets.bench.features import hidden_layers
        >>> net = advnets.networks.maxout_discriminator(jax.random.key(0), (28, 28))
        >>> [found.shape for found in hidden_layers(net, jnp.zeros((3, 28, 28)))]
        [(3, 240), (3, 240)]
    """
    if not isinstance(player, eqx.nn.Sequential):
        raise ValueError(
            f"features are taken from an eqx.nn.Sequential, whose layers are known; got a "
            f"{type(player).__name__}"
        )
    found, outputs, weighted = [], examples, False
    for layer in eqx.nn.inference_mode(player).layers:
        if any(eqx.is_inexact_array(leaf) for leaf in jax.tree.leaves(layer)):
            if weighted:
                found.append(outputs.reshape(len(outputs), -1))
            weighted = True
        outputs, _ = apply(layer, None, outputs)
    return found


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A kind of features, or why there is none; if proportioned, all share one scale."""

    name: str
    group: str
    make: Maker | None
    reason: str = ""
    proportioned: bool = False


def prepare(
    run: str | os.PathLike[str],
    labels: Sequence[int] = (100, 1000),
    out: str | os.PathLike[str] | None = None,
    *,
    draws: int = DRAWS,
    data_dir: str | os.PathLike[str] | None = None,
) -> Callable[[bool], FeaturesFound]:
    """Checks all that can be checked before classifiers are fitted to a run's features.

    The features are pixels, 50 principal components, the hidden layers of the discriminator in the
    newest checkpoint, those of the discriminator before training, and, if
    [`advnets.bench.inference`][] has fitted one, the inference network's hidden layers and its u.

    Args:
        run: the folder of a finished adversarial run.
        labels: the numbers of labelled rows, each a multiple of the number of classes, or the
            number of all training rows.
        out: where the results go; by default `features/` in the run's folder.
        draws: the number of draws of labelled rows, at least 1.
        data_dir: where the run's data are, see [`advnets.data.load`][].

    Returns:
        A function that fits, measures and writes, given whether to show progress. After an
        interruption it continues with the next kind of features.

    Raises:
        FileNotFoundError: if the folder holds no finished run.
        ValueError: if the run is not adversarial, the data have no labels or are not the run's, or
            a number of labels can't be drawn; if a file is damaged.
        OSError: if the results can't be written.
    """
    origin, folder = Provenance.here(), Path(run)
    _, config, system, result = open_run(folder)
    if not isinstance(system, Adversarial) or isinstance(system, Conditional | Inpainting):
        raise ValueError(
            f"{folder} is a run of {config.benchmark}, which has no discriminator of images alone, "
            "whose features are measured; name a run of another recipe, such as mnist"
        )
    data = system.adapted(data_of(folder, system, result, data_dir))
    train_labels, fold = data.train_labels, data.folds[0]
    if train_labels is None or fold.validation_labels is None or fold.test_labels is None:
        raise ValueError(
            f"the images of {data.name} have no labels; name a run on data with labels"
        )
    if not labels:
        raise ValueError("give at least one number of labelled rows, such as --labels 100")
    check_count("the number of draws", draws)
    for count in labels:
        draw_labelled(train_labels, count, 0)
    with needed_for("linear classifiers"):
        import sklearn.linear_model  # noqa: F401  (before the work, not after it)
    place = folder / FOLDER if out is None else Path(out)
    check_writable(place / FOUND)
    digest = _files.sha256(folder / LAST)
    counts = tuple(dict.fromkeys(labels))
    preprocess = on_host(system.settings.preprocessing)

    def work(progress: bool) -> FeaturesFound:
        place.mkdir(exist_ok=True)
        with _locks.locked(place), system.context():
            began, rows = time.monotonic(), []
            kinds = list(_kinds(folder, config, system, data, preprocess))
            bar = _progress.bar(len(kinds) * len(counts), "features", unit="fit", enabled=progress)
            with bar as shown:
                for number, kind in enumerate(kinds):
                    shown.set_postfix_str(kind.name)
                    identity = _identity(folder, digest, data, kind, counts, draws)
                    path = place / PARTS / f"{number}.json"
                    kept = read_kept(path, _Row, identity)
                    if kept is None:
                        measured = _measured(kind, data, preprocess, counts, draws, shown)
                        kept = _Row(identity, measured)
                        path.parent.mkdir(exist_ok=True)
                        results.write(path, kept)
                    else:
                        shown.update(len(counts))
                    rows.append(kept.row)
            found = FeaturesFound(
                benchmark=config.benchmark,
                seed=config.seed,
                model_sha256=digest,
                labels=counts,
                draws=draws,
                rows=tuple(rows),
                test_rows=len(data.test),
                data=data.source,
                seconds=time.monotonic() - began,
                provenance=origin,
            )
            picture(place / "features.png", found)
            _files.replace(place / "features.md", markdown(found).encode())
            results.write(place / FOUND, found)
        return found

    return work


class _Row(Part, frozen=True):
    """A finished row."""

    row: FeatureRow


def _identity(
    folder: Path,
    digest: str,
    data: advnets.data.Dataset,
    kind: _Kind,
    counts: Sequence[int],
    draws: int,
) -> str:
    """What a row's numbers depend on."""
    newest, network = newest_checkpoint(folder), folder / inference.FOLDER / inference.NETWORK
    parts = [VERSION, kind.name, kind.reason, list(counts), draws, digest, data.fingerprint()]
    if kind.group == "trained" and newest is not None:
        parts.append([_files.sha256(path) for path in sorted(newest.place.glob("*.safetensors"))])
    if kind.group == "inference" and network.is_file():
        parts.append(_files.sha256(network))
    return identity_of(parts)


def _kinds(
    folder: Path,
    config: Config,
    system: Adversarial,
    data: advnets.data.Dataset,
    preprocess: Callable[..., np.ndarray],
) -> Iterator[_Kind]:
    """All kinds of features of a run, in the order of the table."""
    yield _Kind("pixels", "raw", _flat)
    unlabelled = preprocess(data.train[:UNLABELLED])
    principal = _principal(_flat(unlabelled))
    yield _Kind(f"PCA {COMPONENTS}", "raw", principal, proportioned=True)
    opened = players(folder, config, system, finished=True)
    key = stage_keys(config.seed, second=system.two_stages)[0]
    fresh = system.build(key, data.train).discriminator
    for group, name, player in (
        ("trained", "D", opened.discriminator),
        ("untrained", "untrained D", fresh),
    ):
        if player is None:
            yield _Kind(name, group, None, opened.of_discriminator)
            continue
        for number, _ in enumerate(_shapes(player, unlabelled)):
            yield _Kind(f"{name}, layer {number + 1}", group, _layer(player, number))
    left = inference.read(folder)
    if left is None:
        why = f"fit one first: python -m advnets.bench inference {folder}"
        yield _Kind("inference network", "inference", None, why)
        return
    _, network = left
    for number, _ in enumerate(_shapes(network.net, unlabelled)):
        name = f"inference network, layer {number + 1}"
        yield _Kind(name, "inference", _layer(network.net, number))
    yield _Kind("inference network, u", "inference", _blocks(lambda x: network(x)[0]))


def _shapes(player: Any, images: Float[np.ndarray, " n *shape"]) -> list[Any]:
    return eqx.filter_eval_shape(hidden_layers, player, jnp.asarray(images[:1]))


def _flat(images: Float[np.ndarray, " n *shape"]) -> Float[np.ndarray, " n pixels"]:
    return images.reshape(len(images), -1)


def _principal(rows: Float[np.ndarray, " n pixels"]) -> Maker:
    """The first principal components of pixels."""
    centre = rows.mean(axis=0, dtype=np.float64)
    _, vectors = np.linalg.eigh(np.cov(rows.astype(np.float64) - centre, rowvar=False))
    basis = vectors[:, ::-1][:, :COMPONENTS]
    return lambda images: (_flat(images) - centre) @ basis


def _layer(player: Any, number: int) -> Maker:
    return _blocks(lambda examples: hidden_layers(player, examples)[number])


def _blocks(make: Callable[..., Array]) -> Maker:
    """Turns a function of device arrays into one of host rows, which works in blocks."""
    compiled = jax.jit(make)

    def of_rows(images: Float[np.ndarray, " n *shape"]) -> Float[np.ndarray, " n features"]:
        parts = []
        for first in range(0, len(images), BLOCK):
            rows = images[first : first + BLOCK]
            whole = np.concatenate(
                [rows, np.zeros((BLOCK - len(rows), *rows.shape[1:]), rows.dtype)]
            )
            parts.append(np.asarray(compiled(whole))[: len(rows)])
        return np.concatenate(parts)

    return of_rows


def _measured(
    kind: _Kind,
    data: advnets.data.Dataset,
    preprocess: Callable[..., np.ndarray],
    counts: Sequence[int],
    draws: int,
    shown: Any,
) -> FeatureRow:
    """Measures one kind of features with the classifier, for each number of labels."""
    if kind.make is None:
        shown.update(len(counts))
        return FeatureRow(kind.name, kind.group, 0, (), kind.reason)
    make, fold = kind.make, data.folds[0]

    def of(images: np.ndarray) -> Float[np.ndarray, " n features"]:
        blocks = [images[first : first + 10_000] for first in range(0, len(images), 10_000)]
        return np.concatenate([make(preprocess(block)) for block in blocks])

    unlabelled = of(data.train[:UNLABELLED])
    if unlabelled.shape[1] > LARGEST:
        shown.update(len(counts))
        why = f"{unlabelled.shape[1]:,} numbers for an image, more than {LARGEST:,}"
        return FeatureRow(kind.name, kind.group, unlabelled.shape[1], (), why)
    standard = _standardised(unlabelled, together=kind.proportioned)
    assert data.train_labels is not None
    assert fold.validation_labels is not None
    assert fold.test_labels is not None
    chosen_on = standard(of(fold.validation[:CHOSEN_ON])), fold.validation_labels[:CHOSEN_ON]
    tested_on = standard(of(fold.test)), fold.test_labels
    found = []
    for count in counts:
        # All labels are one draw.
        seeds = range(1 if count == len(data.train) else draws)
        row_sets = [draw_labelled(data.train_labels, count, seed) for seed in seeds]
        drawn = [(standard(of(data.train[rows])), data.train_labels[rows]) for rows in row_sets]
        found.append(few(drawn, chosen_on, tested_on))
        shown.update(1)
        _signals.check()
    return FeatureRow(kind.name, kind.group, unlabelled.shape[1], tuple(found))


# Rows and their classes.
Labelled: TypeAlias = tuple[Float[np.ndarray, " _ features"], Int[np.ndarray, " _"]]


def few(
    drawn: Sequence[Labelled], validation: Labelled, test: Labelled, grid: Sequence[float] = GRID
) -> Few:
    """Multinomial logistic regression on each draw of labelled rows.

    Args:
        drawn: for each draw, the features of its rows and their labels; all of the same length.
        validation: rows on which the strength of regularisation is chosen, by the mean error of all
            draws.
        test: rows on which the draws' errors are measured, at the chosen strength only.
        grid: the inverse strengths C to choose from; of equally good ones the first is chosen.

    Returns:
        The errors.

    Raises:
        ValueError: if there is no draw or no strength.

    Example:
        >>> import numpy as np
        >>> from advnets.bench.features import few
        >>> rows = np.array([[-1.0], [1.0], [-2.0], [2.0]]), np.array([0, 1, 0, 1])
        >>> few([rows], rows, rows).test
        (0.0,)
    """
    if not drawn or not grid:
        raise ValueError("classifiers need at least 1 draw and 1 strength of regularisation")
    with needed_for("linear classifiers"):
        import threadpoolctl  # which scikit-learn brings
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

    def fitted(labelled: Labelled, c: float) -> Any:
        many = len(labelled[0]) >= MANY
        # Small products take longer with more than one thread.
        threads, steps = (None, FEWER) if many else (1, ITERATIONS)
        with threadpoolctl.threadpool_limits(threads), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return LogisticRegression(C=c, max_iter=steps).fit(*labelled)

    best: tuple[float, float, list[Any]] | None = None
    for c in grid:
        models = [fitted(labelled, c) for labelled in drawn]
        error = float(np.mean([1 - model.score(*validation) for model in models]))
        _signals.check()
        if best is None or error < best[0]:
            best = error, c, models
    assert best is not None
    error, c, models = best
    return Few(len(drawn[0][1]), c, error, tuple(float(1 - model.score(*test)) for model in models))


def _standardised(
    rows: Float[np.ndarray, " n features"], *, together: bool = False
) -> Callable[[Float[np.ndarray, " m features"]], Float[np.ndarray, " m features"]]:
    """Standardises features on some rows, each or all with one scale; constants become 0."""
    centre = rows.mean(axis=0, dtype=np.float64)
    scale = rows.std(axis=0, dtype=np.float64)
    if together:
        scale = np.full_like(scale, np.sqrt(np.mean(scale**2)))
    scale = np.where(scale > 0, scale, 1.0)
    return lambda other: (other.astype(np.float64) - centre) / scale


def _percent(few: Few) -> str:
    spread = "" if few.deviation is None else f" ± {100 * few.deviation:.1f}"
    return f"{100 * few.mean:.1f}{spread}"


def markdown(found: FeaturesFound) -> str:
    """The results as Markdown.

    Args:
        found: the results.

    Returns:
        A table of test errors in percent, and how they were measured.
    """
    lines = [
        f"| test error, % | numbers | {' | '.join(f'{n:,} labels' for n in found.labels)} |",
        "|---|---|" + "---|" * len(found.labels),
    ]
    for row in found.rows:
        if row.found:
            cells = " | ".join(_percent(one) for one in row.found)
            lines.append(f"| {row.name} | {row.size:,} | {cells} |")
    lines += ["", *(f"- {row.name}: {row.reason}" for row in found.rows if row.reason)]
    lines += [
        "",
        f"{found.benchmark}, seed {found.seed}; {found.data}. Multinomial logistic regression on "
        f"features standardised by the first {UNLABELLED:,} training rows (principal components "
        "with one common scale). Labels are balanced over classes; mean ± standard deviation over "
        f"{counted(found.draws, 'draw')} (of all labels: one). "
        f"C, from {', '.join(f'{c:g}' for c in GRID)}, is chosen for each cell on the first "
        f"{CHOSEN_ON:,} validation rows, the same for all draws; the {found.test_rows:,} test rows "
        f"are used once. {found.provenance.line(f'{found.seconds:.0f} s')}.",
    ]
    return "\n".join(lines) + "\n"


def summary(found: FeaturesFound) -> str:
    """The results for a terminal.

    Args:
        found: the results.

    Returns:
        A line for each kind of features.
    """
    width = max(len(row.name) for row in found.rows)
    counts = ", ".join(f"{n:,}" for n in found.labels)
    lines = [f"Test error in percent, with {counts} labels:"]
    for row in found.rows:
        cells = "   ".join(f"{_percent(one):>12}" for one in row.found) or row.reason
        lines.append(f"  {row.name:<{width}}  {cells}")
    return "\n".join(lines)


def picture(path: str | os.PathLike[str] | None, found: FeaturesFound) -> Any:
    """Test errors as a chart: a panel for each number of labels, a row for each kind of features.

    Args:
        path: the PNG file; None for a figure that is only returned.
        found: the results.

    Returns:
        The figure.
    """
    rows = [row for row in found.rows if row.found]
    with _style.drawing(3 + 2.9 * len(found.labels), 1.3 + 0.3 * len(rows)) as figure:
        axes = figure.subplots(1, len(found.labels), sharey=True, squeeze=False)[0]
        for panel, (axis, count) in enumerate(zip(axes, found.labels, strict=True)):
            for place, row in enumerate(rows):
                one = row.found[panel]
                colour = GROUPS[row.group]
                axis.plot(
                    100 * np.array(one.test), [-place] * len(one.test), "o", ms=2.5, color=colour,
                    alpha=0.35,
                )  # fmt: skip
                spread = None if one.deviation is None else 100 * one.deviation
                axis.errorbar(
                    100 * one.mean, -place, xerr=spread, fmt="o", ms=5, color=colour, capsize=3
                )
                axis.annotate(
                    f"{100 * one.mean:.1f}", (100 * one.mean, -place), xytext=(0, 5),
                    textcoords="offset points", ha="center", fontsize=7.5, color=colour,
                )  # fmt: skip
            axis.set(title=f"{count:,} labels", xlabel="test error, %", ylim=(0.4 - len(rows), 0.7))
            axis.set_xlim(left=0)
            axis.grid(axis="x", color=GREY, alpha=0.2, lw=0.8)
            axis.set_axisbelow(True)
            axis.tick_params(axis="y", length=0)
            axis.spines[["left"]].set_visible(False)
        axes[0].set_yticks([-place for place in range(len(rows))], [row.name for row in rows])
        return _style.save(path, figure)
