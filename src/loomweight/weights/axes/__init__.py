"""Which axes of which tensors carry the same units: found by tracing, written as a table, checked by itself."""

from .families import axes_of as axes_of
from .families import family_table as family_table
from .find import axes as axes
from .fit import table_for as table_for
from .orders import Orders as Orders
from .orders import inverse as inverse
from .orders import random_orders as random_orders
from .orders import then as then
from .rows import unfolded as unfolded
from .table import Axes as Axes
from .table import Axis as Axis
from .table import Layout as Layout
from .table import Space as Space
from .table import Term as Term
from .table import Use as Use
from .verify import verify as verify
