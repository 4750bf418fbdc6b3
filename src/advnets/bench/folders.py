"""A run's folder: where it is, what it was run with, and whether it may be gone on with."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import advnets
from advnets.bench.recipes import (
    Benchmark,
    Deconvolution,
    DiscriminatorSpec,
    GeneratorSpec,
    Recipe,
    SecondStage,
)

CONFIG, METRICS, RESULTS = "config.json", "metrics.jsonl", "results.json"
LAST = "generator.safetensors"
# Of a run in two stages; the second one's files are in the run's own folder.
FIRST_STAGE = "first-stage"


def choose(name: str, out: str | os.PathLike[str] | None, resume: bool) -> Path:
    """The folder of a run, which is not made yet.

    Args:
        name: the benchmark's.
        out: the folder, if the user names one; else the next of `runs/NAME`, `runs/NAME-2` and so
            on, or to resume the latest of them.
        resume: whether a run in the folder is to be continued.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: if there is nothing to resume.
        FileExistsError: if the folder is not empty.
    """
    if out is not None:
        folder = Path(out)
    else:
        number = 1
        while _default(name, number + resume).exists():
            number += 1
        folder = _default(name, number)
    if resume and not (folder / CONFIG).exists():
        raise FileNotFoundError(
            f"there is no run to resume in {folder}; name its folder with --out"
        )
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} is not empty; continue its run with --resume, or choose another with --out"
        )
    return folder


def _default(name: str, number: int) -> Path:
    return Path("runs") / (name if number == 1 else f"{name}-{number}")


def config(
    benchmark: Benchmark,
    seed: int,
    image_shape: tuple[int, ...],
    first_stage: dict[str, str] | None,
) -> dict[str, Any]:
    """What `config.json` holds of a run: all that it depends on beside data and versions."""
    return {
        "benchmark": benchmark.name,
        "seed": seed,
        "image_shape": list(image_shape),
        "first_stage": first_stage,
        "recipe": dataclasses.asdict(benchmark.recipe),
    }


def identify_first_stage(
    folder: Path, given: str | os.PathLike[str] | None, resume: bool
) -> dict[str, str] | None:
    """Which first stage a run builds on, if not on one of its own.

    Args:
        folder: the run's.
        given: the first stage's folder; when resuming, the one that the run began with unless
            given.
        resume: whether the run is continued.

    Returns:
        The first stage's `folder` and the `sha256` of its generator's file, or None.

    Raises:
        FileNotFoundError: if the first stage's folder holds no generator.
        ValueError: if a run is to be continued on another first stage than it began with.
    """
    stored = read_config(folder)["first_stage"] if resume else None
    if given is None and stored is not None:
        given = stored["folder"]
    if given is None:
        return None
    path = Path(given) / LAST
    if not path.exists():
        raise FileNotFoundError(
            f"there is no first stage in {given}: it holds no {LAST}; name the folder of a "
            f"finished first stage (a run's {FIRST_STAGE}), or leave out --first-stage to train it"
        )
    found = {"folder": str(given), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    if resume and (stored is None or stored["sha256"] != found["sha256"]):
        raise ValueError(
            f"{folder} does not build on the first stage in {given}; resume with the one that it "
            "began with, or choose another folder with --out"
        )
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """A run's `config.json`; a ValueError if it is damaged."""
    try:
        stored: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder / CONFIG} can't be read ({error}); the run is damaged") from None
    return stored


def recipe_from(stored: Mapping[str, Any]) -> Recipe:
    """A recipe from its JSON, which has lists for tuples and dictionaries for dataclasses."""

    def build(kind: type, fields: Mapping[str, Any], **nested: Any) -> Any:
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return kind(**plain | nested)

    generator, discriminator = stored["generator"], stored["discriminator"]
    recipe: Recipe = build(
        Recipe,
        stored,
        generator=build(
            GeneratorSpec,
            generator,
            deconvolution=build(Deconvolution, generator["deconvolution"]),
        ),
        discriminator=build(
            DiscriminatorSpec,
            discriminator,
            convolutions=tuple(
                build(advnets.Convolution, layer) for layer in discriminator["convolutions"]
            ),
        ),
        second_stage=build(SecondStage, stored["second_stage"]),
    )
    return recipe


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """A recipe's JSON without nesting: `generator.hidden_sizes` and so on."""
    if not isinstance(value, dict):
        return {name: value}
    return {
        inner: leaf
        for key, part in value.items()
        for inner, leaf in flat(part, f"{name}.{key}".lstrip(".")).items()
    }


def check_alone(folder: Path) -> None:
    """Refuses to resume one of the runs that were trained together: their checkpoints are common.

    Args:
        folder: the run's.

    Raises:
        ValueError: if the folder is one of several runs'.
    """
    parent = folder.absolute().parent
    together = read_config(parent) if (parent / CONFIG).exists() else {}
    if seeds := together.get("seeds"):
        rates = " ".join(map(str, together.get("learning_rates", [])))
        raise ValueError(
            f"{folder} was trained together with others; resume them all with --seeds {seeds} "
            + (f"--learning-rates {rates} " if rates else "")
            + f"--out {parent}"
        )


def check_same(
    folder: Path,
    benchmark: Benchmark,
    seed: int,
    seeds: int = 1,
    learning_rates: Sequence[float] = (),
) -> None:
    """Refuses to resume with settings other than the run's own; only more epochs are allowed.

    Args:
        folder: the run's.
        benchmark: what is to be continued.
        seed: its seed, or the first of several.
        seeds: how many.
        learning_rates: those of a sweep.

    Raises:
        ValueError: if a setting differs, or fewer epochs are asked for than there are.
    """
    stored = read_config(folder)
    wanted = json.loads(json.dumps(dataclasses.asdict(benchmark.recipe)))
    old, new = (
        flat({"benchmark": name, "seed": first, "seeds": number, "learning_rates": rates, **recipe})
        for name, first, number, rates, recipe in (
            (
                stored["benchmark"],
                stored["seed"],
                stored.get("seeds", 1),
                stored.get("learning_rates", []),
                stored["recipe"],
            ),
            (benchmark.name, seed, seeds, list(learning_rates), wanted),
        )
    )
    # The last stage's epochs may be more than they were; a first stage's are what it was built on.
    last = "second_stage.epochs" if benchmark.recipe.second_stage.epochs else "epochs"
    log = folder / METRICS
    reached = len(log.read_text().splitlines()) if log.exists() else 0
    if new[last] < reached:
        raise ValueError(
            f"{folder} already holds {reached} epochs; ask for as many or more, got "
            f"--{last.replace('_', '-')} {new[last]}"
        )
    one, two = "a run in one stage", "a run in two stages"
    if bool(old.get("second_stage.epochs")) != bool(new["second_stage.epochs"]):
        was, is_now = (two, one) if old.get("second_stage.epochs") else (one, two)
        raise ValueError(f"{folder} holds {was}, not {is_now}; choose another folder with --out")
    differing = [key for key in old | new if key != last and old.get(key) != new.get(key)]
    if differing:
        key = differing[0]
        raise ValueError(
            f"{folder} was run with {key} = {old.get(key)!r}, not {new.get(key)!r}; resume with "
            "the settings that it began with, or choose another folder with --out"
        )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def best_name(epoch: int | str) -> str:
    """The file of the best generator on validation rows, which is of that epoch."""
    return f"generator-epoch-{epoch}.safetensors"


def best_row(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the epoch with the highest validation likelihood; None if none has one."""
    scored = [row for row in rows if "validation" in row]
    return max(scored, key=lambda row: row["validation"]["mean"], default=None)
