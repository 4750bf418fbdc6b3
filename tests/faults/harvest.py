"""Calls of every public function, gathered while examples and small runs make them."""

import collections
import contextlib
import copy
import dataclasses
import doctest
import enum
import inspect
import sys
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import optax
from helpers import games, synthetic
from helpers.interface import documented_callables, public_modules, resolve

import advnets
from advnets import bench, draws, few_labels, inpainting, objectives
from advnets.baselines import cae, rbm
from advnets.bench import cli, commands, pages, reference_rows, settings, systems
from advnets.bench.cells import found, inference
from advnets.bench.cli import main
from advnets.bench.modes import methods
from advnets.bench.systems import chained
from advnets.bench.systems import games as games_of
from advnets.data import hub
from advnets.training import devices, identity
from advnets.training.journal import Record
from advnets.verify import __main__ as verify
from advnets.verify import registry, report, traceable
from faults.subjects import DIGITS, SUBJECTS

# Small runs of Table 1's other systems.
OTHER = ["--evaluate-every", "1", "--num-samples", "60"]
CHAINS = ["--num-chains", "6", "--burn-in", "3"]
OTHERS = {
    "gsn": ["--hidden-sizes", "12", "10", "--rounds", "2", *CHAINS],
    "dbn": ["--hidden-sizes", "12", "10", "--lower-epochs", "1", *CHAINS],
    "cae": ["--hidden-sizes", "12", "10", *CHAINS],
    "vae": ["--hidden-size", "12", "--latent-size", "3"],
    "mnist-inpainting": [
        *("--generator.hidden-sizes", "12", "--generator.channels", "2"),
        *("--discriminator.units", "6"),
    ],
    "mnist-conditional": [
        *("--architecture", "concatenated", "--generator.hidden-sizes", "12"),
        *("--discriminator.units", "6"),
    ],
    "mnist-few-labels": ["--hidden-sizes", "12", "--generator-sizes", "12", "--latent-size", "3"],
}
# Those that Table 2 measures.
TABLE2 = "gsn", "dbn", "cae", "vae"
# As many different calls are kept of each function.
KEPT = 4


def functions():
    """Every public function, class and method by name, calls of instances among them; each once.

    Left out is what has no code of its own to call: protocols, abstract methods, and classes that
    only hold fields.
    """
    found, names = {}, {}
    for name, value in documented_callables():
        methods = [(name, value)]
        if inspect.isclass(value) and inspect.isfunction(vars(value).get("__call__")):
            methods.append((f"{name}.__call__", value.__call__))
        for key, one in methods:
            if id(one) not in names and not is_empty(one):
                names[id(one)] = key
                found[key] = one
    return {name: one for name, one in found.items() if not of_protocol(name, found)}


def is_empty(value):
    """Whether there is nothing to call."""
    if not inspect.isclass(value):
        return getattr(value, "__isabstractmethod__", False)
    if value.__init__ is object.__init__:
        return True
    holds = issubclass(value, msgspec.Struct | BaseException | enum.Enum)
    return holds or inspect.isabstract(value) or getattr(value, "_is_protocol", False)


def of_protocol(name, found):
    owner = resolve(name.rpartition(".")[0])
    return inspect.isclass(owner) and getattr(owner, "_is_protocol", False)


def code_of(value):
    """The code that runs when it is called: of a class, that of its construction."""
    if inspect.isclass(value):
        value = value.__init__
    while hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    return getattr(value, "__code__", None)


@contextlib.contextmanager
def gathering(into):
    """Keeps the arguments of calls meanwhile, but of those that are traced."""
    by_code = collections.defaultdict(list)  # a construction that is inherited has many names
    codes = []  # of which some are equal, as those of classes without fields are
    for name, value in functions().items():
        code = code_of(value)
        if code is not None:
            by_code[code].append(name)
            codes.append(code)
    tool = sys.monitoring.PROFILER_ID

    def started(code, _):
        given = dict(arguments(code, sys._getframe(1).f_locals))
        if is_traced(given) or is_deleted(given):
            return None
        with jax.ensure_compile_time_eval():  # a copy, not a step of what is being traced
            given = {name: fresh(value) for name, value in given.items()}
        for name in by_code[code]:
            own = {k: v for k, v in given.items() if k != "self" or not is_class(name)}
            kept = into.setdefault(name, [])
            kept.append(own)
        return sys.monitoring.DISABLE if len(kept) >= KEPT else None

    def is_class(name):
        return inspect.isclass(every[name])

    every = functions()
    sys.monitoring.use_tool_id(tool, "harvest")
    sys.monitoring.register_callback(tool, sys.monitoring.events.PY_START, started)
    for code in codes:
        sys.monitoring.set_local_events(tool, code, sys.monitoring.events.PY_START)
    try:
        yield
    finally:
        # Freeing the tool leaves its events on: what is called later would be gathered too.
        for code in codes:
            sys.monitoring.set_local_events(tool, code, sys.monitoring.events.NO_EVENTS)
        sys.monitoring.register_callback(tool, sys.monitoring.events.PY_START, None)
        sys.monitoring.free_tool_id(tool)


def fresh(value):
    """An argument whose arrays may be donated, or written to."""

    def copied(x):
        if isinstance(x, Record):  # a call fills it
            return copy.deepcopy(x)
        return x.copy() if isinstance(x, np.ndarray | jax.Array) else x

    return jax.tree.map(copied, value)


def is_deleted(tree):
    """Whether an array in a tree was donated."""
    return any(isinstance(x, jax.Array) and x.is_deleted() for x in jax.tree.leaves(tree))


def is_traced(tree):
    """Whether a tracer is in a tree, or in what its functions have closed over."""
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.core.Tracer):
            return True
        cells = getattr(leaf, "__closure__", None) or ()
        if any(is_traced(content) for cell in cells for content in contents(cell)):
            return True
    return False


def contents(cell):
    """What a function has closed over, if it has been assigned yet."""
    with contextlib.suppress(ValueError):
        yield cell.cell_contents


def arguments(code, variables):
    """The arguments among a frame's variables."""
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    for name in code.co_varnames[:count]:
        if name in variables:
            yield name, variables[name]


def run_examples():
    """Runs the examples of all docstrings."""
    for module in public_modules():
        for test in doctest.DocTestFinder().find(module):
            if test.examples and "._" not in test.name:
                doctest.DocTestRunner().run(test, out=lambda _: None, clear_globs=False)


def run_commands(folder):
    """Makes small runs of every kind of command, in this process."""
    (folder / "tfd").mkdir()
    synthetic.write_tfd(folder / "tfd" / "TFD_48x48.mat")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 60, 6, 6, 3), np.uint8)
    splits = {"train": pixels[0], "test": pixels[1]}
    synthetic.write_mirror(folder / "mirror" / "own" / "images", splits)
    for kind in ("train", "test"):
        for number in range(20):
            path = folder / "pictures" / kind / "a" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(synthetic.encoded(pixels[0, number]))
    for name, arguments in SUBJECTS.items():
        data = ["--data-dir", str(folder / "tfd")] * (name == "two stages")
        given = [*arguments, *data, "--out", str(folder / name.replace(" ", "-"))]
        main([*given, "--epochs", "2"])
    for name, options in OTHERS.items():
        given = ["--dataset", "digits", "--epochs", "2", *OTHER, *options]
        main([name, *given, "--out", str(folder / name)])
    one = str(folder / "one-run")
    main([*SUBJECTS["one run"], "--out", one, "--epochs", "4", "--resume"])
    main(["parzen", one, "--num-samples", "50"])
    main(["check", one])
    main(["table1", "--runs", one, "--out", str(folder / "table")])
    runs = [one, *(str(folder / name) for name in TABLE2)]
    few = ["--preset", "quick", "--num-samples", "1000"]
    main(["table2", *runs, *few, "--out", str(folder / "table2")])
    call_section_7(folder)
    rows = str(folder / "rows.json")
    main(["references", "--dataset", "digits", "--iterations", "1", "--out", rows])
    main([*DIGITS, "--preset", "quick", "--verify-replay"])
    advnets.data.load("own/images", folder / "mirror")
    advnets.data.load("imagefolder", folder / "pictures")
    verify.main(["--only", "prop1-optimal-discriminator", "--out", str(folder / "claims")])


def call_section_7(folder):
    """Commands on runs of the paper's section 7, and of what keeps a game together."""
    one, filled = str(folder / "one-run"), str(folder / "mnist-inpainting")
    main(["parzen", filled, "--num-samples", "50"])
    options = [*OTHER, *OTHERS["mnist-inpainting"], "--epochs", "1", "--seeds", "2"]
    main(["mnist-inpainting", "--dataset", "digits", *options, "--out", str(folder / "filled-2")])
    main(["features", one, "--labels", "100", "--draws", "2"])
    with mock.patch.object(bench.inference, "PAIRS", 200):
        main(["inference", one, "--preset", "quick", "--steps", "100"])
    with mock.patch.object(methods, "WIDTH", 4):
        main(["stabilisers", "--preset", "quick", "--seeds", "2", "--out", str(folder / "modes")])


def run_untraced(folder):
    """Trains a few tiny games without compilation, so that what is traced otherwise is called."""
    key, images = jax.random.key(0), games.images(6)
    algorithms = [
        advnets.Algorithm1(),
        advnets.Algorithm1(k=2, average=0.9),
        advnets.Simultaneous(),
        advnets.coordination.Extragradient(),
        advnets.coordination.Consensus(weight=0.1),
        advnets.coordination.Unrolled(steps=1, rule=optax.sgd(0.1)),
    ]
    common = {"batch_size": 2, "epochs": 1, "progress": False}
    with jax.disable_jit():
        for algorithm in algorithms:
            advnets.train(key, games.noisy(key), images, algorithm=algorithm, **common)
        streamed = advnets.training.Streamed(images)
        advnets.train(key, games.plain(key), streamed, **common)
        learner = advnets.training.Learner(cost=squared_distance, updates=optax.sgd(0.1))
        heard = {"learner": learner, "callbacks": [repr], **common}
        advnets.training.fit(key, jnp.zeros(images.shape[1:]), images, **heard)


def squared_distance(key, model, memory, batch):
    return jnp.mean((batch - model[None]) ** 2), memory, {}


def since_2014():
    """The objectives that come ready, and the penalties."""
    kinds = objectives.divergences.Divergence.__subclasses__()
    ours = [kind for kind in kinds if kind.__module__ == objectives.divergences.__name__]
    penalties = objectives.R1(0.1), objectives.R2(0.1), objectives.GradientPenalty(1.0)
    return (
        objectives.LeastSquares(),
        objectives.Hinge(),
        objectives.Wasserstein(),
        objectives.Relativistic(),
        *(objectives.FGAN(kind()) for kind in ours),
        objectives.Penalised(objectives.GAN(), *penalties),
        objectives.InstanceNoise(objectives.GAN(), 0.1, 10),
    )


def run_others(into, folder):
    """Calls what neither examples nor runs call with concrete arguments."""
    key, images = jax.random.key(0), games.images(6)
    labels = np.arange(6) % 2
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("devices",))
    tree = {"w": jnp.ones((4, 2))}
    call_baselines(key, folder)
    chained.ChainSettings()
    write_pages(key, folder)
    devices.place(tree, devices.replicated(mesh))
    devices.place(tree, devices.shardings_of_layers(mesh, tree))
    devices.local(devices.place(tree, devices.sharded(mesh, 0)))
    devices.ShardedPrior(4, advnets.priors.Normal(4), devices.sharded(mesh))(key, 3)
    advnets.priors.Uniform(4)
    identity.changeable("optimizers")
    resident = advnets.training.Resident((images, labels))
    resident.labels()
    streamed = advnets.training.Streamed((images, labels))
    streamed.labels()
    streamed.fingerprint()
    advnets.training.Streamed((images, labels), lambda batch: batch).labels()
    advnets.conditions.Labels((0.5, 0.5)).check((labels,))
    critic = advnets.objectives.OnLogits(
        lambda real, fake: jnp.mean(fake) - jnp.mean(real), lambda fake: -jnp.mean(fake)
    )
    batch = jnp.ones((3, 2))
    drawn = dataclasses.replace(draws.discriminator_draws(key), iteration=jnp.array(0))
    for objective in (critic, objectives.GAN(), *since_2014()):
        objective.costs(drawn, lambda key, x: jnp.sum(x, axis=-1), batch, -batch)
    call_later_games(key, drawn, batch)
    call_own_game(folder)
    advnets.objectives.Costs(jnp.array(1.0), jnp.array(0.5))
    advnets.players.Frozen(eqx.nn.Linear(2, 3, key=key))(jnp.ones(2))
    norm = eqx.nn.make_with_state(eqx.nn.SpectralNorm)(
        eqx.nn.Linear(2, 3, key=key), "weight", key=key
    )
    advnets.players.Stateful(*norm)(jnp.ones(2))
    sampler = advnets.Model(games.plain(key).generator, advnets.priors.Uniform(games.LATENT))
    sampler(key, 3)
    masses = jnp.array([0.5, 0.25, 0.25]), jnp.array([0.25, 0.25, 0.5])
    traceable.virtual_criterion(*masses)
    report.markdown_table()
    data = advnets.data.load("digits")
    data.with_channels()
    with contextlib.suppress(ValueError, OSError):
        hub.load_hub("mnist", folder / "mirror")
    hub.HubImages("own/images", "image", (6, 6), 60, (60, 20))
    one = folder / "one-run"
    bench.load_model(one)
    bench.rescore(one, 30, progress=False)
    reference_rows.prepare("digits", iterations=1, out=folder / "again.json")()
    cli.listing()
    images_of = systems.TrainingImages(bench.Settings())
    images_of.check(data, None)
    images_of.check_room(data, 1)
    images_of.check_together()
    images_of.order()
    images_of.title()
    images_of.context()
    images_of.adapted(data)
    with contextlib.suppress(FileNotFoundError):
        images_of.load(folder / "model", (8, 8))
    fitted = into["advnets.bench.systems.images.TrainingImages.fit"][0]
    images_of.fit_together([fitted["run"]], [fitted["watch"]], folder, progress=False)
    with jax.disable_jit():
        advnets.train_many(
            jax.random.split(key, 2),
            eqx.filter_vmap(games.plain)(jax.random.split(key, 2)),
            images,
            epochs=1,
            batch_size=2,
            progress=False,
        )
    registered = registry.claim(
        "harvested",
        statement="",
        source="",
        computes="",
        tolerance=1.0,
        reason="",
        faults=[registry.Fault("none", {})],
    )
    registered(lambda seed: registry.Finding(0.0))


class WithoutMap(advnets.priors.Prior):
    size: int

    def __call__(self, key, n):
        return jnp.zeros((n, self.size))


class OwnGame(games_of.Game):
    settings_type = settings.GameSettings

    def build(self, key, images):
        return games.plain(key)

    def algorithm(self):
        return advnets.Algorithm1()


def call_own_game(folder):
    """Calls what a game that a user writes inherits."""
    game = OwnGame(settings.GameSettings())
    game.players(games.SHAPE)
    game.sample_key(0)
    game.varied([])
    path = folder / "own-game.safetensors"
    advnets.save_model(path, advnets.model.model_of(games.plain(jax.random.key(0))))
    game.load(path, games.SHAPE)


def call_later_games(key, drawn, batch):
    """Calls parts of the games of section 7 that their runs call while they are traced."""
    hidden = eqx.nn.Sequential([eqx.nn.Linear(2, 4, key=key)])
    head = eqx.nn.Sequential([eqx.nn.Linear(4, 3, key=key), few_labels.Shift(jnp.ones(3))])
    judge, pair = few_labels.Classifier(hidden, head), (batch, jnp.array([0, 1, 2]))
    head(jnp.ones(4))
    judge(jnp.ones(2))
    few_labels.outputs_of(key, judge, batch)

    def judged(key, examples):
        return advnets.players.apply(judge, None, examples)[0]

    judged.player = judge
    few_labels.FewLabels(*pair, batch_size=2).costs(drawn, judged, batch, -batch)
    model = few_labels.SemiSupervised(lambda z: z, advnets.priors.UnitCube(2), classifier=judge)
    model.classify(batch)
    masks = batch > 0
    game = inpainting.Inpainting(reconstruction=1.0)
    game.judged(batch, (batch, masks))
    game.costs(drawn, lambda key, x: jnp.sum(x[0], axis=-1), batch, (batch, masks))
    objectives.GAN().judged(batch, -batch)
    advnets.priors.UnitCube(2).from_normal(batch)
    with contextlib.suppress(NotImplementedError):
        WithoutMap(2).from_normal(batch)
    varied = advnets.layers.MinibatchDeviation()
    with contextlib.suppress(NameError):
        varied(jnp.ones(2))
    advnets.bench.systems.conditional.Preprocessed("unit")((jnp.ones((3, 2), jnp.uint8), pair[1]))
    methods.Scaled(2.0)(batch)
    methods.Method(said="its own").players(key, 8)
    unrolled = advnets.coordination.Unrolled(steps=1, rule=optax.sgd(0.1))
    players, real = games.plain(key), jnp.ones((2, *games.SHAPE))
    algorithm = unrolled.for_epochs_of(3)
    algorithm.unrolled(draws.generator_draws(key), players, algorithm.init(players), real)
    advnets.monitor.frozen.as_applied(games.plain(key))
    net = advnets.inference.inference_network(key, (2,), 3, hidden_sizes=[4])
    advnets.inference.Inference(net, advnets.priors.Normal(3), spread=False).latents(batch)


def call_baselines(key, folder):
    """Calls methods of Table 1's other systems that their runs call while they are traced."""
    pictures = jnp.ones((3, 2, 2))
    stack = cae.grow(key, cae.new_stack(key, (2, 2), 5), 4)
    layer, walk = cae.new_layer(key, 4, 5), cae.Walk(stack, 1.0)
    codes = layer.encode(pictures.reshape(3, 4))
    layer.decode(codes)
    layer.spread(codes, codes)
    stack.pictures(stack.inputs(pictures))
    stack.cross_entropies(pictures)
    walk.means(walk.step(key, walk.start(key, pictures)))
    clamped = inference.Clamped(walk, pictures, jnp.array([[True, False], [True, False]]))
    clamped.means(clamped.step(key, clamped.start(key, pictures)))
    machine = rbm.start(key, np.full(4, 0.5), hidden=3)
    machine.energy(jnp.ones((2, 4)), jnp.ones((2, 3)))

    model = advnets.load_model(folder / "vae")
    found.in_unit_interval(model.decode(jnp.ones((2, 3))))
    inference.decoded(model, jnp.ones((2, 3)))
    model.reconstruct(jnp.ones((2, 8, 8)))


def write_pages(key, folder):
    """Writes pages of finished runs, and pictures of a run that the command line did not make."""
    run = folder / "one-run"
    bench.write_explorer(run)
    bench.write_comparison([run, folder / "two-stages"], folder / "comparison.html")
    commands.ExploreOptions(run)
    commands.CheckOptions(run)
    pages.layers.rounded(games.plain(key).generator, "int8")
    pages.chain.rounded(advnets.load_model(folder / "gsn").chain, "int8")
    pages.sections.base.Section("one", "One", "", lambda seen: None)
    images = advnets.data.load("digits").train[:20]
    players = bench.recipes.build_players(key, bench.BENCHMARKS["digits"].recipe, images)
    place = folder / "by-train"
    advnets.train(key, players, images, epochs=1, batch_size=10, folder=place, progress=False)


def gather(into, folder):
    """Fills in calls of every function, from small runs and all examples."""
    with gathering(into):
        run_commands(folder)
        run_untraced(folder)
        run_others(into, folder)
        run_examples()
    registry.CLAIMS.pop("harvested", None)
