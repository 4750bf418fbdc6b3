"""Updates and Gibbs steps of a restricted Boltzmann machine, against scikit-learn's BernoulliRBM.

    python bench/speed/rbm.py [--rounds 15] [--updates 50] [--hidden 1000] [--out FILE]

784 visible units, minibatches of 100, 100 chains, one Gibbs step per update. Both sides take turns
in one process and use the same number of threads. Ours makes all updates of a turn in one program
and draws each binary image anew from its grey levels; scikit-learn's receives binary images, has no
weight decay and reports nothing. Its `partial_fit` supports only float64; its `fit`, which also
draws the initial weights and checks the data, supports float32 too. A sample is one Gibbs step of
one chain, from visible units to visible units. The target is 5 times as fast; the time of the five
matrix products of an update alone shows how far that is possible on the machine.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import paired
import results
import sklearn
from jax import lax
from sklearn.neural_network import BernoulliRBM

from advnets.baselines import rbm

BATCH, VISIBLE = 100, 784
OURS, PRODUCTS = "ours", "the products alone"


def our_updates(images, hidden):
    """Makes as many updates as there are minibatches, and waits for them."""
    key, rule, cost = jax.random.key(0), optax.sgd(0.05), rbm.PCD()
    machine = rbm.start(key, rbm.pixel_means(images), hidden=hidden)
    state = [(machine, rule.init(machine), rbm.fair_coins(key, BATCH, hidden))]
    batches = jnp.asarray(images.reshape(-1, BATCH, VISIBLE))

    def update(state, given):
        machine, rule_state, chains = state
        key, batch = given

        def pulled(machine):
            value, after, seen = cost(key, machine, chains, batch)
            return value, (after, seen)

        gradient, (chains, seen) = jax.grad(pulled, has_aux=True)(machine)
        changes, rule_state = rule.update(gradient, rule_state)
        return (optax.apply_updates(machine, changes), rule_state, chains), seen

    keys = jax.random.split(key, len(batches))
    scan = jax.jit(
        lambda state, batches: lax.scan(update, state, (keys, batches)), donate_argnums=0
    )

    def call():
        state[0], seen = scan(state[0], batches)
        jax.block_until_ready((state[0], seen))

    return call


def products(images, hidden):
    """Computes the matrix products of the updates, on arrays of their sizes."""
    left, right = jax.random.split(jax.random.key(0))
    visible = jax.random.uniform(left, (BATCH, VISIBLE))
    weights = jax.random.uniform(right, (VISIBLE, hidden))
    state = [(visible, weights)]

    def update(state, _):
        visible, weights = state
        data = visible @ weights
        seen = data @ weights.T
        chains = seen @ weights
        # Scaled so that the numbers stay finite and XLA can eliminate no product.
        weights = weights + 1e-30 * (visible.T @ data - seen.T @ chains)
        return (visible, weights), None

    scan = jax.jit(
        lambda state: lax.scan(update, state, None, len(images) // BATCH)[0], donate_argnums=0
    )

    def call():
        state[0] = jax.block_until_ready(scan(state[0]))

    return call


def our_samples(images, hidden, steps):
    """Makes some Gibbs steps of 100 chains."""
    key = jax.random.key(0)
    chain = rbm.Gibbs(rbm.start(key, rbm.pixel_means(images), hidden=hidden), (VISIBLE,))
    state = [chain.start(key, jnp.asarray(images[:BATCH] / np.float32(255)))]
    keys = jax.random.split(key, steps)

    @jax.jit
    def scan(state):
        return lax.scan(lambda state, key: (chain.step(key, state), None), state, keys)[0]

    def call():
        state[0] = jax.block_until_ready(scan(state[0]))

    return call


def their_updates(images, hidden, dtype):
    binary = (images > 127).astype(dtype)
    settings = {"n_components": hidden, "learning_rate": 0.05, "batch_size": BATCH, "n_iter": 1}
    machine = BernoulliRBM(**settings, random_state=0)
    if dtype == np.float32:
        return lambda: machine.fit(binary)

    def call():
        for batch in binary.reshape(-1, BATCH, VISIBLE):
            machine.partial_fit(batch)

    return call


def their_samples(images, hidden, steps):
    machine = BernoulliRBM(n_components=hidden, batch_size=BATCH, n_iter=1, random_state=0)
    state = [(images[:BATCH] > 127).astype(np.float64)]
    machine.partial_fit(state[0])

    def call():
        for _ in range(steps):
            state[0] = machine.gibbs(state[0])

    return call


def compare(calls, rounds, units):
    """The rate of each side, and how many times as long as ours it takes."""
    seconds = paired.paired(calls, rounds)
    rates = {name: paired.spread(units / np.asarray(times)) for name, times in seconds.items()}
    return {"per_second": rates, "times_as_long_as_ours": paired.ratios(seconds, OURS)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="how often each side is timed")
    parser.add_argument("--updates", type=int, default=50, help="updates and Gibbs steps in a turn")
    parser.add_argument("--hidden", type=int, default=1000, help="hidden units")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    options = parser.parse_args()

    count, hidden = options.updates, options.hidden
    shape = (count * BATCH, VISIBLE)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    updates = {
        OURS: our_updates(images, hidden),
        "scikit-learn, float64": their_updates(images, hidden, np.float64),
        "scikit-learn, float32": their_updates(images, hidden, np.float32),
        PRODUCTS: products(images, hidden),
    }
    samples = {
        OURS: our_samples(images, hidden, count),
        "scikit-learn, float64": their_samples(images, hidden, count),
    }
    result = {
        "visible": VISIBLE,
        "hidden": hidden,
        "rounds": options.rounds,
        "updates_in_a_turn": count,
        "threads": paired.cores(),
        "scikit_learn": sklearn.__version__,
        "updates": compare(updates, options.rounds, count),
        "samples": compare(samples, options.rounds, count * BATCH),
    }
    for what in ("updates", "samples"):
        for name, spread in result[what]["per_second"].items():
            print(paired.line(name, spread, f" {what}/s"))
        for name, spread in result[what]["times_as_long_as_ours"].items():
            print(paired.line(f"{name} / ours", spread))
    results.finish(result, options.out)


if __name__ == "__main__":
    main()
