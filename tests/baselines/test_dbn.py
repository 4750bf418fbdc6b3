"""Deep belief networks against sums over all states."""

import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from helpers import machines

from advnets import chains
from advnets.baselines import dbn, rbm
from advnets.baselines.rbm import RBM
from advnets.players import Frozen

NET = dbn.DBN(Frozen(machines.drawn(2, 5, 4)), machines.drawn(3, 4, 3))
IMAGES, FIRST = machines.states(5), machines.states(4)
JOINT = machines.joint(NET.upper)
CHAINS = 4000
log_weights = jax.jit(dbn.log_weights, static_argnames="draws")


def exact(net):
    """For each image: log p(x) and the variational bound; with all states of h1 summed."""
    lower = net.first
    weights, c, b = (np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(lower))
    down = machines.log_bernoulli(IMAGES[:, None], (FIRST @ weights.T + c)[None])
    q = machines.log_bernoulli(FIRST[None], (IMAGES @ weights + b)[:, None])
    prior = scipy.special.logsumexp(machines.log_joint(net.upper), axis=1)
    prior = prior - scipy.special.logsumexp(prior)
    weights = down + prior
    return scipy.special.logsumexp(weights, axis=1), (np.exp(q) * (weights - q)).sum(axis=1)


def test_the_bound_is_below_the_exact_log_likelihood_which_more_draws_approach(key):
    log_p, bound = exact(NET)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1)  # the reference is a distribution
    assert (bound < log_p).all()
    logs = np.asarray(log_weights(key, NET, jnp.float32(IMAGES), draws=2000), np.float64)
    logs -= scipy.special.logsumexp(machines.log_joint(NET.upper))
    errors = logs.std(axis=0) / np.sqrt(len(logs))
    assert abs((logs.mean(axis=0) - bound) / errors).max() < 4
    importance = scipy.special.logsumexp(logs, axis=0) - np.log(len(logs))
    relative = np.exp(logs - importance).std(axis=0) / np.sqrt(len(logs))
    assert abs((importance - log_p) / relative).max() < 4


def test_the_bound_is_tight_where_the_upper_machine_is_the_lower_one_upside_down(key):
    lower = NET.first
    upside_down = RBM(lower.weights.T, lower.hidden_bias, lower.visible_bias)
    same = dbn.DBN(lower, upside_down)
    log_p, bound = exact(same)
    np.testing.assert_allclose(bound, log_p, rtol=1e-10)
    logs = log_weights(key, same, jnp.float32(IMAGES), draws=5)
    # The network is the lower machine then, and every draw gives its log-likelihood.
    of_machine = -np.asarray(lower.free_energy(jnp.float32(IMAGES)), np.float64)
    np.testing.assert_allclose(logs, np.tile(of_machine, (5, 1)), rtol=1e-4, atol=1e-4)
    log_z = scipy.special.logsumexp(machines.log_joint(lower))
    np.testing.assert_allclose(of_machine - log_z, log_p, rtol=1e-4, atol=1e-5)


def test_the_chain_starts_upwards_and_reaches_the_upper_machines_distribution(key):
    chain = dbn.TopGibbs(NET, (5, 1))
    walk = eqx.filter_jit(chains.walk)
    begun = chain.start(key, jnp.ones((CHAINS, 5, 1)))
    up = np.asarray(NET.first.hidden_means(jnp.ones((1, 5))), np.float64)[0]
    frequencies = np.exp(machines.log_bernoulli(FIRST, scipy.special.logit(up)))
    machines.assert_frequencies(machines.numbers(begun.first), frequencies)
    given = JOINT / JOINT.sum(axis=1, keepdims=True)  # of the second layer, given the first
    machines.assert_frequencies(machines.numbers(begun.second), frequencies @ given)
    none, some, all_of_them = map(jnp.asarray, (0, 15, 30))
    end, pixels = walk(key, chain, begun, first=none, samples=1, thin=all_of_them)
    pairs = machines.numbers(end.first) * 8 + machines.numbers(end.second)
    machines.assert_frequencies(pairs, JOINT.ravel())
    # Pixels are means, of the first layer as it was drawn.
    assert pixels.shape == (1, CHAINS, 5, 1)
    means = NET.first.visible_means(end.first)
    np.testing.assert_allclose(pixels.reshape(CHAINS, 5), means, rtol=1e-5)
    # What is split in two is the whole, bit for bit.
    half, _ = walk(key, chain, begun, first=none, samples=1, thin=some)
    again, same = walk(key, chain, half, first=some, samples=1, thin=some)
    for ours, expected in ((again.first, end.first), (again.second, end.second), (same, pixels)):
        np.testing.assert_array_equal(ours, expected)


def test_the_upper_machine_learns_from_fresh_samples_of_the_lower_one(key, monkeypatch):
    images, coins = jnp.full((CHAINS, 5), 0.5), jnp.zeros((CHAINS, 4))

    def learns_from(self, key, model, memory, visible):
        of_upper = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(model))
        return of_upper + jnp.sum(model.free_energy(visible)), visible, {}

    monkeypatch.setattr(rbm.PCD, "on_binary", learns_from)
    pull = jax.jit(
        jax.grad(lambda net, key: dbn.UpperPCD()(key, net, coins, images)[:2], has_aux=True)
    )
    gradient, first = pull(NET, key)
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradient.lower))
    assert all(leaf.any() for leaf in jax.tree.leaves(gradient.upper))
    _, again = pull(NET, jax.random.key(1))
    assert (first != again).any()
    weights, _, b = (np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(NET.first))
    # Binary images of fair coins, and hidden units drawn from those: a mixture over all of them.
    each = np.exp(machines.log_bernoulli(FIRST[None], (IMAGES @ weights + b)[:, None]))
    machines.assert_frequencies(machines.numbers(first), each.mean(axis=0))


def test_an_upper_machine_starts_from_the_means_of_the_lower_ones_units(key):
    images = np.zeros((3000, 5), np.uint8)
    images[:, :2] = 255
    net = dbn.stack(key, NET.first, images, hidden=7)
    assert isinstance(net.lower, Frozen)
    assert net.upper.weights.shape == (4, 7)
    means = NET.first.hidden_means(jnp.float32(images[:1] / 255))[0]
    np.testing.assert_allclose(
        jax.nn.sigmoid(net.upper.visible_bias), (3000 * means + 1) / 3002, rtol=1e-3
    )


@pytest.mark.long
def test_the_lines_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "systems" / "dbn.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    namespace = {}
    exec(compile(code, "dbn.md", "exec"), namespace)
    exact = float(rbm.log_partition(namespace["machine"]))
    assert abs(namespace["log_z"] - exact) < 0.1
    assert namespace["net"].upper.weights.shape == (12, 10)


def test_bad_input_is_one_sentence(key):
    with pytest.raises(ValueError, match="from 0 to 1; got 2 to 2"):
        dbn.stack(key, NET.first, np.full((3, 5), 2.0), hidden=7)
    with pytest.raises(ValueError, match=r"draws must be at least 1 .*; got 0"):
        dbn.log_weights(key, NET, jnp.zeros((3, 5)), 0)
