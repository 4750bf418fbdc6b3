"""Files that appear whole or not at all."""

import errno
import os
import resource

import pytest

from advnets import _files


def test_a_link_in_the_way_is_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "config.json"
    victim.write_text("precious")
    path.with_name("config.json.partial").symlink_to(victim)
    _files.replace(path, b"{}")
    assert victim.read_text() == "precious"
    assert path.read_bytes() == b"{}"
    assert sorted(os.listdir(tmp_path)) == ["config.json", "victim"]


def test_a_file_that_finds_no_room_leaves_the_one_before_it(tmp_path):
    path = tmp_path / "file"
    _files.replace(path, b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            _files.replace(path, b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_may_not_be_written_is_named_not_the_temporary_one(tmp_path, monkeypatch):
    def refused(path, mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(_files, "open", refused, raising=False)
    with pytest.raises(PermissionError, match=r"Permission denied: .*picture\.png'$"):
        _files.replace(tmp_path / "picture.png", b"content")


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_is_not_replaced(tmp_path, linked):
    """Else the superuser would lose /dev/null by it."""
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    with pytest.raises(OSError, match="not a file") as error:
        _files.replace(path, b"content")
    assert error.value.filename == str(pipe)
    assert pipe.is_fifo()
    assert not list(tmp_path.glob("*.partial"))


def test_a_digest_is_that_of_the_content(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert _files.sha256(path) == _files.sha256(path, sync=True) == expected


def test_a_file_and_its_name_are_on_disk_when_it_is_there(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    _files.replace(tmp_path / "file", b"content")
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


def test_what_a_link_points_to_is_replaced_not_the_link(tmp_path):
    path, target = tmp_path / "link.json", tmp_path / "elsewhere.json"
    path.symlink_to(target)
    for content in (b"new", b"newer"):
        _files.replace(path, content)
        assert path.is_symlink()
        assert target.read_bytes() == content
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        _files.replace(path, b"content")
    assert path.is_symlink()
