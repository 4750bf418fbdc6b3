"""The paper's theory on discretised densities.

Arrays in, NumPy float64 out: probability vectors, or densities on a grid with a cell volume.
"""

from advnets.verify.criterion import jensen_shannon as jensen_shannon
from advnets.verify.criterion import kullback_leibler as kullback_leibler
from advnets.verify.criterion import optimal_discriminator as optimal_discriminator
from advnets.verify.criterion import value_on_grid as value_on_grid
from advnets.verify.criterion import virtual_criterion as virtual_criterion
from advnets.verify.densities import masses as masses
