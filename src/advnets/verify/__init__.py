"""The paper's theory on discretised densities, claim by claim.

The functions of the criterion take probability vectors, or densities on a grid with a cell volume,
and return NumPy float64. Each of `CLAIMS` checks a statement of the paper by a computation with a
verdict; `python -m advnets.verify` runs them.
"""

from advnets import _checking

with _checking.of_modules(
    *(f"advnets.verify.{name}" for name in ("families", "registry", "report", "traceable"))
):
    from advnets.verify import families as families
    from advnets.verify import registry as registry
    from advnets.verify import report as report
    from advnets.verify import traceable as traceable

from advnets.verify import claims as claims
from advnets.verify.criterion import jensen_shannon as jensen_shannon
from advnets.verify.criterion import kullback_leibler as kullback_leibler
from advnets.verify.criterion import optimal_discriminator as optimal_discriminator
from advnets.verify.criterion import suboptimality as suboptimality
from advnets.verify.criterion import value_on_grid as value_on_grid
from advnets.verify.criterion import virtual_criterion as virtual_criterion
from advnets.verify.densities import masses as masses
from advnets.verify.descent import Descent as Descent
from advnets.verify.descent import asymptotic_factor as asymptotic_factor
from advnets.verify.descent import mirror_descent as mirror_descent
from advnets.verify.descent import projected_gradient as projected_gradient
from advnets.verify.registry import CLAIMS as CLAIMS
from advnets.verify.registry import run_claim as run_claim
