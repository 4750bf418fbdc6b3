"""Generative Adversarial Nets (Goodfellow et al., 2014) as a typed functional library.

Everything that a user imports is here once, or in the modules [`advnets.data`][],
[`advnets.preprocessing`][], [`advnets.parzen`][], [`advnets.neighbours`][],
[`advnets.memorisation`][] and
[`advnets.figures`][]. Signatures are checked when a function is called (inside `jax.jit`, when it
is traced, so at no cost to a compiled step); `ADVNETS_TYPECHECK=0` in the environment switches
that off.
"""

import contextlib
import os

from jaxtyping import install_import_hook

from advnets import _checking  # before the hook, which it is part of

with (
    contextlib.nullcontext()
    if os.environ.get("ADVNETS_TYPECHECK") == "0"
    else install_import_hook("advnets", f"{_checking.__name__}.checked")
):
    from advnets import data as data
    from advnets import figures as figures
    from advnets import memorisation as memorisation
    from advnets import neighbours as neighbours
    from advnets import parzen as parzen
    from advnets import preprocessing as preprocessing
    from advnets._checkpoints import CheckpointError as CheckpointError
    from advnets.algorithm1 import Algorithm1 as Algorithm1
    from advnets.algorithm1 import DiscriminatorInfo as DiscriminatorInfo
    from advnets.algorithm1 import GeneratorInfo as GeneratorInfo
    from advnets.algorithm1 import Info as Info
    from advnets.algorithm1 import State as State
    from advnets.algorithm1 import generate as generate
    from advnets.algorithm1 import judge as judge
    from advnets.convolutions import Convolution as Convolution
    from advnets.convolutions import Deconvolution as Deconvolution
    from advnets.convolutions import MaxoutConv2d as MaxoutConv2d
    from advnets.game import BlendedCost as BlendedCost
    from advnets.game import discriminator_cost as discriminator_cost
    from advnets.game import minimax_cost as minimax_cost
    from advnets.game import non_saturating_cost as non_saturating_cost
    from advnets.game import value_function as value_function
    from advnets.interpolation import interpolate as interpolate
    from advnets.interpolation import interpolate_between as interpolate_between
    from advnets.layers import Dropout as Dropout
    from advnets.layers import GaussianNoise as GaussianNoise
    from advnets.layers import Maxout as Maxout
    from advnets.layers import linear as linear
    from advnets.layers import marginal_bias as marginal_bias
    from advnets.layers import sparse_linear as sparse_linear
    from advnets.layers import sparse_normal as sparse_normal
    from advnets.layers import uniform_range as uniform_range
    from advnets.models import load_model as load_model
    from advnets.models import save_model as save_model
    from advnets.networks import deconvolutional_generator as deconvolutional_generator
    from advnets.networks import maxout_discriminator as maxout_discriminator
    from advnets.networks import mlp_generator as mlp_generator
    from advnets.networks import stacked_generator as stacked_generator
    from advnets.paper_figures import figure_2 as figure_2
    from advnets.paper_figures import figure_3 as figure_3
    from advnets.priors import Normal as Normal
    from advnets.priors import Prior as Prior
    from advnets.priors import Spherical as Spherical
    from advnets.priors import Uniform as Uniform
    from advnets.released_options import GradientFloor as GradientFloor
    from advnets.released_options import LazyDiscriminatorCost as LazyDiscriminatorCost
    from advnets.released_options import ThresholdedCost as ThresholdedCost
    from advnets.released_options import shrink as shrink
    from advnets.sampling import SampleBlocks as SampleBlocks
    from advnets.sampling import sample as sample
    from advnets.sampling import sample_blocks as sample_blocks
    from advnets.training import Trained as Trained
    from advnets.training import TrainingDiverged as TrainingDiverged
    from advnets.training import train as train
    from advnets.training import train_seeds as train_seeds
    from advnets.updates import column_norm_limit as column_norm_limit
    from advnets.updates import decayed_learning_rate as decayed_learning_rate
    from advnets.updates import kernel_norm_limit as kernel_norm_limit
    from advnets.updates import momentum as momentum
    from advnets.updates import momentum_ramp as momentum_ramp
    from advnets.updates import released_updates as released_updates

__version__ = "0.1.0"
