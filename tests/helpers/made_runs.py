"""Finished runs that were never trained: folders with a model, its settings and a result."""

import dataclasses

import equinox as eqx
import jax
import numpy as np

import advnets
from advnets import bench
from advnets.baselines import cae, dbn, gsn, rbm, vae
from advnets.bench import results
from advnets.bench.folders import CONFIG, LAST, RESULTS
from advnets.bench.results import Best, Config, Provenance, Reference, References, Result, Score
from advnets.bench.systems.chained import ByProtocol, ChainsFound, chained, others
from advnets.parzen import LogLikelihood

SCORE = Score(100, 0.2, None, LogLikelihood(1.0, 0.5, 9), LogLikelihood(2.0, 0.5, 9))
MEAN = {"mean": -3.0, "standard_error": 0.25, "n": 9}
SMALL = {"dataset": "digits", "num_samples": 60}
CHAINS = {"num_chains": 6, "burn_in": 2, "thin": 2}


def _found(settings):
    """What a run says of its chains."""
    scored = tuple(ByProtocol(one, SCORE) for one in others(settings.chains, settings.num_samples))
    return results.as_json(ChainsFound(settings.chains, 4.0, 5.0, 20, True, {}, scored))


def untrained_run(name, folder, **settings):
    """A run of a benchmark in a folder, its model as it would be before training."""
    key, data = jax.random.key(3), advnets.data.load("digits")
    chains = {} if name == "vae" else CHAINS
    benchmark = bench.BENCHMARKS[name]
    own = {"hidden_size": 9, "latent_size": 3}
    sizes = own if name == "vae" else {"hidden_sizes": (10, 8)}
    recipe = dataclasses.replace(benchmark.recipe, **(SMALL | chains | sizes | settings))
    evaluations = {} if name == "vae" else {"chains": _found(recipe)}
    if name == "vae":
        model = eqx.filter_jit(vae.new_vae)(key, (8, 8), **own)  # one program, not one a draw
        importance = {"draws": 20, "bound": MEAN, "plain_bound": MEAN, "gap": MEAN}
        evaluations["bounds"] = {"bound": MEAN | {"n": 297}, "importance": importance}
    elif name == "dbn":
        images = data.train[:100]
        lower = rbm.start(key, rbm.pixel_means(images), hidden=10)
        net = dbn.stack(key, lower, images, hidden=8)
        model = chained(dbn.TopGibbs(net, (8, 8)), recipe, 0, data.train)
        log_z = {"forward": 5.0, "forward_standard_error": 0.1, "reverse": 6.0}
        evaluations["likelihood"] = {
            "log_partition": log_z, "bound": MEAN, "importance_bound": MEAN, "draws": 20,
        }  # fmt: skip
    elif name == "cae":
        stack = eqx.filter_jit(lambda key: cae.grow(key, cae.new_stack(key, (8, 8), 10), 8))(key)
        model = chained(cae.Walk(stack, recipe.walk_scale), recipe, 0, data.train)
    else:
        net = gsn.GSN(key, (8, 8), hidden_sizes=(10, 8))
        model = chained(net, recipe, 0, data.train)
    folder.mkdir(parents=True)
    advnets.save_model(folder / LAST, model)
    digest = data.fingerprint()
    config = Config(name, 0, (8, 8), None, results.as_json(recipe), data_sha256=digest)
    results.write(folder / CONFIG, config)
    result = Result(
        benchmark=name, seed=0, recipe=config.recipe, epochs=2, updates=2,
        updates_per_second=None, first_stage=None, order=None, parzen=SCORE, best=Best(2, SCORE),
        references=References(Reference.of(SCORE), None, None), caveat="", memorisation=None,
        data=data.source, provenance=Provenance.here(), evaluations=evaluations,
        data_sha256=digest,
    )  # fmt: skip
    results.write(folder / RESULTS, result)
    return folder


def exact_statistic(machine):
    """E[v h] of a small machine, by all its states."""
    visible, hidden = machine.weights.shape
    states = [
        np.array(list(np.ndindex(*[2] * n)), np.float64).reshape(-1, n) for n in (visible, hidden)
    ]
    w, c, b = (
        np.asarray(part, np.float64)
        for part in (machine.weights, machine.visible_bias, machine.hidden_bias)
    )
    logs = states[0] @ w @ states[1].T + (states[0] @ c)[:, None] + (states[1] @ b)[None]
    p = np.exp(logs - logs.max())
    return states[0].T @ (p / p.sum()) @ states[1]
