"""HTML pages of runs: a report, a latent explorer, a comparison.

A page is made from a run's folder alone and loads nothing: it can be mailed, archived and opened
without a network. Nothing reads it, and it can be made again at any time.
"""

from advnets.bench.pages.writing import write_comparison as write_comparison
from advnets.bench.pages.writing import write_explorer as write_explorer
from advnets.bench.pages.writing import write_report as write_report
