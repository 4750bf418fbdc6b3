"""The systems that the paper compares adversarial nets with, in Table 1 and Table 2."""

from advnets.baselines import cae as cae
from advnets.baselines import vae as vae
