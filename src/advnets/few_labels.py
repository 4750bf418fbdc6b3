r"""Few labels: a discriminator of K logits that learns to classify, in a game with a generator.

It has one logit for each of K classes. The logarithm of the sum of their exponentials,

$$\log Z(x) = \log \sum_k e^{l_k(x)}, \qquad D(x) = \frac{Z(x)}{Z(x) + 1},$$

is the logit of an ordinary discriminator, in which the class "generated" has the logit 0. So
unlabelled images teach it to tell data from generated images, and a few labels teach it the
classes.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer, Key, PyTree

from advnets._counts import check_count, counted
from advnets._distances import check_finite, is_traced
from advnets._precision import in_single
from advnets.algorithms import Algorithm1
from advnets.batches import Batch
from advnets.draws import Draws
from advnets.game import discriminator_cost, value_function
from advnets.layers import MINIBATCH, GaussianNoise
from advnets.model import Model
from advnets.networks import Reshape
from advnets.objectives import Applied, Costs, Objective
from advnets.players import Frozen, Player, Stateful, apply, thaw


def draw_labelled(
    labels: Integer[np.ndarray, " n"], count: int, seed: int
) -> Integer[np.ndarray, " {count}"]:
    """Draws the labelled rows: equally many of each class, without replacement.

    Args:
        labels: the labels of all rows.
        count: the number of rows to draw: a multiple of the number of classes, or the number of
            all rows.
        seed: the seed of the draw, at least 0.

    Returns:
        The rows' numbers.

    Raises:
        ValueError: if that many can't be drawn, or for a seed below 0.

    Example:
        >>> import numpy as np
        >>> from advnets.few_labels import draw_labelled
        >>> labels = np.array([0, 0, 0, 1, 1, 1])
        >>> labels[draw_labelled(labels, 4, seed=0)].tolist()
        [0, 0, 1, 1]
    """
    if not len(labels):
        raise ValueError("labels are drawn from at least 1 row; got none")
    if seed < 0:
        raise ValueError(f"the seed of the draw must be at least 0; got {seed}")
    classes, there = np.unique(labels, return_counts=True)
    if count == len(labels):
        return np.arange(count)
    each, left = divmod(count, len(classes))
    if count < 1 or left or each > there.min():
        raise ValueError(
            f"the number of labels must be a multiple of the {len(classes)} classes, at most "
            f"{len(classes) * int(there.min()):,}, or {len(labels):,} for all; got {count}"
        )
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(np.flatnonzero(labels == one), each, replace=False) for one in classes]
    return np.concatenate(chosen)


class NormedLinear(eqx.Module):
    r"""A linear layer with weight normalisation: directions and lengths are separate parameters.

    $$y_i = s_i \frac{w_i \cdot x}{\lVert w_i \rVert} + b_i$$

    Attributes:
        weight: the directions, of any length.
        scale: the lengths; in [`advnets.players.Frozen`][] if they are not trained.
        bias: the biases.

    Example:
        >>> import jax.numpy as jnp
        >>> from advnets.few_labels import NormedLinear
        >>> layer = NormedLinear(jnp.array([[3.0, 4.0]]), jnp.array([2.0]), jnp.array([1.0]))
        >>> layer(jnp.array([5.0, 0.0])).tolist()
        [7.0]

    References:
        Salimans and Kingma 2016, "Weight normalization".
    """

    weight: Float[Array, " outputs inputs"]
    scale: Float[Array, " outputs"] | Frozen
    bias: Float[Array, " outputs"]

    def __call__(
        self, x: Float[Array, " inputs"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, " outputs"]:
        length = jnp.sqrt(1e-6 + jnp.sum(self.weight**2, axis=1))
        return (self.weight @ x) * (thaw(self.scale) / length) + self.bias


class Shift(eqx.Module):
    """Adds a bias.

    Attributes:
        bias: the bias.
    """

    bias: Float[Array, " size"]

    def __call__(
        self, x: Float[Array, " size"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, " size"]:
        return x + self.bias


class Classifier(eqx.Module):
    """A discriminator of K logits; called as a discriminator, it returns log Z, their logsumexp.

    Attributes:
        hidden: maps an example to its features, the last hidden layer.
        head: maps features to the K logits.

    References:
        Salimans et al. 2016, "Improved techniques for training GANs", section 5.
    """

    hidden: eqx.nn.Sequential
    head: eqx.nn.Sequential

    def outputs(
        self, x: Float[Array, "*shape"], *, key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, " classes"], Float[Array, " features"]]:
        """The K logits of an example, and its features."""
        below, above = (None, None) if key is None else jax.random.split(key)
        features = self.hidden(x, key=below)
        return self.head(features, key=above), features

    def __call__(
        self, x: Float[Array, "*shape"], *, key: Key[Array, ""] | None = None
    ) -> Float[Array, ""]:
        logits, _ = self.outputs(x, key=key)
        return jax.nn.logsumexp(logits)


class _Outputs(eqx.Module):
    """A classifier as a player that returns logits and features."""

    classifier: Classifier

    def __call__(self, x: Any, *, key: Key[Array, ""] | None = None) -> Any:
        return self.classifier.outputs(x, key=key)


def outputs_of(
    key: Key[Array, ""] | None,
    classifier: Player | None,
    examples: Float[Array | np.ndarray, " n *data"],
) -> tuple[Float[Array, " n classes"], Float[Array, " n features"]]:
    """A classifier's logits and features of a batch; a pure function.

    Args:
        key: a key for its noise; None for no noise.
        classifier: a [`advnets.few_labels.Classifier`][].
        examples: the batch.

    Returns:
        A row of K logits and one of features for each example.

    Raises:
        ValueError: for another kind of player.
    """
    if not isinstance(classifier, Classifier):
        raise ValueError(
            "the discriminator must be an advnets.few_labels.Classifier, which gives a logit for "
            f"each class; got a {type(classifier).__name__}"
        )
    keys = None if key is None else jax.random.split(key, len(examples))
    return apply(_Outputs(classifier), keys, examples)[0]


class FewLabels(Objective):
    r"""A K-logit discriminator on labelled, unlabelled and generated images; G matches features.

    $$L_D = \underbrace{-l_y(x) + \log Z(x)}_{\text{labelled}} + w \cdot
      \tfrac12 \bigl(\underbrace{-\log Z(x) + \mathrm{softplus}(\log Z(x))}_{\text{unlabelled}}
      + \underbrace{\mathrm{softplus}(\log Z(G(z)))}_{\text{generated}}\bigr), \qquad
      L_G = \operatorname{mean}_j \bigl(\overline{h_j(x)} - \overline{h_j(G(z))}\bigr)^2$$

    The second part is [`advnets.game.discriminator_cost`][] on log Z. Each update draws labelled
    rows without replacement; where they are fewer than `batch_size`, they are repeated.

    Attributes:
        examples: the labelled examples, as the discriminator sees them.
        labels: their classes, from 0.
        batch_size: the number of labelled rows in an update.
        weight: w, the weight of the unlabelled part; at least 0.

    Raises:
        ValueError: if there is no labelled example, one is not finite, or a label is below 0; for a
            batch size below 1; for a weight that is below 0 or not finite. A label without a logit
            is refused when the costs are first computed.

    References:
        Salimans et al. 2016, "Improved techniques for training GANs", sections 3.1 and 5;
        released code, `train_mnist_feature_matching.py`.
    """

    examples: Float[Array, " n *data"]
    labels: Int[Array, " n"]
    batch_size: int = eqx.field(static=True, default=100)
    weight: float = eqx.field(static=True, default=1.0)
    shown: ClassVar[Mapping[str, str]] = {
        "labelled": "labelled_cost",
        "unlabelled": "unlabelled_cost",
        "error": "labelled_error",
    }

    def __check_init__(self) -> None:
        check_count("the batch size", self.batch_size)
        if not 0 <= self.weight < math.inf:
            raise ValueError(
                f"the weight of unlabelled rows must be at least 0 and finite; got {self.weight}"
            )
        if not len(self.labels):
            raise ValueError("there must be at least 1 labelled example; got none")
        self._check_labels(None)
        if not is_traced(self.examples):
            check_finite("labelled examples", self.examples)

    def costs(self, draws: Draws, D: Applied, real: Batch, fake: Batch, **others: Applied) -> Costs:
        """The costs on a minibatch of unlabelled data.

        Raises a ValueError if the discriminator is not a [`advnets.few_labels.Classifier`][], or
        has no logit for one of the labels.
        """
        classifier = getattr(D, "player", None)
        rows_key, noise = jax.random.split(draws.objective)
        rows = _rows(rows_key, len(self.labels), self.batch_size)
        labels = self.labels[rows]
        of_labelled, _ = outputs_of(noise, classifier, self.examples[rows])
        self._check_labels(of_labelled.shape[1])
        of_real, features = outputs_of(draws.real, classifier, real)
        of_fake, matched = outputs_of(draws.fake, classifier, fake)
        of_label = jnp.take_along_axis(of_labelled, labels[:, None], axis=1)[:, 0]
        labelled = jnp.mean(jax.nn.logsumexp(of_labelled, axis=1) - of_label)
        on_real, on_fake = (jax.nn.logsumexp(one, axis=1) for one in (of_real, of_fake))
        unlabelled = discriminator_cost(on_real, on_fake)
        wrong = jnp.argmax(of_labelled, axis=1) != labels
        seen = {
            "value": value_function(on_real, on_fake),
            "labelled_cost": labelled,
            "labelled_error": jnp.mean(wrong.astype(labelled.dtype)),
            "unlabelled_cost": unlabelled,
        }
        apart = jnp.mean(features, axis=0) - jnp.mean(matched, axis=0)
        return Costs(labelled + self.weight * unlabelled, jnp.mean(apart**2), seen)

    def _check_labels(self, classes: int | None) -> None:
        """Refuses labels that are not classes; traced labels are not checked."""
        if isinstance(self.labels, jax.core.Tracer):
            return
        labels = np.asarray(self.labels)
        if labels.min() < 0:
            raise ValueError(f"labels are classes, from 0; got {labels.min()}")
        if classes is not None and labels.max() >= classes:
            raise ValueError(
                f"the classifier has {counted(classes, 'logit')}, for labels 0 to {classes - 1}; "
                f"got label {labels.max()}"
            )


def _rows(key: Key[Array, ""], n: int, count: int) -> Int[Array, " {count}"]:
    """Draws rows without replacement; where there are fewer than `count`, they are repeated."""
    return jnp.resize(jax.random.permutation(key, n), (count,))


class Averaged(NamedTuple):
    """The state of [`advnets.few_labels.with_average`][].

    Attributes:
        rule: the state of the inner rule.
        average: the average of the parameters; in float32 for those of half precision.
    """

    rule: Any
    average: PyTree


def with_average(rule: optax.GradientTransformation, decay: float) -> optax.GradientTransformation:
    """An update rule that also keeps an exponential moving average of the parameters.

    Args:
        rule: the inner rule.
        decay: the share of the average that an update keeps, in [0, 1).

    Returns:
        The rule, whose state is an [`advnets.few_labels.Averaged`][].

    Raises:
        ValueError: for a decay out of range; on update, if the parameters are not given.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from advnets.few_labels import with_average
        >>> rule = with_average(optax.sgd(1.0), decay=0.9)
        >>> state = rule.init(jnp.zeros(1))
        >>> updates, state = rule.update(-jnp.ones(1), state, jnp.zeros(1))
        >>> round(float(state.average[0]), 3)  # a tenth of the way to 1
        0.1
    """
    if not 0 <= decay < 1:
        raise ValueError(f"the average's decay must be in [0, 1); got {decay}")

    def init(params: PyTree) -> Averaged:
        return Averaged(rule.init(params), in_single(params))

    def update(gradients: PyTree, state: Averaged, params: PyTree = None) -> Any:
        if params is None:
            raise ValueError("with_average needs the parameters: pass params to update()")
        updates, inner = rule.update(gradients, state.rule, params)
        moved = optax.apply_updates(params, updates)
        average = optax.incremental_update(in_single(moved), state.average, 1 - decay)
        return updates, Averaged(inner, average)

    return optax.GradientTransformation(init, update)


def few_labels_classifier(
    key: Key[Array, ""],
    images: Float[Array | np.ndarray, " n *shape"],
    classes: int = 10,
    *,
    hidden_sizes: Sequence[int] = (1000, 500, 250, 250, 250),
    input_noise: float = 0.3,
    hidden_noise: float = 0.5,
) -> Classifier:
    """The released code's discriminator for MNIST: weight-normed layers, normal noise before each.

    Scale and bias of each layer are chosen such that its outputs have mean 0 and variance 1 on the
    given images, or scale 1 where an output does not vary; the scales of hidden layers are then
    frozen.

    Args:
        key: a typed random key.
        images: a few hundred examples, at least 2; in the released code, 500 training images.
        classes: K.
        hidden_sizes: the number of rectified linear units of each hidden layer.
        input_noise: the standard deviation of the noise on the pixels.
        hidden_noise: the standard deviation of the noise before every later layer.

    Returns:
        The classifier.

    Raises:
        ValueError: for fewer than 2 images, images or noise that are not finite, a size below 1, or
            noise below 0.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets.few_labels import few_labels_classifier
        >>> images = jax.random.uniform(jax.random.key(1), (50, 8, 8))
        >>> net = few_labels_classifier(jax.random.key(0), images, hidden_sizes=[20])
        >>> logits, features = net.outputs(images[0])
        >>> logits.shape, features.shape
        ((10,), (20,))

    References:
        Released code of Salimans et al. 2016, `train_mnist_feature_matching.py`, `nn.py`.
    """
    if len(images) < 2:
        raise ValueError(
            f"the initial scales are chosen on at least 2 images, better on hundreds; got "
            f"{len(images)}"
        )
    if not is_traced(images):
        check_finite("images", images)
    sizes = [math.prod(images.shape[1:]), *hidden_sizes, classes]
    for size in sizes:
        check_count("the size of a layer", size)
    x = jnp.asarray(images).reshape(len(images), -1)
    layers: list[Any] = [Reshape((sizes[0],))]
    for number, (below, above) in enumerate(itertools.pairwise(sizes)):
        weight_key, noise_key = jax.random.split(jax.random.fold_in(key, number))
        noise = GaussianNoise(hidden_noise if number else input_noise)
        keys = jax.random.split(noise_key, len(x))
        x = jax.vmap(lambda row, key, noise=noise: noise(row, key=key))(x, keys)
        weight = 0.1 * jax.random.normal(weight_key, (above, below))
        plain = NormedLinear(weight, jnp.ones(above), jnp.zeros(above))
        outputs = jax.vmap(plain)(x)
        mean, deviation = jnp.mean(outputs, axis=0), jnp.std(outputs, axis=0)
        varies = deviation > 1e-6 * (1 + jnp.abs(mean))  # less is rounding
        scale, last = 1 / jnp.where(varies, deviation, 1), number == len(hidden_sizes)
        layer = NormedLinear(weight, scale if last else Frozen(scale), -mean * scale)
        x = jax.nn.relu(jax.vmap(layer)(x))
        layers += [noise, layer] if last else [noise, layer, eqx.nn.Lambda(jax.nn.relu)]
    return Classifier(eqx.nn.Sequential(layers[:-2]), eqx.nn.Sequential(layers[-2:]))


def few_labels_generator(
    key: Key[Array, ""],
    latent_size: int,
    shape: tuple[int, ...],
    *,
    hidden_sizes: Sequence[int] = (500, 500),
) -> Stateful:
    """The released code's generator for MNIST: batch-normed softplus layers, weight-normed output.

    There, latent vectors are uniform on [0, 1]; batch normalisation of the first layer makes that
    equivalent to [`advnets.priors.Uniform`][].

    Args:
        key: a typed random key.
        latent_size: the number of components of z.
        shape: the shape of an example, with values in [0, 1].
        hidden_sizes: the number of units of each hidden layer.

    Returns:
        The generator.

    Raises:
        ValueError: for a size below 1.

    Example:
        >>> import jax
        >>> import advnets
        >>> from advnets.few_labels import few_labels_generator
        >>> generator = few_labels_generator(jax.random.key(0), 5, (8, 8), hidden_sizes=[20])
        >>> advnets.Model(generator, advnets.priors.Uniform(5)).sample(jax.random.key(1), 3).shape
        (3, 8, 8)

    References:
        Released code of Salimans et al. 2016, `train_mnist_feature_matching.py`, `nn.py`.
    """
    sizes = [latent_size, *hidden_sizes, math.prod(shape)]
    for size in sizes:
        check_count("the size of a layer", size)
    keys = jax.random.split(key, len(sizes) - 1)
    glorot = jax.nn.initializers.glorot_uniform(in_axis=1, out_axis=0)

    def build() -> eqx.nn.Sequential:
        layers: list[Any] = []
        for one, below, above in zip(keys[:-1], sizes, sizes[1:], strict=False):
            linear = eqx.nn.Linear(below, above, use_bias=False, key=one)
            linear = eqx.tree_at(lambda layer: layer.weight, linear, glorot(one, (above, below)))
            norm = eqx.nn.BatchNorm(
                above, MINIBATCH, eps=1e-6, channelwise_affine=False, momentum=0.9, mode="batch"
            )
            layers += [linear, norm, Shift(jnp.zeros(above)), eqx.nn.Lambda(jax.nn.softplus)]
        above, below = sizes[-1], sizes[-2]
        out = NormedLinear(glorot(keys[-1], (above, below)), jnp.ones(above), jnp.zeros(above))
        return eqx.nn.Sequential([*layers, out, eqx.nn.Lambda(jax.nn.sigmoid), Reshape(shape)])

    return Stateful(*eqx.nn.make_with_state(build)())


def few_labels_algorithm(
    examples: Float[Array | np.ndarray, " n *data"],
    labels: Integer[Array | np.ndarray, " n"],
    *,
    learning_rate: float | Float[Array, ""] = 3e-3,
    decay: float = 0.9999,
    batch_size: int = 100,
    weight: float = 1.0,
) -> Algorithm1:
    """The game's algorithm: alternating steps of Adam, and an average of the discriminator.

    As in the released code, Adam's ε of 1e-8 is inside the root, so that a parameter whose
    gradients are far below 1e-4 moves by less than the learning rate.

    Args:
        examples: the labelled examples, as the discriminator sees them.
        labels: their classes, from 0.
        learning_rate: Adam's learning rate, for both players; above 0.
        decay: the decay of the average of the discriminator's parameters.
        batch_size: the number of labelled rows in an update.
        weight: the weight of the unlabelled part.

    Returns:
        The algorithm. The average is in a state's `updates["discriminator"]`.

    Raises:
        ValueError: for a setting out of range; labels that are not classes, from 0; or examples
            that are not finite.

    Example:
        >>> import numpy as np
        >>> from advnets.few_labels import few_labels_algorithm
        >>> few_labels_algorithm(np.zeros((20, 8, 8), np.float32), np.arange(20) % 10).k
        1
    """
    if not is_traced(labels) and len(labels):
        least, most = int(labels.min()), int(labels.max())  # of JAX's int32 too
        if not -(2**31) <= least <= most < 2**31:
            raise ValueError(f"labels are classes, from 0; got {least} to {most}")
    if not is_traced(learning_rate) and not 0 < learning_rate < math.inf:
        raise ValueError(f"the learning rate must be above 0 and finite; got {learning_rate}")
    objective = FewLabels(jnp.asarray(examples), jnp.asarray(labels, int), batch_size, weight)
    rule = optax.adam(learning_rate, b1=0.5, b2=0.999, eps=0.0, eps_root=1e-8)
    return Algorithm1(
        objective=objective,
        generator_updates=rule,
        discriminator_updates=with_average(rule, decay),
    )


class SemiSupervised(Model):
    """An [`advnets.Model`][] together with the classifier that it was trained against.

    Attributes:
        generator: the generator.
        prior: the prior of its latent vectors.
        condition: None.
        classifier: the discriminator of K logits, with the average of its parameters.
    """

    classifier: Player = eqx.field(kw_only=True)

    def classify(self, images: Float[Array | np.ndarray, " n *shape"]) -> Int[Array, " n"]:
        """The class of each image, without noise; a pure function.

        Args:
            images: as the classifier sees them; their shape is not checked.

        Returns:
            The classes, from 0.
        """
        logits, _ = outputs_of(None, eqx.nn.inference_mode(self.classifier), images)
        return jnp.argmax(logits, axis=1)
