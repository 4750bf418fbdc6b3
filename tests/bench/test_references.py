"""The reference rows: real images, and centroids of them, in the place of samples."""

import functools

import numpy as np
import pytest
import scipy.special
import sklearn.cluster
from helpers.runs import result_of
from helpers.synthetic import encoded, pictures

import advnets
from advnets import bench
from advnets.bench import Benchmark, Settings, reference_rows, results
from advnets.bench.cli import main
from advnets.bench.protocol import on_host, score
from advnets.bench.systems import Centroids, TrainingImages
from advnets.bench.systems.images import CentroidSettings


@pytest.fixture(scope="module")
def digits():
    return advnets.data.load("digits")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    out = tmp_path_factory.mktemp("references") / "digits.json"
    assert main(["references", "--dataset", "digits", "--iterations", "3", "--out", str(out)]) == 0
    return out


def rows_of(digits):
    """Real images and centroids by other means, in float64."""
    k_means = sklearn.cluster.KMeans(257, init="random", n_init=1, max_iter=3, random_state=0)
    k_means.fit((digits.train / 255).reshape(-1, 64).astype(np.float32))
    return {
        "training_images": (digits.train / 255).reshape(-1, 64),
        "centroids": k_means.cluster_centers_.astype(np.float64),
    }


def log_likelihoods(test, rows, sigma):
    squared = (test**2).sum(1)[:, None] + (rows**2).sum(1)[None] - 2 * test @ rows.T
    log_p = scipy.special.logsumexp(-squared / (2 * sigma**2), axis=1) - np.log(len(rows))
    return log_p - 64 * np.log(sigma * np.sqrt(2 * np.pi))


def test_images_may_be_resized(tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / split).mkdir()
        for size in (6, 8):
            (image,) = pictures(1, size, (size, size))
            (tmp_path / split / f"{size}.png").write_bytes(encoded(image))
    prepare = functools.partial(
        reference_rows.prepare, "imagefolder", data_dir=tmp_path, out=tmp_path / "rows.json"
    )
    with pytest.raises(ValueError, match="image_size"):
        prepare()
    prepare(image_size=4)


@pytest.mark.long
def test_they_agree_with_an_independent_score(digits, recorded, capsys):
    result = results.read(recorded, results.ReferenceRows)
    test = (digits.test / 255).reshape(-1, 64)
    for name, rows in rows_of(digits).items():
        scored = getattr(result, name)
        assert scored.num_samples == len(rows)
        log_p = log_likelihoods(test, rows, scored.bandwidth)
        assert scored.test.mean == pytest.approx(log_p.mean(), abs=2e-3)
        assert scored.test.standard_error == pytest.approx(log_p.std() / np.sqrt(256), rel=1e-4)
    assert result.centroids.iterations == 3
    assert main(["references", "--dataset", "digits", "--out", str(recorded)]) == 2
    assert "exists; choose another file" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "system", "settings"),
    [
        ("training_images", TrainingImages, Settings("digits", num_samples=1285)),
        ("centroids", Centroids, CentroidSettings("digits", num_samples=257, iterations=3)),
    ],
)
def test_each_is_a_system_that_runs_like_any_other(
    name, system, settings, digits, recorded, tmp_path, monkeypatch
):
    benchmark = Benchmark(name, settings, system, summary="a reference row", needs="nothing")
    monkeypatch.setitem(bench.BENCHMARKS, name, benchmark)
    result = bench.run(benchmark, out=tmp_path / "run", progress=False)
    scored = getattr(results.read(recorded, results.ReferenceRows), name)
    assert result.parzen.test == scored.test
    assert result_of(tmp_path / "run") == result
    fewer = bench.rescore(tmp_path / "run", 100, progress=False).parzen
    test = (digits.test / 255).reshape(-1, 64)
    log_p = log_likelihoods(test, rows_of(digits)[name][:100], fewer.bandwidth)
    assert fewer.test.mean == pytest.approx(log_p.mean(), abs=2e-3)


@pytest.mark.long
def test_real_images_score_as_published_for_the_paper_s_protocol(data_dir):
    """241.2 ± 2.1 nats at bandwidth .167 for the first 10,000 training images."""
    mnist, preprocess = advnets.data.load("mnist", data_dir), on_host("unit")
    scored = score(preprocess(mnist.train[:10_000]), mnist, preprocess)
    assert scored.bandwidth == pytest.approx(0.16681, rel=1e-4)
    assert scored.test.mean == pytest.approx(241.2, abs=0.1)
    assert scored.test.standard_error == pytest.approx(2.1, abs=0.1)
