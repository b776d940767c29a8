"""What a hostile client does: with its data, or with its reply."""

from .alie import Alie as Alie
from .all_nan import AllNaN as AllNaN
from .attack import Attack as Attack
from .duplicate import Duplicate as Duplicate
from .gaussian import Gaussian as Gaussian
from .huge_message import HugeMessage as HugeMessage
from .infinite import Infinite as Infinite
from .inner_product import InnerProduct as InnerProduct
from .label_flip import LabelFlip as LabelFlip
from .mimic import Mimic as Mimic
from .one_nan import OneNaN as OneNaN
from .optimal_alie import OptimalAlie as OptimalAlie
from .optimal_inner_product import OptimalInnerProduct as OptimalInnerProduct
from .replay import Replay as Replay
from .sign_flip import SignFlip as SignFlip
from .too_large import TooLarge as TooLarge
from .weight_lie import WeightLie as WeightLie
from .wrong_dtype import WrongDtype as WrongDtype
from .wrong_names import WrongNames as WrongNames
from .wrong_shape import WrongShape as WrongShape
