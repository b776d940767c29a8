"""What becomes of an update on its way: a part packs it at the client and opens it at the server."""

from .edited import Edited as Edited
from .error_feedback import ErrorFeedback as ErrorFeedback
from .half import Half as Half
from .message import Message as Message
from .qsgd import QSGD as QSGD
from .random_k import RandomK as RandomK
from .scaled_sign import ScaledSign as ScaledSign
from .top_k import TopK as TopK
