"""HTML pages of runs: a report, a latent explorer, a comparison.

A page is generated from a run's folder and loads nothing else: it can be mailed, archived and
opened offline. Nothing reads it, and it can be generated again at any time.
"""

from advnets.bench.pages.writing import write_comparison as write_comparison
from advnets.bench.pages.writing import write_explorer as write_explorer
from advnets.bench.pages.writing import write_report as write_report
