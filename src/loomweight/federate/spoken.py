"""A strategy as plain words: a file, or the options of the command."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..edits.edit import Edit
from ..errors import BadParameter, BrokenFile, unknown
from ..rules import Rule
from .choosing import Choose
from .guard import Guard
from .local import Local
from .messages import Message
from .objectives import Term
from .pooling import Aggregate
from .strategy import Strategy
from .words import part

_OPTIMIZERS: dict[str, Callable[..., Any]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
_LOSSES: dict[str, Any] = {"cross_entropy": torch.nn.functional.cross_entropy, "mse": torch.nn.functional.mse_loss}


@dataclass(frozen=True)
class Spoken:
    """What a strategy was told, in words that can be written down and compared.

    Args:
        choose: clients of a round: everyone, sample(10), sample(0.1), ...
        objective: terms, such as proximal(mu=0.1).
        message: parts, such as top_k(0.01).
        aggregate: an aggregate or a rule, such as krum(f=2).
        epochs: of local training.
        steps: local steps instead of epochs.
        batch: examples a step.
        rate: the clients' learning rate.
        optimizer: sgd, adam or adamw.
        loss: cross_entropy or mse.
        tensors: pattern -> pool, mean, sum, max, keep or local.
        guard: options of `Guard`.

    >>> Spoken(aggregate="median").strategy().aggregate
    Pool(rule=Median(weights=None), rate=1.0, counts=True)
    """

    choose: str = "everyone"
    objective: tuple[str, ...] = ()
    message: tuple[str, ...] = ()
    aggregate: str = "mean"
    epochs: int = 1
    steps: int | None = None
    batch: int = 32
    rate: float = 0.1
    optimizer: str = "sgd"
    loss: str = "cross_entropy"
    tensors: Mapping[str, str] = field(default_factory=dict)
    guard: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> "Spoken":
        """Of a YAML file with these keys.

        Raises:
            BrokenFile: it is no YAML, or no mapping.
            UnknownName: a key that is none.
            BadParameter: a value of another kind.
        """
        import yaml

        try:
            told = yaml.safe_load(Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise BrokenFile(f"{path} cannot be read as a strategy: {str(error).splitlines()[0]}.") from error
        if not isinstance(told, dict):
            raise BrokenFile(f"{path} holds no strategy: it should be keys and values, such as `aggregate: krum(f=2)`.")
        return cls.of(told, str(path))

    @classmethod
    def of(cls, told: Mapping[str, Any], where: str) -> "Spoken":
        """Of a mapping; `where` it stands is said in messages."""
        for key, value in told.items():
            if key not in cls.__dataclass_fields__:
                raise unknown(f"key in {where}", str(key), cls.__dataclass_fields__)
            if not isinstance(value, _KINDS.get(key, str)) or isinstance(value, bool):
                raise BadParameter(f"{where}: {key} cannot be {value!r}.")
        several = {key: (told[key],) if isinstance(told[key], str) else tuple(told[key]) for key in ("objective", "message") if key in told}
        return cls(**{**told, **several})

    def strategy(self) -> Strategy:
        """The strategy that is meant.

        Raises:
            UnknownName, BadParameter: a word that is none, or an option that cannot be.
        """
        for key, value, words in (("optimizer", self.optimizer, _OPTIMIZERS), ("loss", self.loss, _LOSSES)):
            if value not in words:
                raise unknown(key, value, words)
        if not self.rate > 0:
            raise BadParameter(f"the learning rate must be above 0, found {self.rate}.")
        wrong = set(self.guard) - set(Guard.__dataclass_fields__)
        if wrong:
            raise unknown("option of the guard", min(wrong), Guard.__dataclass_fields__)
        optimizer = partial(_OPTIMIZERS[self.optimizer], lr=self.rate)
        return Strategy(
            choose=part(self.choose, (Choose,), "a choice of clients"),
            objective=tuple(part(words, (Term,), "a term of the objective") for words in self.objective),
            message=tuple(part(words, (Message, Edit), "a part of the message") for words in self.message),
            aggregate=part(self.aggregate, (Aggregate, Rule), "an aggregate"),
            local=Local(self.epochs, self.steps, self.batch, optimizer, _LOSSES[self.loss]),
            tensors=dict(self.tensors),
            guard=Guard(**self.guard),
        )


_KINDS: dict[str, Any] = {
    "objective": str | list | tuple,
    "message": str | list | tuple,
    "epochs": int,
    "steps": int | None,
    "batch": int,
    "rate": int | float,
    "tensors": Mapping,
    "guard": Mapping,
}
