"""Which axes of which tensors carry the same units: found by tracing, written as a table, checked by itself.

    table = axes(model, example)              # traced; or table_for(text, weights), written by hand
    print(table)                              # a line for every space of units, a line for every tensor (`language`)
    verify(table, model, example)             # the proof: every space in a random order, the outputs stay
    table.uses("layer.0")                     # where these units are: what permuting, slicing, widening and pruning go by

`graph` gets the operations of a model, `trace` walks them once: every activation carries, along some of its axes, the numbers of the
units that its entries belong to (`labels`), and every operation says what follows for them (`moves`, `points`, `products`, `places`,
`windows`, `recurrent`): these are the same, these are carried along by those, these stay. `solve` draws the conclusions, `express`
writes them as a table. Whatever is not understood stays where it is and is named in `table.notes`: nothing is guessed.
"""

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
from .verify import verify_together as verify_together
