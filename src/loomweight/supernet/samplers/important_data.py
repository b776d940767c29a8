"""PA&DA, the data: examples are drawn by the size of their gradients at the logits.

Paper: PA&DA: Jointly Sampling PAth and DAta for Consistent NAS (2023, https://arxiv.org/abs/2302.14772); checked against
ShunLu91/PA-DA, nasbench201/train_panda_201.py, which also trains on the plain mean loss of what was drawn.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler as DataSampler

from ...errors import BadParameter
from ...search.randomness import numbers_of


class ImportantData(DataSampler[int]):
    """For a DataLoader: the first epoch is a permutation, later ones are drawn with replacement by

    p(example) = tau * norm / sum of norms + (1 - tau) / size, tau = epoch / epochs, norm = ||softmax(logits) - onehot(target)||.

    Examples that were seen twice in an epoch count with the average by halves, as in the authors' code; examples that were not seen keep the norm of before.
    An epoch that is over is what a state can be taken of and gone on from exactly.

    Part of: important_paths.

    Args:
        size: examples in the data set.
        epochs: of the whole training.
        seed: of the random numbers, which are its own.

    Raises:
        BadParameter: no example, or no epoch.

    >>> sampler = ImportantData(3, epochs=2)
    >>> sorted(sampler)
    [0, 1, 2]
    >>> sampler.told([0, 1, 2], torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 0, 0]))  # the third is not learned yet
    >>> sampler.epoch, len(list(sampler)), bool(sampler.odds[2] > 2 * sampler.odds[0])
    (1, 3, True)
    """

    def __init__(self, size: int, epochs: int, seed: Any = 0) -> None:
        if size < 1 or epochs < 1:
            raise BadParameter(f"there is at least 1 example and 1 epoch, found size={size}, epochs={epochs}.")
        self.size, self.epochs, self.epoch = size, epochs, 0
        self.norms = np.zeros(size)
        self.fresh = np.zeros(size, dtype=bool)
        self.odds = np.full(size, 1 / size)
        self.numbers = numbers_of(seed)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        if self.epoch == 0:
            order = self.numbers.permutation(self.size)
        else:
            tau = min(1.0, self.epoch / self.epochs)
            shares = self.norms / self.norms.sum() if self.norms.sum() > 0 else np.full(self.size, 1 / self.size)
            odds = tau * shares + (1 - tau) / self.size
            self.odds = odds / odds.sum()
            order = self.numbers.choice(self.size, size=self.size, p=self.odds)
        self.fresh[:] = False
        yield from order.tolist()
        self.epoch += 1

    def told(self, indices: Any, logits: Tensor, targets: Tensor) -> None:
        """What the model answered for examples, by their indices: logits of shape (n, classes), targets of shape (n,).

        Raises:
            BadParameter: numbers of examples differ.
        """
        places = np.asarray(indices, dtype=np.int64).reshape(-1)
        if not len(places) == len(logits) == len(targets):
            raise BadParameter(f"each example has an index, logits and a target; found {len(places)}, {len(logits)} and {len(targets)} of them.")
        with torch.no_grad():
            probabilities = logits.detach().float().softmax(-1)
            probabilities[torch.arange(len(targets), device=logits.device), targets] -= 1.0
            norms = probabilities.norm(dim=-1).cpu().numpy()
        for place, norm in zip(places.tolist(), norms.tolist(), strict=True):
            self.norms[place] = (self.norms[place] + norm) / 2 if self.fresh[place] else norm
            self.fresh[place] = True

    def noting(self, loss: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, tuple[Tensor, Tensor]], Tensor]:
        """A loss for targets (labels, indices of the examples) that tells this sampler what the model answered.

        A data set that gives (inputs, labels, index) and `SinglePath(loss=data.noting(cross_entropy), sampler=ImportantPaths(...))` are PA&DA.

        >>> sampler = ImportantData(2, epochs=1)
        >>> loss = sampler.noting(torch.nn.functional.cross_entropy)
        >>> loss(torch.zeros(2, 2), (torch.tensor([0, 1]), torch.tensor([1, 0]))), sampler.norms.round(3).tolist()
        (tensor(0.6931), [0.707, 0.707])
        """

        def noted(outputs: Any, targets: tuple[Tensor, Tensor]) -> Tensor:
            labels, indices = targets
            self.told(indices.cpu(), outputs, labels)
            return loss(outputs, labels)

        return noted

    def weights(self, indices: Any) -> Tensor:
        """1 / (size * p): with these weights the mean loss of what was drawn has the gradient of the plain mean, on average."""
        return torch.from_numpy(1 / (self.size * self.odds[np.asarray(indices, dtype=np.int64)]))

    def state_dict(self) -> dict[str, Any]:
        """Epoch, norms, random numbers: plain data."""
        return {"epoch": self.epoch, "norms": self.norms.tolist(), "random": self.numbers.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            BadParameter: the state is of a data set of another size.
        """
        if len(state["norms"]) != self.size:
            raise BadParameter(f"the state is of {len(state['norms'])} examples, this sampler of {self.size}.")
        self.epoch, self.norms = int(state["epoch"]), np.array(state["norms"], dtype=float)
        self.numbers.bit_generator.state = state["random"]
