"""Terms of a client's objective: what its local training adds to plain descent."""

from .anchor_sampling import AnchorSampling as AnchorSampling
from .client_momentum import ClientMomentum as ClientMomentum
from .curriculum import Curriculum as Curriculum
from .delta_sgd import DeltaSGD as DeltaSGD
from .each_step import EachStep as EachStep
from .fit_experts import FitExperts as FitExperts
from .label_counts import LabelCounts as LabelCounts
from .langevin import Langevin as Langevin
from .leave_one_out import LeaveOneOut as LeaveOneOut
from .margin_control import MarginControl as MarginControl
from .moon import Moon as Moon
from .moon import contrast as contrast
from .one_byte_gradient import OneByteGradient as OneByteGradient
from .polyak_momentum import PolyakMomentum as PolyakMomentum
from .proximal import Proximal as Proximal
from .ridge_head import RidgeHead as RidgeHead
from .scaffold import Scaffold as Scaffold
from .select_layers import SelectLayers as SelectLayers
from .stochastic_controlled import StochasticControlled as StochasticControlled
from .term import Ended as Ended
from .term import Term as Term
from .training_accuracy import TrainingAccuracy as TrainingAccuracy
from .wasserstein_robust import WassersteinRobust as WassersteinRobust
