"""A strategy: four hooks and plain settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..edits.edit import Edit
from ..errors import BadParameter
from ..rules import Rule
from .choosing import Choose, Everyone
from .guard import Guard
from .local import Local
from .messages import Edited, Message
from .objectives import Term
from .pooling import Aggregate, Pool


@dataclass(frozen=True)
class Strategy:
    """Who is asked, what is minimised there, what is sent, and what the server makes of it.

    The same object drives a simulation, Flower, and the other homes. The default is federated averaging.

    Args:
        choose: the clients of a round.
        objective: terms that the local training adds to its loss and gradient.
        message: parts that an update goes through on its way up; edits of `loomweight.edits` too.
        aggregate: what becomes of the updates; a rule of `loomweight.rules` is lifted.
        local: settings of local training.
        tensors: name pattern -> what becomes of such tensors: pool, mean, sum, max, keep or local; see `slices`.
        guard: what is asked of replies, and what a refusal leads to.

    Raises:
        BadParameter: a hook that is none, or two terms or parts with one key.

    >>> from loomweight.rules import Median
    >>> Strategy(aggregate=Median()).aggregate
    Pool(rule=Median(weights=None), rate=1.0, counts=True)
    """

    choose: Choose = field(default_factory=Everyone)
    objective: Sequence[Term] = ()
    message: Sequence[Message | Edit] = ()
    aggregate: Aggregate | Rule = field(default_factory=Pool)
    local: Local = field(default_factory=Local)
    tensors: Mapping[str, str] = field(default_factory=dict)
    guard: Guard = field(default_factory=Guard)

    def __post_init__(self) -> None:
        lifted = {
            "objective": tuple(self.objective) if isinstance(self.objective, Sequence) else (self.objective,),
            "message": tuple(_part(part) for part in (self.message if isinstance(self.message, Sequence) else (self.message,))),
            "aggregate": Pool(self.aggregate) if isinstance(self.aggregate, Rule) else self.aggregate,
        }
        for name, value in lifted.items():
            object.__setattr__(self, name, value)
        settings = [(self.local, Local), (self.guard, Guard), (self.tensors, Mapping)]
        hooks = [
            (self.choose, Choose),
            (self.aggregate, Aggregate),
            *settings,
            *((term, Term) for term in self.terms),
            *((part, Message) for part in self.parts),
        ]
        for hook, kind in hooks:
            if not isinstance(hook, kind):
                raise BadParameter(f"Strategy: expected a {kind.__name__}, found {hook!r}.")
        keys = [term.key for term in self.terms]
        if len(set(keys)) < len(keys):
            raise BadParameter(f"Strategy: two terms of the objective have one key, of {keys}.")

    @property
    def terms(self) -> tuple[Term, ...]:
        """The objective."""
        return self.objective  # type: ignore[return-value]

    @property
    def parts(self) -> tuple[Message, ...]:
        """The message."""
        return self.message  # type: ignore[return-value]

    @property
    def pooling(self) -> Aggregate:
        """The aggregate."""
        return self.aggregate  # type: ignore[return-value]


def _part(part: Message | Edit) -> Message:
    return Edited(part) if isinstance(part, Edit) else part
