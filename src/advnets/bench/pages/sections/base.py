"""What a section of the report is."""

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
        template: what it shows, in Jinja's language; text from `gather` goes in escaped. `parts`
            has what several sections need, such as a slider over pictures.
        gather: gives what the template needs of a run; None where there is nothing to show.
    """

    name: str
    title: str
    template: str
    gather: Callable[[Seen], dict[str, Any] | None]
