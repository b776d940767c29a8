"""What the server makes of the updates of a round."""

from .aggregate import Aggregate as Aggregate
from .aggregate import Book as Book
from .pool import Pool as Pool
from .server_optimizer import ServerOptimizer as ServerOptimizer
