"""Train and keep the networks of bench/apart.py: ten seeds of each, so that five pairs were trained apart.

python bench/apart_train.py FOLDER [--only digits-mlp,...] [--seeds 10]
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from apart_models import Characters, Split, digits, fashion, mlp, resnet20, scores, shakespeare, trained, vgg
from safetensors.torch import load_file, save_file
from torch import nn


class Case(NamedTuple):
    """A data set, a network and how long it is trained."""

    data: Callable[[], tuple[Split, Split]]
    make: Callable[[], nn.Module]
    epochs: int


CASES = {
    "digits-mlp": Case(digits, partial(mlp, 8), 20),
    "digits-vgg": Case(digits, partial(vgg, 8), 15),
    "digits-resnet20": Case(digits, partial(resnet20, 8, 32), 10),
    "digits-vgg-wide": Case(digits, partial(vgg, 8, 64), 15),
    "digits-resnet20-wide": Case(digits, partial(resnet20, 8, 64), 10),
    "fashion-mlp": Case(fashion, partial(mlp, 14, 256), 8),
    "fashion-vgg": Case(fashion, partial(vgg, 14, 16), 4),
    "shakespeare-transformer": Case(shakespeare, Characters, 8),
    "fashion-resnet20": Case(fashion, partial(resnet20, 14, 16), 3),
}


def network(folder: Path, name: str, seed: int, case: Case | None = None) -> nn.Module:
    """The network of a seed, trained now if it is not in the folder."""
    case = case or CASES[name]
    path = folder / f"{name}-{seed}.safetensors"
    model = case.make()
    if not path.exists():
        train, test = case.data()
        model = trained(case.make, train, seed, case.epochs)
        save_file(model.state_dict(), path)
        print(f"{name} {seed}: {scores(model, test).accuracy:.4f}", flush=True)
    model.load_state_dict(load_file(path))
    return model.eval()


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for name in options.only.split(","):
            network(options.folder, name, seed)


if __name__ == "__main__":
    main()
