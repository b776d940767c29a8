"""The server: a state machine on plain data. It has no thread, no socket and no clock; engines, Flower and other homes drive it."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from math import isfinite, nan

import numpy as np
from torch import Tensor

from ..errors import BadReply, LoomweightError, NonFinite, TooFewReplies, TooFewSets
from ..weights import Weights
from ..weights.names import listed
from .choosing import Known
from .guard import FAULTS, Refusal, finite, refusal, unreadable
from .messages.message import opened, packed_down
from .objectives import Ended
from .plain import TOLD, Lost, Plain, Reply, Task, Tensors, traffic
from .pooling import Book
from .shares import capped
from .slices import TRAVELS, combined_alone, slices
from .strategy import Strategy

log = logging.getLogger("loomweight.federate")


class Server:
    """Gives out tasks, takes replies, ends rounds.

    `tasks(now)` gives what is to be sent; `push(reply, now)` takes an answer, in any order; when `ready(now)`, `close(now)` ends the round
    and returns its line of the history. The weights after a round depend on the set of replies, not on the order of their arrival, but
    where the aggregate asks clients one by one.

    Args:
        weights: of the model, by name.
        strategy: the four hooks.
        clients: their names.
        seed: of all random choices.
        frozen: names of tensors that are not trained.

    Raises:
        BadParameter, UnknownName: `strategy.tensors` does not fit the weights.

    >>> server = Server({"w": torch.zeros(2)}, Strategy(), ["ann", "bob"])
    >>> for task in server.tasks():
    ...     refused = server.push(Reply(task.client, task.round, {"w": torch.ones(2)}))
    >>> server.close()["pooled"], server.weights["w"]
    (2, tensor([1., 1.]))
    """

    def __init__(self, weights: Mapping[str, Tensor], strategy: Strategy, clients: Sequence[str], seed: int = 0, frozen: Sequence[str] = ()) -> None:
        self.strategy, self.clients, self.seed = strategy, tuple(clients), seed
        self.weights: Tensors = {name: weights[name].detach().clone() for name in Weights.of(dict(weights)).physical}
        self.how = slices(self.weights, strategy.tensors, frozen)
        self.pooling: Plain = strategy.pooling.start(self._of("pool"))
        self.shared: dict[str, Tensors] = {term.key: term.start(self.travelling) for term in strategy.terms}
        self.book = Book(0, self.clients)
        self.number = 0
        self.out: dict[str, int] = {}
        self.numbers: dict[str, int] = {}
        self.history: list[Plain] = []
        self.known: dict[str, dict[str, float]] = {}
        self._clear()

    @property
    def round(self) -> int:
        """Rounds that have ended."""
        return self.book.round

    @property
    def travelling(self) -> Tensors:
        """The tensors that travel."""
        return {name: tensor for name, tensor in self.weights.items() if self.how[name] in TRAVELS}

    def like(self, client: str) -> Tensors:
        """What this client's update is to look like."""
        return self.strategy.pooling.like(self.travelling, self.pooling, client)

    def tasks(self, now: float = 0.0, there: Collection[str] | None = None) -> list[Task]:
        """New tasks: those of a round at its start; where clients are asked one by one, whatever is due now.

        Whoever is lost or refused in a round is not asked again before it ends.

        Args:
            now: the time.
            there: the clients that can be asked now; None is all.
        """
        aggregate, first = self.strategy.pooling, not self.book.asked
        if first and not (aggregate.continuous and self.history):
            self.book.opened = now
        elif not first and (aggregate.waits or not aggregate.continuous):
            return []
        chosen = self._chosen(there)
        self._version = self._version or (self.travelling, {key: dict(shared) for key, shared in self.shared.items()})
        made = [self._task(client) for client in chosen]
        self.book.asked.extend(task.client for task in made)
        return made

    def push(self, reply: Reply | Lost, now: float = 0.0) -> Refusal | None:
        """Take an answer, or the news that none will come.

        Returns:
            Why the reply does not count; None where it does.

        Raises:
            BadReply: it does not count for what it holds, and `guard.bad` is "stop".
        """
        self.book.now = now
        found = self._stray(reply)
        if found:
            return self._note(found)
        client = reply.client
        if isinstance(reply, Lost):
            self._back(client)
            self.book.lost[client] = reply.why
            return self._note(Refusal(client, reply.why, reply.words or "it does not answer"))
        found, whole = unreadable(reply), reply
        if found is None:
            self.bytes_up += traffic(reply)
            found, whole = self._looked_at(reply)
        self._back(client)
        if found:
            self.book.refused[client] = found.code
            self._note(found)
            if self.strategy.guard.bad == "stop":
                raise BadReply(f"round {self.round}: the reply of client {client!r} does not count: {found.words}. Guard(bad='drop') would go on without it.")
        else:
            self.book.answered.append(client)
            self.known[client] = dict(reply.metrics)
            self._waiting.append(whole)
        self._take()
        return found

    def ready(self, now: float = 0.0) -> bool:
        """Whether the round may end now."""
        self.book.now = now
        closes = self.closes
        return self.enough or (self._begun and closes is not None and now >= closes)

    @property
    def enough(self) -> bool:
        """Whether the round may end whatever the time is, since the aggregate has what it waits for."""
        return self._begun and self.strategy.pooling.ready(self.book)

    @property
    def _begun(self) -> bool:
        """A round in which everybody is still busy with tasks of earlier ones has begun too."""
        return bool(self.book.asked) or self.strategy.pooling.continuous

    @property
    def closes(self) -> float | None:
        """When the round ends in any case."""
        deadline = self.strategy.guard.deadline
        times = [self.strategy.pooling.closes(self.book), None if deadline is None else self.book.opened + deadline]
        return min((time for time in times if time is not None), default=None)

    def close(self, now: float = 0.0) -> Plain:
        """End the round: new weights, and its line of the history.

        Raises:
            TooFewReplies: fewer count than the aggregate needs, and `guard.few` is "stop".
            NonFinite: the new weights hold NaN or Inf.
        """
        self.book.now = now
        for client, number in list(self.out.items()):
            if self._given_up(number):
                self.push(Lost(client, number, "late", f"it had not answered by {now:g}"), now)
        self._take(everything=True)
        before, skipped = self.weights, self._quiet or self._too_few()
        if not skipped:
            self.weights, self.pooling = self._pooled()
            self._terms(before)
        line = self._line(skipped, now)
        self.history.append(line)
        self.book = Book(self.round + 1, self.clients, opened=now, now=now)
        self._clear()
        return line

    def _clear(self) -> None:
        self.held: Plain = self.strategy.pooling.begin(self.pooling)
        self.alone: dict[str, list[Reply]] = {}
        self.told: list[Reply] = []
        self.refusals: list[Refusal] = []
        self._waiting: list[Reply] = []
        self._taken = self.bytes_up = self.bytes_down = 0
        self._version: tuple[Tensors, dict[str, Tensors]] | None = None

    def _of(self, *words: str) -> Tensors:
        return {name: tensor for name, tensor in self.weights.items() if self.how[name] in words}

    def _chosen(self, there: Collection[str] | None) -> list[str]:
        away = {*self.out, *self.book.lost, *self.book.refused, *(self.book.answered if self.strategy.pooling.waits else ())}
        idle = [client for client in self.clients if client not in away and (there is None or client in there)]
        draw = np.random.default_rng([self.seed, self.round, self.number])
        known = Known(self.known, self.travelling)
        chosen = list(dict.fromkeys(self.strategy.choose.choose_knowing(self.round, idle, draw, known))) if idle else []
        room = self.strategy.choose.concurrent(len(self.clients)) - len(self.out)
        if self.strategy.pooling.continuous and len(chosen) > room:
            chosen = [chosen[i] for i in sorted(draw.choice(len(chosen), max(room, 0), replace=False))]
        return chosen

    def _task(self, client: str) -> Task:
        whole, shared = self._version or ({}, {})
        aggregate = self.strategy.pooling
        weights = packed_down(self.strategy.parts, aggregate.down(whole, self.pooling, client), client)
        told = aggregate.tells(self.pooling, client)
        shared = {**shared, TOLD: told} if told else shared
        seed = int.from_bytes(blake2b(repr((self.seed, self.number, client)).encode(), digest_size=7).digest())
        task = Task(client, self.round, weights, shared, aggregate.steps(self.pooling, client), seed, self.number)
        self.out[client], self.numbers[client] = self.round, self.number
        self.number += 1
        self.bytes_down += traffic(task)
        return task

    def _stray(self, reply: Reply | Lost) -> Refusal | None:
        """An answer that nobody is waited for with: it changes nothing."""
        client, words = reply.client, f"it answers round {reply.round}, the round is {self.round}"
        if client not in self.clients:
            return Refusal(str(client), "unknown", "no client is called so")
        if client not in self.out:
            return Refusal(client, "duplicate" if client in (*self.book.answered, *self.book.refused) else "old-round", words)
        number = getattr(reply, "number", None)
        if not isinstance(reply.round, int) or not isinstance(number, int | None):
            return Refusal(client, "old-round", "the numbers of its round and of its task are none")
        if reply.round != self.out[client] or number not in (None, self.numbers[client]):
            return Refusal(client, "old-round", words)
        return None

    def _back(self, client: str) -> None:
        del self.out[client], self.numbers[client]

    def _given_up(self, number: int) -> bool:
        """Whether an answer to a task of this round would not count after the round that is open."""
        stale = self.strategy.guard.stale
        return not self.strategy.pooling.continuous or (stale is not None and self.round + 1 - number > stale)

    @property
    def _quiet(self) -> bool:
        """Nobody has answered, which is nothing to stop for where those who are busy may answer later."""
        book = self.book
        return self.strategy.pooling.continuous and not self.told and bool(self.out or not (book.refused or book.lost))

    def _looked_at(self, reply: Reply) -> tuple[Refusal | None, Reply]:
        guard, like = self.strategy.guard, self.like(reply.client)
        if guard.stale is not None and self.round - reply.round > guard.stale:
            return Refusal(reply.client, "old-round", f"it is {self.round - reply.round} rounds behind, {guard.stale} are allowed"), reply
        if guard.largest_bytes is not None and traffic(reply) > guard.largest_bytes:
            return Refusal(reply.client, "too-large", f"it has {traffic(reply):,} bytes, {guard.largest_bytes:,} are allowed"), reply
        try:
            update = {name: tensor.detach() for name, tensor in opened(self.strategy.parts, reply.update, like).items()}
            extra = {key: {name: tensor.detach() for name, tensor in sent.items()} for key, sent in reply.extra.items()}
            whole = replace(reply, update=update, extra=extra)
        except (LoomweightError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            return Refusal(reply.client, "packed", f"it cannot be unpacked: {error}"), reply
        aggregate = self.strategy.pooling
        partial = aggregate.partial or (aggregate.sums and any(part.partial for part in self.strategy.parts))  # a rule stacks what has all names
        return refusal(whole, like, guard, partial=partial) or self._extra(whole) or self._wrong(whole), whole

    def _wrong(self, reply: Reply) -> Refusal | None:
        try:
            words = self.strategy.pooling.wrong(reply)
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            words = f"what it holds beyond its update cannot be read: {error}"
        return Refusal(reply.client, "names", words) if words else None

    def _extra(self, reply: Reply) -> Refusal | None:
        """What terms sent has the shapes of what they were sent, where the names are the same."""
        for key, extra in reply.extra.items():
            if key not in self.shared:
                return Refusal(reply.client, "names", f"it sends something for {key!r}, which the objective does not have")
            for name, tensor in extra.items():
                like = self.shared[key].get(name)
                if like is not None and tensor.shape != like.shape:
                    return Refusal(reply.client, "shape", f"tensor {name!r} of {key} has shape {list(tensor.shape)} instead of {list(like.shape)}")
        return None

    def _note(self, found: Refusal) -> Refusal:
        self.refusals.append(found)
        level = logging.INFO if found.code == "late" else logging.WARNING
        log.log(level, "round %d: client %r does not count (%s): %s", self.round, found.client, found.code, found.words)
        return found

    def _take(self, *, everything: bool = False) -> None:
        """Hand what has come to the aggregate, in the order of the tasks; what came early waits."""
        share = self.strategy.guard.largest_share
        if share < 1 and not everything:
            return
        waiting = capped(self._waiting, share) if share < 1 else self._waiting
        self._waiting = []
        if self.strategy.pooling.continuous:
            for reply in waiting:
                self._add(replace(reply, metrics={**reply.metrics, "behind": float(self.round - reply.round)}))
            return
        early = {reply.client: reply for reply in waiting}
        asked, known = self.book.asked, {*self.book.answered, *self.book.refused, *self.book.lost}
        while self._taken < len(asked) and asked[self._taken] in known:
            client = asked[self._taken]
            self._taken += 1
            if client in early:
                self._add(early.pop(client))
        self._waiting = list(early.values())

    def _add(self, reply: Reply) -> None:
        pooled = {name: tensor for name, tensor in reply.update.items() if self.how[name] == "pool"}
        self.strategy.pooling.add(self.held, replace(reply, update=pooled), self._of("pool"))
        for name in reply.update.keys() - pooled.keys():
            self.alone.setdefault(name, []).append(Reply(reply.client, reply.round, {name: reply.update[name]}, reply.weight))
        self.told.append(replace(reply, update={}))

    def _too_few(self) -> bool:
        count, refused = len(self.told), sum(code in FAULTS for code in self.book.refused.values())
        least = self.strategy.guard.fewest
        try:
            self.strategy.pooling.check(count, refused)
            if count < least or sum(reply.weight for reply in self.told) <= 0:
                raise TooFewSets(f"the guard asks for at least {least} replies with a weight.")
        except TooFewSets as error:
            words = f"round {self.round}: {count} of {len(self.book.asked)} replies count; {error}"
            if self.refusals:
                first = self.refusals[0]
                words += f" Left out: {listed(item.client for item in self.refusals)}; the first, {first.client!r}: {first.words}."
            if self.strategy.guard.few == "stop":
                raise TooFewReplies(f"{words} Guard(few='skip') would leave the weights as they are and go on.") from error
            log.warning("%s The round is skipped.", words)
            return True
        return False

    def _pooled(self) -> tuple[Tensors, Plain]:
        moved, pooling = self.strategy.pooling.pool(self._of("pool"), self.held, self.pooling, self.book)
        for name, changes in self.alone.items():
            change = combined_alone(self.how[name], [reply.update[name] for reply in changes], [reply.weight for reply in changes])
            moved = {**moved, name: (self.weights[name] + change).to(self.weights[name].dtype)}
        for name, tensor in moved.items():
            if tensor.is_floating_point() and not finite(tensor):
                raise NonFinite(
                    f"round {self.round}: the pooled tensor {name!r} holds NaN or Inf, though no reply does: some are too large to be added."
                    " The weights before are kept; Guard(largest_norm=...) refuses such replies."
                )
        return {**self.weights, **moved}, pooling

    def _terms(self, before: Tensors) -> None:
        start = {name: before[name] for name in self.travelling}
        ended = Ended(self.told, start, self.travelling, len(self.clients), self.strategy.pooling.rate, self.pooling)
        for term in self.strategy.terms:
            self.shared[term.key] = term.pool(self.shared[term.key], ended)

    def _line(self, skipped: bool, now: float) -> Plain:
        codes: dict[str, int] = {}
        for item in self.refusals:
            codes[item.code] = codes.get(item.code, 0) + 1
        named = {item.client: item.code for item in self.refusals}
        line = {
            "round": self.round,
            "asked": len(self.book.asked),
            "pooled": len(self.told),
            "weight": sum(reply.weight for reply in self.told),
            "refused": codes,
            "who": named,
            "skipped": skipped,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "time": now,
        }
        measured = {key: value for key, value in self._measured().items() if key not in line}  # what clients say replaces nothing that the server knows
        return {**line, **measured, **{key: float(value) for key, value in self.book.notes.items()}}

    def _measured(self) -> dict[str, float]:
        """The mean of each metric, by weight, over the clients that gave a finite number; NaN where none did."""
        found: dict[str, float] = {}
        for key in sorted({key for reply in self.told for key in reply.metrics}):
            given = [(reply.weight, float(reply.metrics[key])) for reply in self.told if isfinite(reply.metrics.get(key, nan))]
            total = sum(weight for weight, _ in given)
            found[key] = sum(weight / total * value for weight, value in given) if total > 0 else nan
        return found
