"""No two keys of a run are the same."""

import jax
import numpy as np

import advnets
from advnets.draws import discriminator_draws, generator_draws


def test_every_key_of_three_iterations_is_its_own(key):
    algorithm = advnets.Algorithm1(k=2)

    @jax.jit
    def keys():
        found = []
        for iteration in range(3):
            d_keys, g_key = algorithm.step_keys(key, iteration)
            for draws in (*map(discriminator_draws, d_keys), generator_draws(g_key)):
                found += jax.tree.leaves(draws)
        return [jax.random.key_data(one) for one in found]

    found = np.stack(keys())
    assert len(found) == 3 * 3 * 5
    assert len(np.unique(found, axis=0)) == len(found)
