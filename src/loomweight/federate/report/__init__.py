"""What came of it: scores over clients, local work, and the history of the rounds as table, file and picture."""

from .flops import training_flops as training_flops
from .history import history_table as history_table
from .history import totals as totals
from .history import write_history as write_history
from .history_picture import history_picture as history_picture
from .over_clients import OverClients as OverClients
from .over_clients import accuracy as accuracy
from .over_clients import over_clients as over_clients
from .robustness import Robustness as Robustness
from .robustness import attacks_of as attacks_of
from .robustness import robustness as robustness
from .robustness import rules_against as rules_against
from .robustness_picture import robustness_picture as robustness_picture
from .timeline import Span as Span
from .timeline import spans as spans
from .timeline import timeline as timeline
