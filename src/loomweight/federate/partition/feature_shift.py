"""Clients whose labels mean the same and whose inputs look different: noise, rotation, scale.

Paper: Federated Learning on Non-IID Data Silos: An Experimental Study (2021, https://arxiv.org/abs/2102.02079), section IV-B, noise-based feature
imbalance: client i of N adds Gaussian noise whose level grows with i. Code read: Xtra-Computing/NIID-Bench, utils.py and experiments.py, where the level
is the standard deviation, noise * i / (N - 1); the paper calls it a variance. Here it is the standard deviation too. Rotation and scale grow the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ...errors import BadParameter
from .iid import Iid
from .partition import Indices, Partition


@dataclass(frozen=True)
class FeatureShift(Partition):
    """Client i of N sees its inputs at level i / (N - 1): the first as they are, the last at the full shift.

    x  ->  scale ** level * rotated(x, rotation * level)  +  noise * level * N(0, 1)

    Called, it gives indices as any partition; `split` gives the changed inputs.

    Args:
        noise: standard deviation of the last client's noise, in units of the inputs.
        rotation: degrees, counterclockwise, of the last client; inputs are then images (samples, [channels,] height, width). What comes in from
            outside is 0; quarter turns of square images are exact.
        scale: factor of the last client.
        base: who gets which samples.

    Raises:
        BadParameter: noise is negative, scale is not above 0; inputs are whole numbers, or no images where they are to be rotated.

    >>> from loomweight.federate.partition import split
    >>> x, y = torch.ones(4, 2), torch.zeros(4, dtype=torch.int64)
    >>> {name: inputs[0].tolist() for name, (inputs, _) in split((x, y), FeatureShift(scale=4.0), clients=3, seed=0).items()}
    {'client 0': [1.0, 1.0], 'client 1': [2.0, 2.0], 'client 2': [4.0, 4.0]}
    """

    noise: float = 0.0
    rotation: float = 0.0
    scale: float = 1.0
    base: Partition = field(default_factory=Iid)

    def __post_init__(self) -> None:
        if not (self.noise >= 0 and self.scale > 0):
            raise BadParameter(f"{self}: noise is 0 or more and scale above 0.")

    def number(self, clients: int | None, samples: int) -> int:
        """How many clients there will be."""
        return self.base.number(clients, samples)

    def names(self, parts: Sequence[Indices]) -> list[str]:
        """A name for each client."""
        return self.base.names(parts)

    def assign(self, labels: Tensor, clients: int, draw: Generator) -> Sequence[Indices]:
        """The indices of each client's samples, in any order."""
        return self.base.assign(labels, clients, draw)

    def inputs(self, x: Tensor, client: int, clients: int, seed: int) -> Tensor:
        """What the client sees of its inputs."""
        if not x.is_floating_point():
            raise BadParameter(f"{self} changes inputs that are {x.dtype}; make floating-point numbers of them first.")
        level = client / max(clients - 1, 1)
        seen = self.base.inputs(x, client, clients, seed)
        seen = rotated(seen, self.rotation * level) * self.scale**level
        if self.noise * level:
            key = int.from_bytes(blake2b(repr(("noise", seed, client)).encode(), digest_size=7).digest(), "little")
            seen = seen + self.noise * level * torch.randn(x.shape, generator=torch.Generator().manual_seed(key), dtype=x.dtype)
        return seen


def rotated(images: Tensor, degrees: float) -> Tensor:
    """The images turned counterclockwise about their middle, bilinear; 0 comes in from outside.

    >>> rotated(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 90)
    tensor([[[2., 4.],
             [1., 3.]]])
    """
    if not degrees % 360:
        return images
    if images.dim() not in (3, 4):
        raise BadParameter(f"inputs of shape {tuple(images.shape)} cannot be rotated: images are (samples, [channels,] height, width).")
    height, width = images.shape[-2:]
    if not degrees % 90 and (height == width or not degrees % 180):
        return images.rot90(int(degrees // 90), (-2, -1))
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    cos, sin, ratio = float(angle.cos()), float(angle.sin()), height / width
    turn = torch.tensor([[cos, -sin * ratio, 0.0], [sin / ratio, cos, 0.0]], dtype=images.dtype)
    stacked = images.reshape(len(images), -1, height, width)
    grid = affine_grid(turn.expand(len(stacked), 2, 3), list(stacked.shape), align_corners=False)
    return grid_sample(stacked, grid, align_corners=False).reshape(images.shape)
