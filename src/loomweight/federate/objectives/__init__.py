"""Terms of a client's objective: what its local training adds to plain descent."""

from .each_step import EachStep as EachStep
from .label_counts import LabelCounts as LabelCounts
from .leave_one_out import LeaveOneOut as LeaveOneOut
from .margin_control import MarginControl as MarginControl
from .ridge_head import RidgeHead as RidgeHead
from .term import Ended as Ended
from .term import Term as Term
from .training_accuracy import TrainingAccuracy as TrainingAccuracy
