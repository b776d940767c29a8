"""What the server makes of the updates of a round."""

from .aggregate import Aggregate as Aggregate
from .aggregate import Book as Book
from .anarchic import Anarchic as Anarchic
from .buffered import Buffered as Buffered
from .fedfix import FedFix as FedFix
from .pool import Pool as Pool
from .server_optimizer import ServerOptimizer as ServerOptimizer
from .staleness import Hinge as Hinge
from .staleness import Polynomial as Polynomial
from .staleness import Staleness as Staleness
