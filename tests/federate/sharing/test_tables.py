"""Which tensors travel: FedPEFT and FedSA-LoRA."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter, UnknownName
from loomweight.federate import Local, Strategy, fedpeft, fedsa_lora, simulate
from tests.federate.small import clients, same, whole_batch

from .adapted import adapted


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


def test_parts_and_their_bytes() -> None:
    """Head 2 x 16 + 2 numbers; biases 16 + 16 + 2, and the head's weight with them: 4 bytes each, for 3 clients."""
    counts = {"head": 34, "bias": 16 + 16 + 34}
    for part, count in counts.items():
        found = simulate(network(), clients(), Strategy(tensors=fedpeft(network(), part)), rounds=1)
        line = found.history[0]
        assert line["bytes_up"] == line["bytes_down"] == 3 * 4 * count
        table = fedpeft(network(), part)
        still = [name for name in network().state_dict() if name not in table]
        assert same({name: found.weights[name] for name in still}, {name: network().state_dict()[name] for name in still})
    assert "3.weight" not in fedpeft(network(), "bias", head="")
    assert set(fedpeft(network(), ["1.*"], head="0")) == {"0.weight", "0.bias", "1.weight", "1.bias", "*"}


def test_a_pretrained_network_learns_a_new_task_by_a_part_of_it() -> None:
    """The paper's claim: near the accuracy of full training for a fraction of the bytes, from a pretrained backbone."""
    data = clients(4, examples=40)
    strategy = Strategy(local=whole_batch(0.3))
    trained = simulate(network(), data, strategy, rounds=25).model
    turned = {client: (inputs, 1 - targets) for client, (inputs, targets) in data.items()}  # another task on the same inputs
    inputs, targets = (torch.cat([part[i] for part in turned.values()]) for i in (0, 1))
    full = simulate(trained, turned, strategy, rounds=15)
    part = simulate(trained, turned, Strategy(local=whole_batch(0.3), tensors=fedpeft(trained, "bias")), rounds=15)
    right = [(found.model(inputs).argmax(1) == targets).double().mean().item() for found in (full, part)]
    assert right[1] > right[0] - 0.05 and right[1] > 0.85
    assert part.history[0]["bytes_up"] < 0.5 * full.history[0]["bytes_up"]


def test_of_two_factors_one_stays_at_home(tmp_path: Path) -> None:
    table = fedsa_lora(adapted())
    assert [name for name, word in table.items() if word == "pool"] == ["0.lora_A.default.weight", "2.lora_A.default.weight"]
    strategy = Strategy(tensors=table, local=Local(steps=2, batch=8))
    found = simulate(adapted(), clients(), strategy, rounds=3)
    assert found.history[0]["bytes_up"] == 3 * (4 + 6) * 4
    start = adapted().state_dict()
    moved = {name for name in start if not torch.equal(start[name], found.weights[name])}
    assert moved == {"0.lora_A.default.weight", "2.lora_A.default.weight"}
    simulate(adapted(), clients(), strategy, rounds=2, folder=tmp_path)
    again = simulate(adapted(), clients(), strategy, rounds=3, folder=tmp_path)
    assert same(found.weights, again.weights) and found.history == again.history


def test_clients_that_see_things_differently_fit_better_with_a_factor_of_their_own() -> None:
    """The paper's claim: A is what clients have in common and B what sets them apart; here half of them call the classes the other way round."""
    data = {client: (inputs, targets if i % 2 else 1 - targets) for i, (client, (inputs, targets)) in enumerate(clients(4, examples=30).items())}
    everything = {"*lora_*": "pool", "*": "keep"}
    local = Local(steps=5, batch=10_000, optimizer=partial(torch.optim.SGD, lr=0.3), shuffle=False)
    pooled, selective = (simulate(adapted(2), data, Strategy(tensors=table, local=local), rounds=15) for table in (everything, fedsa_lora(adapted(2))))
    assert selective.history[-1]["loss"] < 0.7 * pooled.history[-1]["loss"]
    assert selective.history[-1]["bytes_up"] < pooled.history[-1]["bytes_up"]


def test_vera_shares_its_inner_vector() -> None:
    layer = nn.Module()
    layer.vera_lambda_b, layer.vera_lambda_d = (nn.ParameterDict({"default": torch.zeros(2)}) for _ in "bd")
    layer.classifier = nn.Linear(2, 2)
    assert fedsa_lora(layer, head="pool") == {
        "vera_lambda_b.default": "local",
        "vera_lambda_d.default": "pool",
        "classifier.weight": "pool",
        "classifier.bias": "pool",
        "*": "keep",
    }


def test_words_for_what_is_not_there() -> None:
    with pytest.raises(UnknownName, match=r"like '\*adapter\*'"):
        fedpeft(network(), "adapter")
    with pytest.raises(UnknownName, match="the head 'tail'"):
        fedpeft(network(), "bias", head="tail")
    with pytest.raises(BadParameter, match="no parameter"):
        fedpeft(nn.ReLU(), "head")
    with pytest.raises(UnknownName, match=r"trained are .0\.bias"):
        fedsa_lora(network())
