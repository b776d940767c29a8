"""Train a supernet in a folder: progress, resume to the bit."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...engines.progress import track
from ...errors import BadParameter
from ..elastic import Elastic
from ..losses.alpha_divergence import AlphaDivergence
from ..losses.soft_labels import SoftLabels
from ..optimizer import SubnetOptimizer
from ..samplers.by_operator import ByOperator
from ..samplers.stratified import Stratified
from ..samplers.uniform import Uniform
from ..step import Step
from ..steps.sandwich import Sandwich
from ..steps.single_path import SinglePath
from .folder import RunFolder, Settings
from .judge import logits_of

#: steps between two saved states
_EVERY = 200
_SAMPLERS = {"uniform": Uniform, "by_operator": ByOperator, "stratified": Stratified}
_SOFT: dict[str, Callable[[], Any]] = {"labels": SoftLabels, "alpha": AlphaDivergence}

#: the batches of an epoch, (inputs, targets) each
Epoch = Callable[[int], Iterable[Any]]


def train(net: Elastic, settings: Settings, epoch: Epoch, folder: str | Path, *, resume: bool = False, overwrite: bool = False) -> float:
    """Train for the epochs that the settings say; the mean loss of the last hundred steps.

    The state (weights, optimizer, random numbers, place in the data) is saved every 200 steps and after each epoch. A run that was
    interrupted or killed goes on with `resume` and ends with the same bits, if `epoch(n)` gives the same batches each time.

    Args:
        net: the elastic model; its weights are trained.
        settings: what to do.
        epoch: number of the epoch -> its batches.
        folder: of the run.
        resume: go on with the run in the folder.
        overwrite: begin anew where there is one.

    Raises:
        BadParameter, OutputError: the folder holds another run; an epoch has no batch.
        NonFinite: a loss is NaN or infinite.
    """
    run = RunFolder(Path(folder))
    run.begin(settings, resume=resume, overwrite=overwrite)
    step, optimizer = _parts(net, settings)
    state = run.state() if resume else None
    done, saved, losses = 0, 0, list[float]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if state is not None:
            done = saved = _restore(net, step, optimizer, state)
        first = _listed(epoch, 0)
        total = len(first) * settings.epochs
        net.train()
        try:
            for inputs, targets in track(_rest(epoch, first, settings.epochs, done), "training", total - done):
                for group in optimizer.param_groups:
                    group["lr"] = settings.rate * (0.5 + 0.5 * math.cos(math.pi * done / total) if settings.schedule == "cosine" else 1.0)
                optimizer.zero_grad()
                losses.append(step(net, inputs, targets))
                optimizer.step()
                done += 1
                if done % _EVERY == 0 or done % len(first) == 0:
                    run.save(_state(net, step, optimizer, done))
                    saved = done
        except KeyboardInterrupt as error:
            error.add_note(f"{run.path} holds step {saved} of {total}; the same command with --resume goes on from there.")
            raise
    return sum(losses[-100:]) / max(len(losses[-100:]), 1)


def loss_of(outputs: Any, targets: Tensor) -> Tensor:
    """Cross-entropy for whole numbers (-100 is left out; words along a sequence too), squared error for others."""
    logits = logits_of(outputs)
    if targets.is_floating_point():
        return functional.mse_loss(logits, targets)
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def _parts(net: Elastic, settings: Settings) -> tuple[Step, SubnetOptimizer]:
    sampler = _SAMPLERS[settings.sampler]()
    if settings.step == "single":
        step: Step = SinglePath(loss=loss_of, sampler=sampler, seed=settings.seed)
    else:
        soft = _SOFT[settings.soft]() if settings.soft != "none" else None
        taught = None if soft is None else lambda a, b: soft(_rows(a), _rows(b))
        step = Sandwich(loss=loss_of, sampler=sampler, seed=settings.seed, soft=taught)
    parameters = [p for p in net.parameters() if p.requires_grad]
    if settings.optimizer == "adamw":
        return step, SubnetOptimizer(net, torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=settings.decay))
    return step, SubnetOptimizer(net, torch.optim.SGD(parameters, lr=settings.rate, momentum=0.9, weight_decay=settings.decay))


def _rows(outputs: Any) -> Tensor:
    logits = logits_of(outputs)
    return logits.reshape(-1, logits.shape[-1])


def _listed(epoch: Epoch, number: int) -> list[Any]:
    batches = list(epoch(number))
    if not batches:
        raise BadParameter(f"epoch {number} of the data has no batch; give at least one.")
    return batches


def _rest(epoch: Epoch, first: list[Any], epochs: int, done: int) -> Iterator[Any]:
    """The batches that are left, in order."""
    for number in range(done // len(first), epochs):
        batches = first if number == 0 else _listed(epoch, number)
        if len(batches) != len(first):
            raise BadParameter(f"epoch {number} of the data has {len(batches)} batches, epoch 0 had {len(first)}; the epochs must be alike.")
        yield from islice(batches, done % len(first) if number == done // len(first) else 0, None)


def _state(net: Elastic, step: Step, optimizer: SubnetOptimizer, done: int) -> dict[str, Any]:
    known = optimizer.state_dict()
    kept = {str(key): value for key, value in known["state"].items()}
    return {
        "done": done,
        "net": net.state_dict(),
        "optimizer": {"state": kept, "param_groups": known["param_groups"]},
        "step": step.state_dict(),
        "random": torch.get_rng_state(),
    }


def _restore(net: Elastic, step: Step, optimizer: SubnetOptimizer, state: Any) -> int:
    net.load_state_dict(state["net"])
    kept = {int(key): value for key, value in state["optimizer"]["state"].items()}
    groups = [{key: tuple(value) if key == "betas" else value for key, value in group.items()} for group in state["optimizer"]["param_groups"]]
    optimizer.load_state_dict({"state": kept, "param_groups": groups})
    step.load_state_dict(state["step"])
    torch.set_rng_state(state["random"])
    return int(state["done"])


def seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """A model made with torch's random numbers at a seed; the caller's stay."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
