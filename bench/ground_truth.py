"""Ground truth for supernets: every network of a space trained alone, several seeds, in a table.

    python bench/ground_truth.py blocks|pooling [--seeds 3] [--table bench/tables/blocks.csv] [--show]

A killed run goes on where it stopped: the table is written after every network. `--show` trains nothing and prints what the table says. A seed chooses the
first weights and the order of the images; SGD with Nesterov momentum 0.9, weight decay 5e-4, batches of 128, a one-cycle rate; no augmentation; one thread,
float32, channels last. The spaces are in bench/truth_spaces.py.
"""

import argparse
import platform
import time
from pathlib import Path

import torch
from apart_models import Split, scores, trained
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from truth_spaces import TRUTHS, Truth
from truth_table import FOLDER, Row, Table, read, summary

from loomweight.search.space import Values


def costs(truth: Truth, arch: Values) -> dict[str, int]:
    """Parameters, and multiply-accumulates of one input (padding counted) in convolutions and linear layers."""
    model = truth.network(arch).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(truth.example()[:1])
    return {"params": sum(parameter.numel() for parameter in model.parameters()), "macs": counter.get_total_flops() // 2}


def header(name: str, truth: Truth) -> list[str]:
    """How a table is made; a table with another header is not continued."""
    return [
        f"Test accuracy in per cent of networks trained alone: space {name!r} of bench/truth_spaces.py, one column for each seed.",
        f"Made by `python bench/ground_truth.py {name}`: {truth.epochs} epochs, batch 128, one-cycle SGD, peak rate {truth.rate}.",
        f"torch {torch.__version__}, Python {platform.python_version()}, one CPU thread. params: parameters; macs: multiply-accumulates of one input.",
    ]


def begun(name: str, truth: Truth, path: Path) -> Table:
    """The table so far, or one without accuracies."""
    made = header(name, truth)
    if not path.exists():
        return Table(made, [Row(arch, costs(truth, arch)) for arch in truth.architectures()])
    table = read(path)
    if table.header != made or [row.arch for row in table.rows] != truth.architectures():
        raise SystemExit(f"{path} was made by other settings or versions:\n" + "\n".join(table.header) + "\nGive another --table, or remove it.")
    return table


def last(split: Split) -> Split:
    """Images with channels last, which convolutions on CPUs read faster."""
    return split[0].contiguous(memory_format=torch.channels_last), split[1]


def accuracy(truth: Truth, arch: Values, seed: int, data: tuple[Split, Split]) -> float:
    """Of one network, in per cent."""

    def make() -> nn.Module:
        return truth.network(arch).to(memory_format=torch.channels_last)

    return 100 * scores(trained(make, data[0], seed, truth.epochs, truth.rate), data[1]).accuracy


def fill(truth: Truth, table: Table, path: Path, seeds: int) -> None:
    """Train what is missing, seed after seed."""
    train, test = map(last, truth.data())
    todo = [(row, seed) for seed in range(seeds) for row in table.rows if seed not in row.accuracies]
    begin = time.process_time()
    for done, (row, seed) in enumerate(todo, 1):
        row.accuracies[seed] = accuracy(truth, row.arch, seed, (train, test))
        table.write(path)
        took = time.process_time() - begin
        rest = took / done * (len(todo) - done)
        print(f"{done}/{len(todo)} seed {seed} {row.arch}: {row.accuracies[seed]:.2f}  {took:.0f} s, about {rest:.0f} s to go", flush=True)


def show(table: Table) -> None:
    """The summary, a line each."""
    for name, value in summary(table).items():
        print(f"{name:20s}{value:10.4g}")


def main() -> None:
    """Train and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", choices=TRUTHS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    path = options.table or FOLDER / f"{options.space}.csv"
    torch.set_num_threads(1)
    if options.show:
        show(read(path))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = TRUTHS[options.space]
    table = begun(options.space, truth, path)
    fill(truth, table, path, options.seeds)
    show(table)


if __name__ == "__main__":
    main()
