"""Which clients are asked."""

from .choose import Choose as Choose
from .choose import Everyone as Everyone
from .sample import Sample as Sample
