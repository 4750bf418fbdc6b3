"""Distributions of what examples are conditioned on."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer, Key, PyTree, Shaped


class Condition(eqx.Module):
    """A distribution of conditions; subclass it to bring your own."""

    @abc.abstractmethod
    def __call__(self, key: Key[Array, ""], n: int) -> tuple[PyTree, ...]:
        """Draws `n` independent conditions, as the generator's arguments after z."""

    @abc.abstractmethod
    def check(self, condition: tuple[PyTree, ...]) -> None:
        """Raises a ValueError for conditions that are not of the kind that it draws."""


class Labels(Condition):
    """Class labels 0, 1, and so on, with given frequencies.

    Attributes:
        frequencies: the frequency of each class; they sum to 1.

    Raises:
        ValueError: if a frequency is negative, or they do not sum to 1.

    Example:
        >>> import jax
        >>> from advnets import conditions
        >>> labels = conditions.Labels((0.5, 0.5))
        >>> [drawn.shape for drawn in labels(jax.random.key(0), 5)]
        [(5,)]
    """

    frequencies: tuple[float, ...] = eqx.field(static=True)

    def __check_init__(self) -> None:
        total = math.fsum(self.frequencies)
        if not (min(self.frequencies, default=-1) >= 0 and abs(total - 1) < 1e-6):
            raise ValueError(
                f"the classes' frequencies must be at least 0 and sum to 1; got "
                f"{list(self.frequencies)}"
            )

    def __call__(self, key: Key[Array, ""], n: int) -> tuple[Int[Array, " n"]]:
        """Draws `n` independent labels; raises a ValueError if `n` is negative."""
        if not 0 <= n < 2**31:
            raise ValueError(f"the number of labels must be from 0 to 2**31 - 1; got {n}")
        logits = jnp.log(jnp.asarray(self.frequencies))
        return (jax.random.categorical(key, logits, shape=(n,)),)

    def check(self, condition: tuple[PyTree, ...]) -> None:
        (labels,) = condition
        check_labels(np.asarray(labels), len(self.frequencies))


def check_labels(labels: Shaped[np.ndarray, "..."], classes: int) -> None:
    """Refuses labels that are not among the classes.

    Args:
        labels: class labels.
        classes: how many classes there are.

    Raises:
        ValueError: for a label that is not an integer from 0 to `classes` - 1, or more than one for
            an example.

    Example:
        >>> import numpy as np
        >>> from advnets import conditions
        >>> conditions.check_labels(np.array([0, 9]), 10)
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers; got {labels.dtype}")
    if labels.ndim != 1:
        raise ValueError(f"there must be one label for each example; got shape {labels.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"labels must be from 0 to {classes - 1}; got {labels.min()} to {labels.max()}"
        )


def frequencies(labels: Integer[np.ndarray, " n"]) -> Labels:
    """The distribution of labels in a data set.

    Args:
        labels: class labels, at least one.

    Returns:
        How often each label occurs, from 0 to the largest.

    Raises:
        ValueError: for a negative label, or none.

    Example:
        >>> import numpy as np
        >>> from advnets import conditions
        >>> conditions.frequencies(np.array([0, 1, 1, 1])).frequencies
        (0.25, 0.75)
    """
    if not len(labels):
        raise ValueError("frequencies are counted of at least 1 label; got none")
    check_labels(labels, int(labels.max()) + 1)
    return Labels(tuple((np.bincount(labels) / len(labels)).tolist()))
