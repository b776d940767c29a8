"""What becomes of an update on its way: a part packs it at the client and opens it at the server."""

from .edited import Edited as Edited
from .message import Message as Message
