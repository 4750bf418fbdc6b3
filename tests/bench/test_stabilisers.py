"""The comparison of stabilisers: counting modes, its games, and the command on tiny ones."""

import itertools

import jax
import jax.numpy as jnp
import matplotlib.image
import msgspec
import numpy as np
import pytest

from advnets.bench import stabilisers
from advnets.bench.cli import main
from advnets.bench.failures import ExitCode
from advnets.bench.modes import gaussians, methods
from advnets.players import Stateful

TINY = stabilisers.Effort(seeds=2, updates=8, samples=50, data=("ring",))


@pytest.fixture(scope="module", autouse=True)
def small():
    """Narrow players, and an epoch of 4 updates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "WIDTH", 4)
        patch.setattr(stabilisers, "BATCH", 5)
        patch.setattr(stabilisers, "ROWS", 20)
        yield


@pytest.mark.parametrize(
    ("data", "modes", "nearest"),
    [(gaussians.ring(), 8, 4 * np.sin(np.pi / 8)), (gaussians.grid(), 25, 2.0)],
)
def test_modes_are_as_many_as_said_and_apart(data, modes, nearest):
    pairs = itertools.combinations(data.centres, 2)
    assert min(np.linalg.norm(a - b) for a, b in pairs) == pytest.approx(nearest)
    assert data.modes == modes
    assert abs(data.centres.mean(0)).max() < 1e-12
    drawn = data.draw(0, 20_000)
    found = gaussians.count(drawn, data)
    assert (found.found, found.covered) == (modes, modes)
    error = np.sqrt(gaussians.TRUE_SHARE * (1 - gaussians.TRUE_SHARE) / 20_000)
    assert abs(found.share - gaussians.TRUE_SHARE) < 4 * error
    assert found.divergence < 2 * (modes - 1) / (2 * 20_000)  # twice its mean
    assert (data.draw(1, 10) != data.draw(0, 10)).all()


def test_counts_are_those_made_by_hand():
    data = gaussians.ring(4, radius=1.0, deviation=0.1)  # at 1, i, -1 and -i
    near, far = [0.75, 0.0], [0.65, 0.0]  # at 2.5 and 3.5 standard deviations from 1
    samples = np.array([near] * 30 + [far] * 10 + [[0.0, 1.0]] * 59 + [[-1.0, 0.0]])
    found = gaussians.count(samples, data)
    assert (found.found, found.covered) == (3, 2)  # -1 has 1 of 100, and a tenth of 25 is 2.5
    assert found.share == pytest.approx(0.9)
    shares = np.array([0.4, 0.59, 0.01])
    assert found.divergence == pytest.approx(np.sum(shares * np.log(4 * shares)))
    assert gaussians.count(samples[:1], data).divergence == pytest.approx(np.log(4))
    with pytest.raises(ValueError, match="counting modes needs at least 1 sample; got none"):
        gaussians.count(samples[:0], data)


@pytest.mark.long
def test_methods_of_each_kind_can_be_played():
    for name in ("spectral norm", "instance noise", "minibatch deviation", "mixture prior"):
        method = methods.METHODS[name]
        players = method.players(jax.random.key(0), 8)
        algorithm = method.algorithm(400)
        state = jax.eval_shape(lambda a=algorithm, p=players: a.init(p))
        jax.eval_shape(
            lambda state, a=algorithm, p=players: a.step(
                jax.random.key(0), p, state, jnp.zeros((6, 2))
            ),
            state,
        )
        assert isinstance(players.discriminator, Stateful) == (method.judge == "spectral")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """A comparison of one method, and its folder."""
    out = tmp_path_factory.mktemp("comparisons") / "made"
    with pytest.MonkeyPatch.context() as patch:
        some = {"lazy R1": methods.METHODS["lazy R1"]}
        patch.setattr(stabilisers, "METHODS", some)
        yield stabilisers.prepare(out, effort=TINY)(False), out


@pytest.mark.long
def test_a_comparison_leaves_numbers_and_pictures(comparison):
    found, out = comparison
    text = (out / "stabilisers.md").read_text()
    assert "## ring: 8 modes" in text
    assert "| lazy R1 | " in text
    assert "Mean ± standard deviation over 2 seeds of 8 updates" in text
    for name in ("ring", "shares"):
        assert matplotlib.image.imread(out / f"{name}.png").shape[0] > 100
    (first,) = found.settings
    assert first.last.share.n == 2
    assert len(first.shown) == 50
    assert first.last.share.values != first.averaged.share.values or first.last != first.averaged
    assert "  lazy R1: " in stabilisers.summary(found)
    gone = msgspec.structs.replace(first, last=None, averaged=None, shown=[], diverged=2)
    all_diverged = msgspec.structs.replace(found, settings=(gone,))
    assert "| lazy R1 | – | – | – | – | – | – | – | 2 of 2 |" in stabilisers.markdown(all_diverged)


@pytest.mark.long
def test_a_finished_setting_is_not_played_again(comparison, monkeypatch, capsys):
    found, out = comparison
    files = sorted((out / stabilisers.KEPT).glob("*.json"))
    assert len(files) == 1
    played = []

    def play(name, method, *_):
        played.append(method)
        return found.settings[0]

    monkeypatch.setattr(stabilisers, "_play", play)
    monkeypatch.setattr(stabilisers, "QUICK", TINY)
    command = ["stabilisers", "--preset", "quick", "--out", str(out)]
    assert main(command) == ExitCode.DONE
    assert played == []
    files[0].write_text("{}")  # damaged
    assert main(command) == ExitCode.DONE
    assert played == ["lazy R1"]
    assert "covered, share (of data 0.989)" in capsys.readouterr().out
    assert main([*command, "--seeds", "3"]) == ExitCode.DONE
    assert len(played) == 2
    assert main([*command, "--seeds", "0"]) == ExitCode.REFUSED
    assert "number of seeds must be from 1 to 1,000, as the games" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"updates": 6}, "a positive multiple of 4, those of an epoch; got 6"),
        ({"updates": 0}, "a positive multiple of 4, those of an epoch; got 0"),
        ({"seeds": 10**6}, "seeds must be from 1 to 1,000, .*; got 1000000"),
        ({"samples": 0}, "number of samples must be from 1 to .*; got 0"),
        ({"data": ("rings",)}, "among ring, grid; got rings"),
        ({"data": ()}, "among ring, grid; got none"),
    ],
)
def test_numbers_out_of_range_are_refused(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        stabilisers.prepare(tmp_path / "out", effort=msgspec.structs.replace(TINY, **given))
    assert not (tmp_path / "out").exists()
