"""The data sets, as uint8 arrays, split as in the paper.

`digits` comes with scikit-learn and needs no download. `tfd` is read from the file that its
licensees have. The others are read with Hugging Face `datasets`, from the Hub, from a local mirror
of its repositories, or from a folder of image files. No code that comes with a data set is run.
"""

from advnets.data.dataset import DataError as DataError
from advnets.data.dataset import Dataset as Dataset
from advnets.data.dataset import Fold as Fold
from advnets.data.loading import Name as Name
from advnets.data.loading import load as load
