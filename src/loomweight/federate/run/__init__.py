"""A federation's life in a folder: what it was told, its state, and what came of it."""

from .carried_out import carried_out as carried_out
from .digits import digits as digits
from .digits import perceptron as perceptron
from .setting import Setting as Setting
