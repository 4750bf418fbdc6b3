"""JSON from files that anyone may have changed."""

import json
import math
import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advnets import _documents

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    SCALARS | FLOATS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner)
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(min_size=1, max_size=3), JSON, max_size=4))
def test_what_is_sealed_comes_back(content):
    assert _documents.unseal(_documents.seal(content), "a file") == (content, True)


def test_a_seal_is_renewed():
    once = json.loads(_documents.seal({"a": 1}))
    assert _documents.unseal(_documents.seal({**once, "a": 2}), "a file")[0] == {"a": 2}


def test_every_flipped_bit_of_a_sealed_document_is_found():
    content = {"seed": 2, "recipe": {"rate": 0.1, "sizes": [16, 8]}, "name": "digits", "no": None}
    sealed = _documents.seal(content)
    harmless = 0
    for place in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[place // 8] ^= 1 << place % 8
        try:
            found, whole = _documents.unseal(bytes(changed), "a file")
        except ValueError:
            continue
        assert (found, whole) == (content, True)  # white space, or the case of an escape
        harmless += 1
    assert harmless < 0.05 * 8 * len(sealed)


def test_what_nests_as_deep_as_is_read_is_read():
    deepest = b"[" * _documents.DEPTH + b"]" * _documents.DEPTH
    assert _documents.parse(deepest, "a file")
    with pytest.raises(ValueError, match="More than 100 levels"):
        _documents.parse(b"[" + deepest + b"]", "a file")


def test_documents_of_before_are_read_and_said_to_be_unverified():
    assert _documents.unseal(b'{"a": 1}', "a file") == ({"a": 1}, False)
    other = json.loads(_documents.seal({"a": 1})) | {"format": 99}
    del other["sha256"]
    other["sha256"] = json.loads(_documents.seal({"a": 1}))["sha256"]
    with pytest.raises(ValueError, match="does not match its SHA-256"):
        _documents.unseal(json.dumps(other).encode(), "a file")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"\xff{}", "utf-8"),
        (json.dumps({"a": 1}).encode("utf-16"), "utf-8"),
        (b'{"a": NaN}', r"finite number - at `\$\.a`"),
        (b'{"a": [0, 1e999]}', r"finite number - at `\$\.a\[1\]`"),
        (b"[" * 101 + b"]" * 101, "More than 100 levels"),
        (b"[" * 10**6, ""),
        (b'{"a": ' + b"9" * 5000 + b"}", "digit"),
    ],
)
def test_what_is_no_json_of_ours_is_refused_by_name(content, reason):
    with pytest.raises(ValueError, match=rf"^some\.json can't be read \(.*{reason}"):
        _documents.parse(content, "some.json")


def test_a_type_is_checked_and_its_field_named():
    class Point(msgspec.Struct):
        x: float

    assert _documents.decode(b'{"x": 1.5, "more": 1}', Point, "p.json").x == 1.5
    with pytest.raises(ValueError, match=r"p\.json can't be read .*Expected `float`.*\$\.x"):
        _documents.decode(b'{"x": "a"}', Point, "p.json")
    with pytest.raises(ValueError, match="Out of range float"):
        _documents.seal({"x": math.nan})


def test_only_files_of_a_document_s_size_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_documents, "LARGEST_DOCUMENT", 10)
    (tmp_path / "large").write_bytes(b" " * 11)
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("large", "has 11 bytes, and at most 10 are read"),
        ("pipe", "it is not a file"),
        ("", "it is not a file"),
        ("missing", "No such file"),
    ):
        with pytest.raises(ValueError, match=reason):
            _documents.read_bytes(tmp_path / name)


def test_control_characters_are_shown_as_escapes():
    assert _documents.printable("a\x1b[2J\r\x9b é ± 'b'\nc") == "a\\x1b[2J\\r\\x9b é ± 'b'\nc"
