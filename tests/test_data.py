"""The data sets: splits, and refusals before any work."""

import io

import datasets
import numpy as np
import pytest
from PIL import Image

from advnets import data


def test_digits_are_split_without_overlap_or_loss():
    import sklearn.datasets

    digits = data.load("digits")
    parts = [digits.train, digits.validation, digits.test]
    assert [part.dtype for part in parts] == [np.uint8] * 3
    assert sum(map(len, parts)) == 1797
    everything = sklearn.datasets.load_digits()
    rows = np.arange(1797)
    for part, keep in zip(parts, [rows % 7 < 5, rows % 7 == 5, rows % 7 == 6], strict=True):
        np.testing.assert_allclose(part / 255, everything.images[keep] / 16, atol=0.5 / 255)
        # Every part has every class, about equally often.
        assert np.bincount(everything.target[keep]).min() > 0.07 * keep.sum()


def test_real_mnist_is_split_as_in_the_paper(data_dir):
    mnist = data.load("mnist", data_dir)
    assert mnist.train.shape == (50_000, 28, 28)
    assert mnist.validation.shape == (10_000, 28, 28)
    assert mnist.test.shape == (10_000, 28, 28)
    # Facts of MNIST that any copy must agree on.
    whole = np.concatenate([mnist.train, mnist.validation])
    assert whole.mean() / 255 == pytest.approx(0.130660476, abs=1e-8)
    assert whole.std() / 255 == pytest.approx(0.308107804, abs=1e-8)


def mirror(tmp_path, images, test_images=None):
    """A local mirror with these images under MNIST's name."""
    folder = tmp_path / "ylecun" / "mnist" / "mnist"
    folder.mkdir(parents=True)
    for split, part in (
        ("train", images),
        ("test", images if test_images is None else test_images),
    ):
        rows = []
        for image in part:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            rows.append({"bytes": buffer.getvalue(), "path": None})
        table = datasets.Dataset.from_dict(
            {"image": rows, "label": [0] * len(rows)},
            features=datasets.Features(
                {"image": datasets.Image(), "label": datasets.Value("int64")}
            ),
        )
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


GREY = np.zeros((3, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GREY, "the train split has 3 rows where ylecun/mnist has 60000"),
        (GREY[:, :20], r"uint8 of shape \(28, 28\); got uint8 of shape \(20, 28\)"),
        (np.zeros((3, 28, 28, 3), np.uint8), r"got uint8 of shape \(28, 28, 3\)"),
        (GREY.astype(np.uint16), r"got (u?int\d+) of shape \(28, 28\)"),
    ],
)
def test_other_images_than_the_names_are_refused(tmp_path, images, message):
    mirror(tmp_path, images)
    with pytest.raises(data.DataError, match=message):
        data.load("mnist", tmp_path)


def test_a_missing_mirror_is_named(tmp_path):
    with pytest.raises(data.DataError, match=r"there is no folder .*ylecun/mnist; --data-dir"):
        data.load("mnist", tmp_path)


def test_the_environment_names_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVNETS_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(data.DataError, match="elsewhere"):
        data.load("mnist")


def test_truncated_files_are_refused_even_if_good_ones_were_seen_before(tmp_path):
    folder = mirror(tmp_path, GREY)
    with pytest.raises(data.DataError, match="3 rows"):
        data.load("mnist", tmp_path)
    path = folder / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(data.DataError, match="could not be read, get it afresh"):
        data.load("mnist", tmp_path)


def test_a_missing_split_is_named(tmp_path):
    folder = mirror(tmp_path, GREY)
    (folder / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(data.DataError, match="no split or column 'test'"):
        data.load("mnist", tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "ylecun" / "mnist").mkdir(parents=True)
    with pytest.raises(data.DataError, match="could not be read"):
        data.load("mnist", tmp_path)


def test_no_network_and_no_mirror_is_said_in_a_sentence(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("Couldn't reach 'ylecun/mnist' on the Hub")

    monkeypatch.delenv("ADVNETS_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(data.DataError, match="connect to the network, or give a local mirror"):
        data.load("mnist")


def test_an_unknown_name_is_refused():
    with pytest.raises((data.DataError, TypeError), match="nosuch"):
        data.load("nosuch")
