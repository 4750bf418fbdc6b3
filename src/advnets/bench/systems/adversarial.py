"""Adversarial recipes, in one stage or two, one run or many in one program."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree, UInt8

import advnets
from advnets.bench.folders import FIRST_STAGE, LAST
from advnets.bench.recipes import (
    Recipe,
    algorithm_of,
    build_players,
    products_in,
    stack,
)
from advnets.bench.results import FirstStage
from advnets.bench.settings import PREPROCESSING, Settings
from advnets.bench.systems.base import Fitted, Run, System
from advnets.bench.watching import Watch
from advnets.paper_figures import Sampler
from advnets.training.devices import is_main_process
from advnets.training.journal import holds_run
from advnets.training.plan import check_epochs


def stage_keys(seed: int, *, second: bool) -> Key[Array, " keys"]:
    """A stage's keys: for players, training and samples; the second's also for what it adds.

    Args:
        seed: the run's.
        second: the stage of the layers on top.

    Returns:
        Three keys; of the second stage four.

    Raises:
        OverflowError: for a seed beyond 64 bits.
    """
    key = jax.random.key(seed)
    return jax.random.split(jax.random.fold_in(key, 2), 4) if second else jax.random.split(key, 3)


class Adversarial(System):
    """A generator trained against a discriminator, by a [`advnets.bench.Recipe`][]."""

    settings_type: ClassVar[type[Settings]] = Recipe
    changeable: ClassVar[tuple[str, ...]] = (
        *("objective", "learning_rate", "learning_rate_divisor", "learning_rate_floor"),
        *("initial_momentum", "final_momentum", "momentum_saturates", "norm_limit"),
    )

    def __init__(self, settings: Settings) -> None:
        assert isinstance(settings, Recipe)
        self.settings = self.recipe = settings

    @property
    def two_stages(self) -> bool:
        """Whether the recipe has a second stage."""
        return self.recipe.second_stage.epochs > 0

    def build(self, key: Key[Array, ""], images: UInt8[np.ndarray, " n *shape"]) -> advnets.Players:
        """The players before training, as [`advnets.bench.recipes.build_players`][] has them."""
        return build_players(key, self.recipe, images)

    def adapted(self, data: advnets.data.Dataset) -> advnets.data.Dataset:
        convolutional = (
            self.recipe.discriminator.convolutions
            or self.recipe.generator.output == "deconvolution"
        )
        return data.with_channels() if convolutional else data

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        recipe = self.recipe
        if len(data.train) < recipe.batch_size * recipe.k:
            minibatches = f"{recipe.k} minibatch{'es' if recipe.k > 1 else ''}"
            lower = "--batch-size" + (" or --k" if recipe.k > 1 else "")
            raise ValueError(
                f"{recipe.dataset} has {len(data.train)} training rows, too few for {minibatches} "
                f"of {recipe.batch_size}; lower {lower}"
            )
        iterations = len(data.train) // (recipe.batch_size * recipe.k)
        check_epochs(max(recipe.epochs, recipe.second_stage.epochs), iterations)
        try:
            players = self._shapes(data.train.shape[1:])
        except (TypeError, OverflowError) as error:  # a size that no array can have
            first = str(error).splitlines()[0]
            raise ValueError(f"a layer is too large ({first}); make it smaller") from None
        check_memory(players)
        if first_stage is not None:
            _load(Path(first_stage.folder) / LAST, advnets.model.model_of(players))

    def check_together(self) -> None:
        if self.two_stages:
            raise ValueError(
                "the recipe has two stages, and many seeds are trained at once in one; run its "
                "seeds one by one, with --seed"
            )

    def check_room(self, data: advnets.data.Dataset, runs: int) -> None:
        check_memory(self._shapes(data.train.shape[1:]), runs)

    def context(self) -> contextlib.AbstractContextManager[None]:
        return products_in(self.recipe)

    def sample_key(self, seed: int) -> Key[Array, ""]:
        return stage_keys(seed, second=self.two_stages)[2]

    def order(self) -> str | None:
        return self.recipe.order

    def title(self) -> str:
        adam = "Adam, " if self.recipe.update_rule == "adam" else ""
        return f"{self.recipe.order} order, {adam}learning rate {self.recipe.learning_rate:g}"

    def players(self, image_shape: tuple[int, ...]) -> advnets.Players:
        players = self._shapes(image_shape)
        if not self.two_stages:
            return players
        stacked: advnets.Players = eqx.filter_eval_shape(
            lambda key, players: dataclasses.replace(
                players, generator=stack(key, self.recipe, players.generator)
            ),
            jax.random.key(0),
            players,
        )
        return stacked

    def load(self, path: Path, image_shape: tuple[int, ...]) -> Sampler:
        return _load(path, advnets.model.model_of(self.players(image_shape)))

    def _shapes(self, shape: tuple[int, ...]) -> advnets.Players:
        """The structure of the players, of the first stage where there are two."""
        blank = np.zeros((1, *shape), np.uint8)
        players: advnets.Players = eqx.filter_eval_shape(
            lambda key: self.build(key, blank), jax.random.key(0)
        )
        return players

    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        recipe, images = self.recipe, run.data.train
        keys = stage_keys(run.seed, second=False)
        players, epochs = self.build(keys[0], images), recipe.epochs
        if self.two_stages:
            top = self._first_stage(run, players, watch, progress=progress)
            keys = stage_keys(run.seed, second=True)
            fresh = self.build(keys[0], images)
            stacked = stack(keys[3], recipe, top)
            players = dataclasses.replace(fresh, generator=stacked)
            epochs = recipe.second_stage.epochs
        trained = self._train(run, keys[1], players, epochs, watch, progress=progress)
        return Fitted.of(_model(trained), trained)

    def _first_stage(
        self,
        run: Run,
        players: advnets.Players,
        watch: Watch,
        *,
        progress: bool,
    ) -> eqx.nn.Sequential:
        """The generator of a finished first stage, or of one that is trained now."""
        if run.first_stage is not None:
            top = _load(Path(run.first_stage.folder) / LAST, advnets.model.model_of(players))
        else:
            keys = stage_keys(run.seed, second=False)
            own = watch.at(run.folder / FIRST_STAGE, keys[2])
            top = _model(
                self._train(run, keys[1], players, self.recipe.epochs, own, progress=progress)
            )
        assert isinstance(top.generator, eqx.nn.Sequential)  # as the recipe builds it
        return top.generator

    def _train(
        self,
        run: Run,
        key: Key[Array, ""],
        players: advnets.Players,
        epochs: int,
        watch: Watch,
        *,
        progress: bool,
    ) -> advnets.Trained:
        """A stage: trains players in the folder of its watch."""
        recipe, folder = self.recipe, watch.folder
        trained = advnets.train(
            key,
            players,
            self._source(run),
            epochs=epochs,
            algorithm=algorithm_of(recipe),
            batch_size=recipe.batch_size,
            evaluate=watch,
            evaluate_every=recipe.evaluate_every,
            folder=folder,
            # A run may have been stopped before its training began.
            resume=run.resumes(holds_run(folder)),
            devices=advnets.training.Devices(run.devices, run.shard_layers),
            callbacks=run.callbacks,
            pictures=False,  # it draws its own
            progress=progress,
        )
        if folder != run.folder and is_main_process():
            title = f"{run.called}, first stage, {self.title()}, seed {run.seed}"
            advnets.figures.curves(folder / "curves.png", trained.metrics, title=title)
        return trained

    def _source(self, run: Run) -> advnets.training.Resident:
        return advnets.training.Resident(run.data.train, PREPROCESSING[self.recipe.preprocessing])

    def fit_together(
        self, runs: Sequence[Run], watches: Sequence[Watch], folder: Path, *, progress: bool
    ) -> list[Fitted | None]:
        first, recipe = runs[0], self.recipe
        keys = jnp.stack([stage_keys(run.seed, second=False) for run in runs])
        build = eqx.filter_vmap(lambda key: self.build(key, first.data.train))
        rates = [_recipe_of(run).learning_rate for run in runs]
        swept = len(set(rates)) > 1
        # What tells runs apart describes this function, and a run of more epochs is no other run.
        at_rate = functools.partial(algorithm_of, dataclasses.replace(recipe, epochs=1))

        def evaluate(number: int, epoch: int, model: advnets.Model) -> Mapping[str, Any]:
            return watches[number](epoch, model)

        trained = advnets.train_many(
            keys[:, 1],
            build(keys[:, 0]),
            self._source(first),
            epochs=recipe.epochs,
            algorithm=at_rate if swept else algorithm_of(recipe),
            vary=jnp.asarray(rates, float) if swept else None,
            batch_size=recipe.batch_size,
            evaluate=evaluate,
            evaluate_every=recipe.evaluate_every,
            folder=folder,
            names=[run.folder.name for run in runs],
            # They may have been stopped before their training began.
            resume=first.resumes(holds_run(folder) or any(holds_run(run.folder) for run in runs)),
            devices=first.devices,
            callbacks=first.callbacks,
            pictures=False,
            progress=progress,
        )
        return [None if one is None else Fitted.of(_model(one), one) for one in trained]


def check_memory(players: PyTree, runs: int = 1, *, what: str = "the players") -> None:
    """Refuses players that this machine can't hold, before they are made.

    Args:
        players: their shapes.
        runs: how many runs are trained at once, each with its own.
        what: what they are, for the message.

    Raises:
        ValueError: if parameters, gradients and velocities take more memory than there is.
    """
    of_arrays = (x.size * x.dtype.itemsize for x in jax.tree.leaves(players) if hasattr(x, "size"))
    needed = 3 * runs * sum(of_arrays)
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        there = (device.memory_stats() or {}).get("bytes_limit", needed)
    if needed > there:
        whose = what if runs == 1 else f"{what} of {runs:,} runs"
        remedy = "make their layers smaller" if runs == 1 else "train fewer at once"
        raise ValueError(
            f"{whose} need {needed / 2**30:,.1f} GiB, with gradients and velocities, and "
            f"{'this machine' if device.platform == 'cpu' else 'the device'} has "
            f"{there / 2**30:,.1f}; {remedy}"
        )


def _recipe_of(run: Run) -> Recipe:
    if not isinstance(run.system, Adversarial):
        raise TypeError(f"{run.name} must have an Adversarial system; got {type(run.system)}")
    return run.system.recipe


def _model(trained: advnets.Trained) -> advnets.Model:
    """What is scored: with the averaged generator, where there is one."""
    return trained.model if trained.averaged is None else trained.averaged


def _load(path: Path, like: advnets.Model) -> advnets.Model:
    """A model of a known structure. Older runs' files hold the generator alone."""
    try:
        return advnets.load_model(path, like=like)
    except ValueError as error:
        try:
            generator = advnets.load_model(path, like=like.generator)
        except ValueError:
            raise error from None
        return dataclasses.replace(like, generator=generator)
