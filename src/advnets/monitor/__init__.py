"""Whether a game is at its equilibrium, and whether the generator has collapsed.

[`advnets.monitor.best_response`][] trains a copy of D alone against a frozen G: how much D could
still gain, and how far p_g is from the data at least. [`advnets.monitor.collapse`][] compares
samples with held-out rows. [`advnets.monitor.Monitor`][] does both while a run goes on.
"""

from advnets.monitor.callback import Monitor as Monitor
from advnets.monitor.drawing import figure as figure
from advnets.monitor.response import BestResponse as BestResponse
from advnets.monitor.response import Estimate as Estimate
from advnets.monitor.response import best_response as best_response
from advnets.monitor.samples import Collapse as Collapse
from advnets.monitor.samples import RealRows as RealRows
from advnets.monitor.samples import collapse as collapse
from advnets.monitor.samples import real_rows as real_rows
