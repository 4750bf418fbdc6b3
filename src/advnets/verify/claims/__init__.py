"""The claims, a module for each statement of the paper, in the paper's order.

Importing this package registers them in [`advnets.verify.CLAIMS`][].
"""

from advnets.verify.claims import equation_1 as equation_1
from advnets.verify.claims import proposition_1 as proposition_1
from advnets.verify.claims import theorem_1 as theorem_1
