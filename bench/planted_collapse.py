"""Whether a monitor's alarms detect collapses planted in a finished run's generator.

    python bench/planted_collapse.py runs/mnist

Four generators are evaluated twice each: the unchanged one; with the weights of its last layer
times 0.1; with them times 0.03; and with each latent vector replaced by one of 50. Printed are the
measures that count as collapsed, and the alarms: the measures that do so at both evaluations. (The
generator is the run's last one, or its average if the run keeps one.)
"""

import argparse
import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import advnets
from advnets import bench, monitor
from advnets.bench.catalogue import system_of
from advnets.bench.folders import read_config
from advnets.bench.protocol import on_host


class OneOfFew(eqx.Module):
    """A generator that replaces each latent vector by one of a few."""

    inner: eqx.Module
    few: jax.Array

    def __call__(self, z):
        number = jnp.floor(1e4 * jnp.abs(z[0])).astype(int) % len(self.few)
        return self.inner(self.few[number])


def planted(model):
    """Models with the generators, by name."""
    linear = [layer for layer in jax.tree.leaves(
        model.generator, is_leaf=lambda x: isinstance(x, eqx.nn.Linear)
    ) if isinstance(layer, eqx.nn.Linear)]  # fmt: skip
    last = linear[-1].weight
    kinds = {"as it is": model.generator}
    for factor in (0.1, 0.03):
        kinds[f"last layer times {factor}"] = jax.tree.map(
            lambda x, factor=factor: factor * x if x is last else x, model.generator
        )
    kinds["50 latent vectors"] = OneOfFew(model.generator, model.prior(jax.random.key(1), 50))
    return {name: dataclasses.replace(model, generator=one) for name, one in kinds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    options = parser.parse_args()
    settings = system_of(read_config(options.run)).settings
    data = advnets.data.load(settings.dataset)
    preprocess = on_host(settings.preprocessing)
    train, held_out = (
        np.asarray(preprocess(part)).reshape(len(part), -1)
        for part in (data.train, data.validation)
    )
    real = monitor.real_rows(jax.random.key(0), held_out, train)
    print(real)
    for name, model in planted(bench.load_model(options.run)).items():
        found = []
        for key in jax.random.split(jax.random.key(2), 2):
            draw_key, compare_key = jax.random.split(key)
            samples = model.sample(draw_key, real.samples).reshape(real.samples, -1)
            found.append(monitor.collapse(compare_key, samples, real))
            print(f"{name}: {found[-1]}")
        alarms = [one for one in found[1].collapsed if one in found[0].collapsed]
        print(f"{name}: alarms {alarms or 'none'}")


if __name__ == "__main__":
    main()
