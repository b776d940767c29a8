"""Which tensors travel: functions that write a strategy's `tensors` table for a model."""

from .cellm import cellm as cellm
from .fed_peft import fedpeft as fedpeft
from .fedsa_lora import fedsa_lora as fedsa_lora
from .flora import flora as flora
from .frl import frl as frl
from .supermask import Supermask as Supermask
from .supermask import masks as masks
from .supermask import supermasked as supermasked
