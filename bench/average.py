"""One average out of the snapshots of a run: seconds against reading every file once and writing the result, and private memory.

    python bench/average.py FOLDER [--moments 25] [--dtype float16]

FOLDER gets the snapshots of a transformer of 25 million parameters, two at each moment, and keeps them; the average is written there and removed.
The floor reads the same files with plain reads and writes one output, and imports torch, in a process of its own; its column with fsync is what a
program that promises the file is on the disk can reach. Private memory is the peak of RssAnon, which mapped pages of the inputs do not count to.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from statistics import median

import torch
from merge import FLOOR, timed

from loomweight.trajectory import Snapshots
from loomweight.trajectory.power import Power
from loomweight.trajectory.snapshots import Snapshot
from loomweight.weights import Output, Weights, write

#: names and shapes of a transformer with 25 million parameters
SHAPES = {"embedding": (8192, 512)} | {
    f"layers.{i}.{name}": shape for i in range(7) for name, shape in {"qkv": (1536, 512), "out": (512, 512), "up": (1792, 512), "down": (512, 1792)}.items()
}
LENGTHS = (0.05, 0.10)


def write_snapshots(folder: Path, moments: int, dtype: str) -> None:
    """What PostHocEMA would have written: noise, in its files."""
    for moment in range(1, moments + 1):
        for number, length in enumerate(LENGTHS):
            power, samples = Power.of_length(length), float(moment * 10**6)
            path = folder / Snapshot.name_of(power, samples)
            if not path.exists():
                noise = torch.Generator().manual_seed(2 * moment + number)
                tensors = {name: torch.randn(shape, generator=noise) for name, shape in SHAPES.items()}
                write(Weights.of(tensors), Output(path, metadata=Snapshot.metadata_of(power, samples, "bench")), dtype=dtype)


def main() -> None:
    """Print one row of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--moments", type=int, default=25)
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--length", type=float, default=0.15)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    kept = options.folder / f"snapshots-{options.moments}-{options.dtype}"
    write_snapshots(kept, options.moments, options.dtype)
    files = sorted(kept.glob("*.safetensors"))
    out, target = options.folder / "average", options.folder / "floor.bin"
    command = [sys.executable, "-m", "loomweight", "average", str(kept), str(out), "--posthoc", "--length", str(options.length)]
    floors: list[float] = []
    synced: list[float] = []
    ours: list[float] = []
    memory = 0.0
    for _ in range(options.repeat):
        plain = [sys.executable, "-c", FLOOR, str(target), str(files[0].stat().st_size), *map(str, files)]
        floors.append(timed(plain)[0])
        synced.append(timed(plain, dict(os.environ) | {"FSYNC": "1"})[0])
        shutil.rmtree(out, ignore_errors=True)
        wall, private = timed(command)
        ours.append(wall)
        memory = max(memory, private)
    idle = timed([sys.executable, "-c", "import torch, loomweight.cli.average"])
    shutil.rmtree(out, ignore_errors=True)
    target.unlink()
    read = sum(file.stat().st_size for file in files)
    error = Snapshots.of(kept).reconstruct(options.length).error
    each = f"{len(files)} snapshots of {read / len(files) / 1e6:.0f} MB ({options.dtype})"
    print(f"{each}; length {options.length}, error {error:.2g}; median of {options.repeat}\n")
    print("| floor s | with fsync s | loomweight s | ratio | ratio to fsync | private MiB | of which imports |")
    print("| ---: " * 7 + "|")
    low, high, mine = median(floors), median(synced), median(ours)
    print(f"| {low:.2f} | {high:.2f} | {mine:.2f} | {mine / low:.2f} | {mine / high:.2f} | {memory:.0f} | {idle[1]:.0f} |")


if __name__ == "__main__":
    main()
