"""Weight matching beside public implementations of it, in one run: CPU seconds of one thread, and how alike the networks are in the end.

    python bench/align_peer.py FOLDER --peer ENV/bin/python [--repository GIT-RE-BASIN-PYTORCH] [--networks mlp,resnet20,resnet50] [--likeness 0.8]

ENV has the package `rebasin` (PyPI) beside torch and safetensors; GIT-RE-BASIN-PYTORCH is a checkout of github.com/themrzmaster/git-re-basin-pytorch, whose
table of permutations is written from ours. Every matching is a process of its own. FOLDER gets the networks: a reference with random weights, and a moving one:
likeness x reference + noise of its own, units shuffled. Alike is the cosine of all weights and biases together after matching; planted is what it was before
shuffling. Tracing is what finds the permutations from the module.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from apart_models import mlp, resnet20
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Tensors = dict[str, Tensor]


class Bottleneck(nn.Module):
    """Three convolutions and a way around them."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        other = before != 4 * width
        self.around = nn.Sequential(nn.Conv2d(before, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)) if other else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x -> relu(f(x) + x)."""
        inner = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        return torch.relu(self.bn3(self.conv3(inner)) + self.around(x))


def resnet50() -> nn.Module:
    """As it is for ImageNet, for grey images."""
    layers: list[nn.Module] = [nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    before = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(blocks):
            layers.append(Bottleneck(before, width, 2 if stage and not block else 1))
            before = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 1000))


NETWORKS: dict[str, Callable[[], nn.Module]] = {"mlp": partial(mlp, 32, 512), "resnet20": partial(resnet20, 32, 64), "resnet50": resnet50}
INPUT = torch.zeros(2, 1, 32, 32)


def write(folder: Path, name: str, likeness: float) -> float:
    """Both networks and the table that the repository takes; how alike they are before shuffling."""
    import loomweight as lw
    from loomweight.edits import Permute
    from loomweight.weights.axes import axes, random_orders

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    model.apply(unsettle)
    reference = model.state_dict()
    like = {key: noisy(tensor, likeness) if counts(key) else tensor.clone() for key, tensor in reference.items()}
    table = axes(model, INPUT)
    moving = Permute.by(table, random_orders(table))(lw.weights.Weights.of(like))
    save_file(reference, folder / "reference.safetensors")
    save_file({key: tensor.contiguous() for key, tensor in moving.items()}, folder / "moving.safetensors")
    layouts = {key: [single(axis) for axis in table.layouts[key].axes] for key in reference if counts(key)}
    (folder / "table.json").write_text(json.dumps(layouts))
    return alike(reference, like)


def unsettle(module: nn.Module) -> None:
    """Parameters of norms that differ from unit to unit."""
    if isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.1)
        nn.init.normal_(module.bias, 0, 0.1)


def noisy(tensor: Tensor, likeness: float) -> Tensor:
    """Of the same spread, with this cosine in what is not the mean."""
    mean, spread = tensor.mean(), tensor.std() if tensor.numel() > 1 else tensor.new_zeros(())
    return mean + likeness * (tensor - mean) + (1 - likeness**2) ** 0.5 * spread * torch.randn(tensor.shape)


def counts(name: str) -> bool:
    """Weights and biases."""
    return name.rpartition(".")[2] in ("weight", "bias")


def single(axis: tuple) -> str | None:
    """The space of an axis that is one."""
    found = [factor for term in axis for factor in term if isinstance(factor, str)]
    if len(found) > 1:
        raise SystemExit(f"{axis} has several spaces, which the repository's tables do not know")
    return found[0] if found else None


def alike(first: Tensors, second: Tensors) -> float:
    """The cosine of all that counts, each tensor less its mean, which no order changes."""
    a, b = (torch.cat([(held[name] - held[name].mean()).double().flatten() for name in sorted(first) if counts(name)]) for held in (first, second))
    return float(torch.nn.functional.cosine_similarity(a, b, 0))


def ours(folder: Path, name: str) -> tuple[float, float, Tensors]:
    """Seconds of tracing and of matching, and what came out."""
    import loomweight as lw
    from loomweight.align import weight_matching
    from loomweight.weights.axes import axes

    reference, moving, model = lw.load(folder / "reference.safetensors"), lw.load(folder / "moving.safetensors"), NETWORKS[name]().eval()
    begin = time.process_time()
    table = axes(model, INPUT)
    traced = time.process_time()
    moved = dict(weight_matching(table, moving, reference)(moving))
    return traced - begin, time.process_time() - traced, moved


def rebasin(folder: Path, name: str) -> tuple[float, float, Tensors]:
    """The package: the module is traced by torchview."""
    from rebasin import PermutationCoordinateDescent  # type: ignore[import-not-found]

    models = [NETWORKS[name]().eval() for _ in range(2)]
    for model, file in zip(models, ("reference", "moving"), strict=True):
        model.load_state_dict(load_file(folder / f"{file}.safetensors"))
    begin = time.process_time()
    descent = PermutationCoordinateDescent(*models, INPUT)
    traced = time.process_time()
    descent.rebasin()
    return traced - begin, time.process_time() - traced, models[1].state_dict()


def repository(folder: Path, name: str) -> tuple[float, float, Tensors]:
    """The checkout: a table is given."""
    from utils.weight_matching import apply_permutation, permutation_spec_from_axes_to_perm, weight_matching  # type: ignore[import-not-found]

    spec = permutation_spec_from_axes_to_perm(json.loads((folder / "table.json").read_text()))
    reference, moving = ({key: tensor for key, tensor in load_file(folder / f"{file}.safetensors").items() if counts(key)} for file in ("reference", "moving"))
    begin = time.process_time()
    orders = weight_matching(spec, reference, moving)
    moved = apply_permutation(spec, orders, moving)
    return 0.0, time.process_time() - begin, moved


WAYS = {"ours": ours, "rebasin": rebasin, "repository": repository}


def child(folder: Path, way: str, name: str) -> None:
    """Match, keep the result, print the seconds as JSON in the last line."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.no_grad():
        traced, matched, moved = WAYS[way](folder, name)
    save_file({key: tensor.contiguous() for key, tensor in moved.items()}, folder / f"{way}.safetensors")
    print("\n" + json.dumps([traced, matched]))


def rows(options: argparse.Namespace) -> Iterator[str]:
    """A line for each network and implementation."""
    pythons = {"ours": sys.executable, **({"rebasin": options.peer} if options.peer else {}), **({"repository": sys.executable} if options.repository else {})}
    for name in options.networks.split(","):
        folder = options.folder / f"peer-{name}-{options.likeness}"
        planted = write(folder, name, options.likeness)
        reference = load_file(folder / "reference.safetensors")
        size = sum(tensor.numel() for key, tensor in reference.items() if counts(key))
        for way, python in pythons.items():
            paths = [str(options.repository)] * (way == "repository") + [os.environ.get("PYTHONPATH", "")]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            command = [python, __file__, str(folder), "--networks", name, "--child", way]
            ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            traced, matched = json.loads(ran.stdout.splitlines()[-1])
            found = alike(reference, load_file(folder / f"{way}.safetensors"))
            yield f"| {name} | {size / 1e6:.1f} M | {way} | {traced:.2f} | {matched:.2f} | {found:.4f} | {planted:.4f} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peer")
    parser.add_argument("--repository", type=Path)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--likeness", type=float, default=0.8)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.folder, options.child, options.networks)
    else:
        print("| network | parameters | who | tracing s | matching s | alike | planted |")
        print("| --- | ---: | --- |" + " ---: |" * 4)
        for row in rows(options):
            print(row, flush=True)
