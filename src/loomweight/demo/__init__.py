"""The demo: small real models, offline, about a minute. Each station is a file that shows what one part of loomweight does."""

from .align_station import align_station as align_station
from .federate_station import federate_station as federate_station
from .models import Row as Row
from .models import Zoo as Zoo
from .models import train_zoo as train_zoo
from .picture import draw as draw
from .rules_station import rules_station as rules_station
from .supernet_station import supernet_station as supernet_station
from .trajectory_station import trajectory_station as trajectory_station
