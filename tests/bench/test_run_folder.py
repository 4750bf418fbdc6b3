"""What a run leaves: its files, their keys and types, pictures, and models that draw again."""

from pathlib import Path

import jax
import matplotlib.image
import numpy as np
import pytest
from helpers.runs import content, result_of, rows_of

import advnets
from advnets import bench
from advnets.bench import folders

# Left by the version before results were typed, with the settings of the finished run.
OLDER = Path(__file__).parent / "older_run"


def test_a_run_leaves_what_it_promises(finished):
    result = result_of(finished)
    names = {path.name for path in finished.iterdir()}
    assert f"generator-epoch-{result.best.epoch}.safetensors" in names
    assert {name for name in names if not name.startswith("generator-epoch-")} == {
        "config.json", "metrics.jsonl", "results.json", "samples.png",
        "interpolations.png", "memorisation.png", "curves.png", "checkpoints",
        "generator.safetensors", ".running.lock", "report.html", "samples",
    }  # fmt: skip
    small = {path.name for path in (finished / "samples").iterdir()}
    assert small == {"epoch-000002.png", "epoch-000004.png", "training.png"}
    assert (result.benchmark, result.seed, result.epochs, result.updates) == ("digits", 2, 4, 48)
    assert result.updates_per_second > 0
    assert result.parzen.num_samples == 256
    assert result.parzen.bandwidth in np.logspace(-1, 0, 10)
    assert (result.parzen.validation.n, result.parzen.test.n) == (256, 256)
    assert result.references.training_images.bandwidth in np.logspace(-1, 0, 10)
    assert result.references.paper is None
    assert result.provenance.command
    rows = rows_of(finished)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert ["validation" in row for row in rows] == [False, True, False, True]
    best = max((row for row in rows if "validation" in row), key=lambda r: r["validation"]["mean"])
    assert result.best.epoch == best["epoch"]


def types_of(value, path="$"):
    """The type of every number and text, by its place."""
    if isinstance(value, dict):
        return {k: t for name in value for k, t in types_of(value[name], f"{path}.{name}").items()}
    if isinstance(value, list):
        return {k: t for item in value for k, t in types_of(item, f"{path}[]").items()} | {
            path: list
        }
    return {path: type(value)}


@pytest.mark.parametrize("name", ["config.json", "results.json"])
def test_files_have_the_keys_and_types_that_they_had(finished, name):
    ours, theirs = content(finished / name), content(OLDER / name)
    added = {"data_sha256", "evaluations", "files", "format", "sha256"}
    assert [key for key in ours if key not in added] == list(theirs)
    for key in added:
        ours.pop(key, None)
    since = ("average", "average_share", "final_rate", "penalty", "penalty_every", "update_rule")
    for key in since:
        ours["recipe"].pop(key)
    for player in ("generator", "discriminator"):
        ours["recipe"][player].pop("channels")
    ours["recipe"]["discriminator"].pop("layers")
    # The commit and the cores that are known, and which packages, depend on where a run was made.
    for found in (ours, theirs):
        found.pop("provenance", None)
    assert types_of(ours) == types_of(theirs)


def test_metrics_have_the_keys_and_types_that_they_had(finished):
    for ours, theirs in zip(rows_of(finished), rows_of(OLDER), strict=True):
        added = {"$.model_sha256": str} if "validation" in ours and "model_sha256" in ours else {}
        assert types_of(ours) == types_of(theirs) | added


def test_provenance_has_the_keys_that_it_had(finished):
    ours, theirs = (content(f / "results.json")["provenance"] for f in (finished, OLDER))
    assert ours.keys() == theirs.keys()
    assert ours["device"].keys() == theirs["device"].keys()
    assert {"python", "advnets", "jax"} <= ours["versions"].keys()


def test_the_pictures_hold_samples_and_training_images(finished):
    picture = matplotlib.image.imread(finished / "samples.png")[..., 0]
    scale = picture.shape[0] // (8 * 9 + 1)
    picture = picture[::scale, ::scale]
    train = np.round(advnets.data.load("digits").train / 255, 2)
    for row in range(8):
        neighbour = picture[1 + 9 * row : 9 + 9 * row, 2 + 10 * 9 : 2 + 10 * 9 + 8]
        assert np.abs(train - neighbour).max(axis=(1, 2)).min() < 0.01
    assert matplotlib.image.imread(finished / "curves.png").std() > 0


@pytest.mark.parametrize("best", [False, True])
def test_the_saved_model_draws_what_was_scored(finished, best):
    result = result_of(finished)
    epoch, score = (
        (result.best.epoch, result.best.parzen) if best else (result.epochs, result.parzen)
    )
    model = bench.load_model(finished, best=best)
    assert isinstance(model, advnets.Model)
    samples_key = jax.random.split(jax.random.key(2), 3)[2]
    samples = model.sample(jax.random.fold_in(samples_key, epoch), 256)
    test = advnets.data.load("digits").test.astype(np.float32) / 255
    again = advnets.parzen.log_likelihood(test, samples, score.bandwidth)
    assert again.mean == pytest.approx(score.test.mean, rel=1e-6)


def test_loading_from_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="name the folder of a finished run"):
        bench.load_model(tmp_path)


LEFT = [".running.lock", ".running.json.partial", "config.json.partial", "seed-0/config.json"]


@pytest.mark.parametrize("left", [*LEFT, "seed-0/config.json.partial"])
def test_what_a_process_leaves_that_is_killed_before_its_run_begins_is_no_run(tmp_path, left):
    (tmp_path / "seed-1").mkdir()
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).touch()
    assert folders.choose("digits", tmp_path, False) == tmp_path


@pytest.mark.parametrize("there", ["notes.txt", "config.json", "seed-0/metrics.jsonl"])
def test_a_folder_with_anything_else_is_not_empty(tmp_path, there):
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    with pytest.raises(FileExistsError, match="not empty; continue its run with --resume"):
        folders.choose("digits", tmp_path, False)
