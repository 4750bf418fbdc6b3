"""The criterion in JAX: the values of `criterion`, right gradients, every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from advnets.verify import criterion, traceable

SCALARS = ["virtual_criterion", "suboptimality", "kullback_leibler", "jensen_shannon"]
PAIRED = ["optimal_discriminator", *SCALARS]
# Full; p only; q only; neither.
P = np.array([0.3, 0.1, 0.2, 0.4, 0.0, 0.0])
Q = np.array([0.1, 0.5, 0.15, 0.0, 0.25, 0.0])
LOGITS = np.array([0.5, -1.0, 3.0, np.inf, -np.inf, 0.0])


def on(dtype, *arrays):
    return [jnp.asarray(array, dtype) for array in arrays]


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    with jax.enable_x64(request.param == np.float64):
        yield request.param


@pytest.mark.parametrize("name", PAIRED)
def test_values_are_those_of_the_criterion(name, dtype):
    ours, theirs = getattr(traceable, name), getattr(criterion, name)
    rtol = 1e-5 if dtype == np.float32 else 1e-13
    for p, q in [(P, Q), (Q, P), (P, P), (P, (P + Q) / 2)]:
        found = jax.jit(ours)(*on(dtype, p, q))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, theirs(p, q), rtol, atol=1e-6 if rtol > 1e-6 else 1e-15)


def test_the_value_for_a_given_discriminator(dtype):
    rtol = 1e-5 if dtype == np.float32 else 1e-14
    found = jax.jit(traceable.value_on_grid)(*on(dtype, P, Q, LOGITS))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, criterion.value_on_grid(P, Q, LOGITS), rtol)
    ruled_out = jnp.array([-np.inf, 0, 0, 0, 0, 0], dtype)
    assert traceable.value_on_grid(*on(dtype, P, Q), ruled_out) == -np.inf


def test_a_small_gap_is_not_lost(dtype):
    rtol, size = (1e-5, 1e-3) if dtype == np.float32 else (1e-13, 1e-12)
    p, q = on(dtype, [0.25, 0.75], [0.25 + size, 0.75 - size])
    found = jax.jit(traceable.suboptimality)(p, q)
    assert found == pytest.approx(criterion.suboptimality(p, q), rel=rtol)


def test_a_divergence_of_near_densities_is_not_below_0(dtype):
    apart = 1e-4 if dtype == np.float32 else 1e-9
    p = np.random.default_rng(0).uniform(0.01, 0.99, 1000)
    p, q = on(dtype, np.stack([p, 1 - p], axis=1), np.stack([p + apart, 1 - p - apart], axis=1))
    found = jax.jit(jax.vmap(traceable.jensen_shannon))(p, q)
    assert (found >= 0).all()
    halves = jax.jit(jax.vmap(traceable.suboptimality))(p, q) / 2
    # As arrays hold them.
    exact = np.sum((np.float64(p) - np.float64(q)) ** 2 / (np.float64(p) + np.float64(q)), axis=1)
    np.testing.assert_allclose(halves, exact / 4, rtol=1e-4)
    # The gradient is the divergence's where it is cut to 0, too.
    slopes = jax.jit(jax.vmap(jax.grad(traceable.jensen_shannon)))(p, q)
    np.testing.assert_allclose(slopes, np.log(2 * p / (p + q)) / 2, rtol=1e-2, atol=1e-7)
    assert (slopes != 0).any(axis=1).all()


@pytest.mark.long
def test_half_precision_stays_half():
    p, q, logits = on(jnp.bfloat16, P, Q, LOGITS)
    assert traceable.value_on_grid(p, q, logits).dtype == jnp.bfloat16
    for name in PAIRED:
        assert getattr(traceable, name)(p, q).dtype == jnp.bfloat16
        if name in SCALARS:
            slope = jax.grad(getattr(traceable, name), argnums=1)(p, q)
            assert slope.dtype == jnp.bfloat16
            assert not jnp.isnan(slope).any()


def plain(name, p, q):
    """The same by formula, for positive densities, complex ones too."""
    m = (p + q) / 2
    if name == "virtual_criterion":
        return np.sum(p * np.log(p / (p + q)) + q * np.log(q / (p + q)))
    if name == "suboptimality":
        return np.sum(p * np.log(p / m) + q * np.log(q / m))
    if name == "kullback_leibler":
        return np.sum(p * np.log(p / q))
    return np.sum(p * np.log(p) / 2 + q * np.log(q) / 2 - m * np.log(m))


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("argument", [pytest.param(0, marks=pytest.mark.long), 1])
def test_gradients_are_those_of_a_complex_step(name, argument):
    rng = np.random.default_rng(0)
    pair = [rng.dirichlet(np.ones(7)), rng.dirichlet(np.ones(7))]
    expected = []
    for direction in np.eye(7):
        moved = list(pair)
        moved[argument] = pair[argument] + 1e-30j * direction
        expected.append(plain(name, *moved).imag / 1e-30)
    with jax.enable_x64(True):
        function = getattr(traceable, name)
        found = jax.grad(function, argument)(*on(np.float64, *pair))
        forward = jax.jacfwd(function, argument)(*on(np.float64, *pair))
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(forward, found, rtol=1e-11, atol=1e-14)


def test_gradients_at_empty_cells():
    """Cells with mass in both densities, then one only in p, one only in q, one in neither."""
    with jax.enable_x64(True):
        p, q = on(np.float64, P, Q)
        by_p, by_q = jax.grad(traceable.virtual_criterion, (0, 1))(p, q)
        d = criterion.optimal_discriminator(P, Q)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(by_p, np.log(d), atol=1e-15)
            np.testing.assert_allclose(by_q, np.log(1 - d), atol=1e-15)
        assert by_q[3] == by_p[4] == -np.inf

        by_p, by_q = jax.grad(traceable.jensen_shannon, (0, 1))(p, q)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(by_p, np.log(2 * d) / 2, atol=1e-15)
            np.testing.assert_allclose(by_q, np.log(2 * (1 - d)) / 2, atol=1e-15)

        by_p, by_q = jax.grad(traceable.suboptimality, (0, 1))(p, q)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(by_p, np.log(2 * d), atol=1e-15)
            np.testing.assert_allclose(by_q, np.log(2 * (1 - d)), atol=1e-15)

        by_p, by_q = jax.grad(traceable.kullback_leibler, (0, 1))(p, q)
        inside = np.log(P[:3] / Q[:3]) + 1
        np.testing.assert_allclose(by_p, [*inside, np.inf, -np.inf, 0], rtol=1e-14)
        np.testing.assert_allclose(by_q, [*(-P[:3] / Q[:3]), -np.inf, 0, 0], rtol=1e-14)

        slopes = jax.grad(lambda p, q: jnp.sum(traceable.optimal_discriminator(p, q)), (0, 1))(p, q)
        total = np.where(P + Q > 0, P + Q, 1)
        np.testing.assert_allclose(slopes[0], Q / total**2, rtol=1e-14)
        np.testing.assert_allclose(slopes[1], -P / total**2, rtol=1e-14)


def test_gradients_of_the_value():
    with jax.enable_x64(True):
        p, q, logits = on(np.float64, P, Q, LOGITS)
        by_p, by_q, by_logits = jax.grad(traceable.value_on_grid, (0, 1, 2))(p, q, logits)
        real = 1 / (1 + np.exp(-LOGITS))
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(by_p, np.log(real), rtol=1e-14)
            np.testing.assert_allclose(by_q, np.log(1 - real), rtol=1e-14)
        np.testing.assert_allclose(by_logits, P * (1 - real) - Q * real, atol=1e-16)


@pytest.mark.parametrize("name", PAIRED)
def test_vmap_is_a_loop(name):
    function = getattr(traceable, name)
    ps, qs = on(np.float32, np.stack([P, Q, P]), np.stack([Q, P, P]))
    together = jax.jit(jax.vmap(function))(ps, qs)
    apart = [function(p, q) for p, q in zip(ps, qs, strict=True)]
    np.testing.assert_allclose(together, jnp.stack(apart), rtol=1e-6, atol=1e-6)


def test_a_generator_learns_through_it():
    """Gradient descent on C in logits of p_g, with empty cells in p_data: no NaN on the way."""
    data = jnp.array([0.5, 0.3, 0.2, 0.0])

    def criterion_of(logits):
        return traceable.virtual_criterion(data, jax.nn.softmax(logits))

    slope = jax.jit(jax.grad(criterion_of))
    logits = jnp.zeros(4)
    for _ in range(500):
        logits = logits - 2 * slope(logits)
    np.testing.assert_allclose(jax.nn.softmax(logits), data, atol=5e-3)
    assert not jax.config.jax_enable_x64
