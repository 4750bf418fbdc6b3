"""One network for every conditional p(x_S | x_∉S): it fills in what is missing.

A mask is 1 where a component is observed and 0 where it is missing. The generator takes the latent
vector, the observed components (0 elsewhere) and the mask, and makes a whole example, of which only
the missing part is kept; the discriminator judges the filling together with the mask. This is the
conditional game on pairs (example, mask), so at its optimum every conditional whose mask has a
positive probability is correct.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree, Shaped

from advnets._counts import check_count, counted
from advnets._distances import check_finite
from advnets._signatures import accepts_key
from advnets.batches import Batch
from advnets.conditions import Condition
from advnets.draws import Draws
from advnets.model import Model
from advnets.objectives import GAN, Applied, Costs, Objective
from advnets.players import inputs_taken
from advnets.priors import Prior

Shape: TypeAlias = tuple[int, ...]
# Draws masks, true where observed, from a key, their number, and the shape of an example.
Masks: TypeAlias = Callable[[Key[Array, ""], int, Shape], Bool[Array, " n *shape"]]
# The sides of a missing block, as fractions of the image's: 10 to 20 pixels of 28.
LEAST_SIDE, MOST_SIDE = 10 / 28, 20 / 28
# How often nothing is observed; the other kinds share the rest equally.
ALL_MISSING = 0.05


def random_components(key: Key[Array, ""], n: int, shape: Shape) -> Bool[Array, " n *shape"]:
    """Masks in which each component is observed with a probability that is uniform on [0, 1].

    Every mask draws its own probability. The channels of a pixel are observed together.

    Args:
        key: a typed random key.
        n: the number of masks.
        shape: the shape of an example; the last of three axes is channels.

    Returns:
        The masks, true where observed.

    Raises:
        ValueError: for a number of masks that is negative, or 2**31 or more.

    Example:
        >>> import jax
        >>> from advnets import inpainting
        >>> inpainting.random_components(jax.random.key(0), 5, (28, 28)).shape
        (5, 28, 28)
    """
    check_count("the number of masks", n, 0)
    odds_key, key = jax.random.split(key)
    places = _places(shape)
    observed = jax.random.uniform(odds_key, (n, *[1] * len(places)))
    return _over_channels(jax.random.uniform(key, (n, *places)) < observed, shape)


def random_half(key: Key[Array, ""], n: int, shape: Shape) -> Bool[Array, " n *shape"]:
    """Masks in which one half of an image is observed: the left, right, upper or lower one.

    Args:
        key: a typed random key.
        n: the number of masks.
        shape: the shape of an image: (height, width), or (height, width, channels).

    Returns:
        The masks, true where observed; the four halves are equally likely.

    Raises:
        ValueError: if the shape has no height and width, or for a number of masks that is negative,
            or 2**31 or more.

    Example:
        >>> import jax
        >>> from advnets import inpainting
        >>> masks = inpainting.random_half(jax.random.key(0), 5, (28, 28))
        >>> set(masks.sum(axis=(1, 2)).tolist())
        {392}
    """
    check_count("the number of masks", n, 0)
    rows, columns = _rows_and_columns(shape)
    height, width = shape[:2]
    upper, left = rows < height // 2, columns < width // 2
    halves = jnp.concatenate(jnp.broadcast_arrays(upper, ~upper, left, ~left))
    chosen = halves[jax.random.randint(key, (n,), 0, len(halves))]
    return _over_channels(chosen, shape)


def random_block(key: Key[Array, ""], n: int, shape: Shape) -> Bool[Array, " n *shape"]:
    """Masks in which a block of an image is missing: in the centre or, equally often, anywhere.

    On a side of 28 pixels the block has 10 to 20, all equally likely; on other sides, the same
    fraction.

    Args:
        key: a typed random key.
        n: the number of masks.
        shape: the shape of an image: (height, width), or (height, width, channels).

    Returns:
        The masks, true where observed.

    Raises:
        ValueError: if the shape has no height and width, or for a number of masks that is negative,
            or 2**31 or more.

    Example:
        >>> import jax
        >>> from advnets import inpainting
        >>> masks = inpainting.random_block(jax.random.key(0), 1000, (28, 28))
        >>> missing = (~masks).sum(axis=(1, 2))
        >>> int(missing.min()), int(missing.max())
        (100, 400)
    """
    check_count("the number of masks", n, 0)
    along = _rows_and_columns(shape)
    size_key, centred_key, *place_keys = jax.random.split(key, 4)
    size, centred = jax.random.uniform(size_key, (n,)), jax.random.bernoulli(centred_key, 0.5, (n,))
    missing = jnp.ones((n, 1, 1), bool)
    for index, length, place_key in zip(along, shape[:2], place_keys, strict=True):
        least, most = max(1, round(LEAST_SIDE * length)), max(1, round(MOST_SIDE * length))
        side = least + jnp.floor(size * (most - least + 1)).astype(int)
        places = (length - side + 1).astype(float)
        place = jnp.floor(jax.random.uniform(place_key, (n,)) * places).astype(int)
        start = jnp.where(centred, (length - side) // 2, place)[:, None, None]
        missing &= (index >= start) & (index < start + side[:, None, None])
    return _over_channels(~missing, shape)


def mixture(key: Key[Array, ""], n: int, shape: Shape) -> Bool[Array, " n *shape"]:
    """Masks of every kind: random pixels, halves and blocks in equal parts, and 5 % all missing.

    Where nothing is observed, the game is the unconditional one.

    Args:
        key: a typed random key.
        n: the number of masks.
        shape: the shape of an image: (height, width), or (height, width, channels).

    Returns:
        The masks, true where observed.

    Raises:
        ValueError: if the shape has no height and width, or for a number of masks that is negative,
            or 2**31 or more.

    Example:
        >>> import jax
        >>> from advnets import inpainting
        >>> masks = inpainting.mixture(jax.random.key(0), 1000, (28, 28))
        >>> nothing = (~masks).all(axis=(1, 2))
        >>> 25 < int(nothing.sum()) < 75
        True
    """
    check_count("the number of masks", n, 0)
    kinds = (random_components, random_half, random_block)
    key, *keys = jax.random.split(key, 1 + len(kinds))
    drawn = [kind(its, n, shape) for kind, its in zip(kinds, keys, strict=True)]
    # A uniform number: below ALL_MISSING nothing is observed; above it each kind has an equal part.
    place = (jax.random.uniform(key, (n,)) - ALL_MISSING) / (1 - ALL_MISSING)
    number = jnp.minimum(jnp.floor(place * len(kinds)), len(kinds) - 1).astype(int)
    number = number.reshape(n, *[1] * len(shape))
    chosen = [mask & (number == kind) for kind, mask in enumerate(drawn)]
    return jnp.stack(chosen).any(axis=0)


def _places(shape: Shape) -> Shape:
    """The shape of the parts that are observed or missing as a unit."""
    return shape[:2] if len(shape) == 3 else shape


def _over_channels(masks: Bool[Array, " n *places"], shape: Shape) -> Bool[Array, " n *shape"]:
    wide = masks[..., None] if len(shape) == 3 else masks
    return jnp.broadcast_to(wide, (len(masks), *shape))


def _rows_and_columns(shape: Shape) -> tuple[Array, Array]:
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(
            f"halves and blocks are of images, (height, width) or (height, width, channels); got "
            f"examples of shape {shape} (random_components takes any)"
        )
    return jnp.arange(shape[0])[None, :, None], jnp.arange(shape[1])[None, None, :]


class Filled(eqx.Module):
    """Makes generated examples from data: draws masks, and fills in what is missing.

    Pass it as `fake` to [`advnets.Algorithm1`][] or [`advnets.Simultaneous`][]. Each step draws its
    own masks, inside the compiled program, so the data are examples without masks.

    Attributes:
        masks: draws the masks; [`advnets.inpainting.mixture`][] unless given.
        twice: whether each example is also filled in with a second latent vector, for the energy
            score in [`advnets.inpainting.Inpainting`][]. D does not see the second filling.

    Example:
        >>> import advnets
        >>> from advnets import inpainting
        >>> algorithm = advnets.Algorithm1(
        ...     objective=inpainting.Inpainting(), fake=inpainting.Filled()
        ... )

    References:
        Section 7, item 3.
    """

    masks: Masks = mixture
    twice: bool = eqx.field(static=True, default=False)

    def __call__(
        self, draws: Draws, generator: Applied, prior: Prior, real: Batch
    ) -> tuple[Float[Array, " batch *data"], ...]:
        """Filled examples, and the masks, 1 where observed.

        Args:
            draws: the step's keys.
            generator: the generator as a function of a key and batches: latent vectors, observed
                components and masks.
            prior: the distribution of the latent vectors.
            real: a batch of data, examples without masks.

        Returns:
            The examples, with the observed components as they are in the data, the masks, and the
            second fillings, if there are any.

        Raises:
            ValueError: if the data are not a single array of floats, if the masks are not booleans,
                or if they or the generator's outputs do not have the data's shape.
        """
        if not (eqx.is_array(real) and jnp.issubdtype(real.dtype, jnp.floating)):
            raise ValueError(
                "a generator that fills in is trained on a single array of floats, the examples; "
                f"got {_describe(real)}"
            )
        latents_key, masks_key = jax.random.split(draws.latents)
        observed = self.masks(masks_key, len(real), real.shape[1:])
        if jnp.shape(observed) != real.shape:
            raise ValueError(
                f"masks must have the shape of the data, {real.shape}; got {jnp.shape(observed)}"
            )
        if observed.dtype != bool:
            raise ValueError(
                "masks must be boolean, true where a component is observed; got "
                f"{observed.dtype} (compare it with a number)"
            )
        mask = observed.astype(real.dtype)
        inputs = jnp.where(mask == 1, real, 0), mask
        count = 1 + self.twice
        repeated = [jnp.concatenate([part] * count) for part in inputs]
        latents = prior(latents_key, count * len(real))
        fake = generator(draws.generator, latents, *repeated)
        if jnp.shape(fake) != (count * len(real), *real.shape[1:]):
            raise ValueError(
                f"the generator must make examples of the data's shape, {real.shape[1:]}; got "
                f"{_describe(fake)}"
            )
        first, *others = (jnp.where(mask == 1, real, filling) for filling in jnp.split(fake, count))
        return first, mask, *others


class Inpainting(Objective):
    r"""The game on pairs (example, mask): D judges data, and filled examples, together with masks.

    A reconstruction error over the d components may be added to the generator's cost,

    $$\lambda\, E\left[\frac{1}{d} \lVert (1 - m) \odot (G(z, m \odot x, m) - x) \rVert^2\right]$$

    which trades diversity of fillings for a lower error; so may the energy score of two fillings,

    $$\mu\, E\left[\tfrac12 \lVert \tilde x - x \rVert + \tfrac12 \lVert \tilde x' - x \rVert
      - \tfrac12 \lVert \tilde x - \tilde x' \rVert\right]$$

    which does not: of all distributions of fillings, the true conditional has the lowest score.

    Attributes:
        objective: the game; [`advnets.objectives.GAN`][] unless given.
        reconstruction: λ, at least 0; the default 0 leaves the term out.
        energy: μ, at least 0; the default 0 leaves the term out. It needs `Filled(twice=True)`.

    Raises:
        ValueError: if a weight is negative or not finite.

    Example:
        >>> import advnets
        >>> from advnets import inpainting
        >>> objective = inpainting.Inpainting(energy=1.0)
        >>> algorithm = advnets.Algorithm1(objective=objective, fake=inpainting.Filled(twice=True))

    References:
        Section 7, item 3; for λ Pathak et al. 2016, "Context encoders"; for μ
        [`advnets.energy.energy_score`][].
    """

    objective: Objective = GAN()
    reconstruction: float = eqx.field(static=True, default=0.0)
    energy: float = eqx.field(static=True, default=0.0)

    def __check_init__(self) -> None:
        weights = {"reconstruction": self.reconstruction, "energy score": self.energy}
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(
                    f"the weight of the {name} must be at least 0 and finite; got {weight}"
                )

    @property
    def shown(self) -> Mapping[str, str]:  # type: ignore[override]
        """What a progress line shows: the same as for the game itself."""
        return self.objective.shown

    def costs(self, draws: Draws, D: Applied, real: Batch, fake: Batch, **others: Applied) -> Costs:
        pairs = _pairs(real, fake)
        if self.objective.judged(*pairs)[0] is not pairs[0]:
            raise ValueError(
                "Inpainting can't be around an objective that changes what D judges; got "
                f"{type(self.objective).__name__} (leave one of them out)"
            )
        found = self.objective.costs(draws, D, *pairs, **others)
        terms = {}
        if self.reconstruction:
            terms["reconstruction"] = jnp.mean((fake[0] - real) ** 2)  # 0 where observed
        if self.energy:
            terms["energy"] = jnp.mean(_energy(*self._both(fake), real))
        if not terms:
            return found
        added = sum(getattr(self, name) * term for name, term in terms.items())
        return dataclasses.replace(
            found, generator=found.generator + added, seen={**found.reported, **terms}
        )

    def judged(self, real: Batch, fake: Batch) -> tuple[Batch, Batch]:
        return self.objective.judged(*_pairs(real, fake))

    def _both(self, fake: Batch) -> tuple[Array, Array]:
        if len(fake) != 3:
            raise ValueError(
                "the energy score needs two fillings; give the algorithm fake=Filled(twice=True)"
            )
        return fake[0], fake[2]


def _pairs(real: Batch, fake: Batch) -> tuple[Batch, Batch]:
    """Data and filled examples, each with the masks."""
    if not (isinstance(fake, tuple) and len(fake) in (2, 3)):
        raise ValueError(
            "the objective needs examples that advnets.inpainting.Filled makes; give the "
            "algorithm fake=Filled()"
        )
    return (real, fake[1]), fake[:2]


def _energy(
    one: Float[Array, " batch *data"],
    other: Float[Array, " batch *data"],
    real: Float[Array, " batch *data"],
) -> Float[Array, " batch"]:
    """The energy score of two fillings of each example."""
    far = _distance(one, real) + _distance(other, real) - _distance(one, other)
    return far / 2


def _distance(a: Float[Array, " batch *data"], b: Float[Array, " batch *data"]) -> Array:
    squared = jnp.sum((a - b).reshape(len(a), -1) ** 2, axis=1)
    apart = squared > 0  # at 0, as where nothing is missing, the root has no derivative
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0)


class Filler(eqx.Module):
    """A generator that fills in: passes all its inputs to a player, flattened and joined.

    Attributes:
        player: maps a vector (latent, observed components, mask) to an example.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import inpainting, networks
        >>> inner = networks.mlp_generator(jax.random.key(0), 10 + 2 * 64, (8, 8))
        >>> image = jnp.zeros((8, 8))
        >>> inpainting.Filler(inner)(jnp.zeros(10), image, image).shape
        (8, 8)
    """

    player: Callable[..., Any]

    def __call__(
        self,
        z: Float[Array, " size"],
        observed: Float[Array, "*data"],
        mask: Float[Array, "*data"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Any:
        """A whole example, of which only the missing part is kept."""
        return _joined(self.player, key, z, observed, mask)


class MaskedDiscriminator(eqx.Module):
    """A discriminator of filled examples: passes example and mask to a player, joined.

    Attributes:
        player: maps a vector (example, mask) to a logit.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from advnets import inpainting, networks
        >>> inner = networks.maxout_discriminator(jax.random.key(0), (2 * 64,))
        >>> image = jnp.zeros((8, 8))
        >>> inpainting.MaskedDiscriminator(inner)(image, image).shape
        ()
    """

    player: Callable[..., Any]

    def __call__(
        self,
        x: Float[Array, "*data"],
        mask: Float[Array, "*data"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Any:
        """The logit of an example, filled or real, with its mask."""
        return _joined(self.player, key, x, mask)


def _joined(player: Callable[..., Any], key: Key[Array, ""] | None, *inputs: Array) -> Any:
    joined = jnp.concatenate([part.ravel() for part in inputs])
    if key is None or not accepts_key(player):
        return player(joined)
    return player(joined, key=key)


class NothingObserved(Condition):
    """The default condition of a model that fills in: everything is missing.

    With it, [`advnets.Model.sample`][] draws whole examples from such a model.

    Attributes:
        shape: the shape of an example.

    Example:
        >>> import jax
        >>> from advnets import inpainting
        >>> observed, mask = inpainting.NothingObserved((28, 28))(jax.random.key(0), 5)
        >>> mask.shape, float(mask.sum())
        ((5, 28, 28), 0.0)
    """

    shape: Shape = eqx.field(static=True)

    def __call__(self, key: Key[Array, ""], n: int) -> tuple[PyTree, ...]:
        """Zeros for `n` examples and their masks; raises a ValueError for a negative number."""
        check_count("the number of masks", n, 0)
        nothing = jnp.zeros((n, *self.shape))
        return nothing, nothing

    def check(self, condition: tuple[PyTree, ...]) -> None:
        shapes = [np.shape(part)[1:] for part in condition]
        if shapes != [self.shape] * 2:
            raise ValueError(
                f"a condition is observed components and masks, both of shape {self.shape}; got "
                f"shapes {shapes}"
            )


def fill(
    key: Key[Array, ""],
    model: Model,
    images: Float[np.ndarray | Array, " rows *data"],
    masks: Shaped[np.ndarray | Array, "..."],
    n: int,
) -> Float[np.ndarray, " rows {n} *data"]:
    """Fills in what is missing in images, several times each, with fresh latent vectors.

    Args:
        key: a typed random key.
        model: a model whose generator takes a latent vector, observed components and a mask.
        images: examples like the model's, with pixels in [0, 1], say. Values where something is
            missing are ignored.
        masks: for each image, true or 1 where it is observed; or one mask for all.
        n: the number of fillings of each image, at least 1.

    Returns:
        The fillings. Their observed components equal those of the images, bit for bit.

    Raises:
        ValueError: for masks of another shape, or with values other than true and false, 1 and 0;
            if there is no image, or n is below 1; for images of another shape than the model's, or
            whose observed part is not finite; or for another kind of generator.

    Example:
        >>> import jax
        >>> import numpy as np
        >>> import advnets
        >>> from advnets import inpainting
        >>> inner = advnets.networks.mlp_generator(jax.random.key(0), 10 + 2 * 64, (8, 8))
        >>> model = advnets.Model(inpainting.Filler(inner), advnets.priors.Uniform(10))
        >>> images, mask = np.ones((3, 8, 8), np.float32), np.ones((8, 8), bool)
        >>> mask[:, 4:] = False  # the right half is missing
        >>> fillings = inpainting.fill(jax.random.key(1), model, images, mask, 5)
        >>> fillings.shape, bool((fillings[..., :4] == 1).all())
        ((3, 5, 8, 8), True)
    """
    needed, taken = inputs_taken(model.generator)
    if not needed <= 3 <= taken:
        raise ValueError(
            "a generator that fills in takes a latent vector, observed components and a mask "
            f"(advnets.inpainting.Filler); this one takes {counted(needed, 'input')}"
        )
    check_count("the number of fillings", n)
    whole = np.asarray(images)
    check_count("the number of images", len(whole))
    observed = checked_masks(masks, whole.shape)
    check_finite("the observed part of images", np.where(observed, whole, 0))
    _check_shape(model, whole.shape[1:])
    repeated = [np.repeat(part, n, axis=0) for part in (whole, observed)]
    given = np.where(repeated[1], repeated[0], 0).astype(np.float32)
    samples = model.sample(key, len(given), condition=(given, repeated[1].astype(np.float32)))
    filled = np.where(repeated[1], repeated[0], samples).astype(whole.dtype)
    return filled.reshape(len(whole), n, *whole.shape[1:])


def _check_shape(model: Model, shape: Shape) -> None:
    nothing = jax.ShapeDtypeStruct((1, *shape), np.float32)
    try:
        found = eqx.filter_eval_shape(model, jax.random.key(0), 1, nothing, nothing)
    except (TypeError, ValueError) as error:
        first, *_ = str(error).splitlines()
        raise ValueError(f"the model can't fill in images of shape {shape} ({first})") from None
    if found.shape[1:] != shape:
        raise ValueError(
            f"images must have the shape of the model's examples, {found.shape[1:]}; got {shape}"
        )


def checked_masks(
    masks: Shaped[np.ndarray | Array, "..."], shape: Shape
) -> Bool[np.ndarray, " rows *data"]:
    """Checks masks for images of a shape.

    Args:
        masks: for each image, true or 1 where it is observed; or one mask for all.
        shape: the shape of the images, their number first.

    Returns:
        A mask for each image.

    Raises:
        ValueError: for masks of another shape, or with values other than true and false, 1 and 0.

    Example:
        >>> import numpy as np
        >>> from advnets import inpainting
        >>> inpainting.checked_masks(np.ones((8, 8)), (3, 8, 8)).shape
        (3, 8, 8)
    """
    found = np.asarray(masks)
    if found.shape not in (shape, shape[1:]):
        raise ValueError(
            f"masks must have the images' shape, {shape}, or that of one image, {shape[1:]}; got "
            f"{found.shape}"
        )
    numbers = found.dtype.kind in "biuf"
    if not numbers or not np.isin(found, (0, 1)).all():
        got = f"{found.dtype} from {found.min()} to {found.max()}" if numbers else found.dtype
        raise ValueError(
            "a mask has true or 1 where a component is observed, and false or 0 where it is "
            f"missing; got {got}"
        )
    return np.broadcast_to(found.astype(bool), shape)


def _describe(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)} parts"
    if eqx.is_array(value):
        return f"{value.dtype} of shape {value.shape}"
    return f"a {type(value).__name__}"
