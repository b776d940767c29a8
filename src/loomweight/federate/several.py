"""Several models trained at once by the same clients.

Paper: FedAST: Federated Asynchronous Simultaneous Training (2024, https://arxiv.org/abs/2406.00302), algorithm 1.

Code read: askinb/FedAST at 894e352, server.py. There the share of a model goes with lr times the variance of its last updates, over the square of their mean
and of lr; the learning rates are left out here, since a ratio has no unit. Shares are whole numbers there too, at least a few each; at least one here.
"""

import copy
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn

from ..engines import Engine, Inline, Ray, engine_named
from ..errors import BadParameter
from .crew import Crew
from .federation import Federation
from .messages.message import opened
from .plain import Lost, Reply, Tensors
from .pooling import Buffered
from .simulate import Run
from .strategy import Strategy
from .world import World


@dataclass(frozen=True)
class Job:
    """A model to train, on what the clients have for it.

    Args:
        model: at the start.
        clients: name -> (inputs, targets); the same names in all jobs.
        strategy: with a `Buffered` aggregate; its size is set to a part of the job's share of clients.
    """

    model: nn.Module
    clients: Mapping[str, Sequence[Tensor]]
    strategy: Strategy


@dataclass
class _Turn:
    """A job at work: its run, its share of the clients, its last updates."""

    run: Run
    share: int
    window: deque[Tensors] = field(default_factory=lambda: deque(maxlen=8))


def simulate_several(
    jobs: Mapping[str, Job], rounds: int, adapt: int | None = 10, buffers: int = 4, engine: str | Engine = "inline", world: World | None = None
) -> dict[str, Federation]:
    """Train several models on one set of clients, each client busy with one task at a time.

    Each job has a share of the clients; whoever is free is asked for a job that has fewer tasks out than its share. A job's server makes a step when
    share / buffers answers have come. After every `adapt` answers the shares follow `allocation` by the relative variance of the last updates.
    A finished job's clients go to the others.

    Args:
        jobs: by name.
        rounds: of each job.
        adapt: answers between new shares; None keeps equal ones.
        buffers: a job's share over the size of its buffer.
        engine: inline, ray or ray:N.
        world: seed, speeds, faults; a test is of each model.

    Raises:
        BadParameter: no job or more jobs than clients, clients that differ, another aggregate than `Buffered`.
    """
    runner, world = engine if isinstance(engine, Engine) else engine_named(engine), world or World()
    names = _checked(jobs)
    if not isinstance(runner, Inline | Ray):
        raise BadParameter(f"clients run inline or on ray, found {runner}.")
    with ExitStack() as stack:
        if isinstance(runner, Ray):
            stack.enter_context(runner)
        turns = {}
        for (name, job), share in zip(jobs.items(), allocation(dict.fromkeys(jobs, 1.0), len(names)).values(), strict=True):
            crew = Crew(job.model, job.strategy, dict(job.clients), runner, world)
            turns[name] = _Turn(Run(job.model, dict(job.clients), job.strategy, crew, world, None), share)
        _carry_on(turns, names, rounds, adapt, buffers)
    return {name: Federation(copy.deepcopy(jobs[name].model), turn.run.weights(), turn.run.server.history) for name, turn in turns.items()}


def allocation(variances: Mapping[str, float], clients: int) -> dict[str, int]:
    """Clients for each job: one, and the rest in proportion to the variances, by largest remainders.

    >>> allocation({"hard": 3.0, "easy": 1.0}, 10)
    {'hard': 7, 'easy': 3}
    """
    total, rest = sum(variances.values()), clients - len(variances)
    wanted = {name: rest * (value / total if total > 0 else 1 / len(variances)) for name, value in variances.items()}
    shares = {name: 1 + int(value) for name, value in wanted.items()}
    for name in sorted(wanted, key=lambda name: int(wanted[name]) - wanted[name])[: clients - sum(shares.values())]:
        shares[name] += 1
    return shares


def _checked(jobs: Mapping[str, Job]) -> list[str]:
    lists = [list(job.clients) for job in jobs.values()]
    if not lists or not lists[0] or any(other != lists[0] for other in lists) or len(jobs) > len(lists[0]):
        raise BadParameter("simulate_several: at least one job, not more than clients, and clients by the same names in all jobs.")
    if any(not isinstance(job.strategy.pooling, Buffered) for job in jobs.values()):
        raise BadParameter("simulate_several: the aggregate of each job is a Buffered.")
    return lists[0]


def _carry_on(turns: Mapping[str, _Turn], names: list[str], rounds: int, adapt: int | None, buffers: int) -> None:
    now, answers = 0.0, 0
    while open_ := {name: turn for name, turn in turns.items() if turn.run.server.round < rounds}:
        _ask(open_, names, buffers, now)
        turn = min((turn for turn in open_.values() if turn.run.flying), key=lambda turn: turn.run.flying[0][0], default=None)
        if turn is None:  # nobody is left to wait for: the servers say what that means
            turn = next(iter(open_.values()))
        else:
            _heard(turn, turn.run.land())
            answers += 1
        now = max(now, turn.run.now)
        if turn.run.server.enough or not turn.run.flying:
            turn.run.close()
            turn.run.test()
            if turn.run.server.round >= rounds:
                turn.run.flying.clear()
                turn.run.server.out.clear()
                _shared(turns, rounds, len(names))
        if adapt and answers % adapt == 0:
            _shared(turns, rounds, len(names))


def _ask(open_: Mapping[str, _Turn], names: list[str], buffers: int, now: float) -> None:
    for turn in open_.values():
        run = turn.run
        run.now = max(run.now, now)
        busy = {client for other in open_.values() for client in other.run.server.out}
        free = [client for client in names if client not in busy]
        lacking = min(turn.share - len(run.server.out), len(free))
        size = max(1, ceil(turn.share / buffers))
        run.server.strategy = replace(run.server.strategy, aggregate=replace(run.server.strategy.pooling, size=size))  # type: ignore[arg-type]
        if lacking > 0:
            draw = np.random.default_rng([run.server.seed, run.server.round, run.server.number, 2])
            run.dispatch([free[i] for i in sorted(draw.choice(len(free), lacking, replace=False))])


def _heard(turn: _Turn, reply: Reply | Lost) -> None:
    """Only what counts tells how much updates vary."""
    book = turn.run.server.book
    if isinstance(reply, Reply) and book.answered[-1:] == [reply.client] and reply.client not in book.refused:
        turn.window.append(opened(turn.run.strategy.parts, reply.update, turn.run.server.like(reply.client)))


def _shared(turns: Mapping[str, _Turn], rounds: int, clients: int) -> None:
    """New shares of the jobs that are not finished, once each has some updates to tell its variance by."""
    going = {name: turn for name, turn in turns.items() if turn.run.server.round < rounds}
    if going:
        ready = all(len(turn.window) > 1 for turn in going.values())
        found = {name: relative_variance(list(turn.window)) if ready else float(turn.share) for name, turn in going.items()}
        for name, share in allocation(found, clients).items():
            turns[name].share = share


def relative_variance(updates: list[Tensors]) -> float:
    """mean |u_k - mean u|^2 / |mean u|^2 over the floating tensors; 0 where all are 0.

    >>> relative_variance([{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}])
    0.25
    """
    spread = size = 0.0
    for name, tensor in updates[0].items():
        if tensor.is_floating_point():
            stack = torch.stack([update[name].double() for update in updates])
            spread += float((stack - stack.mean(0)).square().sum()) / len(updates)
            size += float(stack.mean(0).square().sum())
    return spread / size if size > 0 else 0.0
