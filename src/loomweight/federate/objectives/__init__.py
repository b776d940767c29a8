"""Terms of a client's objective: what its local training adds to plain descent."""

from .term import Ended as Ended
from .term import Term as Term
