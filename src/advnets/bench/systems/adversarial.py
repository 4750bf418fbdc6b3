"""Adversarial recipes with one stage or two, as one run or many in one program."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, UInt8

import advnets
from advnets.algorithms import Algorithm
from advnets.bench.folders import FIRST_STAGE, LAST
from advnets.bench.recipes import (
    Recipe,
    algorithm_of,
    build_players,
    products_in,
    stack,
)
from advnets.bench.results import FirstStage
from advnets.bench.settings import Settings
from advnets.bench.systems.base import Fitted, Run
from advnets.bench.systems.games import Game, scored, stage_keys
from advnets.bench.watching import Watch
from advnets.paper_figures import Sampler
from advnets.training.plan import check_epochs


class Adversarial(Game):
    """A generator trained against a discriminator, by a [`advnets.bench.Recipe`][]."""

    settings: Recipe
    settings_type: ClassVar[type[Settings]] = Recipe
    changeable: ClassVar[tuple[str, ...]] = (
        *("objective", "learning_rate", "learning_rate_divisor", "learning_rate_floor"),
        *("initial_momentum", "final_momentum", "momentum_saturates", "norm_limit"),
    )

    def build(self, key: Key[Array, ""], images: UInt8[np.ndarray, " n *shape"]) -> advnets.Players:
        return build_players(key, self.settings, images)

    def algorithm(self) -> Algorithm:
        return algorithm_of(self.settings)

    @property
    def two_stages(self) -> bool:
        """Whether the recipe has a second stage."""
        return self.settings.second_stage.epochs > 0

    @property
    def ends_at_its_epochs(self) -> bool:
        return self.settings.final_rate != 1

    def adapted(self, data: advnets.data.Dataset) -> advnets.data.Dataset:
        generator, discriminator = self.settings.generator, self.settings.discriminator
        convolutional = (
            discriminator.convolutions
            or discriminator.channels
            or generator.channels
            or generator.output == "deconvolution"
        )
        return data.with_channels() if convolutional else data

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        Game.check(self, data, first_stage)
        iterations = len(data.train) // (self.settings.batch_size * self.settings.k)
        check_epochs(max(1, self.settings.second_stage.epochs), iterations)
        if first_stage is not None:
            players = self._shapes(data.train.shape[1:])
            _load(Path(first_stage.folder) / LAST, advnets.model.model_of(players))

    def check_together(self) -> None:
        if self.two_stages:
            raise ValueError(
                "the recipe has two stages, and many seeds at once can be trained in one only; run "
                "its seeds one by one, with --seed"
            )

    def context(self) -> contextlib.AbstractContextManager[None]:
        return products_in(self.settings)

    def sample_key(self, seed: int) -> Key[Array, ""]:
        return stage_keys(seed, second=self.two_stages)[2]

    def order(self) -> str | None:
        return self.settings.order

    def title(self) -> str:
        adam = "Adam, " if self.settings.update_rule == "adam" else ""
        return f"{self.settings.order} order, {adam}learning rate {self.settings.learning_rate:g}"

    def players(self, image_shape: tuple[int, ...]) -> advnets.Players:
        players = self._shapes(image_shape)
        if not self.two_stages:
            return players
        return eqx.filter_eval_shape(
            lambda key, players: dataclasses.replace(
                players, generator=stack(key, self.settings, players.generator)
            ),
            jax.random.key(0),
            players,
        )

    def load(self, path: Path, image_shape: tuple[int, ...]) -> Sampler:
        return _load(path, advnets.model.model_of(self.players(image_shape)))

    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        if not self.two_stages:
            return Game.fit(self, run, watch, progress=progress)
        top = self._first_stage(run, watch, progress=progress)
        keys = stage_keys(run.seed, second=True)
        fresh = self.build(keys[0], run.data.train)
        players = dataclasses.replace(fresh, generator=stack(keys[3], self.settings, top))
        epochs = self.settings.second_stage.epochs
        trained = self.train(run, keys[1], players, epochs, watch, progress=progress)
        return Fitted.of(scored(trained), trained)

    def _first_stage(self, run: Run, watch: Watch, *, progress: bool) -> eqx.nn.Sequential:
        """The generator of a given first stage, or of one that is trained now."""
        keys = stage_keys(run.seed, second=False)
        players = self.build(keys[0], run.data.train)
        if run.first_stage is not None:
            top = _load(Path(run.first_stage.folder) / LAST, advnets.model.model_of(players))
        else:
            own = watch.at(run.folder / FIRST_STAGE, keys[2])
            epochs = self.settings.epochs
            top = scored(self.train(run, keys[1], players, epochs, own, progress=progress))
        assert isinstance(top.generator, eqx.nn.Sequential)  # as the recipe builds it
        return top.generator

    def varied(
        self, runs: Sequence[Run]
    ) -> tuple[Algorithm | Callable[[Any], Algorithm], Array | None]:
        rates = [_recipe_of(run).learning_rate for run in runs]
        if len(set(rates)) == 1:
            return self.algorithm(), None
        # A run's identity describes this function, and more epochs do not make it another run,
        # unless its learning rate depends on them.
        recipe = self.settings
        if not self.ends_at_its_epochs:
            recipe = dataclasses.replace(recipe, epochs=1)
        at_rate = functools.partial(algorithm_of, recipe)
        return at_rate, jnp.asarray(rates, float)


def _recipe_of(run: Run) -> Recipe:
    if not isinstance(run.system, Adversarial):
        raise TypeError(f"{run.name} must have an Adversarial system; got {type(run.system)}")
    return run.system.settings


def _load(path: Path, like: advnets.Model) -> advnets.Model:
    """Loads a model of a known structure. Files of older runs hold only the generator."""
    try:
        return advnets.load_model(path, like=like)
    except ValueError as error:
        try:
            generator = advnets.load_model(path, like=like.generator)
        except ValueError:
            raise error from None
        return dataclasses.replace(like, generator=generator)
