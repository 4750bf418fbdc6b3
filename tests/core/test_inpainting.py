"""All conditionals by one net: masks, what D sees, an update, a normal distribution, fillings."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import drawn
from helpers.games import leaves
from helpers.numeric import assert_moved, float64, gradient, log_d

import advnets
from advnets import inpainting, layers, players, priors
from advnets.draws import discriminator_draws
from advnets.energy import energy_score
from advnets.inpainting import Filled, Inpainting
from advnets.objectives import GAN, R1, Costs, InstanceNoise, Objective, Penalised

KEY = jax.random.key(0)
N, SIZE, RATE = 6, 3, 0.5


# Masks.


@pytest.fixture(scope="module")
def masks():
    """Many of each kind, of images of 14 × 28 pixels, in one program."""
    kinds = (inpainting.random_components, inpainting.random_half, inpainting.random_block)
    every = (*kinds, inpainting.mixture)
    names = ("components", "half", "block", "mixture", "colour")

    def draw(key):
        drawn = [kind(key, 4000, (14, 28)) for kind in every]
        return [*drawn, inpainting.mixture(key, 50, (4, 6, 3))]

    return dict(zip(names, map(np.asarray, jax.jit(draw)(KEY)), strict=True))


@pytest.mark.long
def test_components_are_observed_with_a_probability_of_their_mask(masks):
    shares = masks["components"].mean(axis=(1, 2))
    # Uniform on [0, 1]: mean 1/2, variance 1/12; four standard errors.
    assert abs(shares.mean() - 1 / 2) < 4 * (1 / 12 / 4000) ** 0.5
    assert abs(shares.var() - 1 / 12) < 4 * (1 / 180 / 4000) ** 0.5
    assert abs(masks["components"].mean(axis=0) - 1 / 2).max() < 5 * (1 / 4 / 4000) ** 0.5


def test_halves_are_four(masks):
    kinds, counts = np.unique(masks["half"], axis=0, return_counts=True)
    expected = np.zeros((4, 14, 28), bool)
    expected[0, :7], expected[1, 7:], expected[2, :, :14], expected[3, :, 14:] = [True] * 4
    assert {kind.tobytes() for kind in kinds} == {half.tobytes() for half in expected}
    assert abs(counts - 1000).max() < 4 * (4000 * 3 / 16) ** 0.5


def test_blocks_are_centred_or_anywhere_and_of_10_to_20_of_28_pixels(masks):
    missing = ~masks["block"]
    sides = [missing.any(axis=2).sum(1), missing.any(axis=1).sum(1)]
    assert (missing.sum(axis=(1, 2)) == sides[0] * sides[1]).all()  # whole rectangles
    for side, (least, most) in zip(sides, ((5, 10), (10, 20)), strict=True):
        sizes, counts = np.unique(side, return_counts=True)
        assert (sizes == np.arange(least, most + 1)).all()
        assert counts.min() > 0.7 * 4000 / len(sizes)
    starts = missing.any(axis=1).argmax(axis=1)
    centred = starts == (28 - sides[1]) // 2
    assert 0.5 < centred.mean() < 0.62  # a half, and some of the others by chance
    places, counts = np.unique(starts[sides[1] == 20], return_counts=True)
    assert (places == np.arange(9)).all()


def test_a_block_s_side_is_a_fraction_of_the_image_s():
    sides = (~np.asarray(inpainting.random_block(KEY, 1000, (84, 84)))).any(axis=2).sum(1)
    assert (sides.min(), sides.max()) == (30, 60)


@pytest.mark.parametrize("kind", ["random_components", "random_half", "random_block", "mixture"])
def test_there_may_be_no_mask(kind):
    assert getattr(inpainting, kind)(KEY, 0, (4, 6)).shape == (0, 4, 6)


def test_a_mixture_has_every_kind(masks):
    of_mixture = {mask.tobytes() for mask in masks["half"]}
    flat = masks["mixture"].reshape(4000, -1)
    nothing, half = (
        ~flat.any(axis=1),
        np.array([m.tobytes() in of_mixture for m in masks["mixture"]]),
    )
    error = 4 * (0.05 * 0.95 / 4000) ** 0.5
    assert abs(nothing.mean() - 0.05) < error
    assert abs(half.mean() - 0.95 / 3) < 4 * (0.32 * 0.68 / 4000) ** 0.5
    missing = ~masks["mixture"]
    rectangle = missing.any(axis=2).sum(1) * missing.any(axis=1).sum(1)
    block = (missing.sum(axis=(1, 2)) == rectangle) & ~nothing & ~half
    assert abs(block.mean() - 0.95 / 3) < 5 * (0.32 * 0.68 / 4000) ** 0.5


def test_the_channels_of_a_pixel_are_observed_together(masks):
    mask = masks["colour"]
    assert mask.shape == (50, 4, 6, 3)
    assert (mask == mask[..., :1]).all()


# The game.


class OnNothing(Objective):
    def costs(self, draws, D, real, fake, **others):
        return Costs(jnp.zeros(()), jnp.zeros(()))


def test_d_sees_what_is_observed_bit_for_bit_and_the_same_mask_of_both():
    real = jax.random.normal(KEY, (50, 4, 4))

    @jax.jit
    def seen(key):
        found = {}

        def generator(key, z, observed, mask):
            found.update(observed=observed, mask=mask)
            return jnp.full_like(observed, jnp.nan)

        class Seen(OnNothing):
            def costs(self, draws, D, real, fake, **others):
                found.update(real=real, fake=fake)
                return OnNothing.costs(self, draws, D, real, fake)

        draws = discriminator_draws(key)
        fake = Filled(inpainting.random_components)(draws, generator, priors.Uniform(2), real)
        costs = Inpainting(Seen()).costs(draws, len, real, fake)
        assert costs.seen is None  # without λ, all is the game's own
        return found

    found = jax.tree.map(np.asarray, seen(KEY))
    (x, m), (filled, mask) = found["real"], found["fake"]
    assert (x == np.asarray(real)).all()
    assert (m == mask).all()
    assert set(np.unique(mask).tolist()) == {0.0, 1.0}
    assert (filled[mask == 1] == x[mask == 1]).all()
    assert np.isnan(filled[mask == 0]).all()
    assert (found["observed"] == np.where(mask == 1, x, 0)).all()
    assert (found["mask"] == mask).all()
    assert (np.asarray(seen(jax.random.key(1))["mask"]) != mask).any()  # of each step its own


def logits(x, mask, w, b):
    return np.concatenate([x, mask], axis=1) @ w.T + b


def test_an_update_is_that_of_numpy():
    """Both players of the simultaneous order, whose D's cost is halved; λ = 2, μ = 3."""
    rng = np.random.default_rng(0)
    real, mask = rng.normal(size=(N, SIZE)), rng.integers(0, 2, (N, SIZE)).astype(float)
    mask[2] = 1  # nothing is missing
    both = advnets.Players(
        inpainting.Filler(eqx.nn.Linear(2 + 2 * SIZE, SIZE, key=jax.random.key(1))),
        inpainting.MaskedDiscriminator(eqx.nn.Linear(2 * SIZE, 1, key=jax.random.key(2))),
        priors.Uniform(2),
    )
    rule = optax.sgd(RATE)
    algorithm = advnets.Simultaneous(
        objective=Inpainting(advnets.Simultaneous().objective, 2.0, 3.0),
        generator_updates=rule,
        discriminator_updates=rule,
        fake=Filled(lambda key, n, shape: jnp.asarray(mask == 1), twice=True),
    )
    step = jax.jit(lambda state: algorithm.step(KEY, both, state, jnp.asarray(real, jnp.float32)))
    state, info = step(algorithm.init(both))
    draws = discriminator_draws(jax.random.fold_in(KEY, 0))
    latents_key, _ = jax.random.split(draws.latents)
    draws = eqx.tree_at(lambda d: d.latents, draws, latents_key)
    latents = np.split(drawn.latents(draws, both.prior, 2 * N), 2)
    g, d = (float64(leaves(player)) for player in (both.generator, both.discriminator))

    def filled(z, a, c):
        output = np.concatenate([z, mask * real, mask], axis=1) @ a.T + c
        return mask * real + (1 - mask) * output

    def d_cost(*moved):
        on_data, on_fake = logits(real, mask, *moved), logits(filled(latents[0], *g), mask, *moved)
        return -(log_d(on_data) + log_d(-on_fake)) / 2

    def g_cost(*moved):
        one, other = (filled(z, *moved) for z in latents)
        scores = energy_score(np.stack([one, other], axis=1), real)
        of_game = -log_d(logits(one, mask, *d))
        return of_game + 2 * ((one - real) ** 2).mean() + 3 * scores.mean()

    for player, cost, before in (("generator", g_cost, g), ("discriminator", d_cost, d)):
        moved = [-RATE * slope for slope in gradient(cost, before)]
        assert_moved(leaves(state.players[player]), before, moved)
    scores = energy_score(np.stack([filled(z, *g) for z in latents], axis=1), real)
    assert info["discriminator"]["energy"] == pytest.approx(scores.mean(), rel=1e-5)
    assert info["discriminator"]["reconstruction"] > 0


def test_the_energy_score_has_a_gradient_where_fillings_are_alike():
    """As those of a saturated sigmoid are; or where they are right."""
    real = jnp.zeros((2, 3))

    def cost(x):
        fake = x, jnp.zeros((2, 3)), x
        return (
            Inpainting(OnNothing(), energy=1.0)
            .costs(discriminator_draws(KEY), len, real, fake)
            .generator
        )

    slopes = jax.grad(cost)(jnp.array([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0]]))
    np.testing.assert_allclose(slopes, [[0, 0, 0], [0, 0.3, 0.4]], rtol=1e-6)


def test_a_discriminator_that_keeps_a_state_moves_on_by_pairs():
    class Normalised(eqx.Module):
        norm: eqx.nn.BatchNorm
        linear: eqx.nn.Linear

        def __init__(self, key):
            self.norm = eqx.nn.BatchNorm(4, axis_name=layers.MINIBATCH, mode="batch")
            self.linear = eqx.nn.Linear(4, 1, key=key)

        def __call__(self, x, mask, state):
            hidden, state = self.norm(jnp.concatenate([x, mask]), state)
            return self.linear(hidden), state

    model_and_state = eqx.nn.make_with_state(Normalised)(jax.random.key(2))
    both = advnets.Players(
        inpainting.Filler(eqx.nn.Linear(1 + 4, 2, key=jax.random.key(1))),
        players.Stateful(*model_and_state),
        priors.Uniform(1),
    )
    rule = optax.sgd(RATE)
    algorithm = advnets.Simultaneous(
        objective=Inpainting(),
        generator_updates=rule,
        discriminator_updates=rule,
        fake=Filled(inpainting.random_components),
    )
    real = jnp.ones((6, 2))
    for objective in (Inpainting(), Inpainting(GAN()), Penalised(Inpainting(), R1(1.0))):
        judged = objective.judged(real, (2 * real, 3 * real, 4 * real))
        assert [[x[0, 0].item() for x in pair] for pair in judged] == [[1, 3], [2, 3]]
        # D is called on such pairs, too, when its memory moves on.
        one = dataclasses.replace(algorithm, objective=objective)
        jax.eval_shape(lambda one=one: one.step(KEY, both, one.init(both), real))


class Swapping(Objective):
    """D judges examples and masks the wrong way round."""

    def costs(self, draws, D, real, fake):
        return OnNothing().costs(draws, D, real, fake)

    def judged(self, real, fake):
        return real[::-1], fake[::-1]


def test_the_game_within_says_what_d_judges():
    real = jnp.ones((6, 2))
    judged = Inpainting(Swapping()).judged(real, (2 * real, 3 * real))
    assert [[x[0, 0].item() for x in pair] for pair in judged] == [[3, 1], [3, 2]]


def test_penalties_may_be_outside_or_inside():
    """D's slope is that at pairs, either way."""
    real, fake = (jnp.array(np.random.default_rng(n).normal(size=(6, 2))) for n in (0, 1))
    fake, draws = (fake, jnp.ones((6, 2))), discriminator_draws(KEY)

    def D(key, pair):
        return jnp.sum(jnp.sin(pair[0]) * (1 + pair[1]), axis=1)

    outside, inside = (
        objective.costs(draws, D, real, fake)
        for objective in (Penalised(Inpainting(), R1(1.0)), Inpainting(Penalised(GAN(), R1(1.0))))
    )
    slopes = 2 * np.cos(np.asarray(real))
    assert outside.seen["r1"] == pytest.approx(np.mean(np.sum(slopes**2, axis=1)) / 2, rel=1e-5)
    assert outside.discriminator == inside.discriminator


# A normal distribution of two variables with correlation .8, by a generator that is linear in z
# and what is observed, with weights for each mask; D is quadratic, as it is at its optimum.

RHO = 0.8


class LinearFiller(eqx.Module):
    weight: jax.Array
    bias: jax.Array

    def __call__(self, z, observed, mask):
        which = (2 * mask[0] + mask[1]).astype(int)
        return self.weight[which] @ jnp.concatenate([z, observed]) + self.bias[which]


class QuadraticJudge(eqx.Module):
    weight: jax.Array

    def __call__(self, x, mask):
        which = (2 * mask[0] + mask[1]).astype(int)
        return self.weight[which] @ jnp.stack(
            [jnp.ones(()), x[0], x[1], x[0] ** 2, x[1] ** 2, x[0] * x[1]]
        )


def any_but_all(key, n, shape):
    """Nothing observed, the first variable, or the second."""
    which = jax.random.randint(key, (n,), 0, 3)
    return jnp.asarray([[False, False], [True, False], [False, True]])[which]


@pytest.fixture(scope="module")
def normal_model():
    steps, batch = 1500, 500
    start = jnp.concatenate([0.5 * jnp.eye(2), jnp.zeros((2, 2))], axis=1)
    both = advnets.Players(
        LinearFiller(jnp.stack([start] * 4), jnp.zeros((4, 2))),
        QuadraticJudge(jnp.zeros((4, 6))),
        priors.Normal(2),
    )
    rate = optax.cosine_decay_schedule(1e-2, steps, 0.02)
    algorithm = advnets.Algorithm1(
        objective=Inpainting(),
        generator_updates=optax.adam(rate, b1=0.5),
        discriminator_updates=optax.adam(2e-2, b1=0.5),
        average=0.99,
        fake=Filled(any_but_all),
    )

    def once(state, number):
        e = jax.random.normal(jax.random.fold_in(jax.random.key(5), number), (batch, 2))
        real = jnp.stack([e[:, 0], RHO * e[:, 0] + (1 - RHO**2) ** 0.5 * e[:, 1]], axis=1)
        return algorithm.step(KEY, both, state, real)[0], None

    state = jax.jit(lambda state: jax.lax.scan(once, state, jnp.arange(steps))[0])(
        algorithm.init(both)
    )
    return advnets.model.model_of(advnets.algorithms.averaged(both, state))


@pytest.mark.long
def test_every_conditional_of_a_normal_distribution_is_right(normal_model):
    values = np.linspace(-1.5, 1.5, 4, dtype=np.float32)
    for given in (0, 1):
        images = np.full((4, 2), np.nan, np.float32)  # what is missing is not looked at
        images[:, given] = values
        masks = np.arange(2) == given
        fillings = inpainting.fill(KEY, normal_model, images, masks, 5000)
        assert (fillings[:, :, given] == values[:, None]).all()
        of_other = fillings[:, :, 1 - given]
        assert abs(of_other.mean(axis=1) - RHO * values).max() < 0.05
        assert abs(of_other.var(axis=1) - (1 - RHO**2)).max() < 0.05
    nothing = np.zeros((1, 2), np.float32)
    fillings = inpainting.fill(KEY, normal_model, nothing, nothing, 20_000)[0]
    assert abs(fillings.mean(axis=0)).max() < 0.05
    assert abs(np.cov(fillings.T) - [[1, RHO], [RHO, 1]]).max() < 0.05


# Filling in after training.


def small_model(shape=(4, 4)):
    inner = advnets.networks.mlp_generator(
        KEY, 3 + 2 * int(np.prod(shape)), shape, hidden_sizes=[5], weight_range=2.0
    )
    generator, nothing = inpainting.Filler(inner), inpainting.NothingObserved(shape)
    return advnets.Model(generator, priors.Uniform(3), nothing)


def test_fillings_leave_what_is_observed_bit_for_bit():
    rng = np.random.default_rng(0)
    images, masks = rng.random((5, 4, 4)), rng.random((5, 4, 4)) < 0.5  # float64
    fillings = inpainting.fill(KEY, small_model(), images, masks, 3)
    assert fillings.dtype == np.float64
    for filling in fillings.swapaxes(0, 1):
        assert (filling[masks] == images[masks]).all()
        assert (filling[~masks] != images[~masks]).all()
    assert (fillings[:, 0][~masks] != fillings[:, 1][~masks]).all()
    unseen = np.where(masks, images, np.inf)  # what is missing is not looked at
    np.testing.assert_array_equal(
        inpainting.fill(KEY, small_model(), unseen, masks.astype(int), 3), fillings
    )


class LearntMask(eqx.Module):
    """A filler whose mask is optional."""

    def __call__(self, z, observed, mask=None, *, key=None):
        return observed if mask is None else jnp.where(mask == 1, observed, z[0])


def test_a_filler_s_mask_may_be_optional():
    nothing = inpainting.NothingObserved((4, 4))
    model = advnets.Model(LearntMask(), priors.Uniform(3), nothing)
    images, masks = np.ones((2, 4, 4), np.float32), np.zeros((2, 4, 4), bool)
    fillings = inpainting.fill(KEY, model, images, masks, 1)
    assert len(np.unique(fillings)) == 2  # z of each, not what is observed


def test_a_shape_is_no_parameter():
    assert jax.tree.leaves(inpainting.NothingObserved((4, 4))) == []


def test_with_nothing_observed_it_is_the_model_s_own_sample():
    model = small_model()
    images = np.ones((4, 4, 4), np.float32)
    fillings = inpainting.fill(KEY, model, images, np.zeros((4, 4)), 2)
    np.testing.assert_array_equal(fillings.reshape(8, 4, 4), model.sample(KEY, 8))


IMAGES, MASK = np.ones((3, 4, 4)), np.ones((4, 4))


def fill(images=IMAGES, masks=MASK, n=2, model=None):
    return lambda: inpainting.fill(KEY, model or small_model(), images, masks, n)


def everything(key, n, shape):
    return jnp.ones((n, *shape), bool)


def fake(real, masks=everything, output=None):
    def generator(key, z, observed, mask):
        return observed if output is None else output

    return lambda: Filled(masks)(discriminator_draws(KEY), generator, priors.Uniform(2), real)


PAIR = jnp.zeros((3, 4, 4)), jnp.zeros(3)
REFUSED = {
    "masks of another shape": (
        fill(masks=np.ones((4, 5))),
        r"shape, \(3, 4, 4\), or that of one image, \(4, 4\); got \(4, 5\)",
    ),
    "too few masks": (fill(masks=np.ones((2, 4, 4))), r"got \(2, 4, 4\)"),
    "grey masks": (fill(masks=np.full((4, 4), 0.5)), r"got float64 from 0\.5 to 0\.5"),
    "no fillings": (fill(n=0), "number of fillings must be at least 1"),
    "no images": (fill(images=np.ones((0, 4, 4))), "number of images must be at least 1"),
    "another generator": (
        fill(model=advnets.Model(lambda z: z, priors.Uniform(3))),
        "takes a latent vector, observed components and a mask .* this one takes 1 input",
    ),
    "masks of words": (fill(masks=np.full((4, 4), "yes")), "where it is missing; got <U3"),
    "images of another shape": (
        fill(images=np.ones((3, 4, 5)), masks=np.ones((4, 5))),
        r"can't fill in images of shape \(4, 5\)",
    ),
    "other examples than images": (
        fill(model=advnets.Model(lambda z, x, m: z, priors.Uniform(3))),
        r"shape of the model's examples, \(3,\); got \(4, 4\)",
    ),
    "observed pixels that are no numbers": (
        fill(images=np.where(np.arange(3) == 1, np.nan, np.ones((4, 4, 3))).T),
        "observed part of images has 16 values that are not finite, the first in row 1",
    ),
    "masks of floats": (
        fake(jnp.zeros((3, 4)), lambda key, n, shape: jnp.full((n, *shape), 0.5)),
        "masks must be boolean, .*; got float32",
    ),
    "data with labels": (fake(PAIR), "array of floats, the examples; got a tuple of 2 parts"),
    "integers": (fake(jnp.zeros((3, 4), int)), "array of floats, the examples; got int32"),
    "other masks": (
        fake(jnp.zeros((3, 4)), lambda key, n, shape: jnp.ones((n, 5), bool)),
        r"masks must have the shape of the data, \(3, 4\); got \(3, 5\)",
    ),
    "halves of vectors": (
        fake(jnp.zeros((3, 4)), inpainting.random_half),
        r"of images, .* got examples of shape \(4,\)",
    ),
    "another output": (
        fake(jnp.zeros((3, 4, 4)), output=jnp.zeros((3, 5))),
        r"examples of the data's shape, \(4, 4\); got float32 of shape \(3, 5\)",
    ),
    "the game without masks": (
        lambda: Inpainting().costs(discriminator_draws(KEY), len, PAIR[0], PAIR[0]),
        r"give the algorithm fake=Filled\(\)",
    ),
    "masks twice": (
        lambda: Inpainting(Inpainting()).costs(discriminator_draws(KEY), len, PAIR[0], PAIR),
        r"changes what D judges; got Inpainting \(leave one of them out\)",
    ),
    "one filling alone": (
        lambda: Inpainting(OnNothing(), energy=1.0).costs(
            discriminator_draws(KEY), len, PAIR[0], (PAIR[0], PAIR[0])
        ),
        r"needs two fillings; give the algorithm fake=Filled\(twice=True\)",
    ),
    "noise outside": (
        lambda: InstanceNoise(Inpainting(), 1.0, 5).costs(
            discriminator_draws(KEY), len, PAIR[0], PAIR
        ),
        r"got Inpainting \(put the noise inside",
    ),
    "an energy's weight below 0": (lambda: Inpainting(energy=-2.0), "energy score .*; got -2"),
    "a weight below 0": (lambda: Inpainting(reconstruction=-1.0), "at least 0 and finite; got -1"),
    "a weight without end": (lambda: Inpainting(reconstruction=np.inf), "finite; got inf"),
    "a number of masks below 0": (
        lambda: inpainting.mixture(KEY, -1, (4, 4)),
        "number of masks must be at least 0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_training_refuses_a_generator_that_does_not_fit_before_it_starts():
    both = advnets.Players(eqx.nn.Linear(2, 4, key=KEY), eqx.nn.Linear(4, 1, key=KEY))
    algorithm = advnets.Algorithm1(objective=Inpainting(), fake=Filled())
    with pytest.raises(ValueError, match=r"components and a mask; this one takes 1 input$"):
        advnets.train(KEY, both, np.zeros((100, 2, 2), np.float32), epochs=1, algorithm=algorithm)
