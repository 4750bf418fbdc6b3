"""The type of a section of the report."""

import dataclasses
from collections.abc import Callable
from typing import Any

from advnets.bench.pages.reading import Seen


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a run's report.

    Attributes:
        name: its anchor, a word.
        title: its heading.
        template: its content as a Jinja template; text from `gather` is escaped. `parts` has
            macros that several sections need, such as a slider over pictures.
        gather: returns the values of a run for the template; None if there is nothing to show.
    """

    name: str
    title: str
    template: str
    gather: Callable[[Seen], dict[str, Any] | None]
