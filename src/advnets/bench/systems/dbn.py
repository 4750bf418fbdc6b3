"""The deep belief network of Table 1: two Boltzmann machines trained one after the other."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.special
from jaxtyping import Array, Float, Int, Key, UInt8

import advnets
from advnets import chains, training
from advnets.baselines import ais, dbn, rbm
from advnets.bench.evaluations import Evaluation, Subject
from advnets.bench.frames import write_filters
from advnets.bench.results import FirstStage, Json
from advnets.bench.settings import check_counts
from advnets.bench.systems.base import Fitted, Run, System
from advnets.bench.systems.chained import CHAIN_EVALUATIONS, ChainSettings, chained
from advnets.bench.systems.games import check_model
from advnets.bench.systems.learned import check_batch, check_pixels, fit_stage, stage_keys
from advnets.bench.systems.rows import mean_of
from advnets.bench.watching import Watch
from advnets.chains import Chained
from advnets.paper_figures import Sampler
from advnets.training.devices import is_main_process
from advnets.training.plan import check_epochs

# Annealed importance sampling of the upper machine's log Z: the number of temperatures is the run's
# number of scored samples, within these limits.
RUNS, FEWEST, TEMPERATURES = 100, 1000, 10_000
# Draws of the first hidden layer for each test image, and images in a block.
DRAWS, ROWS = 20, 1000


@dataclasses.dataclass(frozen=True)
class DBNSettings(ChainSettings):
    """The settings of a deep belief network with two hidden layers.

    Raises:
        ValueError: for a setting out of range.
    """

    epochs: int = 100
    """Epochs of the upper machine."""
    lower_epochs: int = 100
    """Epochs of the lower machine, which is trained first."""
    hidden_sizes: tuple[int, int] = (1000, 1000)
    """Units of the first and second hidden layers."""
    batch_size: int = 100
    """Examples in a minibatch."""
    learning_rate: float = 0.05
    """Initial learning rate of both machines; it falls linearly to 0."""
    weight_decay: float = 1e-4
    """λ of the term λ/2 times the squared weights in a machine's cost."""
    gibbs_steps: int = 1
    """Gibbs steps of the persistent chains per update."""
    persistent_chains: int = 100
    """Number of persistent chains in training."""
    burn_in: int = 1000
    """Steps of each chain before its first sample."""
    thin: int = 10
    """Steps from one sample of a chain to the next; 1 for consecutive samples."""

    def __post_init__(self) -> None:
        ChainSettings.__post_init__(self)
        check_counts(
            {
                "the number of epochs of the lower machine": self.lower_epochs,
                "the number of hidden units": min(self.hidden_sizes),
                "the batch size": self.batch_size,
                "the number of Gibbs steps": self.gibbs_steps,
                "the number of persistent chains": self.persistent_chains,
            }
        )
        if not self.learning_rate > 0:
            raise ValueError(f"the learning rate must be above 0; got {self.learning_rate}")
        if self.weight_decay < 0:
            raise ValueError(f"the weight decay must be at least 0; got {self.weight_decay}")


class Likelihood(Evaluation):
    """The network's own likelihood: log Z of the upper machine, and bounds on log p(x).

    The bounds are of test images, each binarised once at random with its grey levels as
    probabilities. log Z is estimated forward and in reverse; the bounds use the forward estimate.
    """

    def measure(self, subject: Subject) -> Json:
        model = subject.model
        assert isinstance(model, Chained)
        chain = model.chain
        assert isinstance(chain, dbn.TopGibbs)
        net = chain.model
        of_means, up, down, samples, of_rows = jax.random.split(subject.key, 5)
        means = dbn.first_means(of_means, net.first, subject.data.train)
        temperatures = max(FEWEST, len(subject.first(TEMPERATURES)))
        shown: dict[str, Any] = {"temperatures": temperatures, "progress": subject.progress}
        forward = ais.log_partition(up, net.upper, means, runs=RUNS, **shown)
        burn_in = jnp.asarray(max(1, model.burn_in))
        states = _equilibrium(samples, chain, jnp.asarray(model.starts), burn_in)
        reverse = ais.reverse_log_partition(down, net.upper, means, states, **shown)
        with jax.default_matmul_precision("highest"):  # as in the estimates of log Z
            bound, importance = _bounds(of_rows, net, subject.data.test)
        return {
            "log_partition": {
                "forward": forward.value,
                "forward_standard_error": forward.standard_error,
                "reverse": reverse.value,
                "reverse_standard_error": reverse.standard_error,
                "gap": reverse.value - forward.value,
                "runs": RUNS,
                "temperatures": temperatures,
            },
            "bound": mean_of(bound - forward.value),
            "importance_bound": mean_of(importance - forward.value),
            "draws": DRAWS,
        }

    def line(self, found: Json) -> str:
        entries: Any = found
        log_z, bound, importance = (
            entries[name] for name in ("log_partition", "bound", "importance_bound")
        )
        return (
            f"Likelihood of binarised test images: at least {bound['mean']:.2f} ± "
            f"{bound['standard_error']:.2f} nats, {importance['mean']:.2f} by {entries['draws']} "
            f"draws (log Z of the upper machine {log_z['forward']:.2f} forward, "
            f"{log_z['reverse']:.2f} reverse)"
        )


@eqx.filter_jit
def _equilibrium(
    key: Key[Array, ""],
    chain: dbn.TopGibbs,
    starts: UInt8[Array, " starts *shape"],
    burn_in: Int[Array, ""],
) -> Float[Array, "runs first"]:
    """First hidden layers of chains after burn-in, one for each run."""
    start, go_on = jax.random.split(key)
    images = jnp.resize(starts, (RUNS, *starts.shape[1:]))
    begun = chain.start(start, advnets.preprocessing.to_unit_interval(images))
    state, _ = chains.walk(go_on, chain, begun, samples=1, thin=burn_in)
    return state.first


def _bounds(
    key: Key[Array, ""], net: dbn.DBN, images: Any
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """For each image the variational bound and the importance-weighted one, without log Z."""

    @jax.jit
    def of_block(key: Key[Array, ""], net: dbn.DBN, block: Array) -> Array:
        of_pixels, of_first = jax.random.split(key)
        return dbn.log_weights(of_first, net, rbm.visible_of(of_pixels, block), DRAWS)

    logs = np.concatenate(
        [
            np.asarray(
                of_block(jax.random.fold_in(key, first), net, images[first : first + ROWS]),
                np.float64,
            )
            for first in range(0, len(images), ROWS)
        ],
        axis=1,
    )
    return logs.mean(axis=0), scipy.special.logsumexp(logs, axis=0) - np.log(DRAWS)


def _machine(visible: int, hidden: int) -> rbm.RBM:
    """A machine of a given size."""
    return rbm.RBM(jnp.zeros((visible, hidden)), jnp.zeros(visible), jnp.zeros(hidden))


class DeepBeliefNetwork(System):
    """Two machines trained by PCD, the upper one on samples of the lower one's hidden units."""

    settings: DBNSettings
    settings_type: ClassVar[type[ChainSettings]] = DBNSettings
    evaluations: ClassVar[Mapping[str, Evaluation]] = {
        **CHAIN_EVALUATIONS,
        "likelihood": Likelihood(),
    }

    def check(self, data: advnets.data.Dataset, first_stage: FirstStage | None) -> None:
        check_batch(self.settings, data)
        check_pixels(self.settings)
        sizes = (math.prod(data.train.shape[1:]), *self.settings.hidden_sizes)
        check_model(lambda _: [_machine(*pair) for pair in itertools.pairwise(sizes)])
        most = max(self.settings.epochs, self.settings.lower_epochs)
        check_epochs(most, len(data.train) // self.settings.batch_size)

    @property
    def ends_at_its_epochs(self) -> bool:
        return True

    def fit(self, run: Run, watch: Watch, *, progress: bool) -> Fitted:
        recipe, images = self.settings, run.data.train
        cost = rbm.PCD(recipe.gibbs_steps, recipe.weight_decay)
        below, above = recipe.hidden_sizes

        start, coins = jax.random.split(stage_keys(run.seed, 1)[0])
        lower = fit_stage(
            run,
            watch,
            rbm.start(start, rbm.pixel_means(images), hidden=below),
            self._learner(cost, recipe.lower_epochs, coins, below),
            stage=1,
            last=False,
            epochs=recipe.lower_epochs,
            batch_size=recipe.batch_size,
            progress=progress,
        ).model
        if is_main_process():
            write_filters(run.folder, np.asarray(lower.weights), images.shape[1:])

        def sampler(net: dbn.DBN) -> Sampler:
            return chained(dbn.TopGibbs(net, images.shape[1:]), recipe, run.seed, images)

        start, coins = jax.random.split(stage_keys(run.seed, 2)[0])
        learned = fit_stage(
            run,
            watch,
            dbn.stack(start, lower, images, hidden=above),
            self._learner(dbn.UpperPCD(cost), recipe.epochs, coins, above),
            stage=2,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            sampler=sampler,
            progress=progress,
        )
        return Fitted.of(sampler(learned.model), learned)

    def _learner(
        self, cost: rbm.PCD | dbn.UpperPCD, epochs: int, key: Key[Array, ""], units: int
    ) -> training.Learner:
        recipe = self.settings

        def updates(iterations: int) -> optax.GradientTransformation:
            return optax.sgd(optax.linear_schedule(recipe.learning_rate, 0.0, epochs * iterations))

        memory = rbm.fair_coins(key, recipe.persistent_chains, units)
        return training.Learner(cost=cost, updates=updates, memory=memory)
