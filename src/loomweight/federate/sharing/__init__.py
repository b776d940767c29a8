"""Which tensors travel: functions that write a strategy's `tensors` table for a model."""

from .byte_each import byte_each as byte_each
from .cellm import cellm as cellm
from .fed_peft import fedpeft as fedpeft
from .fedsa_lora import fedsa_lora as fedsa_lora
from .flora import flora as flora
from .frl import frl as frl
from .prowd import prowd as prowd
from .selective import selective as selective
from .supermask import Supermask as Supermask
from .supermask import masks as masks
from .supermask import supermasked as supermasked
