"""What the kernel gives to terms of the objective: scratch, an end of the task, and the server's side of a round."""

from dataclasses import dataclass

import pytest
import torch

from loomweight.federate import Ended, Pool, Strategy, Task, Term, Trainer, Work, simulate
from loomweight.rules import Mean

from .small import clients, model, whole_batch


@dataclass(frozen=True)
class Watching(Term):
    """Hooks the model, holds what it sees, and fails when told to."""

    fails: bool = False

    def begin(self, work: Work) -> None:
        work.exits.callback(work.model.register_forward_hook(lambda *_: work.scratch_of(self).setdefault("calls", []).append(1)).remove)

    def stepped(self, work: Work) -> None:
        if self.fails:
            raise ZeroDivisionError

    def finish(self, work: Work) -> dict[str, torch.Tensor]:
        return {"calls": torch.tensor(float(len(work.scratch_of(self)["calls"])))}


def test_what_a_term_hangs_on_the_model_is_gone_after_the_task_well_or_not() -> None:
    data = clients(1)["c0"]
    for term in (Watching(), Watching(fails=True)):
        trainer = Trainer(model(), Strategy(objective=(term,), local=whole_batch(steps=3)))
        task = Task("c0", 0, trainer.travelling())
        if term.fails:
            with pytest.raises(ZeroDivisionError):
                trainer(data, task, {})
        else:
            replies = [trainer(data, task, {}) for _ in range(2)]
            assert [reply.extra["Watching"]["calls"].item() for reply, _ in replies] == [3.0, 3.0] and replies[0][1] == {}
        assert not trainer.model._forward_hooks


@dataclass(frozen=True)
class Moved(Term):
    """Keeps how far the model went, as the server's rate makes it, and how the tensors travel."""

    def start(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"rate": torch.zeros(()), "change": torch.zeros_like(weights["weight"])}

    def begin(self, work: Work) -> None:
        assert work.how == {"weight": "pool", "bias": "mean"}

    def pool(self, shared: dict[str, torch.Tensor], ended: Ended) -> dict[str, torch.Tensor]:
        return {"rate": torch.tensor(ended.rate), "change": (ended.after["weight"] - ended.before["weight"]) / ended.rate}

    def finish(self, work: Work) -> dict[str, torch.Tensor]:
        return {"rate": work.shared_of(self)["rate"], "change": work.shared_of(self)["change"] - work.update["weight"]}


def test_a_term_knows_the_rate_of_the_aggregate() -> None:
    """With one client the pooled update is its own, whatever the rate of the server's step."""
    seen = []

    @dataclass(frozen=True)
    class Looking(Moved):
        def pool(self, shared: dict[str, torch.Tensor], ended: Ended) -> dict[str, torch.Tensor]:
            seen.append((ended.rate, ended.pooling, super().pool(shared, ended)["change"], ended.clients))
            return super().pool(shared, ended)

    for rate in (1.0, 0.25):
        strategy = Strategy(aggregate=Pool(Mean(), rate=rate), objective=(Looking(),), local=whole_batch(), tensors={"bias": "mean"})
        simulate(model(), clients(1), strategy, rounds=1)
    assert [(rate, state, count) for rate, state, _, count in seen] == [(1.0, {}, 1), (0.25, {}, 1)]
    assert torch.allclose(seen[0][2], seen[1][2], atol=1e-7)  # one rounding of float32 in the difference of weights
