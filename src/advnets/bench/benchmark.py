"""A benchmark: settings with a name, the system that takes them, and what is known about both."""

import dataclasses

from advnets.bench.settings import Settings
from advnets.bench.systems.base import System


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Settings with a name, the system that they are for, and what is known about them."""

    name: str
    recipe: Settings
    system: type[System]
    """The class of what is fitted; it is built from the recipe."""
    summary: str
    """What it does."""
    needs: str
    """The data that it needs."""
    cost: str = "not measured"
    """How long it takes, and on what."""
    expected: str = "nothing published"
    """What the paper says to expect, and where it says it."""
    quick: Settings | None = None
    """Smaller settings of the same kind, done in a minute or two."""
    published: tuple[float, float] | None = None
    """The paper's log-likelihood on the test set and its standard error, in nats."""

    @property
    def command(self) -> str:
        """What runs it from a shell."""
        return f"python -m advnets.bench {self.name}"
