"""Common code of systems whose players are trained against each other, one run or many at once."""

import abc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree, UInt8

import advnets
from advnets.algorithms import Algorithm
from advnets.bench.results import FirstStage
from advnets.bench.settings import PREPROCESSING, GameSettings, Settings
from advnets.bench.systems.base import Fitted, Run, System
from advnets.bench.watching import Watch
from advnets.monitor.frozen import Examples
from advnets.paper_figures import Sampler
from advnets.training.devices import is_main_process
from advnets.training.journal import holds_run
from advnets.training.plan import check_epochs

# Folded into the key of a game's training to get the key of its monitor.
MONITOR_KEY = 2**32 - 2
# Held-out rows whose variation sets the strength of a monitor's noise.
NOISE_ROWS = 1000


def stage_keys(seed: int, *, second: bool) -> Key[Array, " keys"]:
    """A stage's keys: for players, training and samples; for a second stage also its new layers.

    Args:
        seed: the run's.
        second: whether it is the second stage.

    Returns:
        Three keys; four for the second stage.

    Raises:
        OverflowError: for a seed beyond 64 bits.
    """
    key = jax.random.key(seed)
    return jax.random.split(jax.random.fold_in(key, 2), 4) if second else jax.random.split(key, 3)


class Game(System):
    """Players trained against each other; a subclass says which, and how.

    It defines `build` and `algorithm`, and `source` if it trains on more than the images. If the
    algorithm depends on a run's data or seed, it also defines `algorithm_of` and `varied`.
    """

    settings: GameSettings
    settings_type: ClassVar[type[Settings]] = GameSettings
    monitored: ClassVar[bool] = True

    @abc.abstractmethod
    def build(self, key: Key[Array, ""], images: UInt8[np.ndarray, " n *shape"]) -> advnets.Players:
        """Players before training.

        Args:
            key: a typed random key.
            images: training images, or a blank one of their shape.

        Returns:
            The players.

        Raises:
            ValueError: for no image.
        """

    @abc.abstractmethod
    def algorithm(self) -> Algorithm:
        """How the players are trained, for epochs of any length."""

    def source(self, run: Run, *, held_out: bool = False) -> advnets.training.Resident:
        """What minibatches are drawn from: only the images unless overridden.

        Args:
            run: the run.
            held_out: use the validation rows instead of the training rows.

        Returns:
            The rows, with their preprocessing.
        """
        images = run.data.validation if held_out else run.data.train
        return advnets.training.Resident(images, PREPROCESSING[self.settings.preprocessing])

    def sampled(self, model: advnets.Model) -> advnets.Model:
        """The model that is scored, drawn and saved: the given one unless overridden."""
        return model

    def fitted(self, run: Run, trained: advnets.Trained) -> Fitted:
        """The outcome of a run's training."""
        return Fitted.of(self.sampled(scored(trained)), trained)

    def algorithm_of(self, run: Run) -> Algorithm:
        """The algorithm of a run: the same for all unless overridden."""
        return self.algorithm()

    def varied(self, runs: Sequence[Run]) -> tuple[Algorithm | Callable[[Any], Algorithm], PyTree]:
        """The algorithm of several runs, and what varies between them, if anything does."""
        return self.algorithm(), None

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        size, k = self.settings.batch_size, self.algorithm().minibatches
        if len(data.train) < size * k:
            minibatches = f"{k} minibatch{'es' if k > 1 else ''}"
            lower = "--batch-size" + (" or --k" if k > 1 else "")
            raise ValueError(
                f"{self.settings.dataset} has {len(data.train)} training rows, too few for "
                f"{minibatches} of {size}; lower {lower}"
            )
        check_epochs(self.settings.epochs, len(data.train) // (size * k))
        shape = data.train.shape[1:]
        check_model(lambda _: self._shapes(shape), what="the players")

    def check_room(self, data: advnets.data.Dataset, runs: int) -> None:
        check_memory(self._shapes(data.train.shape[1:]), runs)

    def check_monitor(self, run: Run) -> None:
        self.monitors(run, jax.random.key(0), progress=False)

    def sample_key(self, seed: int) -> Key[Array, ""]:
        return stage_keys(seed, second=False)[2]

    def players(self, image_shape: tuple[int, ...]) -> advnets.Players:
        return self._shapes(image_shape)

    def load(self, path: Path, image_shape: tuple[int, ...]) -> Sampler:
        return advnets.load_model(path, like=advnets.model.model_of(self.players(image_shape)))

    def _shapes(self, shape: tuple[int, ...]) -> advnets.Players:
        """The structure of the players; with two stages, of the first one's."""
        blank = np.zeros((1, *shape), np.uint8)
        return eqx.filter_eval_shape(lambda key: self.build(key, blank), jax.random.key(0))

    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        keys = stage_keys(run.seed, second=False)
        players = self.build(keys[0], run.data.train)
        trained = self.train(run, keys[1], players, self.settings.epochs, watch, progress=progress)
        return self.fitted(run, trained)

    def train(
        self,
        run: Run,
        key: Key[Array, ""],
        players: advnets.Players,
        epochs: int,
        watch: Watch,
        *,
        progress: bool,
    ) -> advnets.Trained:
        """A stage of a run: trains players in the folder of its watch.

        Args:
            run: the run.
            key: the stage's key.
            players: the players before it.
            epochs: the number of epochs.
            watch: the stage's watch.
            progress: show progress.

        Returns:
            The outcome of training.

        Raises:
            TrainingDiverged: if the players' numbers do not stay finite.
            ValueError: for more epochs than the counter of iterations can hold.
        """
        settings, folder = self.settings, watch.folder
        trained = advnets.train(
            key,
            players,
            self.source(run),
            epochs=epochs,
            algorithm=self.algorithm_of(run),
            batch_size=settings.batch_size,
            evaluate=lambda epoch, model: watch(epoch, self.sampled(model)),
            evaluate_every=settings.evaluate_every,
            folder=folder,
            # A run may have been stopped before its training began.
            resume=run.resumes(holds_run(folder)),
            devices=advnets.training.Devices(run.devices, run.shard_layers),
            callbacks=(*run.callbacks, *self.monitors(run, key, progress=progress)),
            pictures=False,  # a run draws its own
            progress=progress,
        )
        if folder != run.folder and is_main_process():
            title = f"{run.called}, first stage, {self.title()}, seed {run.seed}"
            advnets.figures.curves(folder / "curves.png", trained.metrics, title=title)
        return trained

    def fit_together(
        self, runs: Sequence[Run], watches: Sequence[Watch], folder: Path, *, progress: bool
    ) -> list[Fitted | None]:
        first, settings = runs[0], self.settings
        keys = jnp.stack([stage_keys(run.seed, second=False) for run in runs])
        build = eqx.filter_vmap(lambda key: self.build(key, first.data.train))
        algorithm, vary = self.varied(runs)

        def evaluate(number: int, epoch: int, model: advnets.Model) -> Mapping[str, Any]:
            return watches[number](epoch, self.sampled(model))

        trained = advnets.train_many(
            keys[:, 1],
            build(keys[:, 0]),
            self.source(first),
            epochs=settings.epochs,
            algorithm=algorithm,
            vary=vary,
            batch_size=settings.batch_size,
            evaluate=evaluate,
            evaluate_every=settings.evaluate_every,
            folder=folder,
            names=[run.folder.name for run in runs],
            # The runs may have been stopped before their training began.
            resume=first.resumes(holds_run(folder) or any(holds_run(run.folder) for run in runs)),
            devices=first.devices,
            callbacks=(*first.callbacks, *self.monitors(first, keys[:, 1], progress=False)),
            pictures=False,
            progress=progress,
        )
        return [
            None if one is None else self.fitted(run, one)
            for run, one in zip(runs, trained, strict=True)
        ]

    def monitors(
        self, run: Run, keys: Key[Array, "*runs"], *, progress: bool
    ) -> tuple[advnets.training.Callback, ...]:
        """The callback that monitors a run, or several, if that is asked for.

        Args:
            run: the run, or the first of several.
            keys: the keys that games are trained with: one, or one for each run.
            progress: whether to print a line at each evaluation.

        Returns:
            The callback, or none.
        """
        if not run.monitor:
            return ()

        def own(key: Key[Array, ""]) -> Key[Array, ""]:
            return jax.random.fold_in(key, MONITOR_KEY)

        held_out = self.source(run, held_out=True)
        rows = Examples(held_out)[np.arange(min(len(held_out), NOISE_ROWS))]
        noise_scale = round(float(np.sqrt(rows.var(axis=0).mean())), 2)
        monitor = advnets.monitor.Monitor(
            jax.vmap(own)(keys) if keys.ndim else own(keys),
            self.source(run),
            held_out,
            # Without noise, the bound of any two players is log 2; with noise as strong as the
            # images vary, it tells epochs apart.
            noise_scales=(noise_scale,) if noise_scale else (),
            fake=self.algorithm().fake,
            progress=progress,
        )
        return (monitor,)


def check_model(
    build: Callable[[Key[Array, ""]], Any], *, what: str = "the model's arrays"
) -> None:
    """Refuses, with a ValueError, a model that can't be built, or that this machine can't hold.

    Args:
        build: builds the model from a key; only shapes are computed.
        what: the subject of the message.
    """
    try:
        shapes = eqx.filter_eval_shape(build, jax.random.key(0))
    except (TypeError, OverflowError) as error:  # a size that no array can have
        first = str(error).splitlines()[0]
        raise ValueError(f"a layer is too large ({first}); make it smaller") from None
    check_memory(shapes, what=what)


def check_memory(players: PyTree, runs: int = 1, *, what: str = "the players") -> None:
    """Refuses players that this machine can't hold, before they are built.

    Args:
        players: their shapes.
        runs: how many runs are trained at once, each with its own players.
        what: the subject of the message.

    Raises:
        ValueError: if parameters, gradients and velocities need more memory than there is.
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
            f"{whose} need {needed / 2**30:,.1f} GiB, with gradients and velocities, but "
            f"{'this machine' if device.platform == 'cpu' else 'the device'} has "
            f"{there / 2**30:,.1f}; {remedy}"
        )


def scored(trained: advnets.Trained) -> advnets.Model:
    """The model that is scored: the one with the averaged generator, if there is one."""
    return getattr(trained, "averaged", trained.model)
