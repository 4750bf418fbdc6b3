"""TFD's file: its parts, its folds, and a sentence for everything that may be wrong with it."""

import itertools

import numpy as np
import pytest
from helpers.synthetic import tfd_codes, tfd_rows, write_tfd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advnets import data

FILE = "TFD_48x48.mat"
PARTS = {"validation": 2, "test": 3}
pytestmark = pytest.mark.usefixtures("no_environment")


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    """A file that each of hypothesis's examples writes anew."""
    return tmp_path_factory.mktemp("tfd") / FILE


@pytest.mark.parametrize("compress", [False, True])
def test_a_small_file_in_tfds_layout(tmp_path, compress):
    stored = write_tfd(tmp_path / FILE, compress=compress)
    tfd = data.load("tfd", tmp_path)
    assert (tfd.name, len(tfd.folds)) == ("tfd", 5)
    assert tfd.source == "TFD_48x48.mat, standard folds"
    parts = [tfd.train, *itertools.chain(*((x.validation, x.test) for x in tfd.folds))]
    for part in parts:
        assert part.dtype == np.uint8
        assert part.flags.c_contiguous
        np.testing.assert_array_equal(part, stored["images"][tfd_rows(part)])
    assert [len(part) for part in parts] == [40] + 5 * [5, 10]
    np.testing.assert_array_equal(tfd.validation, tfd.folds[0].validation)
    np.testing.assert_array_equal(tfd.test, tfd.folds[0].test)


def test_the_file_its_folder_and_the_environment_are_the_same(tmp_path, monkeypatch):
    write_tfd(tmp_path / FILE)
    expected = data.load("tfd", tmp_path).train
    np.testing.assert_array_equal(data.load("tfd", tmp_path / FILE).train, expected)
    (tmp_path / FILE).rename(tmp_path / "renamed.mat")
    np.testing.assert_array_equal(data.load("tfd", tmp_path / "renamed.mat").train, expected)
    monkeypatch.setenv("ADVNETS_DATA", str(tmp_path / "renamed.mat"))
    np.testing.assert_array_equal(data.load("tfd").train, expected)


def test_matlabs_default_numbers_will_do(tmp_path):
    write_tfd(tmp_path / FILE, folds=tfd_codes().astype(np.float64))
    assert len(data.load("tfd", tmp_path).train) == 40


def codings():
    """Any codes, with rows that some folds label and others do not."""
    row = st.one_of(st.just([0] * 5), st.lists(st.integers(0, 3), min_size=5, max_size=5))
    return st.lists(row, min_size=1, max_size=60).map(np.array)


quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def brute_force(codes, proper):
    """The parts as lists of rows, row by row: train, then each fold's validation and test."""
    train, folds = [], [([], []) for _ in range(5)]
    seen = 0
    for row, row_codes in enumerate(codes.tolist()):
        if set(row_codes) == {0}:
            train.append(row)
            continue
        seen += 1
        for fold, code in enumerate(row_codes):
            if proper and seen % 10 == 0:
                folds[fold][0].append(row)
            elif code == 3:
                folds[fold][1].append(row)
            elif code == 2 and not proper:
                folds[fold][0].append(row)
    return train, folds


@quick
@given(codes=codings(), proper=st.booleans())
def test_any_coding_is_split_row_by_row(scratch, codes, proper):
    write_tfd(scratch, codes)
    train, folds = brute_force(codes, proper)
    if not train or not all(validation and test for validation, test in folds):
        with pytest.raises(data.DataError, match=r"unlabelled in all folds|has no (valid|test)"):
            data.load("tfd", scratch, proper_folds=proper)
        return
    tfd = data.load("tfd", scratch, proper_folds=proper)
    assert tfd_rows(tfd.train) == train
    assert [(tfd_rows(x.validation), tfd_rows(x.test)) for x in tfd.folds] == folds


@quick
@given(labelled=st.integers(20, 100), unlabelled=st.integers(1, 40))
def test_proper_folds_validate_on_no_folds_test_rows(scratch, labelled, unlabelled):
    write_tfd(scratch, tfd_codes(labelled, unlabelled))
    shared = {}
    for proper in (False, True):
        tfd = data.load("tfd", scratch, proper_folds=proper)
        validation = set().union(*(tfd_rows(fold.validation) for fold in tfd.folds))
        test = set().union(*(tfd_rows(fold.test) for fold in tfd.folds))
        assert not (validation | test) & set(tfd_rows(tfd.train))
        shared[proper] = validation & test
    assert shared[False]
    assert not shared[True]
    assert tfd.source == "TFD_48x48.mat, proper folds"


def test_proper_folds_keep_the_rest_of_the_standard_test_rows(tmp_path):
    write_tfd(tmp_path / FILE, tfd_codes(labelled=500))
    standard = data.load("tfd", tmp_path)
    proper = data.load("tfd", tmp_path, proper_folds=True)
    for old, new in zip(standard.folds, proper.folds, strict=True):
        assert len(new.validation) == len(old.validation) == 50
        assert set(tfd_rows(old.test)) - set(tfd_rows(new.test)) <= set(tfd_rows(new.validation))
        assert set(tfd_rows(new.test)) <= set(tfd_rows(old.test))


def test_other_data_sets_have_one_fold_and_no_proper_ones():
    digits = data.load("digits")
    assert len(digits.folds) == 1
    with pytest.raises(ValueError, match=r"only tfd has folds to make proper; .* for digits"):
        data.load("digits", proper_folds=True)


def test_a_missing_file_is_said_not_to_be_public(tmp_path):
    for name in (tmp_path, tmp_path / FILE):
        with pytest.raises(data.DataError, match=rf"there is no file .*{FILE}; .* is not public"):
            data.load("tfd", name)
    with pytest.raises(data.DataError, match=r"no file is named; .* is not public: .*--data-dir"):
        data.load("tfd")


HDF5 = b"\x89HDF\r\n\x1a\n"


@pytest.mark.parametrize("start", [b"", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(384)])
def test_a_file_of_format_7_3_is_to_be_saved_as_v7(tmp_path, start):
    (tmp_path / FILE).write_bytes(start + HDF5 + bytes(600))
    with pytest.raises(
        data.DataError, match=r"format 7\.3, which is not read; save it as v7, .*-v7"
    ):
        data.load("tfd", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no MATLAB file", bytes(600)])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(data.DataError, match="could not be read as a MATLAB file"):
        data.load("tfd", tmp_path)


@quick
@given(left=st.floats(0, 1), compress=st.booleans())
def test_a_truncated_file_is_refused_unless_only_padding_is_gone(scratch, left, compress):
    # Only the two fields that are read: all of the file matters.
    stored = write_tfd(scratch, compress=compress, labs_ex=None, labs_id=None)
    content = scratch.read_bytes()
    kept = content[: int(left * len(content))]
    scratch.write_bytes(kept)
    if len(kept) < len(content) - 7:
        with pytest.raises(data.DataError, match=r"could not be read as a MATLAB|has no field"):
            data.load("tfd", scratch)
        return
    try:
        tfd = data.load("tfd", scratch)
    except data.DataError:
        assert compress
    else:
        np.testing.assert_array_equal(tfd.train, stored["images"][tfd_rows(tfd.train)])
        assert len(tfd.train) == 40


GOOD = tfd_codes()


def coded(code, row=7, fold=2):
    codes = GOOD.astype(np.float64)
    codes[row, fold] = code
    return codes


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": None}, "has no field 'images'"),
        ({"folds": None}, "has no field 'folds'"),
        ({"images": np.zeros((90, 96, 96), np.uint8)}, r"got uint8 of shape \(90, 96, 96\)"),
        ({"images": np.zeros((90, 2304), np.uint8)}, r"got uint8 of shape \(90, 2304\)"),
        ({"images": np.zeros((90, 48, 48))}, r"images must be uint8 .* got float64 of shape"),
        ({"images": np.zeros((80, 48, 48), np.uint8)}, r"\(80, 5\), .* got uint8 of shape \(90, 5"),
        ({"folds": GOOD[:, :4]}, r"folds must be numbers .* got uint8 of shape \(90, 4\)"),
        ({"folds": GOOD.astype(str)}, "folds must be numbers of shape"),
        ({"folds": GOOD.astype(object)}, "folds must be numbers of shape"),
        ({"folds": coded(4)}, r"0, 1, 2 or 3; got 4.0 in fold 3 of row 7"),
        ({"folds": coded(-1)}, r"got -1.0 in fold 3"),
        ({"folds": coded(1.5)}, r"got 1.5 in fold 3"),
        ({"folds": coded(np.nan)}, r"got nan in fold 3"),
        ({"folds": np.where(GOOD == 0, 1, GOOD)}, "no row is unlabelled in all folds"),
        ({"folds": np.where(GOOD == 2, 1, GOOD)}, "fold 1 has no validation rows"),
        ({"folds": np.where([0, 0, 0, 1, 0] & (GOOD == 3), 1, GOOD)}, "fold 4 has no test rows"),
    ],
)
def test_what_tfds_file_does_not_hold_is_named(tmp_path, fields, message):
    write_tfd(tmp_path / FILE, **fields)
    with pytest.raises(data.DataError, match=message):
        data.load("tfd", tmp_path)


def test_too_few_labelled_rows_for_proper_folds(tmp_path):
    codes = np.array([[0] * 5, [2] * 5, [3] * 5])
    write_tfd(tmp_path / FILE, codes)
    assert len(data.load("tfd", tmp_path).train) == 1
    with pytest.raises(data.DataError, match="fold 1 has no validation rows, of 2 labelled rows"):
        data.load("tfd", tmp_path, proper_folds=True)
