"""Markov chains: their protocol, their samples in order, continuing, and how fast they mix."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import seams
from hypothesis import given, settings
from hypothesis import strategies as st

from advnets import chains, mixing
from advnets.chains import Chain, Protocol

IMAGES = np.linspace(0, 1, 36).reshape(12, 3).astype(np.float32)


class Counting(Chain):
    """Counts its steps, beside where it started."""

    def start(self, key, images):
        return images, jnp.zeros((len(images), 1))

    def step(self, key, state):
        return state[0], state[1] + 1

    def means(self, state):
        return jnp.concatenate([state[0][:, :2], state[1]], axis=1)


COUNTING = Counting()


class Autoregressive(Chain):
    """x <- r x + sqrt(1 - r^2) noise: its autocorrelation at lag t is r^t."""

    r: float

    def start(self, key, images):
        return jax.random.normal(key, images.shape)

    def step(self, key, state):
        noise = jax.random.normal(key, state.shape)
        return self.r * state + (1 - self.r**2) ** 0.5 * noise

    def means(self, state):
        return state


def drawn(n=10, chain=COUNTING, key=0, images=IMAGES, **protocol):
    protocol = Protocol(**{"num_chains": 2, **protocol})
    return chains.run(jax.random.key(key), chain, images, n, protocol)


def test_samples_are_at_the_steps_that_the_protocol_says():
    found = drawn(8, burn_in=450, thin=7)
    assert found.shape == (2, 4, 3)
    np.testing.assert_array_equal(found[:, :, 2], [[451, 458, 465, 472]] * 2)
    assert Protocol(2, 450, 7).steps(8) == 472
    starts = {tuple(row) for row in IMAGES[:, :2]}
    assert {tuple(row) for row in found[:, 0, :2]} < starts  # two of them, each once
    assert len({tuple(row) for row in found[:, 0, :2]}) == 2


def test_steps_of_long_chains_are_gathered_in_parts(monkeypatch):
    seams.samples_per_walk(monkeypatch, 3)
    np.testing.assert_array_equal(drawn(16, burn_in=5)[0, :, 2], np.arange(6, 14))


def test_a_walk_in_parts_is_the_walk():
    key, chain = jax.random.key(1), Autoregressive(0.9)
    state = chain.start(key, jnp.asarray(IMAGES))
    _, whole = chains.walk(key, chain, state, samples=6, thin=2)
    state, first = chains.walk(key, chain, state, samples=2, thin=2)
    _, rest = chains.walk(key, chain, state, first=4, samples=4, thin=2)
    np.testing.assert_array_equal(np.concatenate([first, rest]), whole)


ALIKE = np.ones((5, 3), np.float32)  # wherever chains start
OPTIONS = {"chain": Autoregressive(0.5), "burn_in": 3, "thin": 2, "images": ALIKE}


def test_a_signal_stops_chains_after_the_running_program(monkeypatch):
    steps = []

    def count(step):
        steps.append(step)
        if len(steps) == 2:
            signal.raise_signal(signal.SIGINT)

    seams.samples_per_walk(monkeypatch, 3)
    seams.before_walks(monkeypatch, count)
    with pytest.raises(KeyboardInterrupt):
        drawn(20, **OPTIONS)
    assert len(steps) == 2


def test_each_step_has_a_key_of_its_own():
    independent = drawn(40, chain=Autoregressive(0.0))
    assert len(np.unique(independent)) == independent.size


def test_pixels_are_drawn_by_their_means():
    class Still(Counting):
        def means(self, state):
            return jnp.full(state[0].shape, 0.3)

    images = np.zeros((2, 50))
    protocol = Protocol(2, pixels="bernoulli")
    found = chains.run(jax.random.key(0), Still(), images, 400, protocol)
    assert set(np.unique(found)) == {0, 1}
    n = found.size
    assert abs(found.mean() - 0.3) < 4 * (0.3 * 0.7 / n) ** 0.5
    assert len(np.unique(found.reshape(400, -1), axis=0)) == 400  # each sample anew


def test_more_chains_than_images_start_from_some_twice():
    assert drawn(30, num_chains=30).shape == (30, 1, 3)


def test_samples_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite; the chain diverged"):
        drawn(chain=Autoregressive(float("nan")))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"num_chains": 0}, "the number of chains must be at least 1 and below"),
        ({"burn_in": -1}, "the burn-in must be at least 0"),
        ({"thin": 0}, "thin must be at least 1"),
    ],
)
def test_a_protocol_out_of_range_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**bad)


def test_no_images_and_no_samples_are_refused():
    with pytest.raises(ValueError, match="got none"):
        chains.run(jax.random.key(0), Counting(), IMAGES[:0], 5)
    with pytest.raises(ValueError, match=r"at least 1 .*; got 0"):
        chains.run(jax.random.key(0), Counting(), IMAGES, 0)


def test_a_protocol_says_itself():
    assert str(Protocol(1)) == "1 chain, burn-in 0, consecutive, mean pixels"
    assert (
        str(Protocol(10_000, 200, 2)) == "10,000 chains, burn-in 200, every 2nd step, mean pixels"
    )
    assert "every 11th step" in str(Protocol(thin=11))


@pytest.mark.parametrize("r", [-0.5, -0.3, 0.0, 0.5, 0.9])
def test_autocorrelation_times_are_those_of_an_autoregression(r):
    generator, n = np.random.default_rng(0), 4000
    series = np.zeros((20, n))
    noise = generator.standard_normal((20, n))
    series[:, 0] = noise[:, 0]
    for t in range(1, n):
        series[:, t] = r * series[:, t - 1] + (1 - r**2) ** 0.5 * noise[:, t]
    expected = (1 + r) / (1 - r)
    found, ended = mixing.autocorrelation_time(series)
    assert ended
    # The window's bias is below 1 %; the variance is Sokal's, 2 (2 M + 1) / N of tau squared.
    window = 5 * max(expected, (1 + r**2) / (1 - r**2))
    error = expected * (2 * (2 * window + 1) / series.size) ** 0.5
    assert abs(found - expected) < 4 * error + 0.01 * expected


def test_correlations_are_those_of_a_direct_sum():
    series, n = np.random.default_rng(1).standard_normal((3, 200)), 200
    series[:, 1:] += series[:, :-1].copy()  # so slow that the least time does not matter
    centred = series - series.mean()
    products = [np.mean(centred[:, : n - t] * centred[:, t:]) for t in range(n)]
    rho = np.array(products) / products[0]
    times = [1 + 2 * sum(rho[1 : t + 1]) for t in range(n)]
    spans = [1 + 2 * sum(rho[1 : t + 1] ** 2) for t in range(n)]
    first = next(t for t in range(n) if t >= 5 * times[t] and t >= 5 * spans[t])
    assert times[first] > 1
    assert mixing.autocorrelation_time(series)[0] == pytest.approx(times[first])


def test_a_time_is_at_least_one_that_is_told_from_noise():
    series = np.random.default_rng(0).standard_normal((2, 24))
    series[:, 1:] -= series[:, :-1].copy()  # whose sums do not grow, so the time is 0
    found = mixing.mixing(series[..., None])
    assert found.time == pytest.approx(1 / np.log10(48))
    assert not found.trusted  # 48 samples are too few for any time
    assert mixing.autocorrelation_time(series[:2, :4])[0] == 1


def test_no_window_is_wide_enough_for_a_series_that_alternates():
    time, ended = mixing.autocorrelation_time(np.resize([1.0, -1.0], (3, 400)))
    assert time == pytest.approx(1)
    assert not ended


def test_chains_that_stay_apart_are_slow():
    apart = np.random.default_rng(0).normal([[-5], [5]], 1, (2, 500))
    time, ended = mixing.autocorrelation_time(apart)
    assert time > 100
    assert not ended
    assert not mixing.mixing(apart[..., None]).trusted


def test_a_chain_that_never_moves_has_no_time():
    for value in (1.0, 0.1):  # the mean of the latter rounds
        assert mixing.autocorrelation_time(np.full((3, 7), value)) == (float("inf"), False)
        found = mixing.mixing(np.full((3, 7, 2), value))
        assert (found.times, found.effective_samples, found.trusted) == ((float("inf"),), 0, False)


def test_directions_in_which_nothing_varies_are_no_components():
    varied = np.random.default_rng(0).standard_normal((4, 200, 3))
    constant = np.full((4, 200, 3), 0.1)
    found = mixing.mixing(np.concatenate([varied, constant, varied[..., :1]], axis=2))
    assert len(found.times) == 3
    assert 0.5 < found.time < 2
    assert found.trusted


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.floats(0.1, 10), st.floats(-5, 5))
def test_times_do_not_depend_on_scale_or_shift(seed, scale, shift):
    samples = np.random.default_rng(seed).standard_normal((3, 60, 2)).cumsum(1)
    moved = mixing.mixing(scale * samples + shift)
    np.testing.assert_allclose(moved.times, mixing.mixing(samples).times, rtol=1e-6)


def test_the_first_components_are_those_of_most_variance():
    generator = np.random.default_rng(0)
    slow = np.repeat(generator.standard_normal((4, 100)), 10, axis=1) * 10  # each value ten times
    fast = generator.standard_normal((4, 1000, 3))
    found = mixing.mixing(np.concatenate([slow[..., None], fast], axis=2), components=1)
    assert len(found.times) == 1
    assert 8 < found.time < 12
    assert found.effective_samples == pytest.approx(4000 / found.time)


def test_too_short_chains_and_nan_are_refused():
    with pytest.raises(ValueError, match="at least 2 samples; got 1"):
        mixing.mixing(np.zeros((3, 1, 2)))
    with pytest.raises(ValueError, match="must be finite"):
        mixing.mixing(np.full((3, 2, 2), np.nan))


def test_chains_agree_where_their_means_do_for_their_variances():
    series = np.random.default_rng(0).standard_normal((3, 50)) + np.array([[0.0], [0.1], [2.0]])
    means, n = series.mean(1), 50
    within = np.mean([np.sum((row - row.mean()) ** 2) / (n - 1) for row in series])
    between = np.sum((means - means.mean()) ** 2) / 2
    expected = np.sqrt(((n - 1) / n * within + between) / within)
    assert mixing.r_hat(series) == pytest.approx(expected, rel=1e-12)
    assert mixing.r_hat(3 * series + 7) == pytest.approx(expected, rel=1e-12)
    assert mixing.r_hat(series) > 1.05 > mixing.r_hat(series[:1].repeat(2, axis=0))
    for value in (1.0, 0.1):  # the mean of the latter rounds
        assert mixing.r_hat(np.full((2, 3), value)) == 1
        assert mixing.r_hat(np.array([[0.0] * 3, [value] * 3])) == float("inf")
    with pytest.raises(ValueError, match="at least 2 samples; got 3 of 1"):
        mixing.r_hat(np.zeros((3, 1)))
