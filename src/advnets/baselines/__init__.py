"""The systems that the paper compares adversarial nets with (Tables 1 and 2)."""

from advnets import _checking

with _checking.of_modules("advnets.baselines"):
    from advnets.baselines import ais as ais
    from advnets.baselines import cae as cae
    from advnets.baselines import dbn as dbn
    from advnets.baselines import fillers as fillers
    from advnets.baselines import gsn as gsn
    from advnets.baselines import rbm as rbm
    from advnets.baselines import vae as vae
