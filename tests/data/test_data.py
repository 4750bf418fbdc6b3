"""The data sets: splits, and refusals before any work."""

import dataclasses
import hashlib
import warnings

import datasets
import huggingface_hub
import numpy as np
import pytest
from helpers.synthetic import write_mirror

from advnets import data
from advnets.data import hub


def test_digits_are_split_without_overlap_or_loss():
    import sklearn.datasets

    digits = data.load("digits")
    parts = [digits.train, digits.validation, digits.test]
    assert [part.dtype for part in parts] == [np.uint8] * 3
    assert sum(map(len, parts)) == 1797
    everything = sklearn.datasets.load_digits()
    rows = np.arange(1797)
    labels = [digits.train_labels, digits.folds[0].validation_labels, digits.folds[0].test_labels]
    keeps = [rows % 7 < 5, rows % 7 == 5, rows % 7 == 6]
    for part, classes, keep in zip(parts, labels, keeps, strict=True):
        np.testing.assert_array_equal(classes, everything.target[keep])
        np.testing.assert_allclose(part / 255, everything.images[keep] / 16, atol=0.5 / 255)
        # Every part has every class, about equally often.
        assert np.bincount(everything.target[keep]).min() > 0.07 * keep.sum()


@pytest.mark.long
def test_real_mnist_is_split_as_in_the_paper(data_dir):
    with warnings.catch_warnings(action="error"):  # its SHA-256 is the one that is known
        mnist = data.load("mnist", data_dir)
    assert mnist.source == "local mirror of ylecun/mnist"
    assert mnist.train.shape == (50_000, 28, 28)
    assert mnist.validation.shape == (10_000, 28, 28)
    assert mnist.test.shape == (10_000, 28, 28)
    # Facts of MNIST that any copy must agree on.
    whole = np.concatenate([mnist.train, mnist.validation])
    assert whole.mean() / 255 == pytest.approx(0.130660476, abs=1e-8)
    assert whole.std() / 255 == pytest.approx(0.308107804, abs=1e-8)


MNIST, CIFAR10 = "ylecun/mnist", "uoft-cs/cifar10"
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
    write_mirror(tmp_path / MNIST, {"train": images, "test": images})
    with pytest.raises(data.DataError, match=message):
        data.load("mnist", tmp_path)


def test_a_missing_column_is_named(tmp_path):
    write_mirror(tmp_path / MNIST, {"train": GREY, "test": GREY}, column="img")
    with pytest.raises(data.DataError, match="there is no column 'image'"):
        data.load("mnist", tmp_path)


def test_palette_images_are_refused(tmp_path):
    write_mirror(tmp_path / MNIST, {"train": GREY, "test": GREY}, mode="P")
    with pytest.raises(data.DataError, match=r"mode P\) in row 0 of the train split"):
        data.load("mnist", tmp_path)


def small_cifar10(tmp_path, monkeypatch, train_kind, test_kind):
    """Six images and two, with CIFAR-10's rows cut down to match."""
    small = dataclasses.replace(hub.HUB["cifar10"], train_rows=4, rows=(6, 2))
    monkeypatch.setitem(hub.HUB, "cifar10", small)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    folder = tmp_path / CIFAR10
    write_mirror(folder, {"train": images[:6]}, column="img", kind=train_kind)
    write_mirror(folder, {"test": images[6:]}, column="img", kind=test_kind)
    return images, data.load("cifar10", tmp_path)


def test_cifar10_keeps_rows_and_colours(tmp_path, monkeypatch):
    images, cifar10 = small_cifar10(tmp_path, monkeypatch, "PNG", "PNG")
    np.testing.assert_array_equal(cifar10.train, images[:4])
    np.testing.assert_array_equal(cifar10.validation, images[4:6])
    np.testing.assert_array_equal(cifar10.test, images[6:])
    (fold,) = cifar10.with_channels().folds
    labels = (cifar10.train_labels, fold.validation_labels, fold.test_labels)
    assert [list(part) for part in labels] == [[0, 1, 2, 3], [4, 5], [0, 1]]
    assert cifar10.source == "local mirror of uoft-cs/cifar10"


@pytest.mark.parametrize("kinds", [("JPEG", "JPEG"), ("PNG", "JPEG"), ("JPEG", "PNG")])
def test_a_lossy_copy_says_so(tmp_path, monkeypatch, kinds):
    _, cifar10 = small_cifar10(tmp_path, monkeypatch, *kinds)
    assert cifar10.source == "local mirror of uoft-cs/cifar10, lossy copy (not PNG)"


@pytest.mark.parametrize("change", ["none", "pixel", "rows", "parts", "lossy"])
def test_a_set_of_known_digest_says_when_it_is_another(tmp_path, monkeypatch, change):
    rows = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    sha256 = hashlib.sha256(rows.tobytes()).hexdigest()
    small = dataclasses.replace(hub.HUB["cifar10"], train_rows=4, rows=(6, 2), sha256=sha256)
    monkeypatch.setitem(hub.HUB, "cifar10", small)
    if change == "pixel":
        rows[7, 31, 31, 2] ^= 1
    elif change != "none":
        rows = rows[{"rows": [1, 0, 2, 3, 4, 5, 6, 7], "parts": [6, *range(6), 7]}.get(change, ...)]
    kind = "JPEG" if change == "lossy" else "PNG"
    splits = {"train": rows[:6], "test": rows[6:]}
    write_mirror(tmp_path / CIFAR10, splits, column="img", kind=kind)
    with warnings.catch_warnings(record=True, action="always") as warned:
        source = data.load("cifar10", tmp_path).source
    note = {"none": "", "lossy": ", lossy copy (not PNG)"}.get(change, ", not the original images")
    assert source == f"local mirror of uoft-cs/cifar10{note}"
    expected = ["holds other images than uoft-cs/cifar10"] * (change not in ("none", "lossy"))
    assert [expected[0] in str(warning.message) for warning in warned] == [True] * len(expected)


@pytest.mark.long
def test_real_cifar10_is_split_as_in_the_paper(data_dir):
    cifar10 = data.load("cifar10", data_dir)
    assert cifar10.train.shape == (40_000, 32, 32, 3)
    assert cifar10.validation.shape == (10_000, 32, 32, 3)
    assert cifar10.test.shape == (10_000, 32, 32, 3)
    # The training set's mean colour, in any order of its rows; JPEG moves it a little.
    sums = sum(part.sum((0, 1, 2), dtype=np.int64) for part in (cifar10.train, cifar10.validation))
    atol = 0.5 if "lossy" in cifar10.source else 0.01
    np.testing.assert_allclose(sums / (50_000 * 1024), [125.307, 122.950, 113.865], atol=atol)


def test_a_missing_mirror_is_named(tmp_path):
    with pytest.raises(data.DataError, match=r"there is no folder .*ylecun/mnist; --data-dir"):
        data.load("mnist", tmp_path)


def test_the_environment_names_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVNETS_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(data.DataError, match="elsewhere"):
        data.load("mnist")


def test_truncated_files_are_refused_even_if_good_ones_were_seen_before(tmp_path):
    folder = write_mirror(tmp_path / MNIST, {"train": GREY, "test": GREY})
    with pytest.raises(data.DataError, match="3 rows"):
        data.load("mnist", tmp_path)
    path = folder / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        data.DataError, match=r"could not be read; if it is damaged, get a fresh copy"
    ):
        data.load("mnist", tmp_path)


def test_a_missing_split_is_named(tmp_path):
    folder = write_mirror(tmp_path / MNIST, {"train": GREY, "test": GREY})
    (folder / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(data.DataError, match="there is no split 'test'"):
        data.load("mnist", tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "ylecun" / "mnist").mkdir(parents=True)
    with pytest.raises(data.DataError, match="the folder is empty; get the repository's files"):
        data.load("mnist", tmp_path)


def test_no_network_and_no_mirror_is_said_in_a_sentence(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("Couldn't reach 'ylecun/mnist' on the Hub")

    monkeypatch.delenv("ADVNETS_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(data.DataError, match="connect to the network, or give a local mirror"):
        data.load("mnist")


def test_an_unknown_name_is_refused():
    with pytest.raises(data.DataError, match="unknown data set 'nosuch'"):
        data.load("nosuch")
    with pytest.raises(data.DataError, match="'nosuch'; choose one of cifar10, mnist"):
        data.hub.load_hub("nosuch")


def made_up(folds=2):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (3, 2, 2), np.uint8) for _ in range(2 * folds + 1)]
    pairs = zip(images[1::2], images[2::2], strict=True)
    return data.Dataset("name", images[0], tuple(data.Fold(*pair) for pair in pairs), "source")


def test_the_fingerprint_is_the_documented_digest():
    small = made_up()
    parts = [("train", small.train)]
    for number, fold in enumerate(small.folds):
        parts += [(f"validation {number}", fold.validation), (f"test {number}", fold.test)]
    text = b"".join(f"{name} uint8 [3, 2, 2]\n".encode() + x.tobytes() for name, x in parts)
    assert small.fingerprint() == hashlib.sha256(text).hexdigest()
    assert dataclasses.replace(small, name="other", source="other").fingerprint() == (
        small.fingerprint()
    )
    # Not how the numbers lie in memory.
    turned = dataclasses.replace(small, train=np.asfortranarray(small.train))
    assert turned.fingerprint() == small.fingerprint()


def changed(images):
    """One pixel changed, for each; a row less; two rows exchanged."""
    for place in np.ndindex(images.shape):
        other = images.copy()
        other[place] ^= 1
        yield other
    yield from (images[:-1], images[[1, 0, 2]])


def reshaped(dataset, shape):
    def of(images):
        return images.reshape(-1, *shape)

    folds = tuple(data.Fold(of(fold.validation), of(fold.test)) for fold in dataset.folds)
    return dataclasses.replace(dataset, train=of(dataset.train), folds=folds)


def test_the_fingerprint_changes_with_anything_in_any_part():
    small = made_up()
    others = [dataclasses.replace(small, train=images) for images in changed(small.train)]
    for number, fold in enumerate(small.folds):
        for part in ("validation", "test"):
            for images in changed(getattr(fold, part)):
                folds = list(small.folds)
                folds[number] = dataclasses.replace(fold, **{part: images})
                others.append(dataclasses.replace(small, folds=tuple(folds)))
    others += [
        dataclasses.replace(small, folds=folds) for folds in (small.folds[::-1], small.folds[:1])
    ]
    # A row that moves from one part to the next, other shapes, another type.
    both = np.concatenate([small.folds[0].validation, small.folds[0].test])
    moved = (data.Fold(both[:2], both[2:]), *small.folds[1:])
    others.append(dataclasses.replace(small, folds=moved))
    others += [reshaped(small, shape) for shape in ((4,), (1, 4), (4, 1))]
    signed = made_up()
    object.__setattr__(signed, "train", signed.train.view(np.int8))
    found = {dataset.fingerprint() for dataset in [small, *others, signed]}
    assert len(found) == len(others) + 2
