"""A supernet's life in a folder: trained there with resume after a kill, searched, reported, exported."""

from .folder import RunFolder as RunFolder
from .folder import Settings as Settings
from .judge import Score as Score
from .judge import score as score
from .report import honesty as honesty
from .report import report as report
from .same_scores import same_scores as same_scores
from .search import judged as judged
from .search import searched as searched
from .train import train as train
