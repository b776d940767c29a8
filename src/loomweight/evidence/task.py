"""What a model is asked: which outputs are its class scores, and what the data says is right."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter
from ..shapes import Float
from . import batches

#: a label that does not count, as everywhere in PyTorch and Transformers
IGNORED = -100


def model_logits(model: nn.Module, batch: Any) -> Tensor:
    """The model's output, or its `.logits`; see `batches.forward` for how it is called.

    Raises:
        BadParameter: the output is neither.
    """
    output = batches.forward(batch, model)
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise BadParameter(f"the model returned a {type(output).__name__}, not logits; give a task with a function (model, batch) -> logits.")
    return logits


@dataclass(frozen=True)
class Task:
    """Two functions: the class scores "examples *positions classes" and the labels "examples *positions"; label -100 does not count.

    The defaults fit (inputs, labels) tuples and the dicts of Transformers' classifiers; `NEXT_TOKEN` fits language models.
    A sigmoid's single logit z is two classes: let `logits` return the pair (0, z).

    >>> Task(targets=lambda batch: batch["y"]).targets({"y": 3})
    3
    """

    logits: Callable[[nn.Module, Any], Tensor] = model_logits
    targets: Callable[[Any], Tensor] = batches.targets

    def checked(self, model: nn.Module, batch: Any) -> Tensor:
        """The logits; raise unless they are scores of at least two classes."""
        logits = self.logits(model, batch)
        if not isinstance(logits, Tensor):
            raise BadParameter(f"the task's logits are a {type(logits).__name__}, not a tensor of scores; return one.")
        if logits.ndim < 2 or logits.shape[-1] < 2:
            raise BadParameter(
                f"logits of shape {tuple(logits.shape)} are no scores of at least two classes; for a sigmoid let the task's logits"
                " return the pair (0, z), for regression use squared_gradients with a loss."
            )
        return logits

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """- log p(labels | inputs), summed over the positions of an example, averaged over the examples."""
        logits = self.checked(model, batch)
        return -log_likelihood(logits.log_softmax(-1), self.targets(batch)).mean()

    def counted(self, logits: Tensor, batch: Any) -> Tensor:
        """Which positions count: all, except those whose label is -100."""
        try:
            labels = self.targets(batch)
        except BadParameter:
            return torch.ones(logits.shape[:-1], dtype=torch.bool, device=logits.device)
        if labels.shape != logits.shape[:-1]:
            raise BadParameter(f"labels of shape {tuple(labels.shape)} do not fit logits of shape {tuple(logits.shape)}.")
        return labels != IGNORED


def log_likelihood(log_p: Float[Tensor, "examples *positions classes"], labels: Tensor) -> Float[Tensor, " examples"]:
    """log p of the labels of every example, positions summed; label -100 adds nothing."""
    counts = labels != IGNORED
    chosen = log_p.gather(-1, labels.where(counts, 0).unsqueeze(-1)).squeeze(-1)
    return (chosen * counts).flatten(1).sum(1) if chosen.ndim > 1 else chosen * counts


def _shifted_logits(model: nn.Module, batch: Any) -> Tensor:
    return model_logits(model, batch)[:, :-1]


def _next_tokens(batch: Mapping[str, Tensor]) -> Tensor:
    """`labels`, or the tokens themselves without the padding, moved by one."""
    labels = batch["labels"] if "labels" in batch else batch["input_ids"]
    if "attention_mask" in batch:
        labels = labels.where(batch["attention_mask"] != 0, IGNORED)
    return labels[:, 1:]


#: Language models: position t scores token t + 1. Padding (attention_mask 0) does not count.
NEXT_TOKEN = Task(_shifted_logits, _next_tokens)
