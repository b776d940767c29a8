"""What an update may tell of a client, and how much: clipping, noise, what it costs, and an attack that reads what is left."""

from .accountant import epsilon as epsilon
from .accountant import multiplier_for as multiplier_for
from .adaptive_clip import AdaptiveClip as AdaptiveClip
from .client_noise import ClientNoise as ClientNoise
from .clip_to import ClipTo as ClipTo
from .correlated import Correlated as Correlated
from .factorise import factorise as factorise
from .gaussian_noise import GaussianNoise as GaussianNoise
from .participation import Participation as Participation
from .poisson_sample import PoissonSample as PoissonSample
from .private import private as private
from .rota import Rota as Rota
from .sensitivity import sensitivity as sensitivity
