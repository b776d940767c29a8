"""What does elasticity cost?

    python bench/supernet.py [--rounds 25]

A step of the largest, a middle and the smallest subnet beside plain models of the same sizes (a convolutional network and a Llama of
6 layers, forward, backward and AdamW); a sliced linear layer; choosing a subnet of a Llama of 24 layers; BatchNorm statistics beside bare
forward passes; memory of gradients; memory of an export. CPU seconds of one thread, the variants taken in turns, the median of the rounds'
ratios: other work on the machine moves the ratios less than the times.
"""

import argparse
import gc
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import nn

import loomweight as lw
from loomweight.supernet import Elastic, SubnetOptimizer, elastic

Body = Callable[[], object]


def ratios(bodies: dict[str, Body], rounds: int) -> dict[str, float]:
    """Median over the rounds of each body's time by that of the last one, all taken in turns."""
    for body in bodies.values():
        body()
        body()
    rows: dict[str, list[float]] = {name: [] for name in bodies}
    for number in range(rounds):
        times = {}
        for name in list(bodies) if number % 2 else reversed(list(bodies)):
            start = time.process_time()
            bodies[name]()
            times[name] = time.process_time() - start
        (*_, floor) = bodies
        for name, spent in times.items():
            rows[name].append(spent / times[floor])
    return {name: median(row) for name, row in rows.items()}


def network() -> nn.Module:
    """Five convolutions with BatchNorm, 0.4 M parameters."""
    layers: list[nn.Module] = []
    for before, after, stride in ((3, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 128, 2)):
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def llama(layers: int, width: int = 256) -> nn.Module:
    """A Llama of `layers` layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=512, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=4, use_cache=False
    )
    return LlamaForCausalLM(config)


def elastic_network() -> tuple[Elastic, Any]:
    """The convolutional network, every width halved."""
    x = torch.randn(16, 3, 28, 28)
    return elastic(network(), "width * : 0.5 0.75 1.0", x), (x, lambda out: out.square().mean())


def elastic_llama() -> tuple[Elastic, Any]:
    """The Llama: stream, MLP, heads and depth."""
    ids = torch.randint(0, 512, (4, 64))
    space = "embedding model.embed_tokens : 128 256\nwidth *.mlp* : 384 768\nheads * : 2 4\ndepth model.layers : 3 6"
    return elastic(llama(6), space, {"input_ids": ids}, outputs=lambda out: out.logits), (ids, lambda out: out.logits.square().mean())


def stepper(model: nn.Module, optimizer: Any, x: Any, loss: Any) -> Body:
    """One training step."""

    def step() -> None:
        optimizer.zero_grad()
        loss(model(x)).backward()
        optimizer.step()

    return step


def steps(made: Callable[[], tuple[Elastic, Any]], rounds: int) -> list[tuple[str, float]]:
    """Subnet by plain model, three sizes."""
    rows = []
    for name in ("largest", "middle", "smallest"):
        net, (x, loss) = made()
        values = {"largest": net.max(), "smallest": net.min()}.get(name) or middle(net)
        plain = net.export(values).train()
        net.train().select(values)
        ours = stepper(net, SubnetOptimizer(net, torch.optim.AdamW(net.parameters(), lr=1e-4)), x, loss)
        floor = stepper(plain, torch.optim.AdamW(plain.parameters(), lr=1e-4), x, loss)
        rows.append((name, ratios({"ours": ours, "plain": floor}, rounds)["ours"]))
        grown = sum(leaf.tensor.grad.numel() for one in {id(s): s for s in net.stored().values()}.values() for leaf in one.with_gradient())
        rows.append((f"{name}: entries with gradients / parameters of the subnet", grown / sum(p.numel() for p in plain.parameters())))
    return rows


def middle(net: Elastic) -> dict[str, Any]:
    """A configuration in the middle of every field's options; of two options, the one and the other in turns."""
    chosen = {}
    for number, (name, dimension) in enumerate(net.space.dimensions.items()):
        options = dimension.options  # type: ignore[attr-defined]
        chosen[name] = options[(len(options) - 1) // 2 if len(options) > 2 else number % 2]
    return net.space.canonical(chosen)


def sliced_linear(rounds: int) -> float:
    """256 -> 512 of 512 -> 1024, batch 64, forward and backward, beside a plain layer of that size."""
    net = elastic(nn.Sequential(nn.Linear(8, 512), nn.Linear(512, 1024), nn.Linear(1024, 2)), "width 0 : 256 512\nwidth 1 : 512 1024", torch.zeros(1, 8))
    net.select(net.min())
    sliced, plain, x = net.model[1], nn.Linear(256, 512), torch.randn(64, 256, requires_grad=True)  # type: ignore[index]

    def both(layer: nn.Module) -> Body:
        def run() -> None:
            for _ in range(20):
                layer.zero_grad()
                layer(x).sum().backward()

        return run

    return ratios({"ours": both(sliced), "plain": both(plain)}, rounds)["ours"]


def choosing() -> float:
    """Milliseconds of choosing another subnet of a Llama of 24 layers, all fields drawn anew."""
    ids = torch.randint(0, 512, (1, 4))
    space = "embedding model.embed_tokens : 64 128\nwidth *.mlp* : 192 384\nheads * : 2 4\nqueries * : 1 2\ndepth model.layers : 12 24"
    net = elastic(llama(24, 128), space, {"input_ids": ids}, outputs=lambda out: out.logits)
    drawn = [net.sample(seed) for seed in range(50)]
    times = []
    for _ in range(4):
        for values in drawn:
            start = time.process_time()
            net.select(values)
            times.append(time.process_time() - start)
    return 1000 * median(times[len(drawn) :])


def batch_norm(rounds: int) -> float:
    """Statistics from four batches, beside four forward passes in evaluation mode."""
    net, (x, _) = elastic_network()
    batches = [torch.randn_like(x) for _ in range(4)]
    net.calibrate(batches).eval().select(net.min())
    plain = net.export(net.min()).eval()

    def anew() -> None:
        net.calibrate(batches)
        net._statistics.put(net._key, whole=False, run=net._run)

    def bare() -> None:
        for batch in batches:
            plain(batch)

    with torch.no_grad():
        return ratios({"ours": anew, "bare": bare}, rounds)["ours"]


def export_memory() -> float:
    """Peak of what an export allocates, in copies of the subnet's bytes."""
    x = torch.zeros(1, 4, dtype=torch.int64)
    space = "embedding model.embed_tokens : 256 512\nwidth *.mlp* : 768 1536\nheads * : 2 4\ndepth model.layers : 2 4"
    net = elastic(llama(4, 512), space, {"input_ids": x}, outputs=lambda out: out.logits)
    values = net.min()
    nbytes = net.cost(values).nbytes
    gc.collect()
    with torch.profiler.profile(profile_memory=True) as profile, torch.no_grad():
        kept = net.export(values)
    held = peak = 0
    for event in profile.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    del kept
    return peak / nbytes


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"loomweight {lw.__version__}, torch {torch.__version__}, one thread, {rounds} rounds\n")
    for name, made in (("convolutions", elastic_network), ("Llama, 6 layers", elastic_llama)):
        for row, value in steps(made, rounds):
            print(f"{name:18} {row:60} {value:6.3f}")
    print(f"{'':18} {'sliced linear / plain linear, forward and backward':60} {sliced_linear(rounds):6.3f}")
    print(f"{'':18} {'choosing a subnet, 24 layers, ms':60} {choosing():6.3f}")
    print(f"{'':18} {'BatchNorm statistics / bare forward passes':60} {batch_norm(rounds):6.3f}")
    print(f"{'':18} {'export, peak of memory / bytes of the subnet':60} {export_memory():6.3f}")


if __name__ == "__main__":
    main()
