"""What averages along a run are worth on real data: last point, averages and schedules, several seeds.

    python bench/along.py FOLDER [--only fashion-mlp,...] [--seeds 5] [--parts cosine,constant,switch,posthoc]

FOLDER keeps what was measured (a JSON file for each network, part and seed), so that a stopped run goes on. Every part is one run of the same
length: a cosine; a constant rate, from whose last fifth a cooldown branches off; a cosine with Switch EMA; a constant rate with post-hoc EMA.
The rate of the cosine at its peak is twice the constant one, as in the paper on cooldowns. Test accuracy in per cent and test loss, mean and
spread over seeds.
"""

import argparse
import copy
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import torch
from apart_models import Characters, Split, batches, fashion, mlp, scores, shakespeare, vgg
from torch import nn

from loomweight import norm
from loomweight.align import loaded
from loomweight.trajectory import EMA, LAWA, SWA, Average, PostHocEMA, Power, Snapshots, SwitchEMA, Track, constant_cooldown
from loomweight.weights import Weights, from_module

Judge = Callable[[Weights], list[float]]

WARM_UP, COOLDOWN = 0.05, 0.2
BATCH = 64
FACTOR = constant_cooldown(WARM_UP, COOLDOWN, length=1.0, first=0.0)
LENGTHS = (0.03, 0.05, 0.07, 0.10, 0.15, 0.20, 0.25)


class Case(NamedTuple):
    """A data set, a network, how long it is trained, and the constant rate."""

    data: Callable[[], tuple[Split, Split]]
    make: Callable[[], nn.Module]
    epochs: int
    rate: float


CASES = {
    "fashion-mlp": Case(fashion, partial(mlp, 14, 256), 20, 0.02),
    "fashion-vgg": Case(fashion, partial(vgg, 14, 16), 6, 0.02),
    "shakespeare-transformer": Case(shakespeare, Characters, 4, 1.5e-3),
}


class Run:
    """A training run whose rate is a share of the case's, by how far it is; the tracks are updated after every step."""

    def __init__(self, case: Case, train: Split, seed: int) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = case.make().train()
        self.train, self.seed, self.done, self.peak = train, seed, 0, 2 * case.rate
        self.length = case.epochs * len(train[1])
        sgd = partial(torch.optim.SGD, momentum=0.9, weight_decay=5e-4, nesterov=True)
        self.optimizer: torch.optim.Optimizer = (torch.optim.AdamW if train[0].dtype == torch.int64 else sgd)(self.model.parameters(), self.peak)

    def tracks(self) -> dict[str, Track]:
        """The averages of a run, lengths as shares of it."""
        n = self.length
        return {
            "EMA 2 %": EMA(self.model, half_life=0.02 * n),
            "EMA 5 %": EMA(self.model, half_life=0.05 * n),
            "SWA, last quarter": SWA(self.model, start=0.75, length=n),
            "LAWA, 6 points 2 % apart": LAWA(self.model, k=6, every=0.02 * n),
        }

    def go(self, until: float, shape: Callable[[float], float], tracks: list[Track], each_epoch: Callable[[], object] = lambda: None) -> None:
        """Train until this share of the run is over."""
        for inputs, labels in self._batches(until):
            for group in self.optimizer.param_groups:
                group["lr"] = self.peak * shape(self.done / self.length)
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(inputs), labels).backward()
            self.optimizer.step()
            for track in tracks:
                track.update(samples=len(labels))
            self.done += len(labels)
            if self.done % len(self.train[1]) == 0:
                each_epoch()

    def last(self) -> Weights:
        """The model as it is."""
        return from_module(copy.deepcopy(self.model))

    def value(self, track: Track) -> Weights:
        """The average; statistics of batch normalizations anew, from training images."""
        norms = any(isinstance(module, nn.BatchNorm2d) for module in self.model.modules())
        return track.value([images for images, _ in batches((self.train[0][:2000], self.train[1][:2000]), 500)] if norms else None)

    def _batches(self, until: float) -> Iterator[Split]:
        while self.done < round(until * self.length):
            epoch, within = divmod(self.done, len(self.train[1]))
            for i, batch in enumerate(batches(self.train, BATCH, 1000 * self.seed + epoch)):
                if i * BATCH >= within and self.done < round(until * self.length):
                    yield batch


def cosine(t: float) -> float:
    """Warm-up, then down to 0 over the whole run."""
    return min(t / WARM_UP, 1.0) * 0.5 * (1 + math.cos(math.pi * t))


def constant(t: float) -> float:
    """Warm-up, then half of the cosine's peak."""
    return 0.5 * min(t / WARM_UP, 1.0)


def cooled(t: float) -> float:
    """The constant rate, in the last fifth down to 0 by 1 - sqrt."""
    return 0.5 * FACTOR(t)


def of_cosine(run: Run, judge: Judge) -> dict[str, list[float]]:
    """One cosine over the whole run."""
    ema = EMA(run.model, half_life=0.02 * run.length)
    run.go(1.0, cosine, [ema])
    return {"cosine, last": judge(run.last()), "cosine, EMA 2 %": judge(run.value(ema))}


def of_constant(run: Run, judge: Judge) -> dict[str, list[float]]:
    """A constant rate with averages along it, and a cooldown that branches off."""
    tracks = run.tracks()
    run.go(1 - COOLDOWN, constant, list(tracks.values()))
    branch = copy.deepcopy(run)
    short = EMA(branch.model, half_life=0.02 * run.length)
    run.go(1.0, constant, list(tracks.values()))
    branch.go(1.0, cooled, [short])
    found = {"constant, last": judge(run.last())} | {f"constant, {name}": judge(run.value(track)) for name, track in tracks.items()}
    return found | {"constant + cooldown, last": judge(branch.last()), "constant + cooldown, EMA 2 %": judge(branch.value(short))}


def of_switch(run: Run, judge: Judge) -> dict[str, list[float]]:
    """A cosine, as in the paper, whose weights become their EMA's after every epoch."""
    ema = SwitchEMA(run.model, half_life=0.02 * run.length)
    run.go(1.0, cosine, [ema], each_epoch=ema.switch)
    return {"cosine, Switch EMA, last": judge(run.last()), "cosine, Switch EMA, EMA": judge(run.value(ema))}


def of_posthoc(run: Run, judge: Judge) -> dict[str, list[float]]:
    """Lengths chosen after a run at a constant rate, out of 50 snapshots of two, against the same averages kept during the run.

    A row `differ` has the distance between the two over that of the average from the last step, and the error that the reconstruction states.
    """
    kept = {length: Average(run.model, Power.of_length(length)) for length in LENGTHS}
    with tempfile.TemporaryDirectory() as folder:
        posthoc = PostHocEMA(run.model, every=run.length / 50, folder=folder)
        run.go(1.0, constant, [posthoc, *kept.values()])
        posthoc.snapshot()
        snapshots, found = Snapshots.of(folder), {}
        for length, average in kept.items():
            how = snapshots.reconstruct(length)
            made, online = snapshots.weights(how), average.value()
            apart = norm(made - online) / norm(online - run.last())
            found |= {
                f"length {length:.2f}, kept": judge(online),
                f"length {length:.2f}, synthesised": judge(made),
                f"length {length:.2f}, differ": [apart, how.error],
            }
    return found


PARTS = {"cosine": of_cosine, "constant": of_constant, "switch": of_switch, "posthoc": of_posthoc}


def judged(case: Case, test: Split) -> Judge:
    """Weights -> [test accuracy, test loss]."""

    return lambda weights: [*scores(loaded(case.make().eval(), weights), test)]


def main() -> None:
    """Measure what is missing, print a table for every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        case = CASES[name]
        train, test = case.data()
        rows: dict[str, list[list[float]]] = {}
        for part in options.parts.split(","):
            for seed in range(options.seeds):
                path = options.folder / f"{name}-{part}-{seed}.json"
                if not path.exists():
                    run = Run(case, train, seed)
                    path.write_text(json.dumps(PARTS[part](run, judged(case, test))))
                for row, values in json.loads(path.read_text()).items():
                    rows.setdefault(row, []).append(values)
        print(f"\n{name}, {options.seeds} seeds: accuracy in per cent, loss\n")
        for row, found in rows.items():
            accuracies, losses = [100 * values[0] for values in found], [values[1] for values in found]
            print(f"  {row:40s}{_spread(accuracies, 1)}   {_spread(losses, 4)}", flush=True)


def _spread(values: list[float], digits: int) -> str:
    return f"{mean(values):8.{digits}f} ± {stdev(values) if len(values) > 1 else 0:.{digits}f}"


if __name__ == "__main__":
    main()
