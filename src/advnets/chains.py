"""Markov chains to draw samples with: many side by side, in one compiled program.

The score of a chain's samples depends by hundreds of nats on how the chain is started, run and
thinned. A [`advnets.chains.Protocol`][] records this, and is part of every reported number.
"""

import abc
import dataclasses
import functools
from typing import Any, Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from advnets import _progress, _signals
from advnets._counts import check_count

S = TypeVar("S")
Pixels = Literal["mean", "bernoulli"]
# The maximum number of samples per chain, and of bytes in total, that one program gathers.
SAMPLES_PER_CALL, BYTES_PER_CALL = 100, 2**26
# Burn-in steps in one program.
STEPS_PER_CALL = 200


class Chain(eqx.Module, Generic[S]):
    """A Markov chain over states of any kind, many side by side; subclass it to bring your own.

    A state is a pytree of arrays, each with a leading axis of chains.
    """

    @abc.abstractmethod
    def start(self, key: Key[Array, ""], images: Float[Array, " chains *shape"]) -> S:
        """The states of chains that start from images, in [0, 1]."""

    @abc.abstractmethod
    def step(self, key: Key[Array, ""], state: S) -> S:
        """One step of every chain."""

    @abc.abstractmethod
    def means(self, state: S) -> Float[Array, " chains *shape"]:
        """The mean of each pixel given the rest of the state, in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How chains are run.

    Attributes:
        num_chains: chains side by side; each gives its share of the samples.
        burn_in: steps before the first sample.
        thin: steps from one sample to the next; 1 for consecutive ones.
        pixels: `"mean"`: a sample is its pixels' means; `"bernoulli"`: it is drawn from them.

    Raises:
        ValueError: for a number out of range.

    Example:
        >>> from advnets.chains import Protocol
        >>> str(Protocol(burn_in=1000, thin=10))
        '100 chains, burn-in 1000, every 10th step, mean pixels'
    """

    num_chains: int = 100
    burn_in: int = 0
    thin: int = 1
    pixels: Pixels = "mean"

    def __post_init__(self) -> None:
        for name, value, least in (
            ("the number of chains", self.num_chains, 1),
            ("the burn-in", self.burn_in, 0),
            ("thin", self.thin, 1),
        ):
            check_count(name, value, least)

    def __str__(self) -> str:
        chains = "1 chain" if self.num_chains == 1 else f"{self.num_chains:,} chains"
        every = "consecutive" if self.thin == 1 else f"every {_ordinal(self.thin)} step"
        return f"{chains}, burn-in {self.burn_in}, {every}, {self.pixels} pixels"

    def steps(self, num_samples: int) -> int:
        """How many steps each chain takes for a total number of samples over all chains."""
        return self.burn_in + 1 + self.thin * (self.samples_each(num_samples) - 1)

    def samples_each(self, num_samples: int) -> int:
        """How many samples each chain contributes to a total number over all chains."""
        return -(-num_samples // self.num_chains)


def _ordinal(n: int) -> str:
    ends = {} if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}
    return f"{n}{ends.get(n % 10, 'th')}"


def walk(
    key: Key[Array, ""],
    chain: Chain[S],
    state: S,
    *,
    first: int | Int[Array, ""] = 0,
    samples: int,
    thin: int | Int[Array, ""] = 1,
    pixels: Pixels = "mean",
) -> tuple[S, Float[Array, "samples chains *shape"]]:
    """Continues chains from a state and gathers samples; a pure function, not compiled here.

    Step number t has `jax.random.fold_in(key, t)` as its key, so a walk may be done in parts.

    Args:
        key: the chains' typed key, the same for all parts of a walk.
        chain: the chain.
        state: the states.
        first: the number of steps that were made before.
        samples: the number of samples of each chain, each taken after `thin` steps.
        thin: the number of steps for each sample.
        pixels: as in a [`advnets.chains.Protocol`][].

    Returns:
        The states afterwards, and the samples in order.

    Raises:
        ValueError: if `samples` or `thin` is below 1, or there are 2**31 steps or more.
        TypeError, AttributeError: what the chain or JAX raises for states that are not the chain's.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import chains
        >>> class Coin(chains.Chain):
        ...     def start(self, key, images):
        ...         return images
        ...     def step(self, key, state):
        ...         return jax.random.bernoulli(key, 0.5, state.shape).astype(float)
        ...     def means(self, state):
        ...         return state
        >>> state, samples = chains.walk(jax.random.key(0), Coin(), jnp.zeros((5, 2)), samples=3)
        >>> samples.shape
        (3, 5, 2)
    """
    check_count("the number of samples", samples)
    for name, value, least in (("first", first, 0), ("thin", thin, 1)):
        if isinstance(value, int):  # otherwise it is traced
            check_count(name, value, least)
    if isinstance(first, int) and isinstance(thin, int):
        check_count("the number of steps", first + samples * thin)
    steps_key, pixels_key = jax.random.split(key)

    def one(carry: tuple[S, Array], _: None) -> tuple[tuple[S, Array], Array]:
        state, number = carry
        after = number + thin
        state = jax.lax.fori_loop(
            number, after, lambda t, s: chain.step(jax.random.fold_in(steps_key, t), s), state
        )
        means = chain.means(state)
        if pixels == "bernoulli":
            drawn = jax.random.bernoulli(jax.random.fold_in(pixels_key, after), means)
            means = drawn.astype(means.dtype)
        return (state, after), means

    start = jnp.asarray(first, jnp.int32)
    (state, _), found = jax.lax.scan(one, (state, start), None, length=samples)
    return state, found


_walk = eqx.filter_jit(walk, donate="none")
_start = eqx.filter_jit(lambda chain, key, images: chain.start(key, images))


def run(
    key: Key[Array, ""],
    chain: Chain[Any],
    images: Float[Array | np.ndarray, " n *shape"],
    num_samples: int,
    protocol: Protocol = Protocol(),
    *,
    progress: bool | str = False,
) -> Float[np.ndarray, "chains samples *shape"]:
    """Draws samples with chains that start from images.

    The first sample of a chain is its state after burn-in and one step, the next one `thin` steps
    later, and so on.

    Args:
        key: a typed random key. It also chooses the images to start from, without repetition if
            there are enough.
        chain: the chain.
        images: the images that chains may start from, in [0, 1], such as training rows.
        num_samples: the number of samples of all chains together; each chain gives the same number,
            rounded up.
        protocol: how the chains are run.
        progress: show progress; a string names what is being drawn.

    Returns:
        The samples, those of each chain in order along the second axis.

    Raises:
        ValueError: if there is no image to start from, or `num_samples` is below 1; if there are
            2**31 samples, or steps, or more; if samples are not finite.
        KeyboardInterrupt: if a signal asks to stop.

    Example:
        >>> import jax
        >>> import numpy as np
        >>> from advnets import chains
        >>> class Still(chains.Chain):
        ...     def start(self, key, images):
        ...         return images
        ...     def step(self, key, state):
        ...         return state
        ...     def means(self, state):
        ...         return state
        >>> protocol = chains.Protocol(num_chains=2)
        >>> chains.run(jax.random.key(0), Still(), np.zeros((9, 8, 8)), 10, protocol).shape
        (2, 5, 8, 8)
    """
    if len(images) == 0:
        raise ValueError("chains need images to start from; got none")
    check_count("the number of samples", num_samples)
    steps = protocol.steps(num_samples)
    check_count("the number of steps of each chain", steps)
    rows_key, start_key, walk_key = jax.random.split(key, 3)
    replace = len(images) < protocol.num_chains
    rows = jax.random.choice(rows_key, len(images), (protocol.num_chains,), replace=replace)
    begun = jnp.asarray(np.asarray(images)[np.asarray(rows)], jnp.float32)
    state = _start(chain, start_key, begun)
    each = protocol.samples_each(num_samples)
    found = np.empty((each, *eqx.filter_eval_shape(chain.means, state).shape), np.float32)
    step, gathered = 0, 0
    burn = functools.partial(_walk, walk_key, chain, samples=1, pixels="mean")
    most = max(1, min(SAMPLES_PER_CALL, BYTES_PER_CALL // found[0].nbytes))
    what = progress if isinstance(progress, str) else "Markov chains"
    shown = _progress.bar(steps, what, unit="step", enabled=bool(progress))
    with _signals.noted(), shown as bar:
        while gathered < each:
            before = step
            if step < protocol.burn_in:
                some = min(STEPS_PER_CALL, protocol.burn_in - step)
                state, _ = burn(state, first=jnp.asarray(step), thin=jnp.asarray(some))
                step += some
            elif gathered == 0:
                state, first = _sampled(walk_key, chain, state, step, 1, 1, protocol.pixels)
                found[0], gathered, step = first[0], 1, step + 1
            else:
                some = min(most, each - gathered)
                state, part = _sampled(
                    walk_key, chain, state, step, some, protocol.thin, protocol.pixels
                )
                found[gathered : gathered + some] = part
                gathered, step = gathered + some, step + some * protocol.thin
            bar.update(step - before)
            _signals.check()
    if not np.isfinite(found).all():
        raise ValueError(
            f"{(~np.isfinite(found)).sum():,} pixels of the chains' samples are not finite; the "
            "chain diverged"
        )
    return found.swapaxes(0, 1)


class Chained(eqx.Module):
    """A model that is sampled by a Markov chain: the chain, images to start from, and the protocol.

    Attributes:
        chain: the chain.
        starts: images to start from, uint8 in 0..255.
        num_chains: as in [`advnets.chains.Protocol`][].
        burn_in: as there.
        thin: as there.
        pixels: as there.
    """

    chain: Chain[Any]
    starts: UInt8[Array | np.ndarray, " n *shape"]
    num_chains: int = eqx.field(static=True)
    burn_in: int = eqx.field(static=True)
    thin: int = eqx.field(static=True)
    pixels: Pixels = eqx.field(static=True)

    @property
    def protocol(self) -> Protocol:
        """How its chains are run."""
        return Protocol(self.num_chains, self.burn_in, self.thin, self.pixels)

    def sample(self, key: Key[Array, ""], n: int) -> Float[np.ndarray, " n *shape"]:
        """Draws samples: the first of every chain, then the second of every chain, and so on.

        Args:
            key: a typed random key.
            n: the number of samples; if there are at least as many chains, each has its own chain.

        Returns:
            The samples.

        Raises:
            ValueError: as [`advnets.chains.run`][].
        """
        each = self.drawn(key, n, self.protocol, progress=False)
        return np.concatenate(each.swapaxes(0, 1))[:n]

    def drawn(
        self, key: Key[Array, ""], n: int, protocol: Protocol, *, progress: bool | str
    ) -> Float[np.ndarray, "chains samples *shape"]:
        """Draws samples with any protocol, chain by chain.

        Args:
            key: a typed random key.
            n: the number of samples of all chains together.
            protocol: how the chains are run.
            progress: show progress; a string names what is being drawn.

        Returns:
            The samples of each chain in order, see [`advnets.chains.run`][].

        Raises:
            ValueError: as [`advnets.chains.run`][].
        """
        check_count("the number of samples", n)
        images = np.asarray(self.starts) / np.float32(255)
        protocol = dataclasses.replace(protocol, num_chains=min(n, protocol.num_chains))
        return run(key, self.chain, images, n, protocol, progress=progress)


def _sampled(
    key: Key[Array, ""],
    chain: Chain[Any],
    state: Any,
    first: int,
    samples: int,
    thin: int,
    pixels: Pixels,
) -> tuple[Any, Float[np.ndarray, "samples chains *shape"]]:
    state, found = _walk(
        key,
        chain,
        state,
        first=jnp.asarray(first),
        samples=samples,
        thin=jnp.asarray(thin),
        pixels=pixels,
    )
    return state, np.asarray(found)
