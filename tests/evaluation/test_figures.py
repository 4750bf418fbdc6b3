"""Pictures hold what they are given, where it belongs."""

import io
import itertools
import os
import subprocess
import sys

import jax.numpy as jnp
import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest

from advnets import figures
from advnets.memorisation import Memorisation


@pytest.mark.parametrize("channels", [(), (3,)])
def test_every_sample_and_neighbour_is_in_its_place(tmp_path, channels):
    rng = np.random.default_rng(0)
    samples, neighbours = rng.random((6, 14, 14, *channels)), rng.random((2, 14, 14, *channels))
    figures.samples_with_neighbours(tmp_path / "s.png", samples, neighbours, columns=3)
    picture = matplotlib.image.imread(tmp_path / "s.png")[..., :3]
    scale = picture.shape[0] // (2 * 15 + 1)
    picture = picture[::scale, ::scale]
    for row in range(2):
        top = 1 + 15 * row
        cells = [(1 + 15 * column, samples[3 * row + column]) for column in range(3)]
        cells.append((2 + 15 * 3, neighbours[row]))
        for left, image in cells:
            cell = picture[top : top + 14, left : left + 14]
            expected = image if channels else np.repeat(image[..., None], 3, axis=-1)
            np.testing.assert_allclose(cell, expected, atol=2 / 255)


def test_the_grid_must_be_full(tmp_path):
    with pytest.raises(ValueError, match="2 rows of 5 samples need 10 samples; got 9"):
        figures.samples_with_neighbours(
            tmp_path / "s.png", np.zeros((9, 4, 4)), np.zeros((2, 4, 4))
        )


@pytest.mark.parametrize("channels", [(), (3,)])
def test_every_line_is_a_row(tmp_path, channels):
    images = np.random.default_rng(0).random((3, 4, 10, 14, *channels))
    figures.interpolations(tmp_path / "l.png", images)
    picture = matplotlib.image.imread(tmp_path / "l.png")[..., :3]
    scale = picture.shape[0] // (3 * 11 + 1)
    assert picture.shape == (scale * (3 * 11 + 1), scale * (4 * 15 + 1), 3)
    picture = picture[::scale, ::scale]
    inside = np.zeros(picture.shape[:2], bool)
    for line, step in np.ndindex(3, 4):
        place = slice(1 + 11 * line, 11 + 11 * line), slice(1 + 15 * step, 15 + 15 * step)
        image = images[line, step]
        expected = image if channels else np.repeat(image[..., None], 3, axis=-1)
        np.testing.assert_allclose(picture[place], expected, atol=2 / 255)
        inside[place] = True
    assert (picture[~inside] == 1).all()


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (3, 4, 4, 3), (0, 4)])
def test_an_image_is_grey_or_coloured(tmp_path, shape):
    with pytest.raises(ValueError, match=r"or \(height, width, 3\); got"):
        figures.interpolations(tmp_path / "l.png", np.zeros((2, 3, *shape)))


def drawn_pixels(path, samples):
    """The upper left pixels of a row of samples as they are drawn."""
    figures.samples_with_neighbours(path, samples, samples[:1], columns=len(samples))
    picture = matplotlib.image.imread(path)[..., :3]
    return picture[figures.CELL_PIXELS // 14, [90 * n + 9 for n in range(len(samples))]]


def test_uint8_pixels_are_parts_of_255(tmp_path):
    greys = np.array([0, 1, 100, 200, 255], np.uint8)
    samples = np.broadcast_to(greys[:, None, None], (5, 14, 14))
    found = drawn_pixels(tmp_path / "s.png", samples)
    np.testing.assert_allclose(found, np.repeat(greys[:, None] / 255, 3, axis=1), atol=0.5 / 255)
    figures.interpolations(tmp_path / "bytes.png", samples[None])
    figures.interpolations(tmp_path / "floats.png", samples[None] / 255)
    bytes_, floats = (matplotlib.image.imread(tmp_path / f"{n}.png") for n in ("bytes", "floats"))
    np.testing.assert_array_equal(bytes_, floats)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.uint8])
def test_jax_arrays_and_images_of_one_channel_are_drawn(tmp_path, dtype):
    greys = np.array([0, 64, 128, 255])
    scaled = jnp.asarray(greys if dtype == jnp.uint8 else greys / 255, dtype)
    samples = jnp.broadcast_to(scaled[:, None, None, None], (4, 14, 14, 1))
    found = drawn_pixels(tmp_path / "s.png", samples)
    np.testing.assert_allclose(found[:, 0], greys / 255, atol=2 / 255)
    assert (found == found[:, :1]).all()
    figures.interpolations(tmp_path / "l.png", samples[None])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_pixel_that_is_not_finite_is_refused(tmp_path, bad):
    images = np.zeros((2, 4, 4))
    images[1, 2, 3] = bad
    good, path = np.zeros((1, 4, 4)), tmp_path / "s.png"
    for draw, message in (
        (lambda: figures.samples_with_neighbours(path, images, good, columns=2), "samples has 1"),
        (lambda: figures.samples_with_neighbours(path, good, images[1:], columns=1), "neighb.* 1"),
        (lambda: figures.interpolations(path, images[None]), "images has 1 value .* in row 1"),
    ):
        with pytest.raises(ValueError, match=message):
            draw()
        assert not path.exists()


def test_other_integers_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"images are int64; give floats in \[0, 1\], or uint8"):
        figures.interpolations(tmp_path / "l.png", np.full((1, 2, 4, 4), 200))


def test_pixels_out_of_range_are_clipped_with_a_word(tmp_path):
    images = np.zeros((1, 4, 4, 4))
    images[0, 0] = 1.2  # a quarter: what a generator with a linear output may do
    figures.interpolations(tmp_path / "l.png", images)
    with pytest.warns(RuntimeWarning, match=r"50% .* clipped \(they go from 0 to 255\)"):
        figures.interpolations(tmp_path / "l.png", np.float32([[[[0, 255]]]]))


def test_a_picture_beyond_measure_is_refused_before_it_is_made(tmp_path):
    image = np.zeros((28, 28), np.float32)
    images = np.broadcast_to(image, (1000, 1000, 28, 28))  # of one image's memory
    with pytest.raises(ValueError, match="1,000 rows of 1,000 images; a picture has room for some"):
        figures.interpolations(tmp_path / "l.png", images)
    vast = np.broadcast_to(np.float32(0), (2, 2, 2, 10_000, 10_000))
    with pytest.raises(ValueError, match=r"make a picture of 4e\+08 pixels"):
        figures.interpolations(tmp_path / "l.png", vast[0])
    with pytest.raises(ValueError, match="1 rows of 0 columns; draw at least 1 each"):
        figures.samples_with_neighbours(tmp_path / "s.png", image[None], image[None], columns=0)
    with pytest.raises(ValueError, match="0 rows of 5 columns"):
        figures.samples_with_neighbours(tmp_path / "s.png", images[0, :0], images[0, :0])
    assert not list(tmp_path.iterdir())


def test_a_picture_that_can_not_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "l.png"
    figures.interpolations(path, np.zeros((1, 2, 4, 4)))
    before = path.read_bytes()

    def fills_the_disk(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fills_the_disk)
    with pytest.raises(OSError, match="no space left"):
        figures.interpolations(path, np.ones((1, 2, 4, 4)))
    assert path.read_bytes() == before


def test_curves_are_drawn_with_and_without_scores(tmp_path):
    player = {"value": -1.0, "real_output": 0.6, "fake_output": 0.4, "real_error": 0.1}
    player |= {"fake_error": 0.2, "gradient_norm": 1.0}
    rows = [
        {"epoch": e, "discriminator": player, "generator": {"cost": 1.0, "gradient_norm": 1.0}}
        for e in range(1, 5)
    ]
    figures.curves(tmp_path / "without.png", rows)
    rows[-1]["validation"] = {"mean": 100.0, "standard_error": 2.0, "n": 10}
    figures.curves(tmp_path / "with.png", rows, title="a run")
    pictures = [matplotlib.image.imread(tmp_path / f"{n}.png") for n in ("without", "with")]
    assert not np.array_equal(*pictures)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures_saved = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure,
        "savefig",
        lambda self, *args, **kwargs: (figures_saved.append(self), save(self, *args, **kwargs)),
    )
    return figures_saved


def test_curves_of_another_objective_show_what_its_metrics_hold(tmp_path, drawn):
    rows = [
        {"epoch": e, "discriminator": {"cost": 1.0 / e}, "generator": {"cost": 2.0 * e}}
        for e in (1, 2)
    ]
    figures.curves(tmp_path / "c.png", rows)
    first, second, *rest = drawn[0].axes
    assert [axis.get_ylabel() for axis in (first, second)] == ["discriminator", "generator"]
    assert first.lines[0].get_xydata().tolist() == [[1, 1], [2, 0.5]]
    assert second.lines[0].get_xydata().tolist() == [[1, 2], [2, 4]]
    assert not rest[0].get_visible()


def test_curves_of_what_only_some_epochs_measure_have_those_epochs(tmp_path, drawn):
    players = {"discriminator": {"cost": 1.0}, "generator": {"cost": 2.0}}
    rows = [{"epoch": e, **players} for e in (1, 2, 3, 4)]
    rows[1]["classifier"], rows[3]["classifier"] = {"error": 0.5}, {"error": 0.25}
    figures.curves(tmp_path / "c.png", rows)
    _, _, classifier, _ = drawn[0].axes
    assert classifier.get_ylabel() == "classifier"
    assert classifier.lines[0].get_xydata().tolist() == [[2, 0.5], [4, 0.25]]


def test_curves_of_one_model_are_beside_its_likelihood(tmp_path, drawn):
    score = {"mean": 5.0, "standard_error": 1.0}
    rows = [{"epoch": e, "model": {"cost": 1.0 / e}, "validation": score} for e in (1, 2)]
    figures.curves(tmp_path / "c.png", rows)
    model, likelihood = drawn[0].axes  # and no empty panel
    assert model.get_ylabel() == "model"
    assert model.lines[0].get_xydata().tolist() == [[1, 1], [2, 0.5]]
    assert likelihood.lines[0].get_ydata().tolist() == [5, 5]


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_a_row_of_table_1_is_a_dot_with_its_error(tmp_path, drawn):
    rows = [
        figures.Row("deep belief net", 1909, 66, "published"),
        figures.Row("centroids", 313.2, None, "reference"),
        figures.Row("adversarial nets", 2057, 26, "published"),
        figures.Row("digits", 28.123, 0.04, "here"),
    ]
    figures.table_1(tmp_path / "t.png", rows)
    assert matplotlib.image.imread(tmp_path / "t.png").ndim == 3
    (axis,) = drawn[0].axes
    dots = [bar.lines[0].get_xydata()[0].tolist() for bar in axis.containers]
    assert dots == [[1909, 0], [313.2, -1], [2057, -2], [28.123, -3]]
    errors = [[segment[:, 0].tolist() for segment in b.get_segments()] for b in axis.collections]
    assert np.array(errors) == pytest.approx(
        np.array([[[1843, 1975]], [[2031, 2083]], [[28.083, 28.163]]])
    )
    assert [label.get_text() for label in axis.get_yticklabels()] == [row.label for row in rows]
    assert axis.get_yticks().tolist() == [0, -1, -2, -3]
    assert texts(axis) == ["1,909 ± 66", "313.2", "2,057 ± 26", "28.12 ± 0.04"]
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["published", "reference", "advnets"]
    colours = [bar.lines[0].get_color() for bar in axis.containers]
    assert colours[0] == colours[2] != colours[1]


def test_labels_of_several_lines_do_not_overlap(tmp_path, drawn):
    labels = ["one", "two\nlines", "three\nlines\neach", "also\nthree\nlines"]
    figures.table_1(tmp_path / "t.png", [figures.Row(label, 1.0, 0.1, "here") for label in labels])
    (axis,) = drawn[0].axes
    boxes = [label.get_window_extent() for label in axis.get_yticklabels()]
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(boxes))


def test_every_seed_is_a_dot_beside_the_published_band(tmp_path, drawn):
    scores = {"alternating": [170.0, 180.0, 176.5], "simultaneous": [160.0]}
    figures.seeds(tmp_path / "s.png", scores)
    figures.seeds(tmp_path / "without.png", scores, published=None)
    (axis,), (without,) = drawn[0].axes, drawn[1].axes
    lines = {line.get_marker(): [] for line in axis.lines}
    for line in axis.lines[1:]:
        lines[line.get_marker()].append(line.get_xydata())
    for dots, means, values, row in zip(
        lines["o"], lines["None"], scores.values(), (0, -1), strict=True
    ):
        assert dots[:, 0].tolist() == values
        assert (abs(dots[:, 1] - row) < 0.25).all()
        np.testing.assert_allclose(means[:, 0], np.mean(values))
    assert texts(axis) == ["mean 175.5\n3 seeds, s.d. 5.1", "mean 160.0\n1 seed"]
    (band,) = axis.patches
    assert (band.get_x(), band.get_width()) == (223, 4)
    assert drawn[0].legends[0].get_texts()[0].get_text() == "published, 225 ± 2"
    assert not without.patches
    assert not drawn[1].legends


def test_a_sweep_is_dots_over_learning_rates_on_a_logarithmic_axis(tmp_path, drawn):
    scores = {0.3: [120.0, 130.0], 0.03: [150.0], 1.0: [], 0.1: [176.0, 172.0]}
    figures.learning_rates(tmp_path / "l.png", scores, chosen=0.1)
    (axis,) = drawn[0].axes
    chosen, dots, means = axis.lines
    assert axis.get_xscale() == "log"
    assert set(chosen.get_xdata()) == {0.1}
    assert sorted(map(tuple, dots.get_xydata())) == [
        (0.03, 150.0), (0.1, 172.0), (0.1, 176.0), (0.3, 120.0), (0.3, 130.0),
    ]  # fmt: skip
    assert means.get_xydata().tolist() == [[0.03, 150.0], [0.1, 174.0], [0.3, 125.0]]
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert labels == ["0.03", "0.1", "0.3", "1"]


def test_charts_of_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1 score"):
        figures.learning_rates(tmp_path / "l.png", {0.1: []})
    with pytest.raises(ValueError, match="must be above 0; got 0"):
        figures.learning_rates(tmp_path / "l.png", {0.0: [1.0]})
    with pytest.raises(ValueError, match="at least 1 row"):
        figures.table_1(tmp_path / "t.png", [])
    for scores in ({}, {"alternating": []}):
        with pytest.raises(ValueError, match="at least 1 score"):
            figures.seeds(tmp_path / "s.png", scores)


ROW = figures.Row("a", 1.0, None, "here")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda p: figures.table_1(p, [ROW] * 501), "at most 500; got 501"),
        (
            lambda p: figures.table_1(p, [figures.Row("a", np.nan, None, "here")]),
            "row 'a' holds nan; leave out",
        ),
        (
            lambda p: figures.table_1(p, [figures.Row("a", 1.0, np.inf, "here")]),
            "row 'a' holds inf",
        ),
        (
            lambda p: figures.table_1(p, [figures.Row("a", 1.0, -2.0, "here")]),
            "row 'a' has a standard error of -2.0",
        ),
        (lambda p: figures.seeds(p, {"a": [1.0, np.nan]}), "'a' holds nan"),
        (lambda p: figures.seeds(p, {"a": [1.0]}, published=(np.nan, 1.0)), "published holds nan"),
        (lambda p: figures.seeds(p, {str(n): [1.0] for n in range(501)}), "at most 500 rows"),
        (lambda p: figures.learning_rates(p, {0.1: [np.inf]}), "learning rate 0.1 holds inf"),
        (lambda p: figures.learning_rates(p, {np.nan: [1.0]}), "the learning rates holds nan"),
        (lambda p: figures.curves(p, []), "at least 1 epoch; got none"),
        (lambda p: figures.curves(p, [{"loss": 1.0}]), "row 0 of the metrics has no number epoch"),
        (
            lambda p: figures.curves(
                p, [{"epoch": 1, "d": {"cost": 1.0}}, {"epoch": 2, "d": {"cost": "low"}}]
            ),
            "row 1 of the metrics has no number d.cost",
        ),
    ],
)
def test_what_can_not_be_drawn_is_refused(tmp_path, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


def test_a_dollar_in_a_name_is_a_dollar(tmp_path):
    # Between two, Matplotlib reads mathematics, and fails on what is none.
    name = r"$\no such$"
    figures.table_1(tmp_path / "t.png", [figures.Row(name, 1.0, None, "here")])
    figures.seeds(tmp_path / "s.png", {name: [1.0]})
    figures.curves(tmp_path / "c.png", [{"epoch": 1, name: {name: 1.0}}], title=name)


@pytest.mark.long
def test_drawing_does_not_touch_the_users_plots():
    program = (
        "import sys, tempfile, pathlib, numpy as np, advnets\n"
        "path = pathlib.Path(tempfile.mkdtemp()) / 's.png'\n"
        "advnets.figures.samples_with_neighbours(path, np.zeros((5, 4, 4)), np.zeros((1, 4, 4)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_figures_are_given_back_and_written_only_where_a_path_says(tmp_path, drawn):
    images = np.random.default_rng(0).random((6, 8, 8))
    distances = Memorisation(np.arange(4.0), np.arange(4.0), *[0.5] * 8)
    draws = {
        "samples": lambda path: figures.samples_with_neighbours(
            path, images, images[:2], columns=3
        ),
        "lines": lambda path: figures.interpolations(path, images[None]),
        "memorisation": lambda path: figures.memorisation(path, distances),
        "table": lambda path: figures.table_1(path, [ROW]),
        "seeds": lambda path: figures.seeds(path, {"a": [1.0]}),
        "rates": lambda path: figures.learning_rates(path, {0.1: [1.0]}),
        "curves": lambda path: figures.curves(path, [{"epoch": 1, "d": {"cost": 1.0}}]),
    }
    for name, draw in draws.items():
        figure = draw(None)
        assert isinstance(figure, matplotlib.figure.Figure)
        assert figure._repr_png_().startswith(b"\x89PNG")
        draw(tmp_path / f"{name}.png")
    assert {path.stem for path in tmp_path.iterdir()} == draws.keys()
    # In a notebook a mosaic is what the file is, pixel by pixel.
    shown = matplotlib.image.imread(io.BytesIO(draws["samples"](None)._repr_png_()))
    np.testing.assert_allclose(
        shown, matplotlib.image.imread(tmp_path / "samples.png"), atol=1.5 / 255
    )


@pytest.mark.parametrize(("columns", "width"), [(5, 14), (1, 8), (1, 57)])
def test_the_column_of_neighbours_is_named_below_it(tmp_path, columns, width):
    black = np.zeros((columns, 14, width))
    figures.samples_with_neighbours(tmp_path / "s.png", black, black[:1], columns=columns)
    picture = matplotlib.image.imread(tmp_path / "s.png")[..., 0]
    scale, gap = max(1, round(84 / width)), max(1, width // 14)
    below = picture[scale * (14 + 2 * gap) :]
    assert below.shape[0] in (16, 32)
    assert (below[:, -60:] < 0.5).any()  # some letters, the last ones at the right
    assert below.min(axis=0)[-60:].mean() < 0.8


def test_legends_cover_no_data(tmp_path, drawn):
    rows = [
        {"epoch": e, "d": {"one": 1.0, "a long name of a quantity": e}, "g": {"cost": -1.0 * e}}
        for e in range(1, 5)
    ]
    figures.curves(tmp_path / "c.png", rows, title="a run")
    figures.learning_rates(tmp_path / "l.png", {0.1: [1.0], 0.2: [3.0]}, chosen=0.1)
    figures.table_1(tmp_path / "t.png", [ROW])
    for figure in drawn:
        panels = [axis.get_window_extent() for axis in figure.axes if axis.get_visible()]
        legends = [*figure.legends, *(a.get_legend() for a in figure.axes)]
        found = [one.get_window_extent() for one in legends if one is not None]
        assert found
        for box in found:
            assert not any(box.overlaps(panel.shrunk(0.99, 0.99)) for panel in panels)
            assert box.x1 <= figure.bbox.x1 + 1


def test_the_style_is_for_these_figures_alone():
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"axes.facecolor": "black", "text.color": "white"}):
        figure = figures.seeds(None, {"a": [1.0]})
        assert matplotlib.rcParams["axes.facecolor"] == "black"
    assert figure.axes[0].get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    assert dict(matplotlib.rcParams) == before
