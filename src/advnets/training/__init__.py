"""The training driver: compiled programs over resident or streamed data, resumable bit for bit."""

from advnets.training.callbacks import Callback as Callback
from advnets.training.callbacks import Measuring as Measuring
from advnets.training.callbacks import Snapshot as Snapshot
from advnets.training.callbacks import StopTraining as StopTraining
from advnets.training.checkpoints import CheckpointError as CheckpointError
from advnets.training.devices import Devices as Devices
from advnets.training.event_files import tensorboard as tensorboard
from advnets.training.learning import Learned as Learned
from advnets.training.learning import Learner as Learner
from advnets.training.learning import ModelSnapshot as ModelSnapshot
from advnets.training.learning import fit as fit
from advnets.training.run import Evaluate as Evaluate
from advnets.training.run import EvaluateRun as EvaluateRun
from advnets.training.run import Trained as Trained
from advnets.training.run import train as train
from advnets.training.run import train_many as train_many
from advnets.training.sources import Resident as Resident
from advnets.training.sources import Source as Source
from advnets.training.sources import Streamed as Streamed
from advnets.training.watch import TrainingDiverged as TrainingDiverged
