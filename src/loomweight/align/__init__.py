"""Bring networks that were trained apart into the same coordinates, so that rules can combine them.

Each method returns an edit (1 -> 1) that maps the weights of one network into the coordinates of another; `weights.axes` says which
axes carry the same units. Nothing here averages: that is a rule's work.
"""

from .activation_costs import Network as Network
from .activation_costs import activation_costs as activation_costs
from .activation_matching import activation_matching as activation_matching
from .assignment import assignment as assignment
from .batch_norm import renew_batch_norm as renew_batch_norm
from .cla_fusion import cla_fusion as cla_fusion
from .features import Fit as Fit
from .fleet import Fleet as Fleet
from .fleet import fleet_merge as fleet_merge
from .fleet import fleet_rounds as fleet_rounds
from .layer_match import LayerEvidence as LayerEvidence
from .layer_match import layer_evidence as layer_evidence
from .many import between as between
from .many import match_cycle_consistent as match_cycle_consistent
from .many import match_to_mean as match_to_mean
from .many import match_to_reference as match_to_reference
from .ot_fusion import ot_align_all as ot_align_all
from .ot_fusion import ot_fusion as ot_fusion
from .passes import loaded as loaded
from .pleas import Merged as Merged
from .pleas import pleas as pleas
from .refit import refit as refit
from .repair import repair as repair
from .singular import SingularAlignment as SingularAlignment
from .singular import singular_alignment as singular_alignment
from .soft import Annealing as Annealing
from .stages import Stage as Stage
from .straight_through import Training as Training
from .straight_through import straight_through as straight_through
from .teacher import outputs_of as outputs_of
from .transport import Transport as Transport
from .weight_matching import weight_matching as weight_matching
from .widths import Size as Size
