"""The systems that the paper compares adversarial nets with (Tables 1 and 2)."""

from advnets.baselines import cae as cae
from advnets.baselines import vae as vae
