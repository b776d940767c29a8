"""Named sets of tensors: opened without reading data, combined lazily, written once."""

from .adapter import apply_adapter as apply_adapter
from .algebra import cast_to as cast_to
from .algebra import floating as floating
from .algebra import union as union
from .algebra import untie as untie
from .config import config_of as config_of
from .load import load as load
from .memory import from_module as from_module
from .names import layer_of as layer_of
from .names import matches as matches
from .names import model_of as model_of
from .names import tensor_of as tensor_of
from .spec import BLOCK as BLOCK
from .spec import Block as Block
from .spec import Spec as Spec
from .weights import Weights as Weights
from .write import Output as Output
from .write import save as save
from .write import write as write
