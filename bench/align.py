"""Weight matching of large sets against its floor: the matrix products that it asked for, plus SciPy's assignments, in one run.

    python bench/align.py FOLDER [--sets resnet50,0.1B] [--likeness 0.3]

FOLDER gets the sets (a reference, and a moving one: likeness x reference + noise of its own, units shuffled; see bench/sets.py for the
Llama shapes) and keeps them. A child process does the matching and writes down every product it makes (rows, columns) and the
seconds that it spends in SciPy. Then plain float32 products of these very shapes, on contiguous matrices that are there already, are
timed: floor = products + SciPy. Seconds are of CPU time, of both, so that neighbours on a busy machine do not count. Visits are how
often a space (with what lies in it) was ordered, in the first pass and in sweeps. Private memory is the peak of RssAnon of the child:
mapped pages of the inputs do not count; a layer is the largest set of tensors under one number.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import save_file
from sets import SIZES, shapes

Shapes = dict[str, tuple[int, ...]]
LLAMA = """
model.layers.*.heads = {heads}
model.layers.*.dims = {dims} in model.layers.*.heads
model.embed_tokens.weight : _ stream
model.layers.*.self_attn.q_proj.weight : (model.layers.*.heads {dims}) <- stream
model.layers.*.self_attn.k_proj.weight : (model.layers.*.heads {dims}) <- stream
model.layers.*.self_attn.v_proj.weight : (model.layers.*.heads model.layers.*.dims) <- stream
model.layers.*.self_attn.o_proj.weight : stream <- (model.layers.*.heads model.layers.*.dims)
model.layers.*.mlp.gate_proj.weight : model.layers.*.mlp <- stream
model.layers.*.mlp.up_proj.weight : model.layers.*.mlp <- stream
model.layers.*.mlp.down_proj.weight : stream <- model.layers.*.mlp
model.layers.*.input_layernorm.weight : stream
model.layers.*.post_attention_layernorm.weight : stream
model.norm.weight : stream
lm_head.weight : _ <- stream
"""


def llama(size: str) -> tuple[Shapes, str]:
    """Shapes and table of a Llama model."""
    hidden, _, _, _, heads = SIZES[size]
    return shapes(size), LLAMA.format(heads=heads, dims=hidden // heads)


def resnet50() -> tuple[Shapes, str]:
    """Shapes and table of a ResNet50: a stream for each of four stages, two widths inside each block."""
    held: Shapes = {"conv1.weight": (64, 3, 7, 7)}
    lines = ["conv1.weight : stem <- 3 7 7", "bn1.* : stem"]
    held |= {f"bn1.{word}": (64,) for word in ("weight", "bias")}
    before, was = 64, "stem"
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
        stream = f"stage{stage}"
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            rows = [("conv1", f"{at}.a", was, 1), ("conv2", f"{at}.b", f"{at}.a", 3), ("conv3", stream, f"{at}.b", 1)]
            rows += [("downsample", stream, was, 1)] * (not block)
            sizes = {was: before, f"{at}.a": width, f"{at}.b": width, stream: 4 * width}
            for word, out, into, kernel in rows:
                held[f"{at}.{word}.weight"] = (sizes[out], sizes[into], kernel, kernel)
                held |= {f"{at}.{word}_bn.{kind}": (sizes[out],) for kind in ("weight", "bias")}
                lines += [f"{at}.{word}.weight : {out} <- {into} {kernel} {kernel}", f"{at}.{word}_bn.* : {out}"]
            before, was = 4 * width, stream
    return held | {"fc.weight": (1000, 2048), "fc.bias": (1000,)}, "\n".join([*lines, "fc.weight : 1000 <- stage4", "fc.bias : 1000"])


def set_of(name: str) -> tuple[Shapes, str]:
    """Shapes and table by name."""
    return resnet50() if name == "resnet50" else llama(name)


def write(folder: Path, name: str, likeness: float) -> None:
    """Both sets, bfloat16."""
    import loomweight as lw
    from loomweight.edits import Permute
    from loomweight.weights.axes import random_orders, table_for

    folder.mkdir(parents=True, exist_ok=True)
    held, text = set_of(name)
    generator = torch.Generator().manual_seed(0)
    base = {key: (torch.randn(shape, generator=generator) * 0.02).bfloat16() for key, shape in held.items()}
    save_file(base, folder / "reference.safetensors")
    for tensor in base.values():
        tensor.mul_(likeness).add_((1 - likeness**2) ** 0.5 * 0.02 * torch.randn(tensor.shape, generator=generator))
    like = lw.weights.Weights.of(base)
    table = table_for(text, like)
    lw.save(Permute.by(table, random_orders(table))(like), folder / "moving.safetensors")


def match(folder: Path, name: str) -> None:
    """The child: match, and print what was done as JSON."""
    import scipy.optimize

    import loomweight as lw
    from loomweight.align import pairs, weight_matching
    from loomweight.weights.axes import table_for

    products: Counter[tuple[int, int]] = Counter()
    spent = {"scipy": 0.0, "visits": 0}
    solve, add, gains = scipy.optimize.linear_sum_assignment, pairs.add_product, pairs.Pair.gains

    def timed_solve(matrix):
        start = time.process_time()
        found = solve(matrix)
        spent["scipy"] += time.process_time() - start
        return found

    def counted_add(total, ours, theirs):
        products[tuple(ours.shape)] += 1
        add(total, ours, theirs)

    def counted_gains(*given):
        spent["visits"] += 1
        return gains(*given)

    scipy.optimize.linear_sum_assignment, pairs.add_product, pairs.Pair.gains = timed_solve, counted_add, counted_gains
    moving, reference = lw.load(folder / "moving.safetensors"), lw.load(folder / "reference.safetensors")
    table = table_for(set_of(name)[1], reference)
    start = time.process_time()
    edit = weight_matching(table, moving, reference)
    seconds = time.process_time() - start
    families = sum(not space.within for space in table.spaces.values())
    moved = edit(moving)
    first = min((name for name, of in reference.spec.items() if len(of.shape) > 1), key=lambda name: reference.spec[name].numel)
    alike = float(torch.nn.functional.cosine_similarity(moved[first].double().flatten(), reference[first].double().flatten(), 0))
    print(json.dumps({"seconds": seconds, **spent, "families": families, "products": [(*shape, n) for shape, n in products.items()], "alike": alike}))


def products(asked: list[tuple[int, int, int]]) -> float:
    """Seconds of plain float32 products of these shapes."""
    total = 0.0
    for rows, columns, count in asked:
        width = min(columns, max(1, (1 << 27) // rows))
        ours, theirs = torch.randn(rows, width), torch.randn(rows, width)
        each = min(_once(ours, theirs) for _ in range(3 if rows * rows * width < 1 << 31 else 1))
        total += count * each * columns / width
    return total


def _once(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    start = time.process_time()
    ours @ theirs.T
    return time.process_time() - start


def layer_bytes(held: Shapes) -> int:
    """The largest layer, in float32."""
    layers: Counter[str] = Counter()
    for name, shape in held.items():
        layers[".".join(name.split(".")[:3])] += 4 * torch.Size(shape).numel()
    return max(layers.values())


def rows(options: argparse.Namespace) -> Iterator[str]:
    """A line of the table for each set."""
    for name in options.sets.split(","):
        folder = options.folder / f"align-{name}-{options.likeness}"
        if not (folder / "moving.safetensors").exists():
            write(folder, name, options.likeness)
        found, private = child([sys.executable, __file__, str(folder), "--child", name])
        floor = products(found["products"]) + found["scipy"]
        held = set_of(name)[0]
        count = sum(torch.Size(shape).numel() for shape in held.values())
        yield (
            f"| {name} | {count / 1e6:.0f} M | {found['visits'] / found['families']:.1f} | {found['seconds']:.1f} | {floor:.1f} | {found['scipy']:.1f} |"
            f" {found['seconds'] / floor:.2f} | {private:.0f} | {layer_bytes(held) / 2**20:.0f} | {found['alike']:.2f} |"
        )


def child(command: list[str]) -> tuple[dict, float]:
    """What a process prints, and its peak private MiB."""
    import subprocess

    peak, process = 0, subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        with suppress(OSError, IndexError):
            peak = max(peak, int(Path(f"/proc/{process.pid}/status").read_text().split("RssAnon:")[1].split()[0]))
        time.sleep(0.02)
    if process.returncode or not process.stdout:
        raise SystemExit(f"{' '.join(command)} failed")
    return json.loads(process.stdout.read().splitlines()[-1]), peak / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="resnet50,1.5B")
    parser.add_argument("--likeness", type=float, default=0.3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        match(options.folder, options.child)
    else:
        print("| set | size | visits of each space | ours s | floor s | of it SciPy s | ratio | private MiB | a layer MiB | cosine after |")
        print("| --- |" + " ---: |" * 9)
        for row in rows(options):
            print(row, flush=True)
