r"""Inference of z after training: which latent vectors an example came from.

A generator has no inverse, but one can be learned from any number of pairs (z, G(z)). A network
fitted to such pairs, with G held fixed, gives the mean and the standard deviation of each component
for an example,

$$\max_{\mu, s}\; \mathbb{E}\, \log N(u;\, \mu(x),\, \mathrm{diag}\, s^2(x)), \qquad
  x = G(T(u)) + \sigma\varepsilon,$$

where the optimum has $\mu(x) = \mathbb{E}[u|x]$: among such normal distributions, it is the nearest
to p(u|x) in the inclusive Kullback-Leibler divergence, averaged over x. Here u is standard normal,
and T maps it to latent vectors of the prior ([`advnets.priors.Prior.from_normal`][]), so a search
for u never leaves the prior's support.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Key, PyTree

from advnets import training
from advnets._counts import check_count, counted
from advnets._distances import check_finite
from advnets.batches import Batch, length
from advnets.model import Model
from advnets.networks import Reshape
from advnets.players import Frozen, Player, apply, for_sampling, inputs_taken
from advnets.priors import Prior
from advnets.training.journal import Metrics, holds_run

# What is inferred: u, or the output of this many of the generator's first layers.
Target: TypeAlias = Literal["latent"] | int
# Updates in a round, which has a row of metrics; it corresponds to an epoch of a game.
ROUND = 100
# The smallest standard deviation that a network gives, which bounds its cost from below.
LEAST = 1e-4


def _has_map(prior: Prior) -> bool:
    return type(prior).from_normal is not Prior.from_normal


def latents_of(prior: Prior, u: Float[Array, " n size"]) -> Float[Array, " n size"]:
    """z = T(u): the latent vectors that standard normal vectors stand for.

    Args:
        prior: the prior.
        u: standard normal vectors; for a prior without `from_normal`, the latent vectors.

    Returns:
        The latent vectors.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets import inference, priors
        >>> z = inference.latents_of(priors.Uniform(2), jnp.array([[0.0, 100.0]]))
        >>> [round(component, 2) for component in z[0].tolist()]
        [0.0, 1.73]
    """
    return prior.from_normal(u) if _has_map(prior) else u


def decode(model: Model, u: Float[Array, " n size"]) -> Float[Array, " n *data"]:
    """G(T(u)), without any noise inside G.

    Args:
        model: the model.
        u: standard normal vectors; for a prior without `from_normal`, the latent vectors.

    Returns:
        The examples.

    Example:
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> from advnets import inference
        >>> model = advnets.Model(lambda z: 2 * z, advnets.priors.Normal(1))
        >>> inference.decode(model, jnp.ones((3, 1))).tolist()
        [[2.0], [2.0], [2.0]]
    """
    examples: Float[Array, " n *data"]
    examples, _ = apply(for_sampling(model.generator), None, latents_of(model.prior, u))
    return examples


def pairs(
    key: Key[Array, ""], model: Model[Any], n: int, *, target: Target = "latent", noise: float = 0.0
) -> tuple[Float[Array, " n target"], Float[Array, " n *data"]]:
    """Fresh pairs to learn inference from; a pure function.

    Args:
        key: a typed random key.
        model: the model.
        n: the number of pairs.
        target: `"latent"`, or the number of the generator's first layers whose output to infer.
        noise: σ, the standard deviation of normal noise on the examples; at least 0.

    Returns:
        What is to be inferred, u or a layer's flattened output, and the examples made from it.

    Raises:
        ValueError: if `n` is below 1, for noise below 0, or for a generator with too few layers.

    Example:
        >>> import jax
        >>> import advnets
        >>> from advnets import inference
        >>> model = advnets.Model(lambda z: 2 * z, advnets.priors.Normal(3))
        >>> u, x = inference.pairs(jax.random.key(0), model, 5)
        >>> bool((x == 2 * u).all())
        True
    """
    check_count("the number of pairs", n)
    _check_noise(noise)
    u_key, inside, outside = jax.random.split(key, 3)
    if _has_map(model.prior):
        u = jax.random.normal(u_key, (n, model.prior.size))
    else:
        u = model.prior(u_key, n)
    z, keys = latents_of(model.prior, u), jax.random.split(inside, n)
    if target == "latent":
        goal = u
        examples, _ = apply(for_sampling(model.generator), keys, z)
    else:
        layers = _layers(model, target)
        below, above = (eqx.nn.Sequential(part) for part in (layers[:target], layers[target:]))
        halves = jax.vmap(jax.random.split)(keys)  # one key twice would repeat noise
        hidden, _ = apply(below, halves[:, 0], z)
        examples, _ = apply(above, halves[:, 1], hidden)
        goal = hidden.reshape(n, -1)
    if noise:
        examples = examples + noise * jax.random.normal(outside, examples.shape, examples.dtype)
    return goal, examples


def _check_noise(noise: float) -> None:
    if not 0 <= noise < math.inf:
        raise ValueError(f"the noise's scale must be at least 0 and finite; got {noise}")


def _layers(model: Model[Any], target: int) -> tuple[Any, ...]:
    """The layers of a generator that has more than `target` of them."""
    net = model.generator
    layers = net.layers if isinstance(net, eqx.nn.Sequential) else ()
    if not 1 <= target < len(layers):
        several = f"; this one has {counted(len(layers), 'layer')}" if layers else ""
        raise ValueError(
            'the target must be "latent", or a number of the first layers of a generator that is '
            f"an eqx.nn.Sequential{several}; got {target!r}"
        )
    return layers


class Inference(eqx.Module):
    """A network that infers what examples were made from: q(u|x).

    Attributes:
        net: maps an example to a vector: the means, and after them the logarithms of the standard
            deviations if there is a spread.
        prior: the prior of the latent vectors.
        target: what is inferred, see [`advnets.inference.fit_inference`][].
        spread: whether the network gives standard deviations too.

    Example:
        >>> import equinox as eqx
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import advnets
        >>> from advnets.inference import Inference
        >>> net = eqx.nn.Linear(5, 4, key=jax.random.key(0))
        >>> means, deviations = Inference(net, advnets.priors.Normal(2))(jnp.zeros((3, 5)))
        >>> means.shape, deviations.shape
        ((3, 2), (3, 2))

    References:
        Section 7, "learned approximate inference"; released code, `AdversaryPair`'s `inferer`.
    """

    net: Player
    prior: Prior
    target: Target = eqx.field(static=True, default="latent")
    spread: bool = eqx.field(static=True, default=True)

    def __call__(
        self, examples: Float[Array, " n *data"]
    ) -> tuple[Float[Array, " n target"], Float[Array, " n target"] | None]:
        """Infers what examples were made from.

        Args:
            examples: real or generated examples.

        Returns:
            The means, and the standard deviations, or None if the network gives none.
        """
        found, _ = apply(self.net, None, examples)
        if not self.spread:
            return found, None
        means, logs = jnp.split(found, 2, axis=1)
        return means, jnp.exp(jnp.maximum(logs, math.log(LEAST)))

    def latents(self, examples: Float[Array, " n *data"]) -> Float[Array, " n size"]:
        """The latent vectors at the means, as a generator takes them.

        Args:
            examples: real or generated examples.

        Returns:
            T(μ(x)), in the support of the prior.

        Raises:
            ValueError: if the network infers a layer's output.
        """
        if self.target != "latent":
            raise ValueError(
                f"this network infers what {self.target} layers of the generator make, not "
                'latent vectors; fit one with target="latent"'
            )
        return latents_of(self.prior, self(examples)[0])


class InferenceCost(eqx.Module):
    """The cost of an inference network, on fresh pairs at each update.

    With a spread, it is -log N(u; μ(x), diag s²(x)) in nats; without one, the squared error, as in
    the released code. Either is summed over components. It also reports the mean squared error of
    the means, over components too: 1 for a standard normal u, if its prediction ignores x.

    Attributes:
        target: what is inferred.
        noise: σ, as for [`advnets.inference.fit_inference`][].

    References:
        Released code, `AdversaryCost2`, `objective_i`.
    """

    target: Target = eqx.field(static=True, default="latent")
    noise: float = eqx.field(static=True, default=0.0)

    def __call__(
        self, key: Key[Array, ""], fitting: "Fitting", memory: PyTree, batch: Batch
    ) -> tuple[Float[Array, ""], PyTree, Mapping[str, Float[Array, ""]]]:
        """The cost, as [`advnets.training.fit`][] takes it; only the batch's length matters."""
        goal, examples = pairs(
            key, fitting.model, length(batch), target=self.target, noise=self.noise
        )
        means, deviations = fitting.inference(examples)
        squared = (goal - means) ** 2
        error = jnp.mean(squared)
        if deviations is None:
            return jnp.mean(jnp.sum(squared, axis=1)), memory, {"squared_error": error}
        each = 0.5 * squared / deviations**2 + jnp.log(deviations) + 0.5 * math.log(2 * math.pi)
        return jnp.mean(jnp.sum(each, axis=1)), memory, {"squared_error": error}


class Fitting(eqx.Module):
    """What is fitted: an inference network, with the model that it belongs to.

    Attributes:
        inference: the network, which is trained.
        model: the model, which does not change.
    """

    inference: Inference
    model: Any


def inference_network(
    key: Key[Array, ""],
    shape: tuple[int, ...],
    outputs: int,
    *,
    hidden_sizes: Sequence[int] = (1000, 1000),
) -> eqx.nn.Sequential:
    """A fully connected network that maps examples to what is inferred.

    Args:
        key: a typed random key.
        shape: the shape of an example.
        outputs: the number of outputs: two for each component if there is a spread.
        hidden_sizes: the number of rectified linear units of each hidden layer; none for a linear
            map.

    Returns:
        The network, with Equinox's default initial weights.

    Raises:
        ValueError: if a size is below 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.inference import inference_network
        >>> net = inference_network(jax.random.key(0), (8, 8), 20, hidden_sizes=[30])
        >>> net(jnp.zeros((8, 8))).shape
        (20,)
    """
    sizes = [math.prod(shape), *hidden_sizes, outputs]
    for size in sizes:
        check_count("the size of a layer", size)
    keys = jax.random.split(key, len(sizes) - 1)
    layers: list[Callable[..., Any]] = [Reshape((sizes[0],))]
    for number, (one, below, above) in enumerate(zip(keys, sizes, sizes[1:], strict=False)):
        if number:
            layers.append(eqx.nn.Lambda(jax.nn.relu))
        layers.append(eqx.nn.Linear(below, above, key=one))
    return eqx.nn.Sequential(layers)


def fit_inference(
    key: Key[Array, ""],
    model: Model,
    net: Player | None = None,
    *,
    target: Target = "latent",
    noise: float = 0.0,
    spread: bool = True,
    steps: int = 2500,
    batch_size: int = 200,
    updates: optax.GradientTransformation | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> tuple[Inference, list[Metrics]]:
    """Fits an inference network to fresh pairs of a trained generator, which does not change.

    Args:
        key: a typed random key, which determines everything random.
        model: the trained generator with its prior.
        net: maps an example to the means and, with a spread, the logarithms of the standard
            deviations after them; [`advnets.inference.inference_network`][] unless given.
        target: `"latent"` for the latent vector, as its standard normal u; or, if the generator is
            an `eqx.nn.Sequential`, the number of its first layers whose output is inferred: 2 for
            the first hidden layer of [`advnets.networks.mlp_generator`][], as its activation is a
            layer too.
        noise: σ, the standard deviation of normal noise on the examples; at least 0.
        spread: fit standard deviations too; without them, it is plain regression.
        steps: the number of updates, below 100 or a multiple of it.
        batch_size: the number of fresh pairs in each update.
        updates: the update rule; unless given, Adam with a learning rate that falls from 0.001 to 0
            along a cosine.
        folder: a folder for checkpoints and metrics, if any; an interrupted call resumes from there
            bit for bit.
        progress: show a progress bar.

    Returns:
        The network, and a row of metrics for each 100 updates: under `model`, the `cost` (nats with
        a spread) and the mean `squared_error`.

    Raises:
        ValueError: for a setting out of range, a generator that takes a condition or has too few
            layers, or a network with the wrong number of outputs.
        CheckpointError, RunInUseError, TrainingDiverged: as [`advnets.training.fit`][].
        KeyboardInterrupt: if a signal asks to stop, after a checkpoint.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import advnets
        >>> from advnets.inference import fit_inference, inference_network
        >>> model = advnets.Model(lambda z: jnp.stack([z[0], -z[0]]), advnets.priors.Normal(1))
        >>> net = inference_network(jax.random.key(0), (2,), 2, hidden_sizes=[])
        >>> found, curve = fit_inference(
        ...     jax.random.key(1),
        ...     model,
        ...     net,
        ...     noise=0.1,
        ...     steps=200,
        ...     updates=optax.adam(0.05),
        ...     progress=False,
        ... )
        >>> curve[-1]["model"]["squared_error"] < 0.1
        True

    References:
        Section 7; released code, `AdversaryPair`'s `inferer`, with `infer_layer`.
    """
    start, fit_key = jax.random.split(key)
    outputs, shape = check(model, target, noise, steps, batch_size)
    if net is None:
        net = inference_network(start, shape, 2 * outputs if spread else outputs)
    fitting = Fitting(Inference(net, model.prior, target, spread), Frozen(model))
    given, _ = eqx.filter_eval_shape(
        apply, net, None, jax.ShapeDtypeStruct((1, *shape), jnp.zeros(0).dtype)
    )
    wanted = (1, 2 * outputs if spread else outputs)
    if getattr(given, "shape", None) != wanted:
        raise ValueError(
            f"the network must give {wanted[1]} numbers for an example, "
            f"{'a mean and a log standard deviation' if spread else 'a mean'} for each of "
            f"{outputs}; got an output of shape {getattr(given, 'shape', (None,))[1:]}"
        )
    each = min(ROUND, steps)
    learned = training.fit(
        fit_key,
        fitting,
        np.zeros(each * batch_size, np.uint8),  # pairs are fresh: there are no data
        learner=training.Learner(
            cost=InferenceCost(target, noise),
            updates=optax.adam(optax.cosine_decay_schedule(1e-3, steps))
            if updates is None
            else updates,
        ),
        epochs=steps // each,
        batch_size=batch_size,
        evaluate_every=max(1, steps // each),
        checkpoint_every=max(1, steps // each // 10),
        folder=folder,
        resume=folder is not None and holds_run(folder),
        progress=progress,
    )
    return learned.model.inference, learned.metrics


def check(
    model: Model, target: Target, noise: float, steps: int, batch_size: int
) -> tuple[int, tuple[int, ...]]:
    """Checks settings before a network is made, and returns the sizes that it must have.

    Args:
        model: as for [`advnets.inference.fit_inference`][].
        target: as there.
        noise: as there.
        steps: as there.
        batch_size: as there.

    Returns:
        The number of components to infer, and the shape of an example.

    Raises:
        ValueError: as [`advnets.inference.fit_inference`][], for these settings.
    """
    _check_noise(noise)
    check_count("the number of updates", steps)
    check_count("the batch size", batch_size)
    if steps > ROUND and steps % ROUND:
        raise ValueError(
            f"the number of updates must be below {ROUND} or a multiple of it; got {steps}"
        )
    if model.condition is not None or inputs_taken(model.generator)[0] > 1:
        raise ValueError(
            "the generator takes a condition, which inference does not support; fix the condition "
            "first, by wrapping this generator in one of z alone"
        )
    goal, examples = eqx.filter_eval_shape(
        lambda key: pairs(key, model, 1, target=target), jax.random.key(0)
    )
    return goal.shape[1], examples.shape[1:]


def search(
    decoder: Callable[[Float[Array, " n size"]], Float[Array, " n *data"]],
    examples: Float[Array, " n *data"],
    start: Float[Array, " n size"],
    *,
    steps: int = 200,
    learning_rate: float = 0.05,
) -> Float[Array, " n size"]:
    """Gradient descent on the squared error of a reconstruction, by Adam; a pure function.

    Args:
        decoder: maps what is searched for to examples, such as
            `lambda u: inference.decode(model, u)`.
        examples: the examples to reconstruct.
        start: where the search begins, a row for each example; rows do not depend on each other.
            Under [`advnets.priors.Spherical`][] no row may be 0, which has no direction and gives
            NaN.
        steps: the number of updates.
        learning_rate: Adam's learning rate.

    Returns:
        Where the search ends.

    Raises:
        ValueError: if there is no update, or the learning rate is not above 0 and finite.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.inference import search
        >>> found = search(lambda u: 2 * u, jnp.full((1, 1), 6.0), jnp.zeros((1, 1)), steps=500)
        >>> round(float(found[0, 0]), 2)
        3.0
    """
    check_count("the number of updates", steps)
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"the learning rate must be above 0 and finite; got {learning_rate}")
    rule = optax.adam(learning_rate)

    def cost(u: Array) -> Array:
        return jnp.sum((decoder(u) - examples) ** 2)

    def step(carry: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], None]:
        u, state = carry
        with jax.numpy_dtype_promotion("standard"):  # Optax's rules need it
            changes, state = rule.update(jax.grad(cost)(u), state)
        return (u + changes, state), None

    (found, _), _ = lax.scan(step, (start, rule.init(start)), None, length=steps)
    return found


def r_squared(
    truth: Float[Array | np.ndarray, " n size"], predicted: Float[Array | np.ndarray, " n size"]
) -> Float[np.ndarray, " size"]:
    """The share of each component's variance that predictions account for.

    Args:
        truth: the components, at least 2 rows.
        predicted: the predictions of them.

    Returns:
        1 for exact predictions, 0 for those no better than the mean, less for worse ones. For a
        component that does not vary, 0, as there is nothing to account for.

    Raises:
        ValueError: if there are fewer than 2 rows, or a number is not finite.

    Example:
        >>> import numpy as np
        >>> from advnets.inference import r_squared
        >>> r_squared(np.array([[0.0], [2.0]]), np.array([[0.0], [1.0]])).tolist()
        [0.5]
    """
    if len(truth) < 2:
        raise ValueError(f"a variance needs at least 2 rows; got {len(truth)}")
    for name, rows in (("the components", truth), ("what is predicted", predicted)):
        check_finite(name, rows)
    true, guessed = (np.asarray(rows, np.float64) for rows in (truth, predicted))
    # A mean may round, so that equal numbers differ from theirs.
    equal = true.max(axis=0) == true.min(axis=0)
    varied = np.where(equal, 0, ((true - true.mean(axis=0)) ** 2).sum(axis=0))
    left = ((true - guessed) ** 2).sum(axis=0)
    return 1 - np.divide(left, varied, out=np.ones_like(left), where=varied > 0)
