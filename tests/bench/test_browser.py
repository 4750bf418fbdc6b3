"""The pages in a headless Chromium: they fit, complain of nothing, and compute what JAX does."""

import functools
import os
import re
import shutil

import jax
import numpy as np
import pytest
from helpers.players import FOUND, SETTINGS, applied, conditional, draws, with_sheet
from helpers.seams import page_of

import advnets
from advnets import bench, inpainting, verify
from advnets.baselines import gsn
from advnets.bench import pages
from advnets.bench.frames import write_sheet
from advnets.bench.pages import chain, layers
from advnets.bench.pages.explorer import PRECISIONS, PRIORS, explorer
from advnets.bench.pages.inpainting import painter
from advnets.bench.systems.inpainting import TEST_SHEET
from advnets.bench.watching import pictured
from advnets.chains import Chained
from advnets.unet import unet_generator
from advnets.verify import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
WIDTHS = (1280, 390)
# A claim that is checked in no time.
RUN = "thm1-disjoint"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    # The superuser's Chromium has no sandbox; containers have little shared memory.
    options = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def opened(browser):
    """Opens a file; what the page complains of, or asks for, is kept in its `problems`."""
    tabs = []

    def open_file(path, width=1280, **options):
        page = browser.new_page(viewport={"width": width, "height": 800}, **options)
        page.problems = []
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:")) or page.problems.append(request.url)
            ),
        )
        page.set_default_timeout(10_000)
        page.goto(path.as_uri())
        tabs.append(page)
        return page

    yield open_file
    for page in tabs:
        page.close()


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """Pages with an explorer: of a kind of players, and precisions of G's and D's weights."""

    @functools.cache
    def write(kind, precisions):
        folder = tmp_path_factory.mktemp(kind)
        found = FOUND[kind]()
        shape = applied(found.model.generator, draws(found)).shape[1:]
        with_sheet(folder, shape)
        of_g = layers.export(found.model.generator, (found.model.prior.size,))
        of_both = of_g, layers.export(found.discriminator, shape)
        budget = sum(layers.size(*pair) for pair in zip(of_both, precisions, strict=True))
        exported = explorer(folder, found, SETTINGS[kind], budget=budget)
        (folder / "explore.html").write_text(page_of(exported))
        return folder / "explore.html", exported

    return write


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A page with a chain: of images of 3 × 5 pixels, with weights in int8."""
    folder = tmp_path_factory.mktemp("chain")
    net = gsn.GSN(jax.random.key(0), (3, 5), hidden_sizes=(7, 5))
    starts = jax.numpy.asarray(with_sheet(folder, (3, 5)))
    exported = chain.chain(folder, Chained(net, starts, 2, 0, 1, "mean"), budget=200)
    (folder / "explore.html").write_text(page_of(exported))
    return folder / "explore.html", exported, net


@pytest.fixture(scope="module")
def written(finished, explored, walked, painted, tmp_path_factory):
    """A page of each kind."""
    folder = tmp_path_factory.mktemp("written")
    run = shutil.copytree(finished, folder / "a-run-whose-name-is-longer-than-a-telephone-is-wide")
    (run / "results.json").unlink()
    left_out = [claim for claim in [*verify.CLAIMS.values()][::4] if claim.id != RUN]
    outcomes = [verify.registry.Outcome(claim, "not run", "it is long") for claim in left_out]
    outcomes.append(verify.run_claim(verify.CLAIMS[RUN]))
    report.write(folder, outcomes, {})
    return {
        "report": finished / "report.html",
        "unfinished": pages.write_report(run, live=True),
        "comparison": pages.write_comparison([finished, run], folder / "comparison.html"),
        "claims": folder / "report.html",
        "explorer": explored("convolutional", PRECISIONS[0])[0],
        "chain": walked[0],
        "painter": painted[0],
    }


@pytest.mark.parametrize(
    "name", ["report", "unfinished", "comparison", "claims", "explorer", "chain", "painter"]
)
def test_a_page_fits_and_complains_of_nothing(opened, written, name):
    page = opened(written[name], WIDTHS[0], color_scheme="dark")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = """[...document.querySelectorAll("main *")].filter((one) => !one.closest(".scroll")
            && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML)"""
        assert not page.evaluate(wide)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
    assert not page.problems


def test_the_slider_shows_other_samples(opened, written):
    page = opened(written["report"])
    figure = page.locator(".frames")
    image, label = figure.locator("img"), figure.locator("output")
    assert label.text_content() == "4 epochs"
    last = image.get_attribute("src")
    figure.locator("input").fill("0")
    assert label.text_content() == "2 epochs"
    assert image.get_attribute("src") != last
    figure.locator("button").click()
    label.get_by_text("4 epochs").wait_for()
    assert image.get_attribute("src") == last


PIXELS = """(selector) => {
    const canvas = document.querySelector(selector);
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""


def soon(page, condition):
    """Whether something holds within a few seconds."""
    return any(condition() or page.wait_for_timeout(50) for _ in range(200))


def test_the_plane_and_the_components_move_the_sample(opened, written):
    page = opened(written["explorer"])
    page.evaluate("latent.ready")

    def seen():
        return page.evaluate(PIXELS, ".sample")

    first, plane = seen(), page.locator(".plane")
    box = plane.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.up()
    page.locator(".plane span[style*='left: 7.1']").wait_for()
    corner = seen()
    assert corner != first
    # The plane's picture has, in that corner, the same sample.
    height, width = 9, 7
    size = (7 * (height + 1) - 1, 7 * (width + 1) - 1, 4)

    def plane_seen():
        return np.reshape(page.evaluate(PIXELS, ".plane canvas"), size)

    def drawn():
        return (plane_seen()[:height, :width] == np.reshape(corner, (height, width, 4))).all()

    assert soon(page, drawn)
    assert soon(page, lambda: plane_seen()[-1].any())
    plane.press("ArrowRight")
    moved = seen()
    assert moved != corner
    page.locator(".components input").first.fill("2.5")
    assert seen() != moved
    assert soon(page, lambda: not drawn())  # around another middle
    for button in (".draw", ".turn"):
        before, around = seen(), plane_seen()
        page.locator(button).click()
        assert (seen() != before) == (button == ".draw")
        assert soon(page, lambda around=around: (plane_seen() != around).any())
    every = page.locator(".components.all input")
    assert every.count() == 0
    page.locator(".explorer summary").click()
    assert soon(page, lambda: every.count() == 5)
    assert not page.problems


@pytest.mark.parametrize(
    ("kind", "precisions"),
    [
        ("dense", PRECISIONS[0]),
        ("dense", PRECISIONS[2]),
        ("dense", PRECISIONS[3]),
        ("convolutional", PRECISIONS[0]),
    ],
)
def test_the_browser_computes_what_jax_does(opened, explored, kind, precisions):
    path, exported = explored(kind, precisions)
    found = FOUND[kind]()
    page = opened(path)
    page.evaluate("latent.ready")
    latents = draws(found)[:16]
    rounded = [
        layers.rounded(player, precision)
        for player, precision in zip(
            (found.model.generator, found.discriminator), precisions, strict=True
        )
    ]
    examples = applied(rounded[0], latents)
    run = """(zs) => zs.map((z) => { const x = latent.generate(z);
        return [[...x], latent.discriminate(x), latent.nearest(x)]; })"""
    theirs, verdicts, neighbours = zip(*page.evaluate(run, latents.tolist()), strict=True)
    theirs = np.reshape(theirs, examples.shape)
    np.testing.assert_allclose(theirs, examples, atol=1e-5)
    ours = jax.nn.sigmoid(applied(rounded[1], examples)).ravel()
    np.testing.assert_allclose(verdicts, ours, atol=1e-5)
    # What is on the canvas, beside the picture of JAX's own example.
    whole = applied(found.model.generator, latents)
    picture = np.array(pictured(SETTINGS[kind], 16)(whole))
    if exported.data["largest"]:
        picture = (0.5 + 0.5 * np.asarray(whole) / exported.data["largest"]).clip(0, 1)
    moved = float(exported.notes[0].partition("by ")[2].partition(" ")[0] or 0)
    for number in range(3):
        page.evaluate("(z) => latent.show(Float32Array.from(z))", latents[number].tolist())
        shape = (*picture.shape[1:3], 4)
        canvas = np.reshape(page.evaluate(PIXELS, ".sample"), shape)[..., :3]
        expected = 255 * picture[number].reshape(*shape[:2], -1)
        assert abs(canvas - expected).max() <= 1 + moved
    train = with_sheet(path.parent / "..", picture.shape[1:])[:25]
    unlike = bench.protocol.on_host(SETTINGS[kind].preprocessing)(train).reshape(1, 25, -1)
    distances = np.linalg.norm(unlike - np.asarray(examples).reshape(16, 1, -1), axis=2)
    assert [n for n, _ in neighbours] == distances.argmin(axis=1).tolist()
    np.testing.assert_allclose([d for _, d in neighbours], distances.min(axis=1), rtol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("projects", [False, True])
def test_the_browser_draws_the_class_that_is_chosen(opened, tmp_path, projects):
    found = conditional(projects)
    with_sheet(tmp_path, (4, 3))
    exported = explorer(tmp_path, found, SETTINGS["dense"], budget=10**6)
    (tmp_path / "explore.html").write_text(page_of(exported))
    page = opened(tmp_path / "explore.html")
    page.evaluate("latent.ready")
    latents, labels = draws(found)[:6], np.arange(6) % 3
    examples = applied(found.model.generator, latents, labels)
    ours = jax.nn.sigmoid(applied(found.discriminator, examples, labels)).ravel()
    run = """(pairs) => pairs.map(([z, c]) => { const x = latent.generate(z, c);
        return [[...x], latent.discriminate(x, c)]; })"""
    pairs = [[z.tolist(), int(c)] for z, c in zip(latents, labels, strict=True)]
    theirs, verdicts = zip(*page.evaluate(run, pairs), strict=True)
    np.testing.assert_allclose(np.reshape(theirs, examples.shape), examples, atol=1e-5)
    np.testing.assert_allclose(verdicts, ours, atol=1e-5)
    # The buttons: each has its own picture of the same z, and the one that is pressed is shown.
    buttons = page.locator(".classes button")
    assert buttons.count() == 3
    page.evaluate("(z) => latent.show(Float32Array.from(z))", latents[2].tolist())
    buttons.nth(2).click()
    assert buttons.nth(2).get_attribute("aria-pressed") == "true"
    assert buttons.nth(0).get_attribute("aria-pressed") == "false"
    page.wait_for_timeout(200)
    expected = 255 * np.asarray(applied(found.model.generator, latents[[2] * 3], np.arange(3)))
    sample = np.reshape(page.evaluate(PIXELS, ".sample"), (4, 3, 4))[..., 0]
    assert abs(sample - expected[2]).max() <= 1
    for label in range(3):
        place = f".classes button:nth-child({label + 1}) canvas"
        thumbnail = np.reshape(page.evaluate(PIXELS, place), (4, 3, 4))[..., 0]
        assert abs(thumbnail - expected[label]).max() <= 1
    assert not page.problems


def test_the_browser_steps_as_jax_does(opened, walked):
    path, exported, net = walked
    page = opened(path)
    page.evaluate("chain.ready")
    rng = np.random.default_rng(1)
    image, first = rng.random(15), rng.random(15)
    draws = [(rng.random(15), *rng.normal(size=(2, 5))) for _ in range(3)]
    theirs = page.evaluate(
        """([image, first, draws]) => {
            let state = chain.start(image, first);
            return draws.map(([uniform, before, after]) => {
                state = chain.step(state, { uniform, before, after });
                return [[...state.means], [...state.pixels], [...state.top]];
            });
        }""",
        [image.tolist(), first.tolist(), [[x.tolist() for x in one] for one in draws]],
    )
    ours = chain.rounded(net, "int8")
    assert not np.array_equal(ours.weight2, net.weight2)

    def row(numbers):
        return jax.numpy.asarray(numbers, np.float32)[None]

    pixels, top = ours.corrupted(row(image), row(first)), jax.numpy.zeros((1, 5))
    for (uniform, before, after), (means, drawn, above) in zip(draws, theirs, strict=True):
        lower = ours.lower(pixels, top)
        logits = ours.pixel_logits(lower)
        pixels = ours.drawn(logits, row(uniform))
        top = ours.top(lower, row(before), row(after))
        np.testing.assert_allclose(means, jax.nn.sigmoid(logits)[0], atol=1e-5)
        np.testing.assert_array_equal(drawn, pixels[0])
        np.testing.assert_allclose(above, top[0], atol=1e-5)
    assert "int8, which moves a pixel" in exported.notes[0]


def test_a_chain_goes_on_and_holds_half_of_its_start(opened, walked):
    page = opened(walked[0])
    page.evaluate("chain.ready")
    steps = page.locator(".steps")
    assert steps.text_content() == "0 steps"
    page.locator(".step").click()
    assert steps.text_content() == "1 step"
    page.locator(".run").click()
    page.locator(".steps", has_text=re.compile(r"^([3-9]|\d\d+) steps$")).wait_for()
    page.locator(".run").click()
    page.locator(".hold").check()
    assert steps.text_content() == "0 steps"
    before = np.reshape(page.evaluate(PIXELS, ".mean"), (3, 5, 4))
    page.evaluate("Math.random = () => 0.1")  # which corrupts every pixel, to white
    page.locator(".step").click()
    after, seen = (
        np.reshape(page.evaluate(PIXELS, name), (3, 5, 4)) for name in (".mean", ".seen")
    )
    assert (after[:, :2] == before[:, :2]).all()
    assert (after[:, 2] != before[:, 2]).any()  # two of five columns are the left half
    assert (seen[:, :2] == 255).all()  # the network sees held pixels corrupted
    assert not page.problems


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_the_browser_reads_numbers_as_they_were_written(opened, explored, precision):
    page = opened(explored("dense", PRECISIONS[0])[0])
    scales = np.logspace(-9, 5, 60, dtype=np.float32)[:, None]  # as small as float16 has no more
    array = scales * np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    encoded = layers.encode(array, precision)
    read = page.evaluate("(array) => [...latent.decoded(array)]", encoded)
    np.testing.assert_array_equal(np.float32(read), layers.decode(encoded).ravel())


def test_a_report_of_a_run_that_goes_on_is_read_again(browser, written):
    page = browser.new_page()
    page.clock.install()
    page.goto(written["unfinished"].as_uri())
    page.evaluate("window.before = true")
    with page.expect_navigation():
        page.clock.run_for(11_000)
    assert page.evaluate("window.before") is None
    page.locator("#refresh").uncheck()
    page.evaluate("window.before = true")
    page.clock.run_for(60_000)
    assert page.evaluate("window.before")
    page.close()


def test_claims_are_filtered(opened, written):
    page = opened(written["claims"])
    shown = page.locator("section:visible")
    assert shown.count() == page.locator("section").count() > 5
    page.locator("#text").fill("THM1-disjoint theorem")
    assert shown.count() == 1
    page.locator("#text").fill("")
    page.locator("input[value='not run']").uncheck()
    assert shown.evaluate_all("all => all.map((one) => one.id)") == [RUN]
    assert page.locator("#shown").text_content() == "1 shown"


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """A page on which masks are painted: of colour images of 4 × 6 pixels, with weights in int8."""
    folder, shape = tmp_path_factory.mktemp("painter"), (4, 6, 3)
    images = np.random.default_rng(0).integers(0, 256, (20, *shape), np.uint8)
    write_sheet(folder, images, name=TEST_SHEET, columns=10)
    inner = unet_generator(jax.random.key(0), 5, shape, channels=[4], hidden_sizes=[7])
    generator, nothing = inpainting.Filler(inner), inpainting.NothingObserved(shape)
    model = advnets.Model(generator, advnets.priors.Normal(5), nothing)
    exported = painter(folder, model, "of the last epoch", budget=3000)
    (folder / "explore.html").write_text(page_of(exported))
    return folder / "explore.html", exported, model, images


def test_the_browser_fills_in_as_jax_does(opened, painted):
    path, exported, model, images = painted
    page = opened(path)
    page.evaluate("painter.ready")
    rng = np.random.default_rng(1)
    mask, z = rng.integers(0, 2, (4, 6)), rng.normal(size=5)
    theirs = page.evaluate(
        "([mask, z]) => [...painter.fill(painter.images()[3], Float32Array.from(mask), z)]",
        [mask.ravel().tolist(), z.tolist()],
    )
    image = images[3] / np.float32(255)
    wide = np.broadcast_to(mask[..., None], image.shape).astype(np.float32)
    generator = layers.rounded(model.generator, "int8")
    given = (jax.numpy.asarray(part, np.float32) for part in (z, wide * image, wide))
    jax_output = generator(*given)
    expected = np.where(wide == 1, image, jax_output)
    theirs = np.reshape(theirs, image.shape)
    np.testing.assert_allclose(theirs, expected, atol=1e-5)
    np.testing.assert_array_equal(theirs[wide == 1], image[wide == 1])
    assert (abs(theirs - image)[wide == 0] > 1e-3).all()
    assert "int8, which moves a pixel" in exported.notes[0]


@pytest.mark.parametrize("kind", PRIORS.values())
def test_pages_draw_from_the_prior(opened, painted, kind):
    """2,000 draws of 3 components: their range, means and squares, to within 5 standard errors."""
    prior = {name: of for of, name in PRIORS.items()}[kind](3)
    jax_draws = np.asarray(prior(jax.random.key(0), 20_000))
    draws = opened(painted[0]).evaluate(
        "([kind, n]) => { const { draw } = explorers.prior({ kind, size: 3 });"
        " return Array.from({ length: n }, () => [...draw()]); }",
        [kind, 2000],
    )
    for theirs, ours in ((np.array(draws), jax_draws), (np.square(draws), jax_draws**2)):
        apart = abs(theirs.mean(0) - ours.mean(0))
        assert (apart <= 5 * ours.std(0) * np.sqrt(1 / 2000 + 1 / 20_000)).all()
    if kind != "normal":
        assert jax_draws.min() - 0.02 < np.min(draws)
        assert np.max(draws) < jax_draws.max() + 0.02
    if kind == "spherical":
        np.testing.assert_allclose(np.linalg.norm(draws, axis=1), 1, rtol=1e-5)


def test_the_painter_draws_from_a_prior_on_the_unit_cube(opened, painted, tmp_path):
    """It drew standard normal numbers."""
    _, _, model, images = painted
    write_sheet(tmp_path, images, name=TEST_SHEET, columns=10)
    model = advnets.Model(model.generator, advnets.priors.UnitCube(5), model.condition)
    (tmp_path / "p.html").write_text(page_of(painter(tmp_path, model, "", budget=3000)))
    page = opened(tmp_path / "p.html")
    draws = page.evaluate("Array.from({ length: 200 }, () => [...painter.draw()])")
    assert np.shape(draws) == (200, 5)
    assert 0 <= np.min(draws) < 0.1
    assert 0.9 < np.max(draws) <= 1


def test_masks_are_painted_and_chosen(opened, painted):
    page = opened(painted[0])
    page.evaluate("painter.ready")
    missing_label = page.locator(".missing")
    assert missing_label.text_content() == "12 of 24 pixels are missing"
    fillings = page.evaluate(PIXELS, ".fillings")
    page.locator("[data-region=centre]").click()
    assert missing_label.text_content() == "6 of 24 pixels are missing"
    assert soon(page, lambda: page.evaluate(PIXELS, ".fillings") != fillings)
    page.locator("[data-region=none]").click()
    image = page.evaluate(PIXELS, ".truth")
    assert soon(page, lambda: page.evaluate(PIXELS, ".mean") == image)
    board = page.locator(".board")
    box = board.bounding_box()
    for value, missing in (("hide", "some"), ("show", "0")):
        page.locator(f"input[value={value}]").check()
        page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2, steps=12)
        page.mouse.up()
        assert missing_label.text_content().startswith("0 ") == (missing == "0")
    page.locator(".next").click()
    assert page.evaluate(PIXELS, ".truth") != image
    page.locator(".before").click()
    assert page.evaluate(PIXELS, ".truth") == image
    page.locator("[data-region=all]").click()
    grid = page.evaluate(PIXELS, ".fillings")
    page.locator(".draw").click()
    assert soon(page, lambda: page.evaluate(PIXELS, ".fillings") != grid)
    assert not page.problems
