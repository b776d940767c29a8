"""Which tensors travel: functions that write a strategy's `tensors` table for a model."""

from .fed_peft import fedpeft as fedpeft
from .fedsa_lora import fedsa_lora as fedsa_lora
