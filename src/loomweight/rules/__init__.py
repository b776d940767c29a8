"""n weight sets -> one. A rule is a frozen dataclass of one of three shapes; named methods are one-expression recipes."""

from .around import Around as Around
from .combine import combine as combine
from .mean import Mean as Mean
from .per import Per as Per
from .route import Route as Route
from .rule import Pointwise as Pointwise
from .rule import Rule as Rule
from .rule import Weighing as Weighing
from .sets import Sets as Sets
from .take import Take as Take
from .fisher import Fisher as Fisher
from .gradient_matching import GradientMatching as GradientMatching
from .iso_c import IsoC as IsoC
from .reg_mean import RegMean as RegMean
from .tsv import TaskSingularVectors as TaskSingularVectors
from .whole import Whole as Whole
from .reversible import Reversible as Reversible
from .reversible import errors_by_rank as errors_by_rank
from .reversible import reversible as reversible
from .fusing import fuse_bodies as fuse_bodies
from .layer_swapping import layer_swapping as layer_swapping
from .rewarded_soup import rewarded_soup as rewarded_soup
from .soup import diwa as diwa
from .soup import ratatouille as ratatouille
from .soup import uniform_soup as uniform_soup
