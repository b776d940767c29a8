"""What becomes of an update on its way: a part packs it at the client and opens it at the server."""

from .bits import Bits as Bits
from .down import Down as Down
from .edited import Edited as Edited
from .error_feedback import ErrorFeedback as ErrorFeedback
from .half import Half as Half
from .message import Message as Message
from .only import Only as Only
from .qsgd import QSGD as QSGD
from .random_k import RandomK as RandomK
from .ranks import Ranks as Ranks
from .scaled_sign import ScaledSign as ScaledSign
from .top_k import TopK as TopK
