"""Folders and repositories of strangers: nothing is lost without a word, or read from elsewhere."""

import io
import itertools
import json
import os
import socket
import struct
import warnings
import zipfile
import zlib

import datasets
import huggingface_hub
import numpy as np
import pyarrow.parquet
import pytest
from helpers.synthetic import NAME, FakeBuilder, encoded, pictures, write_mirror
from PIL import Image, features

from advnets import data
from advnets.data import images as images_module

pytestmark = pytest.mark.usefixtures("no_environment")


def write_files(folder, names, start=0):
    """Image files, the brightness of each its number among the names."""
    for number, name in enumerate(names, start):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(np.full((6, 6), number, np.uint8)))
    return folder


def rows(loaded):
    """The brightness of all images, by part."""
    folds = (loaded.train, loaded.validation, loaded.test)
    return tuple(part.reshape(len(part), -1).max(1).tolist() for part in folds)


def everything(loaded):
    return sorted(itertools.chain(*rows(loaded)))


def refused(message, load):
    """Refused in one sentence, which is given."""
    with pytest.raises(data.DataError, match=message) as raised:
        load()
    assert str(raised.value).isprintable()
    return str(raised.value)


KINDS = ["folder", "mirror"]


def place(kind, tmp_path):
    return tmp_path / ("faces" if kind == "folder" else NAME)


def load(kind, tmp_path, **options):
    if kind == "folder":
        return data.load("imagefolder", tmp_path / "faces", **options)
    return data.load(NAME, tmp_path, **options)


def numbered(count, form="{}.png"):
    return [form.format(x) for x in range(count)]


# Words in names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            numbered(10) + numbered(10, "test_{}.png"),
            r"10 of 20 files would be left out: 'test' in test_0\.png names a split, and nothing "
            r"in 0\.png does; rename files, or sort all into the folders train and test",
        ),
        ([*numbered(40), "train.png"], r"40 of 41 files .*: 'train' in train\.png names"),
        (
            numbered(30) + numbered(20, "train/{}.png") + numbered(10, "test/{}.png"),
            r"30 of 60 files would be left out: 't(est|rain)' in t(est|rain)/0\.png names a split",
        ),
        ([*numbered(20), "a/my eval/0.png"], r"20 of 21 files .*: 'eval' in a/my eval/0\.png"),
        ([*numbered(20), "Dev.png"], r"20 of 21 files .*: 'Dev' in Dev\.png"),
    ],
)
def test_files_that_a_word_would_leave_out_are_counted(tmp_path, kind, names, message):
    write_files(place(kind, tmp_path), names)
    refused(message, lambda: load(kind, tmp_path))


@pytest.mark.parametrize("word", ["train", "training", "test", "testing", "eval", "evaluation",
                                  "val", "valid", "validation", "dev"])  # fmt: skip
@pytest.mark.parametrize("form", ["{}.png", "a-{}_0.png", "a {}.png", "0{}1.png", "x/{}/0.png"])
def test_every_word_is_seen_between_separators(tmp_path, word, form):
    write_files(tmp_path / "faces", [*numbered(20), form.format(word)])
    refused(f"20 of 21 files .*: '{word}' in", lambda: load("folder", tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_words_within_words_are_none(tmp_path, kind):
    words = "contest trainer rvalid devil latest testament evaluations intervals a b"
    write_files(place(kind, tmp_path), [f"{word}.png" for word in words.split()])
    assert everything(load(kind, tmp_path)) == [*range(10)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "forms",
    [
        ("train/{}.png", "valid/{}.png", "test/{}.png"),
        ("Train/{}.png", "Val/{}.PNG", "TEST/{}.png"),
        ("data/Training set/{}.png", "data/Validation-set/{}.jpg", "data/Test_1/{}.png"),
        ("train_{}.png", "dev_{}.png", "Eval.{}.png"),
        # The first word in a path decides.
        ("train/test_{}.png", "val/train/{}.png", "test/train/{}.png"),
    ],
)
def test_words_name_splits_where_every_file_has_one_in_any_case(tmp_path, kind, forms):
    write_files(place(kind, tmp_path), [form.format(x) for form in forms for x in range(3)])
    assert rows(load(kind, tmp_path)) == ([0, 1, 2], [3, 4, 5], [6, 7, 8])


def test_a_folder_of_one_split_is_dealt_out(tmp_path):
    write_files(tmp_path / "faces", numbered(10, "test/{}.png"))
    assert rows(load("folder", tmp_path)) == ([*range(8)], [8], [9])


def test_a_parquet_file_that_a_word_would_leave_out_is_counted(tmp_path):
    folder = write_mirror(tmp_path / NAME, {"train": pictures(10), "test": pictures(5)})
    write_mirror(folder, {"more": pictures(10)})
    refused(r"1 of 3 files would be left out: .* nothing in more-0", lambda: load("m", tmp_path))


def test_the_hubs_names_of_files_name_any_split(tmp_path):
    write_mirror(tmp_path / NAME / "data", {"everything": pictures(10)})
    refused("the splits are", lambda: (
        write_mirror(tmp_path / NAME / "data", {"more": pictures(10)}), load("m", tmp_path)
    ))  # fmt: skip
    (tmp_path / NAME / "data" / "more-00000-of-00001.parquet").unlink()
    assert everything(load("m", tmp_path)) == [*range(10)]


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_files_are_no_images(tmp_path, kind):
    folder = write_files(place(kind, tmp_path), numbered(10))
    write_files(folder, [".DS_Store.png", ".ipynb_checkpoints/0.png", "__MACOSX/0.png", "._0.png"])
    (folder / "Thumbs.db").write_bytes(b"none")
    assert everything(load(kind, tmp_path)) == [*range(10)]


def test_an_archive_among_images_is_not_left_out(tmp_path):
    write_files(tmp_path / "faces", numbered(10))
    (tmp_path / "faces" / "more.zip").write_bytes(b"")
    refused(r"more\.zip is an archive; unpack it first", lambda: load("folder", tmp_path))


# Characters in names


SPECIAL = [
    "d [1]",
    "faces[64x64]",
    "a::b",
    "a*?",
    "{a,b}",
    "50%20",
    "$HOME",
    "~",
    "#1 & co",
    "é\\n",
]


@pytest.mark.parametrize("special", SPECIAL)
def test_names_of_any_characters_are_read(tmp_path, special):
    root = tmp_path / special
    names = [f"{special}/{special}{x}::00.png" for x in range(10)]
    write_files(root / "faces", names)
    assert rows(load("folder", root)) == ([*range(8)], [8], [9])
    write_files(root / "mirror" / NAME, names)
    assert rows(load("m", root / "mirror")) == ([*range(8)], [8], [9])
    # `datasets` takes the name for an address itself.
    write_mirror(tmp_path / "plain", {"train": pictures(10), "test": pictures(3, 10)})
    (root / "someone").mkdir()
    os.rename(tmp_path / "plain", root / NAME)
    assert rows(load("m", root)) == ([*range(9)], [9], [10, 11, 12])


def test_a_card_may_name_files_with_brackets(tmp_path):
    folder = write_mirror(tmp_path / NAME / "a[1]", {"x": pictures(10)})
    write_card(folder.parent, [configuration("a", {"train": "a[1]/x-00000-of-00001.parquet"})])
    assert everything(load("m", tmp_path)) == [*range(10)]


def test_control_characters_in_names_are_not_passed_on(tmp_path):
    write_files(tmp_path / "faces", numbered(10))
    (tmp_path / "faces" / "\x1b[31m\n.png").write_bytes(b"no image")
    message = refused("could not be decoded", lambda: load("folder", tmp_path))
    assert r"\x1b[31m\n.png" in message


# Cards


def configuration(name, splits, **more):
    files = [{"split": split, "path": path} for split, path in splits.items()]
    return {"config_name": name, "data_files": files, **more}


def write_card(folder, configurations, **more):
    folder.mkdir(parents=True, exist_ok=True)
    # JSON is YAML.
    card = json.dumps({"configs": configurations, **more})
    (folder / "README.md").write_text(f"---\n{card}\n---\n# A data set\n")
    return folder / "README.md"


def two_configurations(folder, **more):
    for number, name in enumerate(("first", "second")):
        write_mirror(folder / name, {"train": pictures(10, 10 * number)})
    return [
        configuration("first", {"train": "first/*"}),
        configuration("second", {"train": ["second/*"]}, **more),
    ]


def test_configurations_are_named_with_what_to_do(tmp_path):
    write_card(tmp_path / NAME, two_configurations(tmp_path / NAME))
    refused(
        r"2 configurations \(first, second\) and 0 default ones, .*; in a local mirror, keep one",
        lambda: load("m", tmp_path),
    )


@pytest.mark.parametrize("by", ["default", "name", "single", "folder"])
def test_the_default_configuration_is_read(tmp_path, by):
    both = two_configurations(tmp_path / NAME, **{"default": True} if by == "default" else {})
    if by == "name":
        both[1]["config_name"] = "default"
    if by == "single":
        del both[0]
    if by == "folder":
        both = [{"config_name": "second", "data_dir": "second"}]
    write_card(tmp_path / NAME, both)
    assert everything(load("m", tmp_path)) == [*range(10, 20)]


OUTSIDE = ["/etc/*.png", "~/*.png", "../other/*.png", "a/../../*.png", "https://host/x.parquet",
           "hf://datasets/other/private/x.parquet", "file:///etc/x.png", "zip://x::https://host/y",
           r"C:\pictures\*.png", r"\\host\pictures\x.png", r"..\x.png"]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("where", ["data_files", "data_dir", "list"])
def test_a_card_cannot_name_data_outside(tmp_path, monkeypatch, path, where):
    folder = write_mirror(tmp_path / NAME, {"train": pictures(10)})
    one = {
        "data_files": configuration("a", {"train": ["train-*", path]}),
        "data_dir": {"config_name": "a", "data_dir": path},
        "list": {"config_name": "a", "data_files": ["train-*", path]},
    }[where]
    card = write_card(folder, [one])
    message = "the card names data outside of the repository, .*, which is not opened"
    refused(message, lambda: load("m", tmp_path))
    # On the Hub, before `datasets` follows it.
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(card))
    monkeypatch.setattr(datasets, "load_dataset_builder", None)
    refused(message, lambda: data.load(NAME))


def test_a_card_without_a_readme_is_read_too(tmp_path):
    both = two_configurations(tmp_path / NAME)
    card = tmp_path / NAME / ".huggingface.yaml"
    card.write_text(json.dumps({"configs": both}))
    refused(r"2 configurations \(first, second\)", lambda: load("m", tmp_path))
    card.write_text(json.dumps({"configs": both[1:]}))
    assert everything(load("m", tmp_path)) == [*range(10, 20)]


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("---\nconfigs: [\n---\n", r"README\.md is not valid YAML"),
        ("---\n- a\n---\n", r"README\.md must have names and values"),
        ("---\nconfigs: a\n---\n", "configs must be a list, each with its config_name"),
        ("---\nconfigs: [{}]\n---\n", "configs must be a list, each with its config_name"),
        ("---\nconfigs: [{config_name: a, data_dir: 3}]\n---\n", "data_dir must be text"),
        ("---\nconfigs: [{config_name: a, data_files: 3}]\n---\n", "data_files must be paths"),
        ("---\nconfigs: [{config_name: a, data_files: [{a: b}]}]\n---\n", "data_files must be"),
        (
            "---\nconfigs: [{config_name: a, data_files: none-*}]\n---\n",
            "'none-\\*' .* no such file",
        ),
        ("---\na: !!python/object/apply:os.system [false]\n---\n", r"README\.md is not valid YAML"),
        ("---\n" + "[" * 5000 + "\n---\n", r"README\.md is not valid YAML"),
        ("---\r\nconfigs: a\r\n---", "configs must be a list"),
        ("---\n" + "\n" * 2**22, r"README\.md is not a file, or exceeds 4194304 bytes"),
    ],
)
def test_a_card_that_is_none_is_refused(tmp_path, card, message):
    folder = write_mirror(tmp_path / NAME, {"train": pictures(10)})
    (folder / "README.md").write_text(card)
    refused(message, lambda: load("m", tmp_path))


def test_a_readme_without_a_card_is_none(tmp_path):
    folder = write_mirror(tmp_path / NAME, {"train": pictures(10)})
    for text in ("", "# Pictures\n---\n", "---\n" + "\n" * 2**20, "a\nconfigs: a\n---\n---\n"):
        (folder / "README.md").write_text(text)
        assert everything(load("m", tmp_path)) == [*range(10)]


def test_the_cards_columns_are_images_where_the_file_does_not_say(tmp_path):
    folder = tmp_path / NAME
    folder.mkdir(parents=True)
    contents = [encoded(image) for image in pictures(10)]
    table = datasets.Dataset.from_dict({"id": [*range(10)], "photo": contents})
    table.to_parquet(folder / "train.parquet")
    refused("no column holds images; the columns are id, photo", lambda: load("m", tmp_path))
    columns = [{"name": "id", "dtype": "int64"}, {"name": "photo", "dtype": "image"}]
    write_card(folder, [], dataset_info={"features": columns})
    assert everything(load("m", tmp_path)) == [*range(10)]


# Rows that name files


@pytest.mark.parametrize("named", ["file", "inside", "address", "pipe"])
@pytest.mark.parametrize("builder", ["parquet", "json"])
def test_a_row_cannot_name_a_file(tmp_path, named, builder):
    folder = tmp_path / NAME
    folder.mkdir(parents=True)
    secret = write_files(tmp_path, ["secret.png"]) / "secret.png"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    inside = write_files(folder / "beside", ["x.png"]) / "x.png"
    path = {"file": secret, "inside": inside, "pipe": pipe, "address": "http://localhost:9/x.png"}
    values = [{"bytes": encoded(x), "path": None} for x in pictures(9)]
    values.append({"bytes": None, "path": str(path[named])})
    if builder == "parquet":
        # As `datasets` writes it, which would put in the files' bytes.
        note = json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})
        table = pyarrow.table({"image": values}).replace_schema_metadata({"huggingface": note})
        pyarrow.parquet.write_table(table, folder / "train.parquet")
    else:
        inside.unlink()
        lines = [json.dumps({"image": str(path[named])}) for _ in range(10)]
        (folder / "train.jsonl").write_text("\n".join(lines))
        write_card(folder, [], dataset_info={"features": [{"name": "image", "dtype": "image"}]})
    message = r"row \d \(.*\) has only the name of a file, which is not opened; the image's"
    refused(message, lambda: load("m", tmp_path))


def test_a_row_of_neither_is_refused(tmp_path):
    folder = write_mirror(tmp_path / NAME, {"train": [*pictures(9), b""]})
    refused("row 9 could not be decoded", lambda: load("m", tmp_path))
    table = datasets.Dataset.from_dict(
        {"image": [*[{"bytes": encoded(x), "path": None} for x in pictures(9)], None]},
        features=datasets.Features({"image": datasets.Image()}),
    )
    table.to_parquet(folder / "train-00000-of-00001.parquet")
    refused("row 9 has no image", lambda: load("m", tmp_path))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Stands in for the Hub, which has no card; gives what sets its builder, and its cache."""

    def none(*args, **kwargs):
        raise huggingface_hub.errors.EntryNotFoundError("none")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", none)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")

    def show(builder):
        monkeypatch.setattr(datasets, "load_dataset_builder", lambda path: builder)

    return show


def test_images_of_the_hub_are_read_from_its_cache_alone(tmp_path, hub):
    cached = [write_files(tmp_path / "cache", numbered(10)) / name for name in numbered(10)]
    hub(FakeBuilder(map(str, cached), "imagefolder"))
    assert everything(data.load(NAME)) == [*range(10)]
    secret = write_files(tmp_path, ["secret.png"]) / "secret.png"
    for paths, name in (
        (cached, "parquet"),
        ([*cached[1:], secret], "imagefolder"),
        ([*cached[1:], tmp_path / "cache" / ".." / "secret.png"], "imagefolder"),
        ([*cached[1:], "https://host/x.png"], "imagefolder"),
        ([*cached[1:], f"https://host/x::{cached[0]}"], "imagefolder"),
    ):
        hub(FakeBuilder(map(str, paths), name))
        refused("has only the name of a file", lambda: data.load(NAME))


def test_data_files_that_the_hub_does_not_hold_are_refused(tmp_path, hub):
    hub(FakeBuilder([], "parquet", {"train": ["hf://datasets/a/b@1/x.parquet", "/etc/x.parquet"]}))
    refused("it names data outside of the Hub, /etc/x.parquet", lambda: data.load(NAME))


def test_other_formats_of_a_mirror_are_read_with_datasets(tmp_path):
    folder = tmp_path / "a" / NAME
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for name, image in zip(numbered(10), pictures(10), strict=True):
            archive.writestr(name, encoded(image))
    assert everything(load("m", tmp_path / "a")) == [*range(10)]
    for name, message in (
        ("a [1]", r"its path contains '\['; .*; rename the folder"),
        ("a::b", "its path contains '::'; .*; rename the folder"),
    ):
        os.rename(tmp_path / "a", tmp_path / name)
        refused(message, lambda name=name: load("m", tmp_path / name))
        os.rename(tmp_path / name, tmp_path / "a")
    os.rename(folder / "images.zip", folder / "Test.zip")
    refused(r"Test\.zip has 'Test' for 'test'; rename it", lambda: load("m", tmp_path / "a"))
    write_files(folder, ["0.png"])
    refused(r"1 of 2 files would be left out: 'Test'", lambda: load("m", tmp_path / "a"))


def test_a_mirrors_metadata_chooses_its_rows_within_the_mirror(tmp_path):
    folder = write_files(tmp_path / NAME, numbered(12))
    secret = write_files(tmp_path, ["secret.png"]) / "secret.png"
    (folder / "metadata.csv").write_text("file_name\n" + "\n".join(numbered(12)[::-1][:10]))
    assert everything(load("m", tmp_path)) == [*range(2, 12)]
    for path in (str(secret), "../../secret.png", "http://localhost:9/x.png"):
        lines = ["file_name", *numbered(9), path]
        (folder / "metadata.csv").write_text("\n".join(lines))
        with pytest.raises(data.DataError):
            load("m", tmp_path)


# What is no file


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["pipe", "socket", "broken link"])
def test_what_is_no_file_is_never_opened(tmp_path, monkeypatch, kind, what):
    folder = write_files(place(kind, tmp_path), numbered(10))
    monkeypatch.chdir(folder)  # the name of a socket must be short
    if what == "pipe":
        os.mkfifo("x.png")
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("x.png")
    else:
        os.symlink("nowhere", "x.png")
    message = r"x\.png is (not a file but a pipe, a socket, a device or a broken|a link .* out)"
    refused(message, lambda: load(kind, tmp_path))
    os.rename("x.png", "x.txt")
    if what != "broken link":
        assert everything(load(kind, tmp_path)) == [*range(10)]


def test_a_card_that_is_no_file_is_never_opened(tmp_path):
    folder = write_mirror(tmp_path / NAME, {"train": pictures(10)})
    os.mkfifo(folder / "README.md")
    refused(r"README\.md is not a file", lambda: load("m", tmp_path))
    os.unlink(folder / "README.md")
    os.mkfifo(folder / "train-00001-of-00001.parquet")
    refused(r"train-00001-of-00001\.parquet is not a file but a pipe", lambda: load("m", tmp_path))


def test_a_folders_links_are_followed_once(tmp_path):
    elsewhere = write_files(tmp_path / "elsewhere", numbered(9))
    folder = tmp_path / "faces"
    folder.mkdir()
    os.symlink(elsewhere, folder / "all")
    write_files(tmp_path, ["one.png"], 9)
    os.symlink(tmp_path / "one.png", folder / "one.png")
    assert everything(load("folder", tmp_path)) == [*range(10)]
    os.symlink(folder, folder / "again")
    refused("again is a link to a folder that is read already", lambda: load("folder", tmp_path))


def test_a_mirrors_links_do_not_leave_it(tmp_path):
    cache = tmp_path / "datasets--someone--pictures"
    whole = write_mirror(cache / "blobs", {"train": pictures(10)}) / "train-00000-of-00001.parquet"
    folder = tmp_path / "mirror" / NAME
    folder.mkdir(parents=True)
    os.symlink(whole, folder / "train.parquet")
    message = r"train\.parquet is a link to a folder or out of the mirror, which is not followed"
    refused(message, lambda: load("m", tmp_path / "mirror"))
    os.unlink(folder / "train.parquet")
    os.symlink(cache / "blobs", folder / "train")
    refused("train is a link to a folder or out", lambda: load("m", tmp_path / "mirror"))
    os.unlink(folder / "train")
    write_mirror(folder / "real", {"train": pictures(10)})
    assert everything(load("m", tmp_path / "mirror")) == [*range(10)]
    os.symlink("real", folder / "train")  # the same rows again
    refused("train is a link to a folder or out", lambda: load("m", tmp_path / "mirror"))
    # The Hub's cache holds a repository in such links.
    snapshot = cache / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    os.symlink(whole, snapshot / "train.parquet")
    os.rename(folder, tmp_path / "old")
    os.symlink(snapshot, folder)
    assert everything(load("m", tmp_path / "mirror")) == [*range(10)]


# Sizes


def png(width, height, bits, kind, pixels=None):
    """A PNG's bytes; zeros unless given."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    lines = bytes(height * (1 + width * channels * bits // 8)) if pixels is None else pixels

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    head = struct.pack(">2I5B", width, height, bits, kind, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("kind", KINDS)
def test_large_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(images_module, "PIXELS", 2**12)
    folder = place(kind, tmp_path)
    folder.mkdir(parents=True)
    for x in range(10):
        (folder / f"{x}.png").write_bytes(png(65, 64, 8, 0))
    refused(
        r"row 0 \(0\.png\) has 65×64 pixels, more than the 4096 allowed .*; give --image-size",
        lambda: load(kind, tmp_path),
    )
    assert load(kind, tmp_path, image_size=8).train.shape == (8, 8, 8)
    for x in range(10):
        (folder / f"{x}.png").write_bytes(png(64, 64, 8, 0))
    assert load(kind, tmp_path).train.shape == (8, 64, 64)


def test_twelve_small_files_of_huge_images_are_refused_at_once(tmp_path):
    (tmp_path / "faces").mkdir()
    content = png(9000, 9000, 8, 0)
    assert len(content) < 80_000
    for x in range(12):
        (tmp_path / "faces" / f"{x}.png").write_bytes(content)
    refused(
        r"0\.png\) has 9000×9000 pixels, more than the 16777216", lambda: load("folder", tmp_path)
    )
    with pytest.raises(ValueError, match="image_size must be at most 4096 pixels; got 4097"):
        load("folder", tmp_path, image_size=4097)


@pytest.mark.parametrize("kind", [*KINDS, "parquet"])
def test_all_images_must_fit_half_of_the_memory(tmp_path, monkeypatch, kind):
    grey, colour = pictures(9), pictures(1, shape=(6, 6, 3))
    if kind == "parquet":
        write_mirror(tmp_path / NAME, {"train": [*grey, *colour]})
    else:
        write_files(place(kind, tmp_path), numbered(9))
        (place(kind, tmp_path) / "x.png").write_bytes(encoded(colour[0]))
    monkeypatch.setattr(images_module, "BYTES", 10 * 36 * 3)
    assert load(kind, tmp_path).train.shape == (8, 6, 6, 3)
    for most, channels in ((10 * 36 * 3 - 1, 3), (10 * 36 - 1, 1)):
        monkeypatch.setattr(images_module, "BYTES", most)
        message = (
            rf"10 images of 6×6 pixels take {360 * channels} bytes, more than half of .*{most}"
        )
        refused(message, lambda: load(kind, tmp_path))


# What decoding would lose


def tiff(bits):
    """A colour TIFF of 6×6 pixels, all 1 of their highest value."""
    size = 36 * 3 * bits // 8
    # The tag, its type, how many, and the value or where it is.
    entries = [(256, 3, 1, 6), (257, 3, 1, 6), (258, 3, 3, 8 + size), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, 6), (279, 4, 1, size)]
    directory = b"".join(struct.pack("<2H2I", *entry) for entry in entries)
    start = struct.pack("<2sHI", b"II", 42, 8 + size + 6)
    pixels = np.ones(36 * 3, f"<u{bits // 8}").tobytes()
    return (
        start
        + pixels
        + struct.pack("<3H", *[bits] * 3)
        + struct.pack("<H", 9)
        + directory
        + bytes(4)
    )


def saved(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), 7, np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def patched(content, mark, offset, new):
    place = content.index(mark) + offset
    return content[:place] + bytes([new]) + content[place + 1 :]


def jpeg2000(bits):
    return patched(saved("JPEG2000"), b"\xff\x4f\xff\x51", 45, bits - 1)


def avif(bits):
    """An AVIF whose header says so, in two places; its pixels are as before."""
    content = saved("AVIF")
    flags = content[content.index(b"av1C") + 6]
    content = patched(content, b"av1C", 6, flags | 0x40 * (bits > 8))
    for channel in range(3):
        content = patched(content, b"pixi", 9 + channel, min(bits, 10))
    return content


DEPTHS = {
    "PNG, RGB": lambda bits: png(6, 6, bits, 2),
    "PNG, RGBA": lambda bits: png(6, 6, bits, 6),
    "PNG, grey with alpha": lambda bits: png(6, 6, bits, 4),
    "PPM": lambda bits: b"P6 6 6 %d\n" % (2**bits - 1) + bytes(36 * 3 * bits // 8),
    "PPM, text": lambda bits: b"P3 6 6 %d\n" % (2**bits - 1) + b"1 2 3\n" * 36,
    "TIFF": tiff,
    "JPEG 2000": jpeg2000,
    "AVIF": avif,
}


@pytest.mark.parametrize("name", DEPTHS)
def test_colours_of_16_bits_are_refused(tmp_path, name):
    if name in ("JPEG 2000", "AVIF") and not features.check({"AVIF": "avif"}.get(name, "jpg_2000")):
        pytest.skip(f"Pillow is built without {name}")
    write_mirror(tmp_path / NAME, {"train": [DEPTHS[name](8)] * 10})
    with warnings.catch_warnings(action="ignore"):  # of transparency
        assert load("m", tmp_path).train.ndim == 3 + (name != "PNG, grey with alpha")
    write_mirror(tmp_path / NAME, {"train": [*[DEPTHS[name](8)] * 6, *[DEPTHS[name](16)] * 4]})
    message = (
        "row 6 of the train split must be grey or RGB of 8 bits|row 6 must be grey or RGB of 8"
    )
    refused(message, lambda: load("m", tmp_path))


def test_a_bmp_of_5_bits_is_no_16(tmp_path):
    # 16 bits for a pixel, not for a channel.
    pixels = np.full(36, 0b11111_000000_00000, "<u2").tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, 6, 6, 1, 16, 3, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<3I", 0xF800, 0x07E0, 0x001F)
    content = b"BM" + struct.pack("<IHHI", 66 + len(pixels), 0, 0, 66) + head + masks + pixels
    write_mirror(tmp_path / NAME, {"train": [content] * 10})
    np.testing.assert_array_equal(load("m", tmp_path).train[0, 0, 0], [255, 0, 0])


def test_every_cut_or_flip_of_a_png_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    content = encoded(noise)
    damaged = [content[:-cut] for cut in (1, 4, 12, 20, len(content) // 2)]
    for place in range(0, len(content), 7):
        damaged.append(patched(content, b"", place, content[place] ^ 1 << place % 8))
    for bad in damaged:
        write_mirror(tmp_path / NAME, {"train": [*[content] * 9, bad]})
        refused("row 9 (could not be decoded|must be grey)", lambda: load("m", tmp_path))


def test_a_photograph_is_upright(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    buffer = io.BytesIO()
    turned = Image.Exif()
    turned[0x0112] = 6  # the top is on the right
    Image.fromarray(pixels).save(buffer, "PNG", exif=turned)
    write_mirror(tmp_path / NAME, {"train": [buffer.getvalue()] * 10})
    np.testing.assert_array_equal(load("m", tmp_path).train[0], np.rot90(pixels, -1))


def test_postscript_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.check_call", None)
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n%%EndComments\nshowpage\n"
    write_mirror(tmp_path / NAME, {"train": [content] * 10})
    refused("row 0 is PostScript, which is a program", lambda: load("m", tmp_path))
    write_files(tmp_path / "faces", numbered(10))
    (tmp_path / "faces" / "5.png").write_bytes(content)
    refused(r"row 5 \(5\.png\) is PostScript", lambda: load("folder", tmp_path))


def frames(kind, count):
    buffer = io.BytesIO()
    first, *others = [Image.fromarray(image) for image in pictures(count, 1)]
    first.save(buffer, kind, save_all=True, append_images=others)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG"])
def test_more_pages_or_frames_than_one_are_counted(tmp_path, kind):
    write_mirror(tmp_path / NAME, {"train": [frames(kind, 5)] * 4 + [frames(kind, 1)] * 6})
    message = "4 of 10 images have more than one page or frame, and the first is read"
    with pytest.warns(UserWarning, match=message):
        loaded = load("m", tmp_path)
    assert everything(loaded) == [1] * 10


def transparent(alpha, mode="RGBA"):
    picture = Image.new("RGBA", (6, 6), (0, 0, 0, alpha))
    buffer = io.BytesIO()
    picture.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def with_colour_key():
    buffer = io.BytesIO()
    Image.new("RGB", (6, 6), (1, 2, 3)).save(buffer, "PNG", transparency=(1, 2, 3))
    return buffer.getvalue()


@pytest.mark.parametrize("clear", [transparent(0), transparent(254, "LA"), with_colour_key()])
def test_transparency_that_is_dropped_is_counted(tmp_path, clear):
    write_mirror(tmp_path / NAME, {"train": [*[clear] * 3, *[transparent(255)] * 7]})
    with pytest.warns(UserWarning, match="3 of 10 images are transparent in places"):
        load("m", tmp_path)
    write_mirror(tmp_path / NAME, {"train": [transparent(255)] * 10})
    with warnings.catch_warnings(action="error"):
        load("m", tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_grey_palette_is_grey(tmp_path, kind):
    def palette(colours):
        picture = Image.new("P", (6, 6))
        picture.putpalette([*itertools.chain(*colours)])
        picture.putdata([0, 1] * 18)
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        return buffer.getvalue()

    grey = palette([[200, 200, 200], [7, 7, 7]])
    write_mirror(tmp_path / NAME, {"train": [grey] * 10})
    train = load("m", tmp_path).train
    np.testing.assert_array_equal(train, np.tile(np.uint8([200, 7]), (8, 6, 3)))
    write_mirror(tmp_path / NAME, {"train": [*[grey] * 9, palette([[200, 200, 200], [7, 7, 8]])]})
    loaded = load("m", tmp_path)
    assert loaded.train.shape == (8, 6, 6, 3)
    assert loaded.test[0, 0].tolist() == [[200, 200, 200], [7, 7, 8]] * 3
