"""Any image data set: its splits, sizes and colours, from a repository or a folder."""

import inspect
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pytest
from helpers.synthetic import NAME, FakeBuilder, encoded, pictures, write_mirror
from PIL import Image

from advnets import data

pytestmark = pytest.mark.usefixtures("no_environment")


def rows(images):
    """The rows of `pictures` that images come from."""
    assert images.dtype == np.uint8
    return images.reshape(len(images), -1).max(1).tolist()


def parts(loaded):
    assert len(loaded.folds) == 1
    return rows(loaded.train), rows(loaded.validation), rows(loaded.test)


@pytest.mark.parametrize(
    ("sizes", "train", "validation", "test"),
    [
        (
            {"train": 25},
            [x for x in range(25) if x % 10 < 8],
            [8, 18],
            [9, 19],
        ),
        ({"whatever": 10}, [*range(8)], [8], [9]),
        ({"train": 5, "validation": 2, "test": 3}, [*range(5)], [5, 6], [7, 8, 9]),
        ({"train": 5, "valid": 2, "test": 3}, [*range(5)], [5, 6], [7, 8, 9]),
        ({"train": 5, "validation": 2, "test": 3, "unused": 9}, [*range(5)], [5, 6], [7, 8, 9]),
        (
            {"train": 21, "test": 3},
            [x for x in range(21) if x % 10 != 9],
            [9, 19],
            [21, 22, 23],
        ),
        ({"train": 12, "valid": 2}, [*range(9), 10, 11], [9], [12, 13]),
    ],
)
def test_rows_go_to_the_parts_that_are_promised(tmp_path, sizes, train, validation, test):
    start, splits = 0, {}
    for split, size in sizes.items():
        splits[split] = pictures(size, start)
        start += size
    folder = write_mirror(tmp_path / NAME, splits)
    # The names of files say little of splits; a repository's card does.
    files = "".join(f"  - split: {x}\n    path: {x}-*\n" for x in sizes)
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"
    (folder / "README.md").write_text(card)
    loaded = data.load(NAME, tmp_path)
    assert parts(loaded) == (train, validation, test)
    assert (loaded.name, loaded.train.shape[1:]) == (NAME, (6, 6))
    assert loaded.source == "local mirror of someone/pictures, column 'image'"


def test_the_environment_names_the_mirror_of_any_repository(tmp_path, monkeypatch):
    write_mirror(tmp_path / NAME, {"train": pictures(10)}, column="a picture")
    monkeypatch.setenv("ADVNETS_DATA", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert data.load(NAME).source.endswith("column 'a picture'")
    assert not list((tmp_path / "cache").rglob("*.arrow"))  # read as it is


def put_on_hub(monkeypatch, builder, card=None):
    """Stands in for the Hub; gives the list of what is asked of it."""
    asked = []

    def download(hub_id, name, *, repo_type):
        asked.append(name)
        if card is None or name != "README.md":
            raise huggingface_hub.errors.EntryNotFoundError("none")
        return str(card)

    def load_dataset_builder(path):
        asked.append(path)
        return builder

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    return asked


def in_rows(images):
    return [{"bytes": encoded(image), "path": None} for image in images]


def test_the_hub_is_asked_without_a_mirror(monkeypatch):
    asked = put_on_hub(monkeypatch, FakeBuilder(in_rows(pictures(10))))
    loaded = data.load(NAME)
    assert asked == ["README.md", ".huggingface.yaml", NAME]
    assert parts(loaded) == ([*range(8)], [8], [9])
    assert loaded.source == "Hugging Face Hub, someone/pictures, column 'image'"


def write_folder(folder, names, images):
    for name, image in zip(names, images, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def test_a_folders_rows_are_in_the_order_of_the_paths(tmp_path):
    # Written in another order, by class, with other files among them.
    names = [f"{group}/{index:02}.png" for group in "ba" for index in range(9, -1, -1)]
    images = pictures(20)
    write_folder(tmp_path / "faces", names, images)
    (tmp_path / "faces" / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "faces" / "metadata.csv").write_text("file_name\na/01.png\n")
    loaded = data.load("imagefolder", tmp_path / "faces")
    ordered = [row for _, row in sorted(zip(names, range(20), strict=True))]
    deal = [[ordered[x] for x in range(20) if x % 10 in which] for which in (range(8), [8], [9])]
    assert parts(loaded) == tuple(deal)
    assert (loaded.name, loaded.source) == ("imagefolder", "folder of images, faces")


def test_a_folders_order_is_that_of_the_paths_as_text(tmp_path):
    names = [*(f"a/{x}.png" for x in range(11)), "a-1/0.png", "B.png", "é.png"]
    order = ["B.png", "a-1/0.png", "a/0.png", "a/1.png", "a/10.png"]
    order += [*(f"a/{x}.png" for x in range(2, 10)), "é.png"]
    images = dict(zip(order, pictures(14), strict=True))
    write_folder(tmp_path, names[::-1], [images[name] for name in names[::-1]])
    train, validation, test = parts(data.load("imagefolder", tmp_path))
    assert sorted(train + validation + test) == [*range(14)]
    assert train == [x for x in range(14) if x not in (8, 9)]


def test_a_folders_own_splits_are_used(tmp_path):
    names = [f"{split}/{x}.png" for split in ("train", "valid", "test") for x in range(3)]
    write_folder(tmp_path, names, pictures(9))
    assert parts(data.load("imagefolder", tmp_path)) == ([0, 1, 2], [3, 4, 5], [6, 7, 8])


def test_colour_is_that_of_the_images(tmp_path):
    grey, colour = pictures(10), pictures(10, shape=(6, 6, 3))
    for images in (grey, colour, [*grey[:7], *colour[7:]], [*colour[:1], *grey[1:]]):
        write_mirror(tmp_path / NAME, {"train": images})
        loaded = data.load(NAME, tmp_path)
        shape = (6, 6) if images is grey else (6, 6, 3)
        for part, expected in ((loaded.train, [*range(8)]), (loaded.validation, [8])):
            assert part.shape[1:] == shape
            for image, row in zip(part, expected, strict=True):
                np.testing.assert_array_equal(image, np.full(shape, row))


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 0), ("LA", 0), ("P", 0), ("RGBA", 3), ("RGB", 3), ("L", 0)]
)
def test_other_modes_of_8_bits_become_grey_or_rgb(tmp_path, mode, channels):
    images = [np.full((6, 6), 255 * (row % 2), np.uint8) for row in range(10)]
    write_mirror(tmp_path / NAME, {"train": images}, mode=mode)
    loaded = data.load(NAME, tmp_path)
    assert loaded.train.shape == ((8, 6, 6, channels) if channels else (8, 6, 6))
    assert rows(loaded.train) == [0, 255] * 4


def test_pixels_of_more_than_8_bits_are_refused(tmp_path):
    images = [*pictures(3), np.full((6, 6), 1000, np.uint16), *pictures(6)]
    write_mirror(tmp_path / NAME, {"train": images})
    message = (
        r"row 3 of the train split must be grey or RGB of 8 bits .* mode I.*; got|got .*mode I"
    )
    with pytest.raises(data.DataError, match=message):
        data.load(NAME, tmp_path)


def test_images_of_two_sizes_need_a_size(tmp_path):
    images = [*pictures(9, shape=(6, 4)), *pictures(1, 9, shape=(5, 7))]
    write_mirror(tmp_path / NAME, {"train": images})
    message = (
        r"row 0 of the train split has 4×6 pixels and row 9 of the train split has 7×5; give "
        r"--image-size \(image_size\)"
    )
    with pytest.raises(data.DataError, match=message):
        data.load(NAME, tmp_path)
    loaded = data.load(NAME, tmp_path, image_size=3)
    assert loaded.train.shape == (8, 3, 3)
    assert parts(loaded) == ([*range(8)], [8], [9])
    assert loaded.source.endswith(", cropped and resized to 3×3")


@pytest.mark.parametrize("shape", [(8, 13), (12, 8), (8, 8), (13, 8, 3)])
def test_the_square_in_the_middle_is_kept_as_it_is(tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    write_mirror(tmp_path / NAME, {"train": [image] * 10})
    top, left = (shape[0] - 8) // 2, (shape[1] - 8) // 2
    test = data.load(NAME, tmp_path, image_size=8).test
    np.testing.assert_array_equal(test[0], image[top : top + 8, left : left + 8])


def lanczos(line, size):
    """Samples of a line of pixels, by the definition of the filter with 3 lobes, in float64."""
    scale = len(line) / size
    centres = (np.arange(size) + 0.5) * scale
    x = (np.arange(len(line)) + 0.5 - centres[:, None]) / scale
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    return weights @ line / weights.sum(1)


def test_resizing_is_the_lanczos_filter(tmp_path):
    # Far from black and white, where Pillow clips.
    image = np.random.default_rng(0).integers(64, 192, (24, 24), np.uint8)
    write_mirror(tmp_path / NAME, {"train": [image] * 10})
    found = data.load(NAME, tmp_path, image_size=8).test[0]
    wide = np.stack([lanczos(line, 8) for line in image.astype(float)])
    expected = np.stack([lanczos(line, 8) for line in wide.T]).T
    # Pillow rounds to a whole level after each of the two directions.
    np.testing.assert_allclose(found, expected, atol=1.3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_row_is_named(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (6, 6), np.uint8)
    content = encoded(noise, kind)
    images = [*pictures(5), content[: -len(content) // 4], *pictures(5)]
    write_mirror(tmp_path / NAME, {"train": images})
    with pytest.raises(data.DataError, match=r"pictures: row 5 could not be decoded: "):
        data.load(NAME, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_corrupt_file_is_named(tmp_path, content):
    write_folder(tmp_path, [f"{x}.png" for x in range(10)], pictures(10))
    (tmp_path / "6.png").write_bytes(content)
    with pytest.raises(data.DataError, match=r"row 6 \(.*6\.png\) could not be decoded: "):
        data.load("imagefolder", tmp_path)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": 9}, "too few rows: none is left for the test part"),
        ({"train": 8}, "too few rows: none is left for the validation part"),
        ({"train": 9, "test": 5}, "too few rows: none is left for the validation part"),
        ({"validation": 9, "test": 5}, "the splits are validation, test; there must be train"),
    ],
)
def test_too_few_rows_or_splits(tmp_path, sizes, message):
    write_mirror(tmp_path / NAME, {split: pictures(size) for split, size in sizes.items()})
    with pytest.raises(data.DataError, match=message):
        data.load(NAME, tmp_path)


def test_a_data_set_without_images_is_refused(tmp_path):
    folder = tmp_path / NAME
    folder.mkdir(parents=True)
    datasets.Dataset.from_dict({"text": ["a"], "label": [0]}).to_parquet(folder / "train.parquet")
    with pytest.raises(data.DataError, match="no column holds images; the columns are text, label"):
        data.load(NAME, tmp_path)


def test_a_missing_folder_is_named(tmp_path, monkeypatch):
    with pytest.raises(data.DataError, match="imagefolder needs the folder of the images"):
        data.load("imagefolder")
    with pytest.raises(data.DataError, match=r"there is no folder .*nowhere; name that of the"):
        data.load("imagefolder", tmp_path / "nowhere")
    with pytest.raises(data.DataError, match=r"there is no folder .*someone/pictures; --data-dir"):
        data.load(NAME, tmp_path)
    with pytest.raises(data.DataError, match="there is no image file"):
        data.load("imagefolder", tmp_path)  # empty
    monkeypatch.setenv("ADVNETS_DATA", str(tmp_path))  # a mirror, not a folder of images
    with pytest.raises(data.DataError, match="imagefolder needs the folder of the images"):
        data.load("imagefolder")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar", r"unknown data set 'cifar' \(did you mean 'cifar10'\?\); choose one of digits, "),
        ("MNIST", "unknown data set 'MNIST'; .*, a Hub repository as owner/name, or load.\"image"),
        (".", r"'\.' is a folder and .* load\(\"imagefolder\", '\.'\), or --dataset imagefolder"),
        ("image_folder", r"did you mean 'imagefolder'\?"),
        ("../elsewhere", "unknown data set"),
        ("a/b/c", "unknown data set"),
        ("", "unknown data set"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(data.DataError, match=message):
        data.load(name)


def test_digits_are_read_from_no_folder(tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match=r"digits come with .*; leave out --data-dir .*imagefolder"
    ):
        data.load("digits", tmp_path)
    monkeypatch.setenv("ADVNETS_DATA", str(tmp_path))  # which is for all data sets
    assert len(data.load("digits").train) == 1285


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10", "tfd"])
def test_the_papers_data_sets_keep_their_size(name):
    with pytest.raises(ValueError, match=f"{name} has images of one size; leave out --image-size"):
        data.load(name, image_size=16)


def test_no_size_below_a_pixel(tmp_path):
    with pytest.raises(ValueError, match="image_size must be at least 1 pixel; got 0"):
        data.load(NAME, tmp_path, image_size=0)


def test_no_code_of_a_data_set_is_trusted():
    files = Path(inspect.getfile(data)).parent.glob("*.py")
    assert not [path for path in files if "trust_remote_code" in path.read_text("utf-8")]
