"""Generative Adversarial Nets (Goodfellow et al., 2014) as a typed functional library.

The names that most programs need are here; the rest is in modules by topic, such as
[`advnets.game`][], [`advnets.objectives`][], [`advnets.networks`][], [`advnets.updates`][],
[`advnets.data`][] and [`advnets.parzen`][]. Signatures are checked when a function is called
(inside `jax.jit`, when it is traced, so at no cost to a compiled step); set `ADVNETS_TYPECHECK=0`
in the environment to switch that off.
"""

import sys

from advnets import _signals

if sys.argv[:1] == ["-m"] and "advnets.bench" in sys.orig_argv:
    # The command line: handle stop signals from here on, as the imports take a while.
    _signals.install()

from advnets import _checking

with _checking.of_modules("advnets"):
    from advnets import algorithms as algorithms
    from advnets import batches as batches
    from advnets import chains as chains
    from advnets import conditional as conditional
    from advnets import conditions as conditions
    from advnets import convolutions as convolutions
    from advnets import coordination as coordination
    from advnets import csl as csl
    from advnets import data as data
    from advnets import draws as draws
    from advnets import energy as energy
    from advnets import few_labels as few_labels
    from advnets import figures as figures
    from advnets import game as game
    from advnets import inference as inference
    from advnets import inpainting as inpainting
    from advnets import layers as layers
    from advnets import memorisation as memorisation
    from advnets import mixing as mixing
    from advnets import model as model
    from advnets import monitor as monitor
    from advnets import neighbours as neighbours
    from advnets import networks as networks
    from advnets import objectives as objectives
    from advnets import paper_figures as paper_figures
    from advnets import parzen as parzen
    from advnets import players as players
    from advnets import preprocessing as preprocessing
    from advnets import priors as priors
    from advnets import rejection as rejection
    from advnets import training as training
    from advnets import unet as unet
    from advnets import updates as updates
    from advnets.algorithms import Algorithm1 as Algorithm1
    from advnets.algorithms import Simultaneous as Simultaneous
    from advnets.algorithms import State as State
    from advnets.model import Model as Model
    from advnets.model_files import load_model as load_model
    from advnets.model_files import save_model as save_model
    from advnets.players import Players as Players
    from advnets.training import CheckpointError as CheckpointError
    from advnets.training import Trained as Trained
    from advnets.training import TrainingDiverged as TrainingDiverged
    from advnets.training import train as train
    from advnets.training import train_many as train_many

__version__ = "0.1.0"
