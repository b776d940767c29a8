"""Axes tables for common families of checkpoints: no model is needed."""

from .table import FAMILIES as FAMILIES
from .table import axes_of as axes_of
from .table import family_table as family_table
