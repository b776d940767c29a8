"""What a subnet is worth on data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import BadParameter
from ..elastic import Elastic
from ..statistics import inputs_of


@dataclass(frozen=True)
class Score:
    """Of one subnet on some batches.

    Args:
        accuracy: share of labels that it gets right; NaN where targets are no whole numbers.
        loss: mean cross-entropy, or mean squared error.
    """

    accuracy: float
    loss: float


def score(net: Elastic, values: Mapping[str, Any], batches: Iterable[Any]) -> Score:
    """Accuracy and loss of a subnet, in evaluation mode; with its own BatchNorm statistics where the net can calibrate.

    Args:
        batches: (inputs, targets) each; targets of -100 are left out.

    Raises:
        BadParameter: there is no target.
    """
    right = loss = count = 0.0
    training, whole = net.training, True
    net.eval()
    with net.selected(values), torch.no_grad():
        for batch in batches:
            args, kwargs = inputs_of(batch)
            targets = targets_of(batch)
            logits = logits_of(net(*args, **kwargs))
            if targets.is_floating_point():
                whole = False
                loss += functional.mse_loss(logits, targets, reduction="sum").item()
                count += targets.numel()
                continue
            rows, flat = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
            kept = flat != -100
            right += (rows.argmax(-1) == flat)[kept].sum().item()
            loss += functional.cross_entropy(rows, flat, reduction="sum").item()
            count += kept.sum().item()
    net.train(training)
    if not count:
        raise BadParameter("the data holds no target to judge by; batches are (inputs, targets).")
    return Score(right / count if whole else float("nan"), loss / count)


def targets_of(batch: Any) -> Tensor:
    """The targets of a batch: the second of a pair, `labels` of a dict.

    Raises:
        BadParameter: it has none.
    """
    if isinstance(batch, Mapping) and "labels" in batch:
        return batch["labels"]
    if isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return batch[1]
    raise BadParameter("a batch is (inputs, targets), or a dict with `labels`.")


def logits_of(outputs: Any) -> Tensor:
    """The tensor that counts: the output itself, or its `logits`.

    Raises:
        BadParameter: there is none.
    """
    found = outputs if isinstance(outputs, Tensor) else outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if not isinstance(found, Tensor):
        raise BadParameter(f"the model gives a {type(outputs).__name__} without logits; wrap it so that it returns one tensor.")
    return found
