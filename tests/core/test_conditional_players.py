"""Players that take a condition, against NumPy; and that conditional games learn by it."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit

import advnets
from advnets import conditional, layers, players, priors
from advnets.algorithms import generated
from advnets.draws import generator_draws
from advnets.networks import Reshape

KEY = jax.random.key(3)
SHAPE, LATENT = (2, 3), 4
SIZES = {"weight_range": 0.7}


def arrays(tree):
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf)]


def relu(x):
    return np.maximum(x, 0)


def maxout(x, weight, bias):
    return (weight @ x + bias).max(axis=0)


def concatenated_generator(z, c, w1, b1, w2, b2):
    return expit(w2 @ relu(w1 @ np.concatenate([z, c]) + b1) + b2).reshape(SHAPE)


def mirza_osindero_generator(z, c, wz, bz, wc, bc, w1, b1, w2, b2):
    both = np.concatenate([relu(wz @ z + bz), relu(wc @ c + bc)])
    return expit(w2 @ relu(w1 @ both + b1) + b2).reshape(SHAPE)


def concatenated_discriminator(x, c, w1, b1, w2, b2):
    return (w2 @ maxout(np.concatenate([x.ravel(), c]), w1, b1) + b2)[0]


def mirza_osindero_discriminator(x, c, wx, bx, wc, bc, w1, b1, w2, b2):
    both = np.concatenate([maxout(x.ravel(), wx, bx), maxout(c, wc, bc)])
    return (w2 @ maxout(both, w1, b1) + b2)[0]


def projection_discriminator(x, c, w1, b1, w, v, b):
    h = maxout(x.ravel(), w1, b1)
    return w @ h + (c @ v) @ h + b


def build(name, **condition):
    of_g = {"hidden_sizes": (7,), **SIZES}
    of_d = {"units": (5,), "pieces": 3, **SIZES}
    match name:
        case "concatenated_generator":
            return conditional.conditional_mlp_generator(KEY, LATENT, SHAPE, **of_g, **condition)
        case "mirza_osindero_generator":
            own = {"latent_units": 3, "condition_units": 6}
            return conditional.mirza_osindero_generator(
                KEY, LATENT, SHAPE, **of_g, **own, **condition
            )
        case "concatenated_discriminator":
            return conditional.conditional_maxout_discriminator(KEY, SHAPE, **of_d, **condition)
        case "mirza_osindero_discriminator":
            own = {"units": 5, "condition_units": 2, "joint_units": (6,), "pieces": 3}
            return conditional.mirza_osindero_discriminator(
                KEY, SHAPE, **own, joint_pieces=2, **SIZES, **condition
            )
    return conditional.projection_discriminator(KEY, SHAPE, **of_d, **condition)


BY_HAND = {
    one.__name__: one
    for one in (
        concatenated_generator,
        mirza_osindero_generator,
        concatenated_discriminator,
        mirza_osindero_discriminator,
        projection_discriminator,
    )
}


@eqx.filter_jit
def applied(player, x, c, key):
    """What a player gives, with a key and without one."""
    return player(x, c), player(x, c, key=key)


@pytest.mark.parametrize("name", BY_HAND)
def test_players_compute_what_they_say(name):
    rng = np.random.default_rng(0)
    given = rng.normal(size=(LATENT,) if name.endswith("generator") else SHAPE)
    x, vector = jnp.asarray(given, jnp.float32), np.array([0.5, -1.5])
    player = build(name, condition_size=2)
    found, noisy = applied(player, x, jnp.asarray(vector, jnp.float32), KEY)
    np.testing.assert_allclose(found, BY_HAND[name](given, vector, *arrays(player)), rtol=1e-4)
    # With a key there is dropout, but in what samples are drawn from.
    assert (noisy != found).any() == (name != "concatenated_generator")
    quiet = players.without_dropout(build(name, classes=3))
    found, silent = applied(quiet, x, jnp.array(2), KEY)
    np.testing.assert_allclose(found, BY_HAND[name](given, np.eye(3)[2], *arrays(quiet)), rtol=1e-4)
    assert (silent == found).all()


def test_they_are_as_printed():
    built = eqx.filter_eval_shape(
        lambda key: (
            conditional.mirza_osindero_generator(key, 100, (28, 28), classes=10),
            conditional.mirza_osindero_discriminator(key, (28, 28), classes=10),
        ),
        KEY,
    )
    of_g, of_d = (
        [leaf.shape for leaf in jax.tree.leaves(one) if hasattr(leaf, "shape")] for one in built
    )
    assert of_g[::2] == [(200, 100), (1000, 10), (1200, 1200), (784, 1200)]
    assert of_d[::2] == [(5, 240, 784), (5, 50, 10), (4, 240, 290), (1, 240)]


def test_dropout_comes_before_each_joint_layer():
    layers_of = build("mirza_osindero_generator", classes=3).player.layers
    for layer, after in itertools.pairwise(layers_of):
        assert isinstance(layer, layers.Dropout) == isinstance(after, eqx.nn.Linear)


def test_the_condition_is_never_dropped():
    drops = layers.Branches(layers.Dropout(0.5), eqx.nn.Identity(), 200)
    found = drops(jnp.ones(300), key=KEY)
    assert 60 < (found[:200] == 0).sum() < 140
    assert (found[200:] == 1).all()
    first = build("concatenated_discriminator", classes=3).player.layers[0]
    assert (first(jnp.ones(9), key=KEY)[6:] == 1).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build("concatenated_generator"), "classes=None and condition_size=None"),
        (
            lambda: build("projection_discriminator", classes=2, condition_size=2),
            "classes=2 and condition_size=2",
        ),
        (lambda: build("mirza_osindero_generator", classes=0), "classes=0"),
        (lambda: layers.Conditioned(eqx.nn.Identity(), 0), "at least 1 number; got 0"),
        (
            lambda: layers.Conditioned(eqx.nn.Identity(), 2)(jnp.zeros(3), jnp.zeros(3)),
            r"must have 2 numbers; got one of shape \(3,\)",
        ),
        (
            lambda: layers.Branches(eqx.nn.Identity(), eqx.nn.Identity(), 3)(jnp.zeros(3)),
            "a vector of 3 numbers can't be split after 3",
        ),
        (
            lambda: conditional.projection_discriminator(KEY, SHAPE, classes=2, units=()),
            "at least one layer of units",
        ),
    ],
)
def test_conditions_that_are_none_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def with_one(x):
    return jnp.concatenate([jnp.ones(1, x.dtype), x])


def affine(key, size):
    """`(w + V c)·(1, x)`: linear in x for each condition."""
    both = layers.Branches(eqx.nn.Lambda(with_one), eqx.nn.Identity(), 1)
    return eqx.nn.Sequential([both, layers.Projection(key, 2, size, weight_range=0.1)])


@pytest.mark.long
def test_a_linear_game_learns_what_it_is_conditioned_on():
    """A condition is (c == 0, c == 1, c == 2, c == 3, t).

    Of c = 0 and 1, x ~ N(±2, 1); 2 and 3 are labels of the same x at random; and without a class
    x ~ N(2t, 1).
    """
    rng = np.random.default_rng(1)
    kind, sign, shuffled = (rng.integers(0, n, 6000) for n in (3, 2, 2))
    t = rng.uniform(-1, 1, 6000)
    labels = np.where(kind == 0, sign, 2 + shuffled)
    c = np.eye(4)[labels] * (kind < 2)[:, None]
    c = np.concatenate([c, np.where(kind < 2, 0, t)[:, None]], axis=1)
    x = np.where(kind < 2, 4 * sign - 2, 2 * t) + rng.normal(size=6000)
    g_key, d_key = jax.random.split(KEY)
    inner = eqx.nn.Sequential([*affine(g_key, 5).layers, Reshape((1,))])
    # At the start G(z) = z for all c: D, which is linear too, sees nothing but means.
    inner = eqx.tree_at(
        lambda net: (net.layers[1].weight, net.layers[1].embedding),
        inner,
        (jnp.array([0.0, 1.0]), jnp.zeros((5, 2))),
    )
    game = advnets.Players(
        layers.Conditioned(inner, 5), layers.Conditioned(affine(d_key, 5), 5), priors.Normal(1)
    )
    rule = optax.adam(3e-3, b1=0.0, b2=0.99)
    trained = advnets.train(
        KEY,
        game,
        (x.astype(np.float32)[:, None], c.astype(np.float32)),
        epochs=34,
        algorithm=advnets.Algorithm1(
            generator_updates=rule, discriminator_updates=rule, average=0.99
        ),
        evaluate_every=34,
        progress=False,
    )
    assert trained.updates == 2040
    asked = np.concatenate([np.eye(5)[:4], np.eye(5)[[4, 4]] * [[-0.9], [0.6]]])
    samples = trained.averaged.sample(
        KEY, 6000, condition=np.repeat(asked, 1000, axis=0).astype(np.float32)
    ).reshape(6, 1000)
    means, right = samples.mean(axis=1), (samples[:4] > 0) == (np.arange(4)[:, None] % 2 == 1)
    # The standard error of a mean of samples is .03.
    np.testing.assert_allclose(means[:2], [-2, 2], atol=0.1)
    np.testing.assert_allclose(means[4:], [-1.8, 1.2], atol=0.15)
    assert right[:2].mean() > 0.96  # Φ(2) = .977
    assert abs(right[2:].mean() - 0.5) < 0.06
    with pytest.raises(ValueError, match=r"condition=\.\.\., a row for each example"):
        trained.model.sample(KEY, 3)


class Copies(eqx.Module):
    """A generator whose example is its condition."""

    def __call__(self, z, c):
        return c


def test_a_sample_has_the_condition_asked_for_bit_for_bit():
    asked = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    model = advnets.Model(Copies(), priors.Uniform(2))
    assert model.sample(KEY, 5, condition=asked).tobytes() == asked.tobytes()
    real = (jnp.zeros((5, 3)), jnp.asarray(asked))
    examples, condition = generated(
        generator_draws(KEY), lambda key, z, c: jax.vmap(Copies())(z, c), priors.Uniform(2), real
    )
    assert np.asarray(condition).tobytes() == np.asarray(examples).tobytes() == asked.tobytes()
