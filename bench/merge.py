"""Whole merges, wall clock and private memory, against the floor and (where it is installed) against mergekit, in one run.

    python bench/merge.py FOLDER --size 0.5B --models 3 [--methods linear,ties] [--mergekit ENV/bin/mergekit-yaml] [--threads 1,2]

FOLDER gets the sets (see bench/sets.py) and keeps them. The floor reads all inputs once and writes one output with plain
reads and writes, and imports torch, in a process of its own; its column with fsync is what a program that promises the file is
on the disk can reach. Private memory is the peak of RssAnon: mapped pages of the inputs do not count.

With --threads the table has the seconds of whole merges on so many threads instead, and, beside the ratio of the wholes, that of
what is left without the seconds of a merge of one tiny tensor: start and end of the process use one thread.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
import yaml
from sets import SIZES, write

FLOOR = """
import os, sys, time
import torch
buffer, total = bytearray(1 << 24), 0
for path in sys.argv[3:]:
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer): total += count
with open(sys.argv[1], "wb", buffering=0) as file:
    for _ in range(int(sys.argv[2]) >> 24): file.write(buffer)
    if os.environ.get("FSYNC"): os.fsync(file.fileno())
"""

#: method -> (needs a base, parameters of the file, parameters of each model, most models besides the base)
METHODS: dict[str, tuple[bool, dict, dict, int]] = {
    "linear": (False, {}, {"weight": 1.0}, 9),
    "task_arithmetic": (True, {}, {"weight": 0.5}, 9),
    "slerp": (True, {"t": 0.4}, {}, 1),
    "nuslerp": (False, {}, {"weight": 0.5}, 2),
    "multislerp": (False, {}, {"weight": 0.5}, 9),
    "model_stock": (True, {}, {}, 9),
    "karcher": (False, {}, {}, 9),
    "passthrough": (False, {}, {}, 1),
    "ties": (True, {}, {"weight": 1.0, "density": 0.3}, 9),
    "dare_linear": (True, {}, {"weight": 0.5, "density": 0.5}, 9),
    "dare_ties": (True, {}, {"weight": 0.5, "density": 0.5}, 9),
    "della": (True, {}, {"weight": 0.5, "density": 0.5, "epsilon": 0.1}, 9),
    "della_linear": (True, {}, {"weight": 0.5, "density": 0.5, "epsilon": 0.1}, 9),
    "breadcrumbs": (True, {}, {"weight": 0.5, "density": 0.5, "gamma": 0.01}, 9),
    "breadcrumbs_ties": (True, {}, {"weight": 0.5, "density": 0.5, "gamma": 0.01}, 9),
    "sce": (True, {"select_topk": 0.5}, {}, 9),
    "pcb": (True, {}, {}, 9),
    "median": (False, {}, {}, 9),
    "trimmed_mean": (False, {"f": 1}, {}, 9),
}
ONLY_OURS = ("pcb", "median", "trimmed_mean")


def recipe(method: str, folders: list[Path]) -> dict:
    """The YAML of one method over the sets; the first is the base where one is needed."""
    based, shared, each, most = METHODS[method]
    models = folders[1 : most + 1] if based else folders[:most]
    named = [{"model": str(path), **({"parameters": dict(each)} if each else {})} for path in models]
    if based and method == "slerp":
        named.insert(0, {"model": str(folders[0])})
    document: dict = {"merge_method": method, "models": named, "dtype": "bfloat16"}
    return document | ({"base_model": str(folders[0])} if based else {}) | ({"parameters": dict(shared)} if shared else {})


def timed(command: list[str], environment: dict[str, str] | None = None) -> tuple[float, float]:
    """(wall seconds, peak private MiB) of a whole process."""
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(status.split("RssAnon:")[1].split()[0]))
        except (OSError, IndexError):
            pass
        time.sleep(0.02)
    wall = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{process.stderr.read().decode()[-2000:] if process.stderr else ''}")
    return wall, peak / 1024


def floor(folders: list[Path], scratch: Path, fsync: bool) -> float:
    """Seconds to import torch, read all of these and write one output."""
    import os

    files = [str(file) for folder in folders for file in sorted(folder.glob("*.safetensors"))]
    size = sum(file.stat().st_size for file in folders[0].glob("*.safetensors"))
    environment = dict(os.environ) | ({"FSYNC": "1"} if fsync else {})
    target = scratch / "floor.bin"
    wall, _ = timed([sys.executable, "-c", FLOOR, str(target), str(size), *files], environment)
    target.unlink()
    return wall


def main() -> None:
    """Print a Markdown table, a row a method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="0.5B", choices=SIZES)
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--mergekit", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", help="numbers of threads, such as 1,2")
    options = parser.parse_args()
    folders = [options.folder / f"m{i}" for i in range(options.models)]
    for i, folder in enumerate(folders):
        if not (folder / "config.json").exists():
            write(folder, options.size, i)
    print(f"{options.size}, {options.models} inputs, bf16; median of {options.repeat} runs\n")
    if options.threads:
        print(*gains(folders, options), sep="\n")
        return
    print("| method | floor s | with fsync s | loomweight s | ratio | ratio to fsync | private MiB | mergekit s | mergekit / ours |")
    print("| --- |" + " ---: |" * 8)
    for method in options.methods.split(","):
        print(row(method, folders, options), flush=True)


def gains(folders: list[Path], options: argparse.Namespace) -> Iterator[str]:
    """The table of threads, line by line."""
    counts = [int(count) for count in options.threads.split(",")]
    least = min(_seconds("passthrough", _tiny(options.folder), options, counts[0]) for _ in range(3))
    yield f"a merge of one tiny tensor takes {least:.2f} s\n"
    yield "| method | " + " | ".join(f"{count} threads s" for count in counts) + " | times as fast | without start and end |"
    yield "| --- |" + " ---: |" * (len(counts) + 2)
    for method in options.methods.split(","):
        first, *_, last = times = [median(_seconds(method, folders, options, count) for _ in range(options.repeat)) for count in counts]
        yield f"| {method} | " + " | ".join(f"{one:.2f}" for one in times) + f" | {first / last:.2f} | {(first - least) / (last - least):.2f} |"


def _tiny(folder: Path) -> list[Path]:
    """A model of one tensor."""
    from loomweight import Weights, save

    return [save(Weights.of({"w": torch.zeros(1, dtype=torch.bfloat16)}), folder / "one", overwrite=True)]


def _seconds(method: str, folders: list[Path], options: argparse.Namespace, threads: int) -> float:
    path, out = options.folder / "recipe.yaml", options.folder / "out"
    path.write_text(yaml.safe_dump(recipe(method, folders)))
    wall, _ = timed([sys.executable, "-m", "loomweight", "merge", str(path), str(out), "--threads", str(threads)])
    shutil.rmtree(out)
    return wall


def row(method: str, folders: list[Path], options: argparse.Namespace) -> str:
    """Floor, ours and mergekit, interleaved, medians."""
    document = recipe(method, folders)
    used = [Path(model["model"]) for model in document["models"]]
    used += [path for path in [Path(document["base_model"])] if path not in used] if "base_model" in document else []
    path, out = options.folder / "recipe.yaml", options.folder / "out"
    path.write_text(yaml.safe_dump(document))
    floors, synced, ours, theirs, memory = [], [], [], [], 0.0
    for _ in range(options.repeat):
        floors.append(floor(used, options.folder, False))
        synced.append(floor(used, options.folder, True))
        shutil.rmtree(out, ignore_errors=True)
        wall, private = timed([sys.executable, "-m", "loomweight", "merge", str(path), str(out)])
        ours.append(wall)
        memory = max(memory, private)
    if options.mergekit and method not in ONLY_OURS:
        shutil.rmtree(out, ignore_errors=True)
        theirs.append(timed([str(options.mergekit), str(path), str(out), "--lazy-unpickle", "--random-seed", "0"])[0])
    shutil.rmtree(out, ignore_errors=True)
    low, high, mine = median(floors), median(synced), median(ours)
    peer = f"{theirs[0]:.1f} | {theirs[0] / mine:.1f}" if theirs else "- | -"
    return f"| {method} | {low:.2f} | {high:.2f} | {mine:.2f} | {mine / low:.2f} | {mine / high:.2f} | {memory:.0f} | {peer} |"


if __name__ == "__main__":
    main()
