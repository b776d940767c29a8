"""Predictors of what a configuration is worth, learned from a few that were measured.

A predictor takes encoded configurations, a row each, and what they were worth; it knows no networks and no spaces.
"""

from .boshnas import BOSHNAS as BOSHNAS
from .cell import Cell as Cell
from .forest import Forest as Forest
from .gaussian import GaussianProcess as GaussianProcess
from .gaussian_ensemble import GaussianEnsemble as GaussianEnsemble
from .heteroscedastic import Heteroscedastic as Heteroscedastic
from .kendall import soft_kendall as soft_kendall
from .mlp import MLP as MLP
from .parzc import ParZC as ParZC
from .predictor import Posterior as Posterior
from .predictor import Predictor as Predictor
from .ranked import Ranked as Ranked
from .ridge import Ridge as Ridge
from .robot import RobotSearch as RobotSearch
from .robot import robot as robot
