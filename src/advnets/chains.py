"""Markov chains that samples are drawn by: many side by side, in one compiled program.

What a chain's samples score depends on how the chain is started, run and thinned, by hundreds of
nats; so this is said by a [`advnets.chains.Protocol`][], which is part of every number.
"""

import abc
import dataclasses
import functools
import hashlib
import os
import time
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from advnets import _files, _progress, _signals
from advnets._counts import check_count

S = TypeVar("S")
Pixels = Literal["mean", "bernoulli"]
# Samples are gathered in programs of at most so many of each chain, and so many bytes of all.
SAMPLES_PER_CALL, BYTES_PER_CALL = 100, 2**26
# Steps of one program while chains burn in.
STEPS_PER_CALL = 200
SECONDS_BETWEEN_NOTES = 60
NOTE = "chains.safetensors"


class Chain(eqx.Module, Generic[S]):
    """A Markov chain over states of any kind, many side by side; subclass it to bring your own.

    A state is a pytree of arrays, each with a leading axis of chains.
    """

    @abc.abstractmethod
    def start(self, key: Key[Array, ""], images: Float[Array, " chains *shape"]) -> S:
        """The states that chains have when they start from images, in [0, 1]."""

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
        pixels: `"mean"`: a sample is the means of its pixels; `"bernoulli"`: it is drawn by them.

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
        """How many steps each chain makes for as many samples of all chains."""
        return self.burn_in + 1 + self.thin * (self.samples_each(num_samples) - 1)

    def samples_each(self, num_samples: int) -> int:
        """How many samples each chain gives for as many samples of all chains."""
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
    """Runs chains on from a state, and gathers samples: a pure function, not compiled here.

    Step number t has `jax.random.fold_in(key, t)` as its key, so a walk in parts is the walk.

    Args:
        key: the chains' typed key, for all parts of a walk the same.
        chain: the chain.
        state: the states.
        first: how many steps the states have behind them.
        samples: how many to gather of each chain; a sample is what a chain is after `thin` steps.
        thin: steps for each sample.
        pixels: as in a [`advnets.chains.Protocol`][].

    Returns:
        The states after, and the samples in order.

    Raises:
        ValueError: if there is no sample, or no step for each; if the steps are 2**31 or more.
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
        if isinstance(value, int):  # else it is one of a program's inputs
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
    notes: str | os.PathLike[str] | None = None,
    progress: bool | str = False,
) -> Float[np.ndarray, "chains samples *shape"]:
    """Draws samples by chains that start from images.

    The first sample of a chain is its state after burn-in and one step, the next one `thin` steps
    later, and so on.

    Args:
        key: a typed random key. It chooses images to start from, without repetition where there
            are enough.
        chain: the chain.
        images: what chains may start from, in [0, 1]: training rows, say.
        num_samples: how many samples, of all chains together; each chain gives the same number,
            rounded up.
        protocol: how the chains are run.
        notes: a folder where it is noted, every minute and when a signal comes, how far the chains
            are: the same call continues from there. The note is removed in the end.
        progress: show progress; a text says what is being drawn.

    Returns:
        The samples: those of a chain in their order, along the second axis.

    Raises:
        ValueError: if there is no image to start from, or no sample is asked for; if samples, or
            the steps to them, are 2**31 or more; if samples are not finite.
        KeyboardInterrupt: if a signal asks to stop, after a note.

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
    note = None
    step, gathered = 0, 0
    if notes is not None:
        note = _Note(Path(notes) / NOTE, _identity(key, chain, begun, protocol))
        state, step, gathered = note.read(state, found)
    noted_at = time.monotonic()
    burn = functools.partial(_walk, walk_key, chain, samples=1, pixels="mean")
    most = max(1, min(SAMPLES_PER_CALL, BYTES_PER_CALL // found[0].nbytes))
    what = progress if isinstance(progress, str) else "Markov chains"
    shown = _progress.bar(steps, what, unit="step", done=step, enabled=bool(progress))
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
            signalled = _signals.received() is not None
            late = time.monotonic() - noted_at > SECONDS_BETWEEN_NOTES
            if note is not None and (late or signalled):
                note.write(state, step, found[:gathered])
                noted_at = time.monotonic()
            _signals.check()
    if not np.isfinite(found).all():
        raise ValueError(
            f"{(~np.isfinite(found)).sum():,} pixels of the chains' samples are not finite; the "
            "chain diverged"
        )
    if note is not None:
        note.path.unlink(missing_ok=True)
    return found.swapaxes(0, 1)


class Chained(eqx.Module):
    """What samples are drawn from: a Markov chain, what it may start from, and its protocol.

    Attributes:
        chain: the chain.
        starts: images to start from, uint8 in 0..255.
        num_chains: as in [`advnets.chains.Protocol`][], like all that follow.
        burn_in: likewise.
        thin: likewise.
        pixels: likewise.
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
            n: how many; of fewer than there are chains, each is of a chain of its own.

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
        """Draws samples by any protocol, chain by chain.

        Args:
            key: a typed random key.
            n: how many, of all chains together.
            protocol: how the chains are run.
            progress: show progress; a text says what is being drawn.

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


def _identity(key: Key[Array, ""], chain: Any, begun: Array, protocol: Protocol) -> str:
    """What tells a run of chains from others; the number of samples may grow."""
    digest = hashlib.sha256(f"{protocol} {jax.tree.structure(chain)}".encode())
    for leaf in jax.tree.leaves((jax.random.key_data(key), chain, begun)):
        held = np.ascontiguousarray(leaf)
        digest.update(f"{held.dtype} {held.shape}".encode())
        digest.update(held.data)
    return digest.hexdigest()


class _Note:
    """How far a run of chains has come, on disk."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self._identity = path, identity

    def write(self, state: Any, step: int, found: Float[np.ndarray, "..."]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"{n}": np.asarray(leaf) for n, leaf in enumerate(jax.tree.leaves(state))}
        content = {**arrays, "samples": found, "step": np.asarray(step)}
        digest = _digest(content)
        _files.replace(self.path, save(content, {"run": self._identity, "sha256": digest}))

    def read(self, state: Any, found: Float[np.ndarray, "..."]) -> tuple[Any, int, int]:
        """The state, the steps and the samples that there are: of this run, and whole, or none."""
        try:
            with safe_open(self.path, framework="numpy") as file:
                told = file.metadata() or {}
                content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return state, 0, 0
        if told.get("run") != self._identity or told.get("sha256") != _digest(content):
            return state, 0, 0
        samples = content["samples"][: len(found)]
        if len(content["samples"]) > len(found):  # the states are beyond what is asked for
            return state, 0, 0
        found[: len(samples)] = samples
        leaves = [jnp.asarray(content[f"{n}"]) for n in range(len(jax.tree.leaves(state)))]
        state = jax.tree.unflatten(jax.tree.structure(state), leaves)
        return state, int(content["step"]), len(samples)


def _digest(content: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(content):
        held = np.ascontiguousarray(content[name])
        digest.update(f"{name} {held.dtype} {held.shape}".encode())
        digest.update(held.data)
    return digest.hexdigest()
