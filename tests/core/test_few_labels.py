"""The K-logit game: its costs in NumPy float64, what is exact of it, and what is refused."""

import functools
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from advnets import few_labels
from advnets.draws import discriminator_draws
from advnets.few_labels import Classifier, FewLabels, NormedLinear, with_average
from advnets.game import discriminator_cost
from advnets.players import Frozen, Judge, apply


def classifier(classes, seed=0):
    """A linear one of 4 features without noise, of examples of 3 numbers."""
    below, above = jax.random.split(jax.random.key(seed))
    hidden = [eqx.nn.Linear(3, 4, key=below), eqx.nn.Lambda(jax.nn.relu)]
    head = [eqx.nn.Linear(4, classes, key=above)]
    return Classifier(eqx.nn.Sequential(hidden), eqx.nn.Sequential(head))


def rows(seed, n):
    return jax.random.normal(jax.random.key(seed), (n, 3))


@eqx.filter_jit
def costs_of(objective, draws, net, real, fake):
    """Compiled once for each number of classes and of rows."""
    return objective.costs(draws, Judge(net), real, fake)


def in_numpy(net, x):
    """Logits and features, in float64."""
    (first, _), (last,) = net.hidden.layers, net.head.layers
    features = np.maximum(
        np.asarray(x, np.float64) @ np.float64(first.weight).T + np.asarray(first.bias), 0
    )
    return features @ np.float64(last.weight).T + np.asarray(last.bias), features


def test_costs_are_those_of_the_formula(key):
    """With as many labelled rows as an update takes, it sees each once."""
    net, labels = classifier(3), jnp.array([0, 2, 1, 2])
    examples, real, fake = rows(1, 4), rows(2, 5), rows(3, 5)
    objective = FewLabels(examples, labels, batch_size=4, weight=0.7)
    found = costs_of(objective, discriminator_draws(key), net, real, fake)
    on_labelled, _ = in_numpy(net, examples)
    (on_real, h), (on_fake, h_fake) = in_numpy(net, real), in_numpy(net, fake)
    log_z = [scipy.special.logsumexp(one, axis=1) for one in (on_labelled, on_real, on_fake)]
    labelled = np.mean(log_z[0] - on_labelled[np.arange(4), labels])
    softplus = [np.logaddexp(0, one) for one in log_z]
    unlabelled = np.mean(-log_z[1] + softplus[1]) / 2 + np.mean(softplus[2]) / 2
    assert found.discriminator == pytest.approx(labelled + 0.7 * unlabelled, rel=1e-5)
    difference = h.mean(axis=0) - h_fake.mean(axis=0)
    assert found.generator == pytest.approx(np.mean(difference**2), rel=1e-4)
    assert found.seen["labelled_error"] == pytest.approx(np.mean(on_labelled.argmax(1) != labels))
    assert found.seen["labelled_cost"] == pytest.approx(labelled, rel=1e-5)
    v = -np.mean(np.logaddexp(0, -log_z[1])) - np.mean(softplus[2])
    assert found.seen["value"] == pytest.approx(v, rel=1e-5)


def test_one_class_is_the_game_of_2014(key):
    """K = 1: the labelled part is 0 and log Z the logit, so D's cost is `discriminator_cost`."""
    net = classifier(1)
    objective = FewLabels(rows(1, 4), jnp.zeros(4, int), batch_size=4)
    real, fake = rows(2, 5), rows(3, 5)
    found = costs_of(objective, discriminator_draws(key), net, real, fake)
    logits = [in_numpy(net, one)[0][:, 0] for one in (real, fake)]
    on_real, on_fake = (jnp.asarray(one, jnp.float32) for one in logits)
    exact = discriminator_cost(on_real, on_fake)
    np.testing.assert_allclose(found.discriminator, exact, rtol=1e-6)
    assert found.seen["labelled_cost"] == 0
    np.testing.assert_allclose(Judge(net)(None, real), on_real, rtol=1e-5, atol=1e-6)


def test_a_constant_moves_d_and_not_the_class(key):
    net, x = classifier(3), rows(1, 5)
    bias = net.head.layers[0].bias
    moved = eqx.tree_at(lambda net: net.head.layers[0].bias, net, bias + 2)
    before, after = (few_labels.outputs_of(None, one, x)[0] for one in (net, moved))
    assert np.array_equal(before.argmax(axis=1), after.argmax(axis=1))
    np.testing.assert_allclose(Judge(moved)(None, x), Judge(net)(None, x) + 2, rtol=1e-5)
    objective = FewLabels(rows(2, 4), jnp.array([0, 1, 2, 0]), batch_size=4, weight=0.7)
    draws = discriminator_draws(key)
    labelled = [costs_of(objective, draws, one, x, x).seen["labelled_cost"] for one in (net, moved)]
    np.testing.assert_allclose(*labelled, rtol=1e-4)


def test_labels_never_reach_the_unlabelled_part(key):
    net, real, fake = classifier(3), rows(2, 5), rows(3, 5)
    draws, found = discriminator_draws(key), []
    for labels in ([0, 1, 2, 1], [1, 2, 0, 0]):
        objective = FewLabels(rows(1, 4), jnp.array(labels), batch_size=4, weight=0.7)
        found.append(costs_of(objective, draws, net, real, fake))
    one, two = (costs.seen for costs in found)
    assert one["unlabelled_cost"] == two["unlabelled_cost"]
    assert one["value"] == two["value"]
    assert found[0].generator == found[1].generator
    assert one["labelled_cost"] != two["labelled_cost"]


def test_features_that_agree_leave_the_generator_alone(key):
    net, real = classifier(3), rows(2, 5)
    objective = FewLabels(rows(1, 4), jnp.zeros(4, int), batch_size=4, weight=0.7)

    @jax.jit
    @jax.grad
    def gradient(fake):
        return costs_of(objective, discriminator_draws(key), net, real, fake).generator

    assert abs(gradient(real)).max() < 1e-7
    assert abs(gradient(real[::-1])).max() < 1e-7  # the same examples, in another order
    assert abs(gradient(real + 0.1)).max() > 1e-3


def test_labelled_rows_are_drawn_without_replacement(key):
    """Fewer than an update takes are taken over and over, all as often, or some once more."""
    for n, count, least, most in ((3, 6, 2, 2), (7, 6, 0, 1), (4, 6, 1, 2)):
        drawn = np.bincount(few_labels._rows(key, n, count), minlength=n)
        assert (drawn.sum(), drawn.min(), drawn.max()) == (count, least, most)
    other = few_labels._rows(jax.random.fold_in(key, 1), 7, 7)
    assert not np.array_equal(few_labels._rows(key, 7, 7), other)


@pytest.mark.long
def test_the_first_outputs_have_mean_0_and_variance_1():
    images = jax.random.uniform(jax.random.key(1), (400, 5))
    net = eqx.filter_jit(few_labels.few_labels_classifier)(
        jax.random.key(0), images, 3, hidden_sizes=(6, 4), input_noise=0.0, hidden_noise=0.0
    )
    x = np.asarray(images, np.float64)
    layers = [
        one for one in (*net.hidden.layers, *net.head.layers) if isinstance(one, NormedLinear)
    ]
    assert [isinstance(one.scale, Frozen) for one in layers] == [True, True, False]
    for layer in layers:
        scale = layer.scale.tree if isinstance(layer.scale, Frozen) else layer.scale
        weight = np.float64(layer.weight)
        length = np.sqrt(1e-6 + (weight**2).sum(axis=1))
        outputs = x @ (weight * (np.asarray(scale) / length)[:, None]).T + np.asarray(layer.bias)
        np.testing.assert_allclose(outputs.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(outputs.std(axis=0), 1, rtol=1e-3)
        x = np.maximum(outputs, 0)
    logits, features = few_labels.outputs_of(None, net, images)
    np.testing.assert_allclose(logits, outputs, atol=1e-4)
    assert features.shape == (400, 4)


def test_the_update_rule_is_the_released_codes():
    """Its Adam has epsilon inside the root, so gradients far below 1e-4 move parameters less."""
    rule = few_labels.few_labels_algorithm(
        np.zeros((2, 3), np.float32), np.arange(2)
    ).generator_updates
    gradients = np.array([[1e-6, 1e-4, 1.0], [-3e-6, 2e-4, -1.0], [1e-7, 5e-5, 0.5]])
    state, first, second = rule.init(jnp.zeros(3)), np.zeros(3), np.zeros(3)
    for t, gradient in enumerate(gradients, 1):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = rule.update(jnp.asarray(gradient, jnp.float32), state)
        first = 0.5 * first + 0.5 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        root = np.sqrt(second / (1 - 0.999**t) + 1e-8)
        np.testing.assert_allclose(updates, -0.003 * first / (1 - 0.5**t) / root, rtol=1e-4)


def test_the_average_is_that_of_the_parameters():
    rule, params, average = with_average(optax.sgd(0.5), decay=0.8), np.ones(2), np.ones(2)
    state, now = rule.init(jnp.ones(2)), jnp.ones(2)
    with jax.numpy_dtype_promotion("standard"):
        for number in range(3):
            gradient = np.array([1.0, -2.0]) * number
            updates, state = rule.update(jnp.asarray(gradient, jnp.float32), state, now)
            now = optax.apply_updates(now, updates)
            params = params - 0.5 * gradient
            average = 0.8 * average + 0.2 * params
    np.testing.assert_allclose(state.average, average, rtol=1e-6)
    np.testing.assert_allclose(now, params, rtol=1e-6)
    # In half precision, 0.001 of a step of 0.1 would be lost.
    rule, now = with_average(optax.sgd(1.0), decay=0.999), jnp.ones(1, jnp.bfloat16)
    _, state = rule.update(jnp.full(1, 0.1, jnp.bfloat16), rule.init(now), now)
    np.testing.assert_allclose(state.average, 1 - 0.001 * 0.1, rtol=1e-5)


def test_bad_input_is_refused(key):
    one = rows(1, 4)
    with pytest.raises(
        ValueError, match="weight of unlabelled rows must be at least 0 and finite; got -1"
    ):
        FewLabels(one, jnp.zeros(4, int), weight=-1.0)
    with pytest.raises(ValueError, match="batch size must be at least 1"):
        FewLabels(one, jnp.zeros(4, int), batch_size=0)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\); got 1"):
        with_average(optax.sgd(1.0), 1.0)
    with pytest.raises(ValueError, match="at least 0 and finite; got nan"):
        FewLabels(one, jnp.zeros(4, int), weight=float("nan"))
    with pytest.raises(ValueError, match="at least 1 labelled example; got none"):
        FewLabels(one[:0], jnp.zeros(0, int))
    with pytest.raises(ValueError, match="labels are classes, from 0; got -1"):
        FewLabels(one, jnp.array([0, 1, -1, 2]))
    beyond = FewLabels(one, jnp.array([0, 1, 3, 2]))
    with pytest.raises(ValueError, match="3 logits, for labels 0 to 2; got label 3"):
        beyond.costs(discriminator_draws(key), Judge(classifier(3)), one, one)
    with pytest.raises(ValueError, match="at least 2 images, better on hundreds; got 1"):
        few_labels.few_labels_classifier(key, np.ones((1, 2, 2), np.float32))
    with pytest.raises(ValueError, match=r"images has .* not finite, the first in row 1"):
        few_labels.few_labels_classifier(key, np.array([[1.0], [np.nan], [2.0]], np.float32))
    with pytest.raises(ValueError, match="noise's scale must be at least 0 and finite; got inf"):
        few_labels.few_labels_classifier(key, np.ones((2, 2), np.float32), input_noise=np.inf)
    algorithm = functools.partial(few_labels.few_labels_algorithm, one)
    with pytest.raises(ValueError, match=f"labels are classes, from 0; got 1 to {2**40 + 1}"):
        algorithm(np.array([1, 2**40 + 1, 1, 1]))
    algorithm(jnp.ones(4, int))
    for rate in (-1.0, 0.0, np.nan, np.inf, jnp.array(-1.0)):
        with pytest.raises(ValueError, match=f"rate must be above 0 and finite; got {rate}"):
            algorithm(np.ones(4, int), learning_rate=rate)
    with pytest.raises(ValueError, match=r"labelled examples has .* the first in row 2"):
        few_labels.few_labels_algorithm(one.at[2].set(jnp.nan), np.ones(4, int))
    rule = with_average(optax.sgd(1.0), 0.5)
    with pytest.raises(ValueError, match="with_average needs the parameters"):
        rule.update(jnp.ones(1), rule.init(jnp.ones(1)))
    plain = eqx.nn.Linear(3, 1, key=key)
    objective = FewLabels(one, jnp.zeros(4, int))
    with pytest.raises(ValueError, match=r"must be an advnets\.few_labels\.Classifier"):
        objective.costs(discriminator_draws(key), Judge(plain), one, one)


def test_a_unit_that_does_not_vary_has_scale_1(key):
    images = jax.random.uniform(key, (50, 1, 4)).at[:, 0, 3].set(0.1)
    quiet = {"hidden_sizes": [8], "input_noise": 0.0, "hidden_noise": 0.0}
    for given in (images, jnp.full((50, 1, 4), 0.1)):
        net = few_labels.few_labels_classifier(key, given, 3, **quiet)
        scales = [
            layer.scale.tree if isinstance(layer.scale, Frozen) else layer.scale
            for layer in (*net.hidden.layers, *net.head.layers)
            if isinstance(layer, NormedLinear)
        ]
        assert all((scale < 1e3).all() for scale in scales)
    assert all((scale == 1).all() for scale in scales)


def test_the_generator_against_numpy():
    """Latent vectors are so small that batch normalisation's ε of 1e-6 counts."""
    generator = few_labels.few_labels_generator(jax.random.key(0), 3, (2, 2), hidden_sizes=[5])
    shift = jax.random.normal(jax.random.key(1), (5,))
    generator = eqx.tree_at(lambda g: g.module.layers[2].bias, generator, shift)
    z = 2e-3 * np.random.default_rng(0).normal(size=(6, 3))
    found = apply(generator, None, jnp.asarray(z, jnp.float32))[0]
    linear, norm, _, _, out, *_ = generator.module.layers
    below = z @ np.float64(linear.weight).T
    assert linear.bias is norm.weight is norm.bias is None
    normed = (below - below.mean(0)) / np.sqrt(below.var(0) + 1e-6)
    hidden = np.logaddexp(0, normed + np.float64(shift))
    weight = np.float64(out.weight)
    above = hidden @ (weight / np.sqrt((weight**2).sum(1, keepdims=True) + 1e-6)).T
    np.testing.assert_allclose(found, scipy.special.expit(above).reshape(6, 2, 2), rtol=1e-5)


def test_defaults_are_those_of_the_released_code():
    generator = eqx.filter_eval_shape(
        lambda key: few_labels.few_labels_generator(key, 100, (28, 28)), jax.random.key(0)
    )
    matrices = eqx.filter(generator.module, lambda leaf: getattr(leaf, "ndim", 0) == 2)
    weights = [leaf.shape for leaf in jax.tree.leaves(matrices)]
    assert weights == [(500, 100), (500, 500), (784, 500)]
    options = inspect.signature(few_labels.few_labels_algorithm).parameters
    defaults = {name: one.default for name, one in options.items() if one.kind is one.KEYWORD_ONLY}
    assert defaults == {"learning_rate": 3e-3, "decay": 0.9999, "batch_size": 100, "weight": 1.0}


def test_labels_are_drawn_as_many_of_each_class():
    draw = few_labels.draw_labelled
    labels = np.array([0] * 5 + [1] * 4 + [2] * 6)
    for seed in range(3):
        drawn = draw(labels, 9, seed)
        assert len(set(drawn.tolist())) == 9
        assert np.bincount(labels[drawn]).tolist() == [3, 3, 3]
    assert draw(labels, 15, 0).tolist() == list(range(15))
    assert draw(labels, 9, 0).tolist() != draw(labels, 9, 1).tolist()
    for count in (0, 7, 15 + 3, -3):
        with pytest.raises(ValueError, match="a multiple of the 3 classes, at most 12, or 15"):
            draw(labels, count, 0)
    with pytest.raises(ValueError, match="seed of the draw must be at least 0; got -1"):
        draw(labels, 9, -1)
