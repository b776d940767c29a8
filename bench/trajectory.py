"""What does an average along a run cost?

    python bench/trajectory.py [--rounds 15] [--size 0.1B]

Four tables: an update of a Llama model against the memory floor and torch.optim.swa_utils; models of many small tensors, where calls cost more
than memory; what `applied()` and the memory are; and the share of an update in a training step. Wall clock, all cores, the best of
the rounds, in which all take turns: other work on the machine moves the ratios less than the times.

`blind` is the EMA with `look = False`, which, as the peer, does not look for NaN.

The floor reads the model and the average once and writes the average once. It is the quickest, in this run, of three ways to say that in
plain torch on flat tensors that lie in one piece: `lerp_` of the whole, `lerp_` over blocks of cache size in one thread a core (what remains if nothing is
checked and nothing has a name), and, for bfloat16, `add_` of mixed dtypes. The average is float32 in all three.
"""

import argparse
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from sets import shapes
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from loomweight.engines import Inline, current
from loomweight.trajectory import EMA, SWA, Track
from loomweight.weights import BLOCK
from loomweight.weights.spec import spans

Body = Callable[[], object]


def best(bodies: list[Body], rounds: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Seconds of the quickest round of each, taken in turns."""
    times = [float("inf")] * len(bodies)
    for _ in range(rounds):
        for i, body in enumerate(bodies):
            start = clock()
            body()
            times[i] = min(times[i], clock() - start)
    return times


def private() -> int:
    """Bytes that are this process's own."""
    words = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(words["RssAnon"].split()[0])


def of_shapes(sizes: Iterable[tuple[int, ...]], dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model that is nothing but its parameters."""
    generator = torch.Generator().manual_seed(0)
    return nn.ParameterList([nn.Parameter(torch.randn(size, generator=generator).mul_(0.02).to(dtype)) for size in sizes])


def resnet50() -> nn.Module:
    """Convolutions and batch normalizations of a ResNet50: 161 parameters, 106 floating buffers."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, bias=False), nn.BatchNorm2d(64)]
    given = 64
    for wide, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            for out, kernel in ((wide, 1), (wide, 3), (4 * wide, 1)):
                layers += [nn.Conv2d(given if out == wide and kernel == 1 else wide, out, kernel, bias=False), nn.BatchNorm2d(out)]
            if not block:
                layers += [nn.Conv2d(given, 4 * wide, 1, bias=False), nn.BatchNorm2d(4 * wide)]
            given = 4 * wide
    return nn.Sequential(*layers, nn.Linear(2048, 1000))


def tiny() -> nn.Module:
    """100 tensors, 0.1 M parameters."""
    return nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64)) for _ in range(25)])


def floors(live: Tensor, total: Tensor) -> dict[str, Body]:
    """Ways to read both once and write the average once."""
    same, whole = live.dtype == total.dtype, list(spans(len(live), 8 * BLOCK))

    def block(span: tuple[int, int]) -> None:
        for lo, hi in spans(span[1] - span[0]):
            part = slice(span[0] + lo, span[0] + hi)
            total[part].lerp_(live[part].to(total.dtype), 1e-3)

    ways: dict[str, Body] = {"blocks in threads": lambda: list(current().map(block, whole))}
    return ways | ({"lerp_ of the whole": lambda: total.lerp_(live, 1e-3)} if same else {"add_ of mixed dtypes": lambda: total.add_(live, alpha=1e-3)})


def large(size: str, dtype: torch.dtype, rounds: int, clock: Callable[[], float] = time.perf_counter) -> list[str]:
    """Lines of the first table, and of `applied` and memory."""
    model = of_shapes(shapes(size).values(), dtype)
    count = sum(parameter.numel() for parameter in model.parameters())
    quick = EMA(model, half_life=1000)
    quick.look = False
    tracks: dict[str, Track] = {"EMA": EMA(model, half_life=1000), "mean": SWA(model), "blind": quick}
    ema_peer = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    peers = {"EMA": ema_peer, "mean": AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn()), "blind": ema_peer}
    live, total = torch.randn(count).mul_(0.02).to(dtype), torch.zeros(count)
    ways = floors(live, total)
    ours = [track.update for track in tracks.values()]
    theirs = [lambda peer=peer: peer.update_parameters(model) for peer in peers.values()]
    for body in (*ours, *theirs):
        body()
    used = _entered(tracks["EMA"])
    times = best([*ways.values(), *ours, *theirs, used], rounds, clock)
    floor = min(times[: len(ways)])
    name = list(ways)[times.index(floor)]
    bytes_ = count * (dtype.itemsize + 8)
    lines = []
    for i, kind in enumerate(tracks):
        own, peer = times[len(ways) + i], times[len(ways) + len(tracks) + i]
        speed = f"{bytes_ / floor / 1e9:6.1f}"
        lines.append(f"{kind:5} {str(dtype)[6:]:9} {own * 1e3:9.1f} {floor * 1e3:9.1f} {speed} {peer * 1e3:9.1f} {own / floor:9.2f} {own / peer:9.2f}   {name}")
    return [*lines, f"{str(dtype)[6:]:9} {times[-1] * 1e3:12.2f}"]


def memory(size: str, dtype: torch.dtype) -> str:
    """Bytes a parameter that an average adds to a process; run in one of its own, where nothing freed is used again."""
    model = of_shapes(shapes(size).values(), dtype)
    ema, count, before = EMA(model, half_life=1000), sum(parameter.numel() for parameter in model.parameters()), private()
    for _ in range(3):
        ema.update()
    return f"{(private() - before) / count:12.2f}"


def _entered(track: Track) -> Body:
    def body() -> None:
        with track.applied():
            pass

    return body


def small(name: str, model: nn.Module, rounds: int) -> str:
    """One line of the second table."""
    warnings.simplefilter("ignore")  # of the statistics of batch normalizations
    track = EMA(model, half_life=1000)
    peers = [AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=buffers) for buffers in (True, False)]
    bodies = [track.update, *(lambda peer=peer: peer.update_parameters(model) for peer in peers)]
    for body in (*bodies, track.update):
        body()
    own, with_buffers, without, used = best([*bodies, _entered(track)], rounds)
    held = len(track.state_dict()["totals"])
    cells = f"{own * 1e6:9.0f} {with_buffers * 1e6:9.0f} {without * 1e6:9.0f} {own / with_buffers:9.2f} {own / without:9.2f} {used * 1e6:9.0f}"
    return f"{name:9} {held:8} {cells}"


class Transformer(nn.Module):
    """About 30 M parameters: 8 layers of width 512, a vocabulary of 8192."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8192, 512)
        layer = nn.TransformerEncoderLayer(512, 8, 2048, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 8, enable_nested_tensor=False)
        self.head = nn.Linear(512, 8192, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.body(self.embed(tokens)))


def training(rounds: int) -> str:
    """The last table: the step of AdamW over 8 sequences of 128 tokens."""
    model = Transformer()
    optimizer, ema = torch.optim.AdamW(model.parameters(), lr=1e-4), EMA(model, half_life=10_000)
    tokens = torch.randint(0, 8192, (8, 128), generator=torch.Generator().manual_seed(0))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()

    def update() -> None:
        ema.update(8)

    step(), update(), update()
    trained, averaged = best([step, update], rounds)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return f"{millions:.0f} M parameters, 1024 tokens a step: step {trained * 1e3:.0f} ms, update {averaged * 1e3:.1f} ms, {100 * averaged / trained:.2f} %"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", default="0.1B")
    parser.add_argument("--one-thread", action="store_true", help="only the first table, in CPU seconds of one thread")
    parser.add_argument("--memory", choices=("float32", "bfloat16"), help="print only the memory of an average")
    given = parser.parse_args()
    if given.memory:
        print(memory(given.size, getattr(torch, given.memory)))
        return
    dtypes = (torch.float32, torch.bfloat16)
    if given.one_thread:
        torch.set_num_threads(1)
        with Inline():
            found = [large(given.size, dtype, given.rounds, time.thread_time) for dtype in dtypes]
    else:
        found = [large(given.size, dtype, given.rounds) for dtype in dtypes]
    print(f"{'update':5} {'model':8} {'ours ms':>9} {'floor ms':>9} {'GB/s':>6} {'peer ms':>9} {'x floor':>9} {'x peer':>9}   the floor is")
    print(*[line for lines in found for line in lines[:-1]], sep="\n")
    if given.one_thread:
        return
    print(f"\n{'model':8} {'tensors':>8} {'ours us':>9} {'peer+b us':>9} {'peer us':>9} {'x peer+b':>9} {'x peer':>9} {'applied us':>9}", flush=True)
    for name, model in (("ResNet50", resnet50()), ("tiny", tiny())):
        print(small(name, model, 4 * given.rounds), flush=True)
    print(f"\n{'model':9} {'applied ms':>12} {'bytes a parameter':>20}")
    for dtype, lines in zip(("float32", "bfloat16"), found, strict=True):
        alone = subprocess.run([sys.executable, __file__, "--memory", dtype, "--size", given.size], capture_output=True, text=True, check=True)
        print(f"{lines[-1]} {alone.stdout.strip():>20}", flush=True)
    print(f"\n{training(max(3, given.rounds // 3))}")


if __name__ == "__main__":
    main()
