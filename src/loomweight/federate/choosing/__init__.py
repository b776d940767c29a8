"""Which clients are asked."""

from .available import Available as Available
from .by_loss import ByLoss as ByLoss
from .by_weight import ByWeight as ByWeight
from .choose import Choose as Choose
from .choose import Everyone as Everyone
from .choose import Known as Known
from .cyclic import Cyclic as Cyclic
from .sample import Sample as Sample
