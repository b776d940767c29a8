"""The table against what is published of it, and against files that are not the table."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter, BrokenFile, UnknownName
from loomweight.evaluate import cell_network, cell_string, cell_values, nasbench201
from loomweight.evaluate.cell import CHOICES, OPERATORS, all_cells
from loomweight.search import Choice, Space

from .tables import DATA, table

PLAIN = cell_string(dict.fromkeys(CHOICES, "nor_conv_3x3"))
CELLS = frozenset(all_cells())
cells = st.fixed_dictionaries({edge: st.sampled_from(options) for edge, options in CHOICES.items()})


@given(cells)
def test_a_string_says_all_of_a_cell(values: dict[str, str]) -> None:
    assert cell_values(cell_string(values)) == values
    assert cell_string(values) in CELLS


def test_the_published_optima() -> None:
    found = {data: (round(table().accuracy(best, data), 2), best) for data in ("cifar10", "cifar100", "imagenet16") if (best := table().best(data)) >= 0}
    assert found == {"cifar10": (94.37, 6111), "cifar100": (73.51, 9930), "imagenet16": (47.31, 857)}


def test_the_published_cost_of_the_plain_cell() -> None:
    cost = table().cost(PLAIN)
    assert (cost.params, round(cost.macs / 1e6, 2)) == (1_531_546, 220.12)
    assert (cost.nbytes, cost.flops) == (4 * cost.params, 2 * cost.macs)


def test_cells_are_named_in_three_ways() -> None:
    values = cell_values(PLAIN)
    number = table().index(PLAIN)
    assert table().index(values) == number == table().index(number)
    assert table().values(number) == values
    assert table().accuracy(values, "cifar100", "val", 12) == table().accuracy(PLAIN, "cifar100", "val", 12) == table().column("cifar100", "val", 12)[number]


def test_a_search_space_is_made_of_its_choices() -> None:
    space = Space({edge: Choice(options) for edge, options in table().choices.items()})
    values = space.check(cell_values(PLAIN))
    assert table().accuracy(values) == table().accuracy(PLAIN)


def test_isomorphic_cells() -> None:
    classes = table().classes()
    assert len(classes) == 6466
    assert sorted(number for group in classes for number in group) == list(range(15_625))
    assert all(set(table().isomorphic(group[0])) == set(group) for group in classes[:50])
    accuracy = table().column()
    spreads = [statistics.pstdev(accuracy[list(group)]) for group in classes if len(group) > 1]
    assert (len(spreads), round(statistics.mean(spreads), 3)) == (1350, 0.168)


def test_isomorphic_cells_compute_the_same() -> None:
    """Two members of a class, with the weights of one moved over to the other by position among layers that matter."""
    one = cell_values("|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|")
    other = cell_values("|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|skip_connect~2|")
    assert table().index(other) in table().isomorphic(one)
    first, second = (cell_network(values, channels=4, cells=1).eval() for values in (one, other))
    second.load_state_dict(dict(zip(second.state_dict(), first.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(first(images), second(images))


@pytest.mark.parametrize("number", [0, 857, 6111, 9930, 15_624])
def test_networks_have_the_parameters_of_the_table(number: int) -> None:
    network = cell_network(table().archs[number])
    assert sum(p.numel() for p in network.parameters()) == table().params[number]


def test_multiply_adds_are_those_of_the_table() -> None:
    """Counted at every convolution and linear layer."""
    counted = []
    network = cell_network(table().archs[857]).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(lambda m, _, out: counted.append(m.weight.numel() * out[0, 0].numel()))
    network(torch.zeros(1, 3, 32, 32))
    assert sum(counted) == table().macs[857]


def test_an_empty_cell_gives_the_same_logits_for_all() -> None:
    network = cell_network(dict.fromkeys(CHOICES, "none"), channels=4, cells=1, classes=3)
    logits = network(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (4, 3)
    assert torch.isfinite(logits).all()


def test_the_table_opens_at_once() -> None:
    """In well below half a second of one core; 3 s leaves room for a machine that is busy or checks types."""
    table()
    before = time.process_time()
    nasbench201(DATA / "nasbench201")
    assert time.process_time() - before < 3


def cut(text: str) -> str:
    return text[: len(text) // 2]


def lines(text: str) -> str:
    return "\n".join(text.splitlines()[:9000]) + "\n"


def swapped(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


BROKEN = [
    (cut, r"line \d+: 14 columns are due, found \d+; the file ends there, it is cut short"),
    (lines, r"8999 of 15625 architectures are there; .* is missing. Is the file cut short\?"),
    (lambda text: "", "the first line should be index,arch_str,.*, found nothing"),
    (swapped("arch_str", "arch"), "the first line should be index,arch_str,.*found index,arch,"),
    (swapped("69.5500", "69,5500"), r"line 2: 14 columns are due, found 15\."),
    (swapped("69.5500", "much"), r"line 2: c10_test_12ep should be an accuracy in per cent, found 'much'"),
    (swapped("69.5500", "nan"), r"line 2: c10_test_12ep should be an accuracy in per cent, found 'nan'"),
    (swapped("69.5500", "695.500"), r"line 2: c10_test_12ep should be an accuracy in per cent, found '695.500'"),
    (swapped("129306", "129306.5"), r"line 2: params_c10 should be a whole number, found '129306.5'"),
    (swapped("|avg_pool_3x3~0|", "|avg_pool_5x5~0|"), r"line 2: '\|avg_pool_5x5~0\|.*' is no architecture, or stands there twice"),
    (swapped("\n0,", "\n1,"), "index should count from 0"),
    (swapped("69.5500", "69.5600"), "sha256 should be c4fe88.*, found .*; the numbers were changed"),
    (swapped("85.8633", "95.8633"), r"the best c10_test_200ep should be 94.37 at index 6111, found 95.8633 at 0"),
]


@pytest.mark.parametrize(("broken", "message"), BROKEN)
def test_files_that_are_not_the_table(tmp_path: Path, broken: Callable[[str], str], message: str) -> None:
    table()
    path = tmp_path / "table.csv"
    path.write_text(broken((DATA / "nasbench201" / "nasbench201_accuracies.csv").read_text()))
    with pytest.raises(BrokenFile, match=message) as caught:
        nasbench201(path)
    assert "table.csv" in str(caught.value)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    table()
    path = tmp_path / "table.csv"
    path.write_text((DATA / "nasbench201" / "nasbench201_accuracies.csv").read_text().replace("85.8633", "95.8633", 1))
    assert nasbench201(path, checked=False).best() == 0


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokenFile, match=r"nowhere.csv: the table of NAS-Bench-201 cannot be read"):
        nasbench201(tmp_path / "nowhere.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(BrokenFile, match="cannot be read"):
        nasbench201(tmp_path / "bytes.csv")
    monkeypatch.delenv("LOOMWEIGHT_DATA", raising=False)
    with pytest.raises(BadParameter, match=r"no path was given; give that of nasbench201_accuracies\.csv, or set LOOMWEIGHT_DATA"):
        nasbench201()


def test_bad_calls() -> None:
    with pytest.raises(BadParameter, match="is no architecture string; the form is"):
        table().accuracy("|nor_conv_3x3~0|")
    with pytest.raises(UnknownName, match="no operator named 'conv_3x3'; nearest"):
        table().accuracy(PLAIN.replace("nor_conv", "conv"))
    with pytest.raises(UnknownName, match="no edge named 'edge_0_4'"):
        cell_values({"edge_0_4": "none"})
    with pytest.raises(BadParameter, match="there is none on edge_1_3, edge_2_3"):
        cell_values(dict.fromkeys(list(CHOICES)[:4], OPERATORS[0]))
    with pytest.raises(BadParameter, match="an index is 0 to 15624, found 15625"):
        table().accuracy(15_625)
    with pytest.raises(UnknownName, match="no data set named 'cifar'"):
        table().accuracy(0, "cifar")
    with pytest.raises(BadParameter, match="no val accuracy after 200 epochs"):
        table().accuracy(0, split="val")
    with pytest.raises(BadParameter, match="at least 1, found 16, 0 and 10"):
        cell_network(PLAIN, cells=0)
