"""Saved models: open, whole, exact, and refused when they are not what is asked for."""

import functools
import hashlib
import json
import os
import struct
import sys
import tracemalloc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.cases import long_but
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

import advnets
from advnets import layers, networks, players, priors
from advnets.players import Frozen, Stateful

KEY = jax.random.key(0)


def mlp(seed=0, sizes=(5,)):
    return networks.mlp_generator(jax.random.key(seed), 3, (2, 2), hidden_sizes=list(sizes))


def stateful(norm, latent=3):
    """A generator with a normalisation, its state no longer the first."""

    def build(key):
        linear = eqx.nn.Linear(latent, 4, key=key)
        if norm == "batch":
            batch = eqx.nn.BatchNorm(4, axis_name=layers.MINIBATCH, mode="batch")
            return eqx.nn.Sequential([linear, batch])
        return eqx.nn.Sequential([eqx.nn.SpectralNorm(linear, "weight", key=key)])

    player = Stateful(*eqx.nn.make_with_state(build)(KEY))
    return players.apply(player, None, jax.random.normal(KEY, (5, latent)))[1]


def frozen():
    return eqx.tree_at(lambda g: g.layers[0].weight, mlp(), replace_fn=Frozen)


def conditional():
    inner = networks.mlp_generator(KEY, 3 + 2, (2, 2), hidden_sizes=[4])
    return layers.Labelled(inner, 2)


def deconvolutional():
    return networks.deconvolutional_generator(
        KEY, 3, (7, 7, 1), hidden_sizes=(6, 8), channels=2, kernel_size=4
    )


def leaky(depth=1):
    activation = functools.partial(jax.nn.leaky_relu, negative_slope=0.2)
    return eqx.nn.MLP(3, 4, 5, depth, activation, key=KEY)


@jax.jit
def clipped(x, high):
    return jnp.clip(x, 0, high)


class Scaled(eqx.Module):
    """What a user might write: arrays and settings of every kind."""

    inner: eqx.nn.MLP
    scale: jax.Array
    offsets: dict[str, np.ndarray]
    squash: object
    sizes: tuple = eqx.field(static=True)
    slope: np.float32
    limit: float = eqx.field(static=True)

    def __check_init__(self):
        if self.limit <= 0:
            raise ValueError("the limit must be above 0")

    def __call__(self, z):
        return self.squash(self.inner(z) * self.scale + self.offsets["low"]) * self.slope


def scaled():
    return Scaled(
        eqx.nn.MLP(3, 4, 5, 1, eqx.nn.PReLU(), key=KEY),
        jnp.asarray(0.1),
        {"low": np.float32([1, 2, 3, 4]), "of none": np.zeros((0, 2), np.int8)},
        functools.partial(clipped, high=np.float32(0.5)),
        (1, [2, None], {"a": True}, "é", -0.0, 1e-300),
        np.float32(0.1),
        float("inf"),
    )


MODELS = {
    "mlp, uniform": lambda: advnets.Model(mlp(), priors.Uniform(3)),
    "mlp, spherical": lambda: advnets.Model(mlp(), priors.Spherical(3)),
    "deconvolutional, normal": lambda: advnets.Model(deconvolutional(), priors.Normal(3)),
    "stacked": lambda: advnets.Model(
        networks.stacked_generator(KEY, 3, mlp(), hidden_size=4), priors.Uniform(3)
    ),
    "conditional": lambda: advnets.Model(
        conditional(), priors.Uniform(3), advnets.conditions.Labels((0.3, 0.7))
    ),
    "batch normalisation": lambda: advnets.Model(stateful("batch"), priors.Uniform(3)),
    "spectral normalisation": lambda: advnets.Model(stateful("spectral"), priors.Uniform(3)),
    "frozen": lambda: advnets.Model(frozen(), priors.Uniform(3)),
    "equinox": lambda: advnets.Model(leaky(), priors.Uniform(3)),
    "user's own": lambda: advnets.Model(scaled(), priors.Uniform(3)),
}


def assert_same(a, b):
    """One structure; leaves equal in type and in every bit."""
    (leaves_a, tree_a), (leaves_b, tree_b) = jax.tree.flatten(a), jax.tree.flatten(b)
    assert tree_a == tree_b
    for x, y in zip(leaves_a, leaves_b, strict=True):
        assert type(x) is type(y)
        if eqx.is_array_like(x) and hasattr(x, "dtype"):
            assert (x.dtype, x.shape) == (y.dtype, y.shape)
            assert getattr(x, "weak_type", None) == getattr(y, "weak_type", None)
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
        elif isinstance(x, functools.partial):
            assert (x.func, x.args, x.keywords) == (y.func, y.args, y.keywords)
        else:
            assert x is y or x == y


def contents(path):
    """A file's description, parsed, in the format without digests; and its tensors."""
    with safe_open(path, framework="numpy") as file:
        note = json.loads((file.metadata() or {}).get("advnets", "{}"))
        description = {"format": 1, "model": note.get("model")}
        return description, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def write(path, description, tensors):
    text = description if isinstance(description, str) else json.dumps(description)
    save_file(tensors, path, {"advnets": text})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    "name",
    long_but("mlp, uniform", "conditional", "batch normalisation", "user's own", cases=MODELS),
)
def test_a_model_comes_back_whole_from_its_file_alone(path, name):
    model = MODELS[name]()
    advnets.save_model(path, model)
    known = [Scaled, clipped] if name == "user's own" else []
    loaded = advnets.load_model(path, known=known)
    assert_same(model, loaded)
    key = jax.random.key(1)
    assert model.sample(key, 3).tobytes() == loaded.sample(key, 3).tobytes()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o044  # as readable as any other file


def test_other_modules_come_back_too(path):
    convolution = advnets.convolutions.MaxoutConv2d(
        KEY, (6, 6, 1), channels=2, pieces=2, kernel_size=3, padding=1, pool_size=2, pool_stride=2,
        weight_range=0.1,
    )  # fmt: skip
    models = [
        advnets.Players(
            mlp(),
            networks.maxout_discriminator(KEY, (2, 2), units=[4], pieces=2),
            others={"encoder": eqx.nn.Sequential([convolution, layers.GaussianNoise(0.1)])},
        ),
        eqx.nn.MLP("scalar", 3, 4, 2, key=KEY),
        eqx.nn.RotaryPositionalEmbedding(4),  # a type
        eqx.nn.MaxPool2d(2),  # -inf
        {"matrix": jnp.ones((2, 3)).T, "half": jnp.ones(3, jnp.bfloat16), "many": jnp.array(True)},
        jnp.arange(3),
    ]
    for model in models:
        advnets.save_model(path, model)
        assert_same(model, advnets.load_model(path))


@pytest.mark.parametrize("name", MODELS)
def test_arrays_have_the_names_of_their_paths_and_fill_a_model_like_it(path, name):
    model = MODELS[name]()
    paths = jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array))
    names = {jax.tree_util.keystr(path).lstrip(".") for path, _ in paths}
    advnets.save_model(path, model)
    stored = contents(path)[1].keys()
    assert names == {name for name in stored if not name.startswith("static:")}
    zeros = jax.tree.map(lambda x: x * 0 if eqx.is_array(x) else x, model)
    assert_same(model, advnets.load_model(path, like=zeros))


def test_a_file_is_plain_safetensors_with_readable_names(path):
    advnets.save_model(path, advnets.Model(mlp(), priors.Uniform(3)))
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert header["generator.layers[0].weight"]["shape"] == [5, 3]
    description = json.loads(header["__metadata__"]["advnets"])
    assert description["model"]["fields"]["prior"] == {
        "class": "advnets.priors.Uniform",
        "fields": {"size": 3},
    }


def test_a_file_from_before_descriptions_fills_a_model_like_it(path):
    model = mlp()
    names = ["layers[0].weight", "layers[0].bias", "layers[2].weight", "layers[2].bias"]
    arrays = jax.device_get(jax.tree.leaves(eqx.filter(model, eqx.is_array)))
    save_file(dict(zip(names, arrays, strict=True)), path)
    for like in (mlp(1), eqx.filter_eval_shape(mlp)):
        assert_same(model, advnets.load_model(path, like=like))
    with pytest.raises(
        ValueError,
        match=r"model\.safetensors: the file holds arrays without a description .* give like=",
    ):
        advnets.load_model(path)


def test_another_model_is_refused_by_name(path):
    advnets.save_model(path, mlp())
    with pytest.raises(
        ValueError, match=r"layers\[0\].bias is float32\[5\] in the file and float32\[6\] in like"
    ):
        advnets.load_model(path, like=mlp(sizes=(6,)))
    with pytest.raises(
        ValueError, match=r"layers\[4\].bias is missing in the file and float32\[4\] in like"
    ):
        advnets.load_model(path, like=mlp(sizes=(5, 4)))


def closure(slope):
    def activation(x):
        return slope * x

    return activation


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda x: x, r"generator\.layers\[1\]\.fn is a lambda or a closure.* arrays_only=True"),
        (closure(2), r"fn is a lambda or a closure"),
        (jax.jit(closure(2)), r"fn is a lambda or a closure"),
        (functools.partial(lambda a, x: x, 1), r"fn\.func is a lambda or a closure"),
        (object(), r"fn is of type object, which can't be described"),
        ({1: 2}, r"fn is of type dict, which can't be described; .* dicts with string keys"),
        (jax.random.key(0), r"fn is an array of key<fry>, .* jax\.random\.key_data"),
        (
            eqx.nn.BatchNorm(2, "b", mode="batch"),
            r"fn\.batch_counter belongs to .*make_with_state",
        ),
        (eqx.filter_jit(jax.nn.relu), r"fn has an attribute that is not a field"),
    ],
)
def test_what_has_no_description_is_refused_with_its_place(path, part, message):
    generator = eqx.nn.Sequential([eqx.nn.Linear(3, 4, key=KEY), eqx.nn.Lambda(jnp.tanh)])
    model = advnets.Model(eqx.tree_at(lambda g: g.layers[1].fn, generator, part))
    with pytest.raises(ValueError, match=message):
        advnets.save_model(path, model)
    assert not path.exists()


def test_arrays_alone_need_no_description(path):
    model = eqx.nn.Sequential([eqx.nn.Linear(3, 4, key=KEY), eqx.nn.Lambda(lambda x: x)])
    advnets.save_model(path, model, arrays_only=True)
    zeros = jax.tree.map(lambda x: x * 0 if eqx.is_array(x) else x, model)
    assert_same(model, advnets.load_model(path, like=zeros))
    with pytest.raises(ValueError, match="random key"):
        advnets.save_model(path, {"key": jax.random.key(0)}, arrays_only=True)


def test_a_deep_model_is_refused_when_it_is_saved(path):
    def nested(levels):
        return functools.reduce(lambda m, _: [m], range(levels), jnp.zeros(2))

    advnets.save_model(path, nested(50))
    assert_same(nested(50), advnets.load_model(path))
    with pytest.raises(ValueError, match="more than 50 levels"):
        advnets.save_model(path, nested(51))


def test_own_classes_are_found_where_they_are_given(path):
    class Shift(eqx.Module):
        by: jax.Array

    first = Shift

    class Shift(eqx.Module):
        by: jax.Array

    advnets.save_model(path, first(jnp.ones(2)))
    for known in ([], [Scaled], [clipped]):
        with pytest.raises(ValueError, match=r"the model needs '.*Shift', .*known="):
            advnets.load_model(path, known=known)
    with pytest.raises(ValueError, match="known= has several of that name"):
        advnets.load_model(path, known=[first, Shift])
    with pytest.raises(ValueError, match="known must hold classes and functions; got functools"):
        advnets.load_model(path, known=[functools.partial(clipped)])
    # Under another module's name, as a script's classes are.
    description, tensors = contents(path)
    description["model"]["class"] = "__main__.Shift"
    write(path, description, tensors)
    assert type(advnets.load_model(path, known=[first])) is first


@pytest.mark.parametrize(
    "name",
    ["os.system", "builtins.eval", "this.s", "jax.numpy.load", "advnets.train", "numpy.load",
     "equinox._module.Module", "jax.nn.functions", "advnets.priors.Prior", "fn.__globals__"],
)  # fmt: skip
def test_a_file_cannot_reach_what_it_is_not_given(path, name):
    advnets.save_model(path, eqx.nn.Lambda(jnp.tanh))
    description, tensors = contents(path)
    fields = description["model"]["fields"]
    assert fields["fn"] == {"function": "jax.nn.tanh"}
    for node in ({"function": name}, {"class": name, "fields": {}}):
        fields["fn"] = node
        write(path, description, tensors)
        with pytest.raises(ValueError, match=f"fn needs '{name}'"):
            advnets.load_model(path)
    assert "this" not in sys.modules


def altered(change):
    """A change of a file's parsed description, of the model's fields, or of the tensors."""
    return pytest.param(change, id=change.__name__)


def unknown_form(d, layer, tensors):
    layer["bias"] = {"pickle": "gASV"}
    return r"generator\.layers\[0\]\.bias has a description of an unknown form"


def missing_field(d, layer, tensors):
    del layer["use_bias"]
    return r"generator\.layers\[0\] lacks the field 'use_bias'"


def further_field(d, layer, tensors):
    layer["__class__"] = None
    return r"generator\.layers\[0\] has the field '__class__'"


def function_for_class(d, layer, tensors):
    layer["bias"] = {"class": "jax.nn.relu", "fields": {}}
    return r"bias must be an equinox.Module; 'jax.nn.relu' is not"


def other_shape(d, layer, tensors):
    layer["bias"]["holds"] = "float32[6]"
    return r"tensor 'generator\.layers\[0\]\.bias' must be float32\[6\]; it is float32\[5\]"


def other_kind(d, layer, tensors):
    layer["bias"]["array"] = "torch"
    return r"bias is an array of unknown kind, 'torch'"


def no_scalar(d, layer, tensors):
    layer["bias"]["array"] = "numpy scalar"
    return r"bias must be a scalar; it has the shape \(5,\)"


def missing_tensor(d, layer, tensors):
    del tensors["generator.layers[0].bias"]
    return r"tensor 'generator\.layers\[0\]\.bias' must be float32\[5\]; it is missing"


def superfluous_tensor(d, layer, tensors):
    tensors["more"] = np.zeros(2)
    return r"no place for the tensor 'more'"


def tensor_of_another_place(d, layer, tensors):
    layer["use_bias"] = layer["bias"]
    return r"tensor 'static:generator\.layers\[0\]\.use_bias' .* missing"


def double_precision(d, layer, tensors):
    layer["bias"]["holds"] = "float64[5]"
    tensors["generator.layers[0].bias"] = np.zeros(5)
    return r"bias is an array of float64, .* jax_enable_x64"


def refused_by_its_class(d, layer, tensors):
    d["model"]["fields"]["prior"]["fields"]["size"] = 0
    return r"prior is not a valid advnets\.priors\.Uniform: a latent vector has at least 1"


def refused_for_its_type(d, layer, tensors):
    d["model"]["fields"]["prior"]["fields"]["size"] = {"tuple": []}
    return r"prior is not a valid advnets\.priors\.Uniform: '<' not supported"


def no_partial(d, layer, tensors):
    layer["bias"] = {"partial": 1, "args": {"tuple": []}, "keywords": {"dict": {}}}
    return r"bias is not a valid functools\.partial"


def deep(d, layer, tensors):
    for _ in range(60):
        layer["use_bias"] = [layer["use_bias"]]
    return "nests more than 50 levels deep"


def other_format(d, layer, tensors):
    d["format"] = 3
    return "format 3, and this version of advnets reads formats 1 and 2"


def no_format(d, layer, tensors):
    del d["format"]
    return "must have a format and a model"


@pytest.mark.parametrize(
    "change",
    [altered(c) for c in (unknown_form, missing_field, further_field, function_for_class,
     other_shape, other_kind, no_scalar, missing_tensor, superfluous_tensor,
     tensor_of_another_place, double_precision, refused_by_its_class, refused_for_its_type,
     no_partial, deep, other_format, no_format)],
)  # fmt: skip
def test_a_wrong_description_is_refused_with_its_place(path, change):
    advnets.save_model(path, advnets.Model(mlp(), priors.Uniform(3)))
    description, tensors = contents(path)
    generator = description["model"]["fields"]["generator"]
    message = change(description, generator["fields"]["layers"]["tuple"][0]["fields"], tensors)
    write(path, description, tensors)
    with pytest.raises(ValueError, match=rf"model\.safetensors: .*{message}"):
        advnets.load_model(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 500_000, "not valid JSON"),
        ("[1]", "must have a format and a model"),
        ('{"format": 1, "model": [' + "1," * 10**6 + "1]}", "at most 1000000 parts"),
    ],
)
def test_text_that_is_no_description_is_refused(path, text, message):
    write(path, text, {})
    with pytest.raises(ValueError, match=message):
        advnets.load_model(path)


def test_a_damaged_file_is_refused(path):
    advnets.save_model(path, mlp())
    whole = path.read_bytes()
    for content in (whole[:-10], whole[:5], b""):
        path.write_bytes(content)
        for like in (mlp(), None):
            with pytest.raises(ValueError, match="not a readable safetensors file"):
                advnets.load_model(path, like=like)
    path.write_bytes(struct.pack("<Q", 2**40) + whole[8:])
    with pytest.raises(ValueError, match="not a safetensors file, or its header has more than"):
        advnets.load_model(path)
    with pytest.raises(FileNotFoundError):
        advnets.load_model(path.parent / "none")


def with_header(path, header, size):
    """A file of a made-up header and of zeros that take no room."""
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)


@pytest.mark.parametrize("kind", ["F8_E5M2", "F8_E4M3", "F8_E8M0", "F4"])
def test_a_type_that_is_not_read_is_refused(path, kind):
    with_header(path, {"x": {"dtype": kind, "shape": [2], "data_offsets": [0, 2]}}, 2)
    if kind == "F4":  # two to a byte
        with_header(path, {"x": {"dtype": kind, "shape": [2], "data_offsets": [0, 1]}}, 1)
    with pytest.raises(ValueError, match=rf"x is of type {kind}, which advnets doesn't read; conv"):
        advnets.load_model(path, like={"x": jnp.zeros(2)})


def flipped(content):
    """A file's content with one bit of each byte changed in turn, every bit's turn coming."""
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place * 3) % 8
        yield bytes(damaged)


def refused(path, load, *allowed):
    """Whether a damaged file is refused, in a sentence; if not, it says what is allowed."""
    message = str(path)
    try:
        loaded = load()
    except ValueError as error:
        message = str(error)
    else:
        assert_same(loaded, allowed[-1] if loaded is None else allowed[0])
    assert message.startswith(str(path))
    assert "\n" not in message
    return message != str(path)


def test_no_flipped_bit_is_silent(path):
    # Every kind of array, and one that JAX does not see.
    model = {
        "kept": jnp.arange(3.0),
        "sizes": np.arange(2, dtype=np.int8),
        "fn": functools.partial(jax.nn.leaky_relu, negative_slope=np.float32(2)),
    }
    advnets.save_model(path, model)
    whole, digest = path.read_bytes(), advnets.model_files.digest_of(path)
    ways = (
        (lambda: advnets.load_model(path), model),
        (lambda: advnets.load_model(path, like=model), model),
        # Without its name the note is another program's.
        (lambda: advnets.model_files.digest_of(path), digest, None),
    )
    count = 0
    for content in flipped(whole):
        path.write_bytes(content)
        count += sum(refused(path, *way) for way in ways)
    assert count > 0.98 * 3 * len(whole)
    for place in range(len(whole) - 18, len(whole)):  # the numbers
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        for load, *_ in ways:
            with pytest.raises(ValueError, match="is damaged: its content does not match its SHA"):
                load()


def test_the_digest_is_that_of_the_documented_text(path):
    model = advnets.Model(scaled(), priors.Uniform(3))
    advnets.save_model(path, model)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    note = json.loads(header.pop("__metadata__")["advnets"])
    assert note["format"] == 2
    digest = note.pop("sha256")
    assert advnets.model_files.digest_of(path) == digest
    assert digest == hashlib.sha256(json.dumps(note, sort_keys=True).encode()).hexdigest()
    assert note["tensors"].keys() == header.keys()
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        numbers = content[start + begin : start + end]
        assert note["tensors"][name][1] == hashlib.sha256(numbers).hexdigest()
    # The same model is the same file; another has another digest.
    advnets.save_model(path, model)
    assert path.read_bytes() == content
    others = [
        eqx.tree_at(lambda m: m.generator.scale, model, jnp.asarray(0.2)),
        eqx.tree_at(lambda m: m.generator.scale, model, jnp.asarray([0.1])),
        eqx.tree_at(lambda m: m.generator.scale, model, np.float32(0.1)),
        advnets.Model(scaled(), priors.Uniform(4)),
    ]
    digests = set()
    for other in others:
        advnets.save_model(path, other)
        digests.add(advnets.model_files.digest_of(path))
    assert len(digests | {digest}) == 5


def test_a_file_without_digests_loads(path):
    model = mlp()
    advnets.save_model(path, model)
    write(path, *contents(path))
    assert advnets.model_files.digest_of(path) is None
    assert_same(model, advnets.load_model(path))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.complex64])
def test_numbers_that_are_not_finite_are_neither_saved_nor_loaded(path, number, dtype):
    good = eqx.tree_at(lambda g: g.layers[0].bias, mlp(), jnp.zeros(5, dtype))
    bad = eqx.tree_at(lambda g: g.layers[0].bias, mlp(), jnp.zeros(5, dtype).at[3].set(number))
    message = r"layers\[0\]\.bias holds NaN or infinite values \(1 of 5\)"
    for arrays_only in (True, False):
        with pytest.raises(ValueError, match=message):
            advnets.save_model(path, bad, arrays_only=arrays_only)
    assert not path.exists()
    advnets.save_model(path, good)
    description, tensors = contents(path)
    write(path, description, tensors | {"layers[0].bias": np.asarray(bad.layers[0].bias)})
    for load in (
        lambda: advnets.load_model(path),
        lambda: advnets.load_model(path, like=good),
        lambda: advnets.model_files.digest_of(path),
    ):
        with pytest.raises(ValueError, match=rf"model\.safetensors: {message}"):
            load()


def test_big_endian_arrays_keep_their_numbers(path):
    advnets.save_model(path, [np.array([1.5, 2], ">f4")])
    np.testing.assert_array_equal(advnets.load_model(path)[0], np.float32([1.5, 2]))


def test_what_the_model_has_no_place_for_is_not_read(path):
    size = 2**38  # more than any machine holds
    tensor = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    with_header(path, {"layers[0].bias": tensor}, size)
    with pytest.raises(
        ValueError, match=rf"bias is float32\[{size // 4}\] in the file and float32\[5\]"
    ):
        advnets.load_model(path, like=mlp())
    advnets.save_model(path, priors.Normal(2))
    note = json.dumps(contents(path)[0])
    with_header(path, {"__metadata__": {"advnets": note}, "more": tensor}, size)
    with pytest.raises(ValueError, match="the model has no place for the tensor 'more'"):
        advnets.load_model(path)


def test_arrays_larger_than_the_memory_are_refused(path, monkeypatch):
    advnets.save_model(path, mlp())

    def no_memory(*args):
        raise MemoryError

    monkeypatch.setattr(np, "empty", no_memory)
    with pytest.raises(ValueError, match="holds arrays that are larger than the free memory"):
        advnets.load_model(path)


def test_an_array_is_in_memory_once_while_it_is_read(path):
    model = [np.zeros(2**18) for _ in range(4)]
    advnets.save_model(path, model)
    tracemalloc.start()
    loaded = advnets.load_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_same(model, loaded)
    assert peak < 1.2 * path.stat().st_size


def test_what_is_no_file_is_not_opened(path):
    os.mkfifo(path)
    for name, message in (
        (path, "is a pipe, a socket or a device, which is not opened"),
        (os.devnull, "is a pipe, a socket or a device, which is not opened"),
        (path.parent, "is a folder.*; name a file in it"),
    ):
        for load in (advnets.load_model, advnets.model_files.digest_of):
            with pytest.raises(ValueError, match=message):
                load(name)


def test_a_folder_without_its_model_says_why(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    unfinished = r"run holds a run that was not finished \(2 epochs\); finish it with train\("
    with pytest.raises(ValueError, match=unfinished):
        advnets.load_model(run)
    advnets.save_model(run / "generator.safetensors", mlp())
    assert_same(mlp(), advnets.load_model(run))
    with pytest.raises(
        ValueError, match=r"holds the folders of runs; name one of them, such as .*run"
    ):
        advnets.load_model(tmp_path)


def test_what_train_returns_is_no_model(path):
    trained = object.__new__(advnets.training.Trained)
    with pytest.raises(ValueError, match="pass its model"):
        advnets.save_model(path, trained)


def test_a_file_of_another_kind_and_a_missing_folder_are_named(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(ValueError, match="this is not a safetensors file"):
        advnets.load_model(path)
    with pytest.raises(
        FileNotFoundError, match=r"there is no such folder; make it first.*nowhere'"
    ):
        advnets.save_model(path.parent / "nowhere" / "model.safetensors", mlp())


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    advnets.save_model(path, mlp(0))

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        advnets.save_model(path, mlp(1))
    assert_same(mlp(0), advnets.load_model(path))


RAN = []


def tripwire(*args, **kwargs):
    RAN.append(args)


class Tripwire(eqx.Module):
    """Notes it when anything in it runs but the check of its fields."""

    fn: object
    scale: float = eqx.field(static=True)

    def __init__(self, fn, scale):
        RAN.append((fn, scale))
        self.fn, self.scale = fn, scale

    def __call__(self, *args):
        RAN.append(args)


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """A file with every form of node, and room for a damaged one beside it."""
    path = tmp_path_factory.mktemp("files") / "model.safetensors"
    trap = Tripwire(functools.partial(tripwire, 1, x=float("nan")), 0.5)
    model = advnets.Model(
        eqx.nn.Sequential([stateful("spectral"), trap, scaled(), Frozen(np.ones(2))]),
        priors.Uniform(3),
        advnets.conditions.Labels((0.3, 0.7)),
    )
    advnets.save_model(path, model)
    return path


def load_damaged(intact, content):
    """Loads it or raises a ValueError; anything else fails the test."""
    path = intact.with_name("damaged.safetensors")
    path.write_bytes(content)
    RAN.clear()
    message = str(path)
    try:
        advnets.load_model(path, known=[Tripwire, tripwire, Scaled, clipped])
    except ValueError as error:
        message = str(error)
    assert message.startswith(str(path))
    assert RAN == []


def with_description(intact, text):
    path = intact.with_name("damaged.safetensors")
    write(path, text, contents(intact)[1])
    return path.read_bytes()


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_the_intact_file_loads(intact):
    RAN.clear()
    advnets.load_model(intact, known=[Tripwire, tripwire, Scaled, clipped])
    assert RAN == []


@FUZZ
@given(data=st.data())
def test_flipped_or_truncated_bytes_raise_value_errors_only(intact, data):
    content = bytearray(intact.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    load_damaged(intact, bytes(content[: data.draw(st.integers(0, len(content)))]))


@FUZZ
@given(data=st.data())
def test_a_description_damaged_as_text_raises_value_errors_only(intact, data):
    text = json.dumps(contents(intact)[0])
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 20, len(text))))
    patch = data.draw(st.text(st.sampled_from('{}[]",:0123456789-.eEnulltrfasx '), max_size=5))
    load_damaged(intact, with_description(intact, text[:start] + patch + text[end:]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places(node, path=()):
    yield path
    if isinstance(node, list):
        node = dict(enumerate(node))
    for key, child in node.items() if isinstance(node, dict) else ():
        yield from places(child, (*path, key))


@FUZZ
@given(data=st.data())
def test_a_description_with_other_nodes_raises_value_errors_only(intact, data):
    description = contents(intact)[0]
    at = list(places(description))[1:]
    for _ in range(data.draw(st.integers(1, 2))):
        source, target = data.draw(st.sampled_from(at)), data.draw(st.sampled_from(at))
        try:
            moved = functools.reduce(lambda node, key: node[key], source, description)
            new = data.draw(st.just(moved) | JSON)
            *above, last = target
            functools.reduce(lambda node, key: node[key], above, description)[last] = json.loads(
                json.dumps(new)
            )
        except (KeyError, IndexError, TypeError):
            continue  # the first change took the place away
    load_damaged(intact, with_description(intact, json.dumps(description)))
