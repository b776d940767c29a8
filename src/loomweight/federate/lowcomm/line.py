"""The collectives of one group of processes, each call counted in bytes.

It takes a backend itself (`ProcessGroupGloo`) as well as a process group of torch.distributed: both have the same methods.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed import BroadcastOptions


@dataclass
class Traffic:
    """Bytes that one process sends and receives in the usual ring algorithms.

    With n processes and a message of b bytes: a sum sends and receives 2 (n - 1) / n b, a gathering (n - 1) b, and what one tells to all is b for everyone
    who receives it and (n - 1) b for the one.
    """

    sent: int = 0
    received: int = 0

    def add(self, sent: float, received: float) -> None:
        """Count a message."""
        self.sent += round(sent)
        self.received += round(received)


class Line:
    """What the processes of one group can say to each other.

    Args:
        group: a process group, or a backend.
        names: of the processes, in the order of ranks; for messages.
        traffic: where bytes are counted.
        device: of what is sent besides tensors.
    """

    def __init__(self, group: Any, names: tuple[str, ...], traffic: Traffic, device: torch.device | str = "cpu") -> None:
        self.group, self.names, self.traffic, self.device = group, names, traffic, device
        self.rank, self.world = group.rank(), group.size()

    def sum(self, tensor: Tensor) -> None:
        """Replace the tensor by the sum of all; the same bits everywhere."""
        self.group.allreduce([tensor]).wait()
        share = 2 * (self.world - 1) / self.world * tensor.nbytes
        self.traffic.add(share, share)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Everyone's tensor, all of one shape, in the order of ranks."""
        found = gathered(tensor, self.group)
        others = (self.world - 1) * tensor.nbytes
        self.traffic.add(others, others)
        return found

    def rows(self, mine: list[float]) -> list[list[float]]:
        """Everyone's numbers, as many as mine, in the order of ranks."""
        return [row.tolist() for row in self.gather(torch.tensor(mine, dtype=torch.float64, device=self.device))]

    def tell(self, data: bytes, source: int) -> bytes:
        """The source's bytes, in every process; what the others give is ignored."""
        size = torch.tensor([len(data)], dtype=torch.int64, device=self.device)
        self._broadcast(size, source)
        if self.rank == source:
            sent = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device)
        else:
            sent = torch.empty(int(size), dtype=torch.uint8, device=self.device)
        self._broadcast(sent, source)
        return sent.cpu().numpy().tobytes()

    def exchange(self, pieces: list[Tensor], sizes: list[int]) -> list[Tensor]:
        """Give piece j to process j; get `sizes[i]` entries from process i."""
        sent = torch.cat(pieces)
        found = sent.new_empty(sum(sizes))
        self.group.alltoall_base(found, sent, sizes, [len(piece) for piece in pieces]).wait()
        own = len(pieces[self.rank]) * sent.element_size()
        self.traffic.add(sent.nbytes - own, found.nbytes - own)
        return list(found.split(sizes))

    def _broadcast(self, tensor: Tensor, source: int) -> None:
        options = BroadcastOptions()
        options.rootRank = source
        self.group.broadcast([tensor], options).wait()
        here = self.rank == source
        self.traffic.add((self.world - 1) * tensor.nbytes * here, tensor.nbytes * (not here))


def gathered(tensor: Tensor, group: Any) -> list[Tensor]:
    """Everyone's tensor, all of one shape, in the order of ranks; the group is one of torch.distributed, a backend, or torchft's."""
    from torch._C._distributed_c10d import AllgatherOptions  # torchft's groups have no default for it

    found = [torch.empty_like(tensor) for _ in range(group.size())]
    group.allgather([found], [tensor], AllgatherOptions()).wait()
    return found
