"""What does it cost to agree once in a while?

    python bench/diloco.py [--steps 400] [--sizes 1 10]

Two tables. Training: four workers (threads with gloo groups of their own, the same calls as four processes) train a small transformer on the characters of
Tiny Shakespeare, each on its own draws: data parallel, which sums gradients at every step, and DiLoCo, at equal tokens; then one worker is hostile and sends
ten times the others' way back. Loss on the last tenth of the text, bytes that one worker sends after the start, and their ratio to data parallel. No times.

Synchronising: two processes, models of so many million parameters; a whole synchronisation of DiLoCo beside one bare all-reduce of as many bytes, in turns,
medians of rounds; CPU seconds of one process, its gloo threads included, and wall clock.
"""

import argparse
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed import FileStore, HashStore, ProcessGroupGloo
from torch.nn.functional import cross_entropy

from loomweight.federate import DiLoCo, Exchange, LocalSGD, TargetBatch
from loomweight.rules import Mean, Median, Rule, TrimmedMean

DATA = Path(os.environ.get("LOOMWEIGHT_DATA", "../shared/data")) / "tinyshakespeare" / "input.txt"
WORKERS, BATCH, CONTEXT, WIDTH, LAYERS, HEADS = 4, 16, 64, 64, 2, 4
ADAMW = partial(torch.optim.AdamW, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(self.norms[0](x)).chunk(3, -1))
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class Characters(nn.Module):
    def __init__(self, letters: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(letters, WIDTH), nn.Parameter(torch.zeros(CONTEXT, WIDTH))
        self.blocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, letters))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.05, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(x) + self.place))


class Text:
    def __init__(self, path: Path) -> None:
        letters = sorted(set(text := path.read_text()))
        codes = torch.tensor([letters.index(letter) for letter in text])
        self.letters, cut = len(letters), int(0.9 * len(codes))
        self.train, self.held = codes[:cut], codes[cut:]

    def batch(self, rank: int, step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(100_000 * rank + step)
        begins = torch.randint(len(self.train) - CONTEXT - 1, (BATCH,), generator=generator)
        windows = torch.stack([self.train[i : i + CONTEXT + 1] for i in begins.tolist()])
        return windows[:, :-1], windows[:, 1:]

    @torch.no_grad()
    def loss(self, model: nn.Module) -> float:
        windows = self.held[: len(self.held) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)[::4]
        return float(cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten()))


def learn(model: nn.Module, text: Text, rank: int, step: int) -> None:
    x, y = text.batch(rank, step)
    cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()


def data_parallel(text: Text, steps: int, rank: int, group: object, store: HashStore) -> tuple[float, int]:
    model = Characters(text.letters)
    training = TargetBatch(model, ADAMW(model.parameters()), 1, store, group)
    begun = training.peers.traffic.sent
    for step in range(steps):
        learn(model, text, rank, step)
        training.add(BATCH)
    return text.loss(model) if rank == 0 else 0.0, training.peers.traffic.sent - begun


def diloco(text: Text, steps: int, rank: int, group: object, every: int, rule: Rule, hostile: bool) -> tuple[float, int]:
    model = Characters(text.letters)
    inner = ADAMW(model.parameters())
    rounds = DiLoCo(model, inner, every, group, rule)
    begun = rounds.bytes_sent
    against = hostile and rank == WORKERS - 1
    for step in range(steps):
        if against and (step + 1) % every == 0:
            before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
            train_some(model, inner, text, rank, step)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(before[name] - 10 * every * (parameter - before[name]))
        elif not against:
            train_some(model, inner, text, rank, step)
        rounds.step()
    return text.loss(model) if rank == 0 else 0.0, rounds.bytes_sent - begun


def train_some(model: nn.Module, inner: torch.optim.Optimizer, text: Text, rank: int, step: int) -> None:
    inner.zero_grad()
    learn(model, text, rank, step)
    inner.step()


def together(body) -> tuple[float, int]:
    """Rank 0's loss, and the bytes that it sent after the start."""
    store = HashStore()

    def one(rank: int) -> tuple[float, int]:
        return body(rank, ProcessGroupGloo(store, rank, WORKERS, timedelta(minutes=10)))

    with ThreadPoolExecutor(WORKERS) as pool:
        first, *_ = pool.map(one, range(WORKERS))
    return first


def training(steps: int) -> None:
    text = Text(DATA)
    size = sum(p.numel() for p in Characters(text.letters).parameters())
    begun = text.loss(Characters(text.letters))
    print(f"\n{size} parameters, {steps} steps of {BATCH} x {CONTEXT} characters on each of {WORKERS} workers; loss before: {begun:.3f}\n")
    print("| | loss | MB sent by a worker | of data parallel |\n|---|---:|---:|---:|")
    loss, whole = together(lambda rank, group: data_parallel(text, steps, rank, group, shared))
    print(f"| data parallel | {loss:.3f} | {whole / 1e6:.2f} | 1 |", flush=True)
    for told, every, rule, hostile in [
        ("DiLoCo, H = 10", 10, Mean(), False),
        ("DiLoCo, H = 50", 50, Mean(), False),
        ("DiLoCo, H = 10, median", 10, Median(), False),
        ("one hostile, H = 10, mean", 10, Mean(), True),
        ("one hostile, H = 10, median", 10, Median(), True),
        ("one hostile, H = 10, trimmed mean", 10, TrimmedMean(1), True),
    ]:
        loss, sent = together(partial(_diloco, text, steps, every, rule, hostile))
        print(f"| {told} | {loss:.3f} | {sent / 1e6:.2f} | 1/{whole / max(sent, 1):.0f} |", flush=True)


shared = HashStore()


def _diloco(text: Text, steps: int, every: int, rule: Rule, hostile: bool, rank: int, group: object) -> tuple[float, int]:
    return diloco(text, steps, rank, group, every, rule, hostile)


def measured(body) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    body()
    return time.process_time() - cpu, time.perf_counter() - wall


def synchronising(rank: int, folder: Path, sizes: list[float], rounds: int) -> None:
    group = ProcessGroupGloo(FileStore(str(folder / "store"), 2), rank, 2, timedelta(minutes=10))
    if rank == 0:
        print(
            "\n| million parameters | bare all-reduce, CPU ms (wall) | LocalSGD, CPU x (wall x) | DiLoCo, CPU x (wall x) |\n|---:|---:|---:|---:|", flush=True
        )
    for millions in sizes:
        model = nn.ParameterList([nn.Parameter(torch.ones(int(millions * 1e6) // 20)) for _ in range(20)])
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        flat = torch.ones(int(millions * 1e6))
        local, outer = (kind(model, sgd, 1, group, exchange=Exchange("drop")) for kind in (LocalSGD, DiLoCo))
        bodies = [lambda flat=flat: group.allreduce([flat]).wait(), local.synchronise, outer.synchronise]
        for body in bodies:
            body()
        times = [[measured(body) for body in bodies] for _ in range(rounds)]
        bare = [statistics.median(one[0][i] for one in times) for i in (0, 1)]
        ratios = [[statistics.median(one[j][i] / one[0][i] for one in times) for i in (0, 1)] for j in (1, 2)]
        if rank == 0:
            told = " | ".join(f"{cpu:.1f} ({wall:.1f})" for cpu, wall in ratios)
            print(f"| {millions:g} | {1e3 * bare[0]:.1f} ({1e3 * bare[1]:.1f}) | {told} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--sizes", type=float, nargs="*", default=[1, 10])
    parser.add_argument("--rounds", type=int, default=15)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    if settings.sizes:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            child = os.fork()
            synchronising(int(child == 0), Path(folder), settings.sizes, settings.rounds)
            if child == 0:
                sys.stdout.flush()
                os._exit(0)
            os.waitpid(child, 0)
    if settings.steps:
        training(settings.steps)


if __name__ == "__main__":
    main()
