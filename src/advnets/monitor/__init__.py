"""Whether a game is at its equilibrium, and whether the generator has collapsed.

[`advnets.monitor.best_response`][] trains a copy of D alone against a frozen G: this shows how much
D could still gain, and bounds the distance of p_g from the data from below.
[`advnets.monitor.duality_gap`][] also trains a copy of G alone against a frozen D.
[`advnets.monitor.collapse`][] compares samples with held-out rows. [`advnets.monitor.Monitor`][]
does both during a run.
"""

from advnets.monitor._rows import Estimate as Estimate
from advnets.monitor.callback import Monitor as Monitor
from advnets.monitor.drawing import figure as figure
from advnets.monitor.gap import DualityGap as DualityGap
from advnets.monitor.gap import GeneratorResponse as GeneratorResponse
from advnets.monitor.gap import duality_gap as duality_gap
from advnets.monitor.response import BestResponse as BestResponse
from advnets.monitor.response import best_response as best_response
from advnets.monitor.samples import Collapse as Collapse
from advnets.monitor.samples import RealRows as RealRows
from advnets.monitor.samples import collapse as collapse
from advnets.monitor.samples import real_rows as real_rows
