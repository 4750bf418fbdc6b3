"""A finished run scored anew: as it was scored, with more samples, stopped and gone on with."""

import errno

import msgspec
import pytest
from helpers.runs import result_of

import advnets
from advnets import bench
from advnets.bench import results
from advnets.bench.cli import main


def test_the_run_s_own_scores_come_again(copied, capsys):
    before = (copied / "results.json").read_bytes()
    result = result_of(copied)
    for best, name, scored in (
        ([], "parzen-256.json", result.parzen),
        (["--best"], "parzen-best-256.json", result.best.parzen),
    ):
        assert main(["parzen", str(copied), "--num-samples", "256", "--devices", "2", *best]) == 0
        again = results.read(copied / name, results.Rescored)
        assert again.parzen == scored
        assert again.run == result.provenance
        assert f"{scored.test.mean:.1f} ±" in capsys.readouterr().out
    more = bench.rescore(copied, 1300, progress=False)
    assert more.parzen.num_samples == 1300
    assert more.parzen.test.mean > result.parzen.test.mean
    assert (copied / "results.json").read_bytes() == before
    assert not list(copied.glob("*unfinished*"))


def test_it_goes_on_where_it_was_stopped(copied, monkeypatch):
    monkeypatch.setattr(advnets.parzen, "GROUP_ROWS", 1000)
    monkeypatch.setattr(advnets.parzen, "SECONDS_BETWEEN_NOTES", 0)
    draw, asked, stop = advnets.model.SampleBlocks.__getitem__, [], [3]

    def drawn(self, number):
        asked.append(number)
        if number in stop:
            raise KeyboardInterrupt
        return draw(self, number)

    monkeypatch.setattr(advnets.model.SampleBlocks, "__getitem__", drawn)
    assert main(["parzen", str(copied), "--num-samples", "5000"]) == 130
    asked.clear()
    stop.clear()
    resumed = bench.rescore(copied, 5000, progress=False).parzen
    assert asked == [0, 2, 3, 4]
    (copied / "parzen-5000.json").unlink()
    assert bench.rescore(copied, 5000, progress=False).parzen == resumed
    assert asked[4:] == [0, 0, 1, 2, 3, 4]


def test_it_is_refused_in_one_sentence(copied, tmp_path, capsys):
    def refused(*arguments):
        assert main(["parzen", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "name the folder of a finished run" in refused(tmp_path)
    assert "must be at least 1; got 0" in refused(copied, "--num-samples", 0)
    assert "devices must be from 1 to 2" in refused(copied, "--devices", 3)
    (copied / "parzen-7.json").write_text("")
    assert "exists already" in refused(copied, "--num-samples", 7)
    changed = msgspec.structs.replace(result_of(copied), data="other images", data_sha256="0" * 64)
    results.write(copied / "results.json", changed)
    assert "was scored on other images" in refused(copied)


@pytest.mark.usefixtures("pixels")
def test_a_run_of_a_benchmark_that_is_not_known_is_refused(tmp_path, monkeypatch, capsys):
    assert main(["pixels", "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    monkeypatch.delitem(bench.BENCHMARKS, "pixels")
    assert main(["parzen", str(tmp_path / "run")]) == 2
    assert "there is no benchmark 'pixels'; add it to" in capsys.readouterr().err


@pytest.mark.long
def test_what_fails_after_work_has_begun_is_no_refusal(copied, tmp_path, monkeypatch, capsys):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(results, "write", full)
    assert main(["parzen", str(copied), "--num-samples", "300"]) == 3
    assert "parzen-300.json: No space left on device; once" in capsys.readouterr().err
    out = tmp_path / "rows.json"
    given = ["references", "--dataset", "digits", "--iterations", "1", "--out", str(out)]
    assert main(given) == 3
    out.touch()
    assert main(given) == 2
