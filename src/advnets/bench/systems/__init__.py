"""The systems that experiments fit, and the reference rows as systems."""

from advnets.bench.systems.adversarial import Adversarial as Adversarial
from advnets.bench.systems.base import Fitted as Fitted
from advnets.bench.systems.base import Run as Run
from advnets.bench.systems.base import System as System
from advnets.bench.systems.cae import StackedCAE as StackedCAE
from advnets.bench.systems.chained import CHAIN_EVALUATIONS as CHAIN_EVALUATIONS
from advnets.bench.systems.chained import ChainSettings as ChainSettings
from advnets.bench.systems.conditional import Conditional as Conditional
from advnets.bench.systems.games import Game as Game
from advnets.bench.systems.images import Centroids as Centroids
from advnets.bench.systems.images import TrainingImages as TrainingImages
from advnets.bench.systems.inpainting import Inpainting as Inpainting
from advnets.bench.systems.vae import VariationalAutoencoder as VariationalAutoencoder
from advnets.paper_figures import Sampler as Sampler
