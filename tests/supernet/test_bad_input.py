"""What cannot be made elastic is refused with words, and the model is then what it was."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import BadParameter, BrokenFile, LoomweightError, UnknownName
from loomweight.supernet import SpaceTable, SubnetOptimizer, elastic

from .families import FAMILIES, Encoder, ResNet, drawn

IMAGES, X = drawn(2, 3, 8, 8), drawn(5, 4)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


REFUSED: dict[str, tuple[str, type[LoomweightError], str]] = {
    "no such layer": ("width layer9 : 2 4", UnknownName, r"`width layer9` names no width that may vary .* there are: '0'"),
    "too large": ("width 0 : 4 16", BadParameter, "0 has 8 units; its values lie between 1 and 8, .* found 16"),
    "below the layer": ("width 0 : 2 4", BadParameter, "largest value is 4; add 8, or build the model smaller"),
    "zero": ("width 0 : 0 8", BadParameter, "found 0"),
    "negative": ("width 0 : -4 8", BadParameter, "found -4"),
    "twice": ("width 0 : 4 4 8", BadParameter, "gives a value twice: 4, 4, 8"),
    "the same number": ("width 0 : 0.5 4 8", BadParameter, "two values make the same number"),
    "a word": ("width 0 : four 8", BadParameter, "found 'four'"),
    "not a whole number of units": ("width 0 : 0.3 1.0", BadParameter, "0.3 of 0's 8 units is 2.4, not a whole number"),
    "infinite": ("width 0 : inf 8", BadParameter, "found inf"),
    "not a number": ("width 0 : nan 8", BadParameter, "found nan"),
    "no value": ("width 0 :", BadParameter, "gives no value; write `width 0 : 16 32`"),
    "no line": ("# nothing :", BadParameter, "the space has no line"),
    "no colon": ("width 0\nwidth 0 4 8", BadParameter, "line 1 of the space says 'width 0'; write `kind where : value value ...`"),
    "unknown kind": ("widht 0 : 4 8", UnknownName, "no kind of what may vary named 'widht'; nearest: 'width'"),
    "outputs": ("width 2 : 1 2", UnknownName, "names no width that may vary"),
    "one place twice": ("width 0 : 4 8\nwidth * : 0.5 1.0", BadParameter, "line 2 .* the units of 0 vary already as 'width 0'"),
    "no list": ("depth layers : 1 2", UnknownName, "names no list of blocks .* there are: none"),
    "resolution of vectors": ("resolution : 2 4", BadParameter, "the first input is something else"),
    "a layer with a resolution": ("resolution 0 : 2 4", BadParameter, "the resolution is that of the input"),
}


def snapshot(module: nn.Module) -> list[Any]:
    return [
        (name, type(part), sorted(vars(part)), {key: id(value) for key, value in part._parameters.items()}, list(part._modules))
        for name, part in module.named_modules()
    ]


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_space_says_why_and_leaves_the_model(case: str) -> None:
    space, error, message = REFUSED[case]
    given = model()
    before, state = snapshot(given), {name: tensor.clone() for name, tensor in given.state_dict().items()}
    with pytest.raises(error, match=message):
        elastic(given, space, X)
    assert snapshot(given) == before
    assert all(torch.equal(tensor, state[name]) for name, tensor in given.state_dict().items())
    torch.optim.SGD(given.parameters(), lr=0.1).step()


class Reshaping(nn.Module):
    """A forward pass that insists on its width, which no attribute says."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 4, 20, batch_first=True), 2, enable_nested_tensor=False)
        self.up, self.down = nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(self.layers(x)).view(2, 3, 8))


def test_a_refusal_after_modules_were_changed_leaves_them_too() -> None:
    given = Reshaping()
    before = snapshot(given)
    with pytest.raises(BadParameter, match=r"the subnet .*width up = 4.* does not run on the example: RuntimeError: shape"):
        elastic(given, "heads * : 2 4\nwidth up : 4 8", drawn(2, 3, 12))
    assert snapshot(given) == before
    torch.optim.SGD(given.parameters(), lr=0.1).step()


def test_both_ends_of_a_residual_are_one_line() -> None:
    with pytest.raises(BadParameter, match=r"line 2 of the space, `width stage1.0.conv2`: the units of stage1.0.conv2 vary already as 'width stem'"):
        elastic(ResNet(), "width stem : 4 8\nwidth stage1.0.conv2 : 6 8", IMAGES)
    net = elastic(ResNet(), "width stage1.1.conv2 : 4 8", IMAGES)
    assert list(net.space.names) == ["width stem"]


class Partly(nn.Module):
    """One layer's units are sorted, so that they may not vary; the others may."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).cumsum(-1)).relu())


def test_a_model_that_traces_in_part_says_why_units_stay() -> None:
    with pytest.raises(UnknownName, match=r"`width a` names no width that may vary .* Tracing says: units of 'a.bias', 'a.weight' stay: cumsum"):
        elastic(Partly(), "width a : 4 8", X)
    net = elastic(Partly(), "width b : 3 6", X)
    net.export(net.min())
    assert net.difference < 1e-6


def test_a_model_that_does_not_run_on_the_example() -> None:
    given = model()
    before = snapshot(given)
    with pytest.raises(BadParameter, match="shape"):
        elastic(given, "width 0 : 4 8", torch.zeros(1, 5))
    with pytest.raises(BadParameter, match="the example inputs are a int"):
        elastic(given, "width 0 : 4 8", 3)
    assert snapshot(given) == before


FILES: dict[str, tuple[str, bytes, type[LoomweightError], str]] = {
    "no YAML": ("space.yaml", b"width: {0: [4, 8]", BrokenFile, "space.yaml is no YAML"),
    "a list": ("space.yaml", b"- width", BadParameter, "must map a kind to places"),
    "empty": ("space.yaml", b"", BadParameter, "found NoneType"),
    "binary": ("space.txt", b"\xff\xfe\x00width", BrokenFile, "space.txt cannot be read"),
    "truncated": ("space.txt", b"width 0 : 4 8\nwidth 2", BadParameter, "line 2 of the space says 'width 2'"),
    "text for a list": ("space.yaml", b"width: {'0': four}", BadParameter, "width 0 needs a list of values, found 'four'"),
    "a nested list": ("space.yaml", b"width: {'0': [[4], 8]}", BadParameter, "found \\[4\\]"),
    "a flag that is none": ("space.yaml", b"width: {'0': {values: [4, 8], tied: often}}", BadParameter, "tied must be true or false, found 'often'"),
    "a word that is none": ("space.yaml", b"width: {'0': {values: [4, 8], tide: true}}", BadParameter, "says 'tide'; after the values may come: tied"),
    "null": ("space.yaml", b"width: {'0': [null, 8]}", BadParameter, "found None"),
    "true": ("space.yaml", b"width: {'0': [true, 8]}", BadParameter, "found True"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_space(case: str, tmp_path: Path) -> None:
    name, content, error, message = FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        elastic(model(), tmp_path / name, X)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile, match=r"nowhere.yaml cannot be read: No such file"):
        SpaceTable.of(tmp_path / "nowhere.yaml")


def test_a_configuration_names_the_field_and_what_it_may_be() -> None:
    net = elastic(model(), "width 0 : 2 4 8", X)
    for values, error, message in (
        ({"width 0": 3}, BadParameter, "width 0 = 3 is not in .*; allowed: 2, 4, 8"),
        ({"width 0": "4"}, BadParameter, "width 0 = '4' is not in"),
        ({"width 0": 4.0}, BadParameter, "width 0 = 4.0 is not in"),
        ({}, BadParameter, "there is no value for 'width 0'; allowed: 2, 4, 8"),
        ({"width 0": 4, "width 9": 4}, UnknownName, "no dimension named 'width 9'"),
    ):
        with pytest.raises(error, match=message):
            net.select(values)
        assert net.active == net.max()


def test_optimizers_and_copies_that_would_go_wrong_are_refused() -> None:
    import copy

    net = elastic(model(), "width 0 : 2 4 8", X)
    other = nn.Linear(2, 2)
    for optimizer in (torch.optim.SGD(net.parameters(), lr=0.1), torch.optim.Adam([*other.parameters(), *net.parameters()])):
        with pytest.raises(BadParameter, match=r"SubnetOptimizer\(net, optimizer\)"):
            optimizer.step()
    with pytest.raises(BadParameter, match="does not work entry by entry"):
        SubnetOptimizer(net, torch.optim.LBFGS(net.parameters()))
    with pytest.raises(BadParameter, match="2 parameters that are not the elastic model's"):
        SubnetOptimizer(net, torch.optim.Adam(other.parameters()))
    with pytest.raises(BadParameter, match="cannot be copied or pickled"):
        copy.deepcopy(net)


def test_recurrent_layers_are_told_apart() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x)[0])

    with pytest.raises(BadParameter, match=r"rnn is an nn.LSTM, whose weights torch keeps as one list"):
        elastic(Recurrent(), "width rnn : 3 6", drawn(2, 3, 4))


def test_the_encoder_of_torch_is_whole_again_after_a_refusal() -> None:
    given, family = Encoder(), FAMILIES["encoder"]
    with pytest.raises(BadParameter, match="varies already by an earlier line"):
        elastic(given, "heads * : 2 4\nheads * : 1 4", family.example)
    assert type(given.encoder.layers[0].self_attn) is nn.MultiheadAttention
