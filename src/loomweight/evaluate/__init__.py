"""Judge weights: barriers between sets, by layers, in a plane; flatness, similarity of layers, greedy selection, diversity, cost.

It takes `loss(weights)` or `score(weights)`. Architectures: a table of trained ones to grade searches against, scores
of untrained ones, and statistics that say how far a ranking may be believed.
"""

from .apart import Apart as Apart
from .apart import apart as apart
from .barrier import Barrier as Barrier
from .barrier import barrier as barrier
from .barrier import between as between
from .cell import cell_string as cell_string
from .cell import cell_values as cell_values
from .cell_network import cell_network as cell_network
from .cost import Cost as Cost
from .cost import cost as cost
from .diversity import Decomposition as Decomposition
from .diversity import decompose as decompose
from .diversity import diversity as diversity
from .diversity import locality as locality
from .diversity import ratio_error as ratio_error
from .flatness import Flatness as Flatness
from .flatness import adversarial_flatness as adversarial_flatness
from .flatness import ascent as ascent
from .flatness import filter_direction as filter_direction
from .flatness import random_flatness as random_flatness
from .greedy import Attempt as Attempt
from .greedy import Selection as Selection
from .greedy import greedy_soup as greedy_soup
from .layerwise import Group as Group
from .layerwise import Layerwise as Layerwise
from .layerwise import layerwise as layerwise
from .nasbench201 import CellCost as CellCost
from .nasbench201 import NasBench201 as NasBench201
from .nasbench201 import nasbench201 as nasbench201
from .path_norm import path_norm as path_norm
from .plane import Frame as Frame
from .plane import Plane as Plane
from .plane import plane as plane
from .proxies import ProxyScores as ProxyScores
from .proxies import epsinas as epsinas
from .proxies import grad_sign as grad_sign
from .proxies import gradient_norm as gradient_norm
from .proxies import naswot as naswot
from .proxies import proxy_scores as proxy_scores
from .proxies import snip as snip
from .proxies import synflow as synflow
from .ranks import Interval as Interval
from .ranks import RankedScore as RankedScore
from .ranks import Ranking as Ranking
from .ranks import RunVariance as RunVariance
from .ranks import SearchPhase as SearchPhase
from .ranks import SeedNoise as SeedNoise
from .ranks import Structure as Structure
from .ranks import interference as interference
from .ranks import kendall as kendall
from .ranks import ranking as ranking
from .ranks import relative_improvement as relative_improvement
from .ranks import run_variance as run_variance
from .ranks import search_phase as search_phase
from .ranks import seed_noise as seed_noise
from .ranks import sparse_kendall as sparse_kendall
from .ranks import spearman as spearman
from .ranks import structure_correlation as structure_correlation
from .similarity import Similarity as Similarity
from .similarity import cka as cka
from .similarity import similarity as similarity
