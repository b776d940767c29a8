"""One superposed weight against several layers: what it costs to relax sizes.

    python bench/superposition.py [--rounds 40]

Forward and backward passes in CPU seconds, one thread, as ratios to the plain model's in the same rounds: medians over rounds of
interleaved runs. `superposed` is `relaxed(net)`, `padded` sums zero-padded slices of the weight (as published code does) and runs once,
`mixed` runs a layer for each width and sums their outputs.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional

from loomweight.supernet import elastic, relaxed

WIDTHS = (32, 64, 128)


def convolution() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def linear() -> nn.Sequential:
    return nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256))


def padded(model: nn.Sequential, alpha: Tensor, widths: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """The first layer's weight as a sum of zero-padded slices, and the last layer's."""
    first, last = model[0], model[-1]

    def run(x: Tensor) -> Tensor:
        shares = alpha.softmax(0).unbind()
        ends = [(first.weight[:width], first.bias[:width], width) for width in widths]
        rest = first.weight.ndim * 2 - 2
        weight = sum(s * functional.pad(w, (*[0] * rest, 0, widths[-1] - n)) for s, (w, _, n) in zip(shares, ends, strict=True))
        bias = sum(s * functional.pad(b, (0, widths[-1] - n)) for s, (_, b, n) in zip(shares, ends, strict=True))
        out = sum(s * functional.pad(last.weight[:, :n], (0, widths[-1] - n)) for s, n in zip(shares, widths, strict=True))
        h = functional.conv2d(x, weight, bias, padding=1) if weight.ndim == 4 else functional.linear(x, weight, bias)
        for layer in model[1:-1]:
            h = layer(h)
        return functional.linear(h, out, last.bias)

    return run


def mixed(model: nn.Sequential, alpha: Tensor, widths: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """A first layer for each width; the sum of what they give, zero-padded."""
    first = model[0]

    def run(x: Tensor) -> Tensor:
        parts = []
        for share, width in zip(alpha.softmax(0).unbind(), widths, strict=True):
            w, b = first.weight[:width], first.bias[:width]
            h = functional.conv2d(x, w, b, padding=1) if w.ndim == 4 else functional.linear(x, w, b)
            parts.append(share * functional.pad(h, (*[0] * (2 * h.ndim - 4), 0, widths[-1] - width)))
        h = sum(parts[1:], parts[0])
        for layer in model[1:]:
            h = layer(h)
        return h

    return run


def seconds(run: Callable[[Tensor], Tensor], x: Tensor) -> float:
    start = time.process_time()
    run(x).square().mean().backward()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {rounds} rounds\n{'case':<40}{'plain ms':>10}{'superposed':>12}{'padded':>8}{'mixed':>8}")
    cases = {
        "conv 3x3 64 -> 32/64/128, 28x28, batch 8": (convolution, torch.randn(8, 64, 28, 28), WIDTHS),
        "linear 256 -> 128/256/512, batch 512": (linear, torch.randn(512, 256), tuple(4 * width for width in WIDTHS)),
    }
    for name, (make, x, widths) in cases.items():
        plain, net = make(), elastic(make(), f"width 0 : {' '.join(map(str, widths))}", x)
        alpha = torch.zeros(len(widths), requires_grad=True)
        runs = [plain, relaxed(net), padded(make(), alpha, widths), mixed(make(), alpha, widths)]
        times = [[seconds(run, x) for run in runs] for _ in range(rounds + 3)][3:]
        ratios = [median(row[i] / row[0] for row in times) for i in (1, 2, 3)]
        print(f"{name:<40}{1000 * median(row[0] for row in times):>10.2f}{ratios[0]:>12.2f}{ratios[1]:>8.2f}{ratios[2]:>8.2f}")


if __name__ == "__main__":
    main()
