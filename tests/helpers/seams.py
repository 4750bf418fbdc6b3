"""The one door to internals: what tests replace, or look at, that is no public name, and why."""

import jax

import advnets
from advnets import _distances, chains, parzen
from advnets.training import devices, drive, loop, program, sources

# The error that a distance is told to have at most, which no public function returns.
squared_distances = _distances.squared_distances
# The log densities that scores are means of.
streamed_log_density = parzen._streamed_log_density


def samples_per_call(monkeypatch, n):
    """Small blocks, so that a few samples fill several."""
    monkeypatch.setattr(advnets.model, "SAMPLES_PER_CALL", n)


def group_rows(monkeypatch, n):
    """Small groups of samples, so that a few fill several."""
    monkeypatch.setattr(parzen, "GROUP_ROWS", n)


def seconds_between_notes(monkeypatch, seconds):
    """Notes of an evaluation after every group, as a long one would leave."""
    monkeypatch.setattr(parzen, "SECONDS_BETWEEN_NOTES", seconds)


def recompute(monkeypatch, function):
    """To see which distances are taken for doubtful."""
    monkeypatch.setattr(parzen, "recompute", function)


def compiled_log_density(monkeypatch, function):
    """To count how often it is traced."""
    monkeypatch.setattr(parzen, "_compiled_log_density", function)


def samples_per_walk(monkeypatch, n):
    """Short programs of chains, so that a few samples take several."""
    monkeypatch.setattr(chains, "SAMPLES_PER_CALL", n)
    monkeypatch.setattr(chains, "STEPS_PER_CALL", n)


def before_walks(monkeypatch, action):
    """What happens before each compiled program of chains; it is told the step that they are at."""
    walk = chains._walk

    def watched(*inputs, **options):
        action(int(options["first"]))
        return walk(*inputs, **options)

    monkeypatch.setattr(chains, "_walk", watched)


def score_anew(monkeypatch, function):
    """To see under which setting of JAX a finished run is scored again."""
    from advnets.bench import rescoring  # only here, as its imports take a while

    monkeypatch.setattr(rescoring, "score", function)


def iterations_per_call(monkeypatch, n):
    """Short programs, so that a few iterations take several."""
    monkeypatch.setattr(drive, "ITERATIONS_PER_CALL", n)


def bytes_per_chunk(monkeypatch, n):
    """Small chunks of streamed data, so that a few rows take several."""
    monkeypatch.setattr(sources, "BYTES_PER_CHUNK", n)


def bytes_per_look(monkeypatch, n):
    """A fingerprint that looks at a few rows at a time."""
    monkeypatch.setattr(sources, "BYTES_PER_LOOK", n)


def games_in_a_loop(monkeypatch, yes):
    """Many games one after another, as on a CPU, or side by side, as on a GPU."""
    monkeypatch.setattr(program, "on_cpu", lambda: yes)


def programs_of_many_games(monkeypatch):
    """The programs of many games that are run, as text: what is a branch in them, say."""
    seen, advance = [], program.ManyGames.advance

    def watched(self, *inputs):
        seen.append(
            str(jax.make_jaxpr(self.advance_fixed)(inputs[0], self._placed_fixed, *inputs[1:]))
        )
        return advance(self, *inputs)

    monkeypatch.setattr(program.ManyGames, "advance", watched)
    return seen


def large(monkeypatch, n):
    """Layers of a tiny game taken for large ones."""
    monkeypatch.setattr(devices, "LARGE", n)


class Game(program.OneGame):
    """The program of one game, to look at what is compiled and where its arrays are."""

    def compiled_text(self, key, *inputs):
        return self._advance.lower(key, self._fixed, *inputs).compile().as_text()

    @property
    def compilations(self):
        return self._advance._cache_size()


def one_game(algorithm, players, data, batch_size, mesh, *, shard_layers=False):
    """A program, and what it is called with: a key, a state, the data, rows of 4 iterations."""
    source = sources.Resident(data)
    game = Game(algorithm, players, source, batch_size, mesh, shard_layers=shard_layers)
    rows = jax.numpy.zeros((4, batch_size), int)
    key = game.place_keys(jax.random.key(0))
    return game, (key, game.init(players), source.place(mesh), rows)


def after_programs(monkeypatch, actions):
    """What happens after the first, second and so on compiled program of a run, counted from 0."""
    advance, count = program.OneGame.advance, iter(range(10**6))

    def watched(self, *inputs):
        found = advance(self, *inputs)
        actions.get(next(count), lambda: None)()
        return found

    monkeypatch.setattr(program.OneGame, "advance", watched)


def seconds_between_checkpoints(monkeypatch, seconds):
    """Checkpoints after every program, as a long run would leave."""
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", seconds)


def page_of(explorer):
    """A page that has an explorer alone: those that are written are of a run's folder."""
    from advnets.bench.pages import writing
    from advnets.bench.pages.sections import explorer as exploring

    section = writing._filled("explorer", "Explorer", exploring.TEMPLATE, **vars(explorer))
    return writing._page("Explorer", "", "", [section])
