"""What an update may tell of a client, and how much: clipping, noise, what it costs, and an attack that reads what is left."""

from .accountant import epsilon as epsilon
from .accountant import multiplier_for as multiplier_for
from .adaptive_clip import AdaptiveClip as AdaptiveClip
from .client_noise import ClientNoise as ClientNoise
from .clip_to import ClipTo as ClipTo
from .cocktail_party import Unmixing as Unmixing
from .cocktail_party import leaks as leaks
from .correlated import Correlated as Correlated
from .factorise import factorise as factorise
from .gaussian_noise import GaussianNoise as GaussianNoise
from .leak_picture import leak_picture as leak_picture
from .matched import Matched as Matched
from .matched import matched as matched
from .pairwise_masks import masked as masked
from .pairwise_masks import unmasked_sum as unmasked_sum
from .participation import Participation as Participation
from .poisson_sample import PoissonSample as PoissonSample
from .private import private as private
from .rota import Rota as Rota
from .sensitivity import sensitivity as sensitivity
