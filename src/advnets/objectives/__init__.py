"""Objectives: what each player descends, given the discriminator as a function.

An objective maps D, a batch of data and a batch of generated examples to a cost for each player. It
may call D any number of times, on any inputs, and differentiate it; so costs on logits,
relativistic pairs and gradient penalties are all of one kind. [`advnets.objectives.Penalised`][]
adds penalties to any of them, [`advnets.objectives.InstanceNoise`][] adds noise.
"""

from advnets.objectives import divergences as divergences
from advnets.objectives.base import Applied as Applied
from advnets.objectives.base import Costs as Costs
from advnets.objectives.base import DiscriminatorCost as DiscriminatorCost
from advnets.objectives.base import GeneratorCost as GeneratorCost
from advnets.objectives.base import Objective as Objective
from advnets.objectives.f_gan import FGAN as FGAN
from advnets.objectives.gan import GAN as GAN
from advnets.objectives.gan import negative_value as negative_value
from advnets.objectives.hinge import Hinge as Hinge
from advnets.objectives.instance_noise import InstanceNoise as InstanceNoise
from advnets.objectives.least_squares import LeastSquares as LeastSquares
from advnets.objectives.of_logits import OfLogits as OfLogits
from advnets.objectives.of_logits import OnLogits as OnLogits
from advnets.objectives.penalised import Penalised as Penalised
from advnets.objectives.penalties import R1 as R1
from advnets.objectives.penalties import R2 as R2
from advnets.objectives.penalties import GradientPenalty as GradientPenalty
from advnets.objectives.penalties import Penalty as Penalty
from advnets.objectives.relativistic import Relativistic as Relativistic
from advnets.objectives.wasserstein import Wasserstein as Wasserstein
