"""A benchmark: named settings, the system that they are for, and what is known about both."""

import dataclasses

from advnets.bench.settings import Settings
from advnets.bench.systems.base import System


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Named settings, the system that they are for, and what is known about them."""

    name: str
    recipe: Settings
    system: type[System]
    """The class of the system to fit; it is built from the recipe."""
    summary: str
    """What it does."""
    needs: str
    """The data that it needs."""
    cost: str = "not measured"
    """How long it takes, and on which hardware."""
    expected: str = "nothing published"
    """The result to expect, and its source."""
    quick: Settings | None = None
    """Smaller settings of the same kind, done in a minute or two."""
    published: tuple[float, float] | None = None
    """The paper's log-likelihood on the test set and its standard error, in nats."""

    @property
    def command(self) -> str:
        """The shell command that runs it."""
        return f"python -m advnets.bench {self.name}"
