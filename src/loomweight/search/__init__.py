"""Black-box search over numbers and choices, ask and tell. It knows no weights.

A `Study` proposes values from a `Space` and is told how good they were, in one objective or several; it remembers them in a
file that survives a kill. `find` searches whatever has a space and costs, a supernet or a table, within limits. `simplex_grid`
and `on_simplex` make weights that sum to 1, for sweeps and searches of mixtures.
"""

from .bandit import NestedBandit as NestedBandit
from .budget import Budget as Budget
from .choice import Choice as Choice
from .choice import Ordered as Ordered
from .dimension import Dimension as Dimension
from .dimension import Float as Float
from .dimension import Int as Int
from .emars import EMARS as EMARS
from .emars import potential as potential
from .evolution import RegularisedEvolution as RegularisedEvolution
from .feasible import Feasible as Feasible
from .find import Found as Found
from .find import find as find
from .front import Direction as Direction
from .front import front as front
from .mutation import LocalMutation as LocalMutation
from .predict import BOSHNAS as BOSHNAS
from .predict import MLP as MLP
from .predict import Cell as Cell
from .predict import Forest as Forest
from .predict import GaussianEnsemble as GaussianEnsemble
from .predict import GaussianProcess as GaussianProcess
from .predict import Heteroscedastic as Heteroscedastic
from .predict import ParZC as ParZC
from .predict import Posterior as Posterior
from .predict import Predictor as Predictor
from .predict import Ranked as Ranked
from .predict import Ridge as Ridge
from .predict import RobotSearch as RobotSearch
from .predict import robot as robot
from .predict import soft_kendall as soft_kendall
from .sampler import Past as Past
from .sampler import Sampler as Sampler
from .simplex import on_simplex as on_simplex
from .simplex import simplex_grid as simplex_grid
from .space import Space as Space
from .space import Values as Values
from .study import Study as Study
from .trial import Trial as Trial
from .within import Region as Region
from .within import Within as Within
