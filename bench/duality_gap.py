"""The duality gap of a finished adversarial run: how much D and G could each still gain.

    python bench/duality_gap.py runs/mnist

G and D are as in the newest checkpoint (not G's average); each copy is trained for 500 steps of
Adam at 1e-3. The result is a line of JSON with its provenance.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import jax
import msgspec

import advnets
from advnets import bench
from advnets.bench.catalogue import system_of
from advnets.bench.folders import newest_checkpoint, read_config
from advnets.bench.results import Provenance
from advnets.bench.settings import PREPROCESSING
from advnets.bench.systems.games import Game
from advnets.training.checkpoints import check_whole


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--perturbation", type=float, default=0.0)
    options = parser.parse_args()
    bench.load_model(options.run)  # refuses anything but a finished run
    config = read_config(options.run)
    system = system_of(config)
    newest = newest_checkpoint(options.run)
    if not isinstance(system, Game) or newest is None:
        raise SystemExit(f"{options.run} is not a run of a game with checkpoints")
    check_whole(newest.place)
    like = system.players(config.image_shape)
    named = {
        player: newest.restore(f"players['{player}']", getattr(like, player))
        for player in ("generator", "discriminator")
    }
    data = system.adapted(advnets.data.load(system.settings.dataset))
    preprocess = PREPROCESSING[system.settings.preprocessing]
    train, held_out = (
        advnets.training.Resident(part, preprocess) for part in (data.train, data.validation)
    )
    began = time.monotonic()
    found = advnets.monitor.duality_gap(
        jax.random.key(options.seed),
        dataclasses.replace(like, **named),
        train,
        held_out,
        perturbation=options.perturbation,
        fake=system.algorithm().fake,
    )
    of_d, of_g = found.discriminator, found.generator
    print(found)
    print(
        json.dumps(
            {
                "benchmark": config.benchmark,
                "run_seed": config.seed,
                "iteration": newest.manifest.iteration,
                "seed": options.seed,
                "perturbation": options.perturbation,
                "gap": dataclasses.asdict(found.gap),
                "regret_of_d": dataclasses.asdict(of_d.regret),
                "regret_of_g": dataclasses.asdict(of_g.regret),
                "value": dataclasses.asdict(of_d.value),
                "best_value": dataclasses.asdict(of_d.best_value),
                "value_of_fakes": dataclasses.asdict(of_g.value),
                "best_value_of_fakes": dataclasses.asdict(of_g.best_value),
                "curve_of_g": of_g.curve,
                "seconds": round(time.monotonic() - began, 1),
                "provenance": msgspec.to_builtins(Provenance.here()),
            }
        )
    )


if __name__ == "__main__":
    main()
