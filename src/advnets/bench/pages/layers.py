"""A player as a list of layers that a browser can compute, with weights in fewer bytes."""

import base64
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, PyTree

from advnets.convolutions import Convolution, Deconvolution, Doubled, MaxoutConv2d
from advnets.layers import Branches, Dropout, GaussianNoise, GradientFloor, Maxout, Projection
from advnets.networks import Reshape
from advnets.players import Stateful, thaw
from advnets.unet import UNet

Kind = Literal[
    "dense",
    "maxout",
    "maxout_convolution",
    "deconvolution",
    "doubled",
    "activation",
    "branches",
    "projection",
    "unet",
]
Precision = Literal["float32", "float16", "int8"]
# Functions of an `eqx.nn.Lambda` by their names in `layers.js`.
ACTIVATIONS: dict[Callable[..., Any], str] = {
    jax.nn.relu: "relu",
    jax.nn.sigmoid: "sigmoid",
    jax.nn.tanh: "tanh",
    jax.numpy.tanh: "tanh",
    jax.nn.leaky_relu: "leaky_relu",
    jax.nn.softplus: "softplus",
}
# The precisions of a weight, the best first, with the bytes of each.
BYTES: dict[Precision, int] = {"float32": 4, "float16": 2, "int8": 1}
Shape: TypeAlias = tuple[int, ...]
Choice = TypeVar("Choice")


class NotExported(ValueError):
    """A player has a layer that pages can't compute."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a player, without JAX.

    Attributes:
        kind: what it computes.
        arrays: its weights and biases, by name, float32.
        settings: its sizes, by name; for an activation, its `function`.
        branches: for branches, the layers of each; for a U-net, those of each way down, of the
            dense part, and of each way up.
    """

    kind: Kind
    arrays: Mapping[str, Float[np.ndarray, "..."]] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    branches: "tuple[Sequence[Layer], ...]" = ()


def export(player: Callable[..., Any], in_shape: Shape, *, noise: bool = False) -> list[Layer]:
    """A player as a list of layers.

    Dropout and noise are left out, as when a player is called without a key.

    Args:
        player: a sequence of layers of `advnets` and `eqx.nn.Linear`, such as the generators and
            discriminators of [`advnets.networks`][].
        in_shape: the shape of its input.
        noise: whether noise is part of what it computes, as in a generator's samples; then layers
            that draw noise are refused.

    Returns:
        Its layers.

    Raises:
        NotExported: if it has a layer that a page can't compute; the message names it.

    Example:
        >>> import jax
        >>> import advnets
        >>> from advnets.bench.pages import layers
        >>> generator = advnets.networks.mlp_generator(jax.random.key(0), 2, (3,), hidden_sizes=[4])
        >>> [layer.kind for layer in layers.export(generator, (2,))]
        ['dense', 'activation', 'dense', 'activation']
    """
    return _layers(player, in_shape, noise)[0]


def _layers(player: Any, shape: Shape, noise: bool) -> tuple[list[Layer], Shape]:
    """A player's layers, and the shape of its output."""
    found: list[Layer] = []
    for module in _flat(thaw(player)):
        layer, shape = _exported(module, shape, noise)
        if layer is not None:
            found.append(layer)
    return found, shape


def _flat(player: Any) -> Iterator[Any]:
    if isinstance(player, eqx.nn.Sequential):
        for module in player.layers:
            yield from _flat(module)
    else:
        yield player


def _exported(module: Any, shape: Shape, noise: bool) -> tuple[Layer | None, Shape]:
    """A layer, or None if it computes nothing, and the shape of its output."""
    match module:
        case eqx.nn.Linear():
            weight = np.atleast_2d(_float32(module.weight))
            bias = np.zeros(len(weight), np.float32)
            if module.bias is not None:
                bias = np.atleast_1d(_float32(module.bias))
            return Layer("dense", {"weight": weight, "bias": bias}), (len(weight),)
        case Maxout():
            arrays = {"weight": _float32(module.weight), "bias": _float32(module.bias)}
            return Layer("maxout", arrays), module.bias.shape[1:]
        case MaxoutConv2d() | Convolution() | Deconvolution() | Doubled():
            return _convolution(module, shape), module.out_shape
        case eqx.nn.Lambda() if _activation(module.fn) is not None:
            return Layer("activation", settings={"function": _activation(module.fn)}), shape
        case Projection():
            arrays = {n: _float32(getattr(module, n)) for n in ("weight", "embedding")}
            arrays["bias"] = np.atleast_1d(_float32(module.bias))
            return Layer("projection", arrays), ()
        case Branches():
            return _branches(module, shape, noise)
        case UNet():
            return _unet(module, noise), module.shape
        case Reshape():
            return None, module.shape
        case eqx.nn.Identity() | GradientFloor():
            return None, shape
        case Dropout() | GaussianNoise():
            silent = module.keep == 1 if isinstance(module, Dropout) else module.scale == 0
            if not noise or silent:
                return None, shape
            raise NotExported(f"its {type(module).__name__} draws noise for each sample")
    if isinstance(module, Stateful):
        raise NotExported("a page can't compute players with a state, such as that of batch norm")
    name = type(module).__name__
    if isinstance(module, eqx.nn.Lambda):
        name = f"function {getattr(module.fn, '__name__', module.fn)}"
    elif not isinstance(module, eqx.Module):
        name = f"function {getattr(module, '__name__', name)}"
    raise NotExported(f"a page can't compute its {name}")


def _activation(function: Callable[..., Any]) -> str | None:
    found = [name for known, name in ACTIVATIONS.items() if known is function]
    return found[0] if found else None


def _convolution(
    module: MaxoutConv2d | Convolution | Deconvolution | Doubled, shape: Shape
) -> Layer:
    arrays = {"kernel": _float32(module.kernel), "bias": _float32(module.bias)}
    sizes: dict[str, Any] = {"in_shape": shape, "out_shape": module.out_shape}
    if isinstance(module, Deconvolution):
        return Layer("deconvolution", arrays, sizes | {"stride": module.stride})
    if isinstance(module, Doubled):
        return Layer("doubled", arrays, sizes)
    if isinstance(module, Convolution):  # one piece, pooled at every `stride`th position
        sizes |= {"pieces": 1, "padding": module.padding}
        sizes |= {"pool_size": 1, "pool_stride": module.stride}
        return Layer("maxout_convolution", arrays, sizes)
    names = ("pieces", "padding", "pool_size", "pool_stride")
    sizes |= {name: getattr(module, name) for name in names}
    return Layer("maxout_convolution", arrays, sizes)


def _branches(module: Branches, shape: Shape, noise: bool) -> tuple[Layer, Shape]:
    sizes = (module.split, math.prod(shape) - module.split)
    halves = [
        _layers(half, (size,), noise)
        for half, size in zip((module.first, module.second), sizes, strict=True)
    ]
    layer = Layer(
        "branches",
        settings={"split": module.split},
        branches=tuple(layers for layers, _ in halves),
    )
    return layer, (sum(math.prod(output_shape) for _, output_shape in halves),)


def _unet(module: UNet, noise: bool) -> Layer:
    height, width, channels = (*module.shape, 1)[:3]
    shape: Shape = (height, width, 2 * channels)
    parts, seen = [], []
    for halve in module.down:
        exported, shape = _layers(halve, shape, noise)
        parts.append(exported)
        seen.append(shape)
    exported, shape = _layers(module.dense, (module.latent_size + math.prod(shape),), noise)
    parts.append(exported)
    for double, same in zip(module.up, reversed(seen), strict=True):
        exported, shape = _layers(double, (*shape[:2], shape[2] + same[2]), noise)
        parts.append(exported)
    sizes = {"latent_size": module.latent_size, "pixels": height * width}
    return Layer("unet", settings=sizes, branches=tuple(parts))


def _float32(array: Any) -> Float[np.ndarray, "..."]:
    return np.asarray(array).astype(np.float32)


def encode(array: Float[np.ndarray, "..."], precision: Precision) -> dict[str, Any]:
    """An array as JSON: base64 of its numbers, little-endian, row by row.

    In int8 each row along the last axis has its own scale, its largest absolute value over 127.

    Args:
        array: the array.
        precision: the precision of each number.

    Returns:
        Its `shape`, `precision` and `data`, and for int8 its `scales`.

    Example:
        >>> import numpy as np
        >>> from advnets.bench.pages import layers
        >>> layers.decode(layers.encode(np.array([[0.5, -1.0]], np.float32), "float16"))
        array([[ 0.5, -1. ]], dtype=float32)
    """
    found: dict[str, Any] = {"shape": list(array.shape), "precision": precision}
    if precision == "int8":
        rows = array.reshape(-1, array.shape[-1])
        scales = abs(rows).max(axis=1, keepdims=True) / np.float32(127)
        numbers = np.rint(rows / np.where(scales > 0, scales, 1)).astype(np.int8)
        return found | {"data": _text(numbers), "scales": _text(scales.astype("<f4"))}
    kind = "<f4" if precision == "float32" else "<f2"
    most = np.finfo(kind).max
    return found | {"data": _text(array.clip(-most, most).astype(kind))}


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def decode(encoded: Mapping[str, Any]) -> Float[np.ndarray, "..."]:
    """Decodes what [`advnets.bench.pages.layers.encode`][] returned, as the page does.

    Args:
        encoded: the encoded array.

    Returns:
        The array in float32, rounded to its precision.
    """
    kinds = {"float32": "<f4", "float16": "<f2", "int8": "<i1"}
    data = np.frombuffer(base64.b64decode(encoded["data"]), kinds[encoded["precision"]])
    array = data.astype(np.float32).reshape(encoded["shape"])
    if encoded["precision"] == "int8":
        scales = np.frombuffer(base64.b64decode(encoded["scales"]), "<f4")
        array = (array.reshape(len(scales), -1) * scales[:, None]).reshape(array.shape)
    return array


def as_json(layers: Sequence[Layer], precision: Precision) -> list[dict[str, Any]]:
    """Layers as JSON for the page: biases in float32, weights and kernels in a given precision.

    Args:
        layers: the layers.
        precision: the precision of the weights.

    Returns:
        A dictionary for each, with its `kind`, its settings, its arrays encoded, and its branches
        if it has any.
    """
    return [
        {
            "kind": layer.kind,
            **layer.settings,
            **{
                name: encode(array, "float32" if name == "bias" else precision)
                for name, array in layer.arrays.items()
            },
            **(
                {"branches": [as_json(one, precision) for one in layer.branches]}
                if layer.branches
                else {}
            ),
        }
        for layer in layers
    ]


def size(layers: Sequence[Layer], precision: Precision) -> int:
    """The number of characters that the arrays of layers take in a page.

    Args:
        layers: the layers.
        precision: the precision of the weights.

    Returns:
        The length of their base64.
    """
    return _bytes(layers, precision) * 4 // 3


def _bytes(layers: Sequence[Layer], precision: Precision) -> int:
    numbers = (
        array.size * BYTES["float32" if name == "bias" else precision]
        for layer in layers
        for name, array in layer.arrays.items()
    )
    inside = (_bytes(one, precision) for layer in layers for one in layer.branches)
    return sum(numbers) + sum(inside)


def best_fitting(
    folder: Path, choices: Iterable[Choice], size_of: Callable[[Choice], int], budget: int
) -> Choice:
    """The best choice of precisions whose weights fit into a page.

    Args:
        folder: the run's, for the message.
        choices: the choices, the best first and the smallest last; at least one.
        size_of: returns the number of characters that the weights take with a choice.
        budget: the most characters that weights may take in the page.

    Returns:
        The first choice that fits.

    Raises:
        NotExported: if none does.
    """
    for choice in choices:
        needed = size_of(choice)
        if needed <= budget:
            return choice
    raise NotExported(
        f"its weights take {needed / 1e6:,.0f} MB even at one byte each; python -m advnets.bench "
        f"explore {folder} writes a page for them alone"
    )


def rounded(player: PyTree, precision: Precision) -> PyTree:
    """A player with its weights rounded as in a page.

    Args:
        player: the player.
        precision: the precision of the weights.

    Returns:
        The player that the page computes, as a module, to compare with the trained one.
    """

    def as_in_page(path: tuple[Any, ...], leaf: Any) -> Any:
        if not eqx.is_inexact_array(leaf) or getattr(path[-1], "name", "") == "bias":
            return leaf
        return jax.numpy.asarray(decode(encode(_float32(leaf), precision)))

    return jax.tree_util.tree_map_with_path(as_in_page, player)
