"""Training without a server."""

from .gossip import Gossiped as Gossiped
from .gossip import gossip as gossip
from .gossiping import Gossip as Gossip
from .graph import Graph as Graph
from .graphs import complete as complete
from .graphs import random_regular as random_regular
from .graphs import ring as ring
from .graphs import torus as torus
from .modest import Modest as Modest
from .modest import modest as modest
from .two_faced import DriveApart as DriveApart
from .two_faced import TwoFaced as TwoFaced
from .view import Peer as Peer
from .view import View as View
from .view import ordered as ordered
