"""How far a ranking of architectures may be believed, and what a search has added to chance."""

from .controller import Structure as Structure
from .controller import structure_correlation as structure_correlation
from .correlation import Interval as Interval
from .correlation import kendall as kendall
from .correlation import spearman as spearman
from .improvement import relative_improvement as relative_improvement
from .interference import interference as interference
from .noise import SeedNoise as SeedNoise
from .noise import seed_noise as seed_noise
from .poison import Poisoning as Poisoning
from .poison import antidote as antidote
from .poison import poisoned as poisoned
from .poison import poisoning as poisoning
from .poison_layers import poison_layer as poison_layer
from .ranking import RankedScore as RankedScore
from .ranking import Ranking as Ranking
from .ranking import ranking as ranking
from .search_phase import SearchPhase as SearchPhase
from .search_phase import search_phase as search_phase
from .sparse import sparse_kendall as sparse_kendall
from .variance import RunVariance as RunVariance
from .variance import run_variance as run_variance
