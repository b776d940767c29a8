"""Statistics of a model on data, as weight sets: what the rules that look at data are given.

Any model, any loader: batches are (inputs, labels) tuples or the dicts of Transformers, or whatever a `Task` or `forward` of your
own understands. A collection is a `Fold`: start, add, value on plain data. `Run` shows a bar and writes the running state to a
file, from which a killed collection goes on. The model is left exactly as it was. Save the result with `loomweight.save`.
"""

from .activations import activations as activations
from .collect import Run as Run
from .collect import collect as collect
from .fisher import Fisher as Fisher
from .fisher import fisher as fisher
from .fold import Fold as Fold
from .fold import State as State
from .grams import InputGrams as InputGrams
from .grams import input_grams as input_grams
from .hessian import HessianDiagonal as HessianDiagonal
from .hessian import hessian_diagonal as hessian_diagonal
from .linear import input_axes as input_axes
from .norms import GradientNorms as GradientNorms
from .norms import gradient_norms as gradient_norms
from .squares import SquaredLoss as SquaredLoss
from .squares import squared_gradients as squared_gradients
from .task import NEXT_TOKEN as NEXT_TOKEN
from .task import Task as Task
from .untouched import untouched as untouched
