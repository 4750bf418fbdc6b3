"""The claims: a module for each statement of the paper, in its order, then on later games.

Importing this package registers them in [`advnets.verify.CLAIMS`][].
"""

from advnets.verify.claims import section_2_and_6 as section_2_and_6  # isort: skip
from advnets.verify.claims import noise_contrastive as noise_contrastive  # isort: skip
from advnets.verify.claims import equation_1 as equation_1  # isort: skip
from advnets.verify.claims import saturation as saturation  # isort: skip
from advnets.verify.claims import discriminator_steps as discriminator_steps  # isort: skip
from advnets.verify.claims import helvetica as helvetica  # isort: skip
from advnets.verify.claims import proposition_1 as proposition_1  # isort: skip
from advnets.verify.claims import best_response as best_response  # isort: skip
from advnets.verify.claims import figure_1 as figure_1  # isort: skip
from advnets.verify.claims import theorem_1 as theorem_1  # isort: skip
from advnets.verify.claims import duality_gap as duality_gap  # isort: skip
from advnets.verify.claims import certified as certified  # isort: skip
from advnets.verify.claims import proposition_2 as proposition_2  # isort: skip
from advnets.verify.claims import section_4_2_caveat as section_4_2_caveat  # isort: skip
from advnets.verify.claims import parzen_estimate as parzen_estimate  # isort: skip
from advnets.verify.claims import all_conditionals as all_conditionals  # isort: skip
from advnets.verify.claims import objectives as objectives  # isort: skip
from advnets.verify.claims import f_gans as f_gans  # isort: skip
from advnets.verify.claims import penalties as penalties  # isort: skip
from advnets.verify.claims import conditional as conditional  # isort: skip
from advnets.verify.claims import dirac as dirac  # isort: skip
from advnets.verify.claims import better_z as better_z  # isort: skip
