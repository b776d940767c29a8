"""A rule in torchft: what its DiLoCo and LocalSGD average is pooled by the rule instead."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import BadParameter, LoomweightError, MissingExtra, NonFinite
from ...rules import Rule
from ..guard import Guard, finite
from ..plain import Reply
from ..pooling import Pool
from .together import together
from .torch_distributed import from_all

if TYPE_CHECKING:
    from torchft import Manager


def torchft_manager(how: Rule | Pool) -> "type[Manager]":
    """A class like torchft's `Manager`, whose `allreduce` gathers what all replicas give and pools it by a rule.

    It is called with each tensor alone (with bucketization, each bucket), so a rule that looks at whole updates, as Krum does, decides for
    each anew. A replica that gives NaN or Inf is left out; it does not commit the step, and torchft brings it back from a healthy one: its
    own parameters would stay NaN, since DiLoCo mixes them in by a factor of 0. Where fewer count than the rule needs nobody commits.

    Args:
        how: a rule, or a `Pool` of one.

    Raises:
        MissingExtra: torchft is not installed.

    >>> from loomweight.rules import Median
    >>> manager = torchft_manager(Median())  # then manager(pg=ProcessGroupGloo(), load_state_dict=..., ...), as torchft's own
    """
    try:
        from torchft import Manager
        from torchft.work import _DummyWork
    except ImportError as error:
        raise MissingExtra("the home in torchft needs torchft: pip install 'loomweight[torchft]'.") from error
    from torch.distributed import ReduceOp

    class LoomweightManager(Manager):
        """Pools by a rule."""

        def allreduce(self, tensor: Tensor, should_quantize: bool = False, reduce_op: Any = ReduceOp.AVG) -> Any:
            """The pooled tensor, in place of the given one; the same in every replica."""
            if reduce_op != ReduceOp.AVG:
                return super().allreduce(tensor, should_quantize, reduce_op)
            if should_quantize:
                raise BadParameter("a rule pools what replicas give as it is; leave should_quantize off.")
            if self.errored() is None:
                self.wait_quorum()
                try:
                    pool_in_place(tensor, self._pg, how, taking_part=self.is_participating())
                except LoomweightError as error:
                    self.report_error(error)
            return _DummyWork(tensor)

    return LoomweightManager


def pool_in_place(tensor: Tensor, group: Any, how: Rule | Pool, *, taking_part: bool = True) -> None:
    """Gather everyone's tensor and put the pooled one in its place.

    Args:
        tensor: this replica's.
        group: of torchft.
        how: a rule, or a `Pool` of one.
        taking_part: a replica that is being healed gives nothing that counts.

    Raises:
        NonFinite: this replica's tensor held NaN or Inf; the pooled one is in its place all the same.
        TooFewReplies: fewer count than the rule needs.
    """
    given = tensor.detach().contiguous() if taking_part else torch.full_like(tensor, torch.nan)
    sound = not taking_part or finite(given)
    replies = [Reply(str(rank), 0, {"tensor": other}) for rank, other in enumerate(from_all(given, group))]
    pooled, _ = together(replies, how, {"tensor": given}, Guard())
    with torch.no_grad():
        tensor.copy_(pooled["tensor"])
    if not sound:
        raise NonFinite("this replica's tensor holds NaN or Inf; it takes no part in this step and is brought back from another replica.")
