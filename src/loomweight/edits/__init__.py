"""1 -> 1: a weight set into another, tensor by tensor. An edit is a frozen dataclass; its repr is its recipe."""

from .edit import Edit as Edit
from .scale import Scale as Scale
