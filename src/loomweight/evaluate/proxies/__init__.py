"""Zero-cost proxies: a score of a network from one batch, before any training.

Every proxy is a function of a module and a batch, and leaves the module as it was.
"""

from .epsinas import epsinas as epsinas
from .grad_sign import grad_sign as grad_sign
from .gradient_norm import gradient_norm as gradient_norm
from .naswot import naswot as naswot
from .scores import ProxyScores as ProxyScores
from .scores import proxy_scores as proxy_scores
from .snip import snip as snip
from .synflow import synflow as synflow
