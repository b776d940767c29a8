"""Who has what, drawn and in a table."""

from collections import Counter
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from loomweight.errors import BadParameter, OutputError
from loomweight.federate.partition import Dirichlet, Iid, Shards, picture, table
from loomweight.federate.partition.counts import counts

LABELS = torch.randint(10, (3000,), generator=torch.Generator().manual_seed(0))


def shown(made: object) -> list[str]:
    console = Console(width=100, file=StringIO(), color_system=None)
    console.print(made)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]  # type: ignore[attr-defined]


def test_counts_are_those_of_a_loop() -> None:
    labels = LABELS * 3 - 4
    parts = Dirichlet(0.2)(labels, 30, 0)
    found = counts(parts, labels)
    assert found.classes == tuple(range(-4, 24, 3))
    for row, part in zip(found.table, parts.values(), strict=True):
        assert {label: n for label, n in zip(found.classes, row.tolist(), strict=True) if n} == Counter(labels[part].tolist())
    assert np.allclose(found.shares.sum(1), 1)  # sums of ten rounded quotients
    tops = found.shares.argmax(1)[found.by_mixture()]
    assert (np.diff(tops) >= 0).all()


@pytest.mark.parametrize(("clients", "few"), [(1, True), (10, True), (40, True), (41, False), (1000, False)])
def test_few_clients_are_bars_and_many_a_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clients: int, few: bool) -> None:
    from matplotlib.figure import Figure

    kept: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **settings: kept.append(figure))
    parts = Dirichlet(0.5, equal=True)(LABELS, clients, 0)
    picture(parts, LABELS, tmp_path / "who.svg")
    axes = kept[0].axes[0]
    if few:
        widths = np.array([[bar.get_width() for bar in bars] for bars in axes.containers]).T
        assert np.array_equal(widths, counts(parts, LABELS).table)
        assert [label.get_text() for label in axes.get_yticklabels()] == list(parts)
    else:
        (image,) = kept[0].axes[1].get_images()
        assert image.get_array().shape == (10, clients)
        assert np.allclose(np.asarray(image.get_array()).sum(0), 1)  # sums of ten rounded quotients
    assert f"3,000 samples at {clients:,} clients" in axes.get_title()


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_file_is_a_picture(tmp_path: Path, suffix: str) -> None:
    labels = torch.arange(62).repeat(5)
    file = picture(Iid()(labels, 3, 0), labels, tmp_path / f"who{suffix}")
    assert file.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")


def test_where_it_cannot_go_is_said_before_the_work(tmp_path: Path) -> None:
    parts = Iid()(LABELS, 3, 0)
    with pytest.raises(OutputError, match=r"a picture ends in \.png, \.svg, \.pdf"):
        picture(parts, LABELS, tmp_path / "who.txt")
    with pytest.raises(OutputError, match="nowhere is no folder"):
        picture(parts, LABELS, tmp_path / "nowhere" / "who.png")
    with pytest.raises(BadParameter, match="'client 0' has samples beyond the 10 labels: these are the labels of other data"):
        picture(parts, LABELS[:10], tmp_path / "who.png")
    with pytest.raises(BadParameter, match=r"one whole number for each sample; found torch\.float32"):
        table(parts, LABELS.float())


def test_a_table_of_few_and_of_many() -> None:
    labels = torch.arange(4).repeat_interleave(25)
    lines = shown(table(Shards(1)(labels, 4, 0), labels))
    assert len(lines) == 6 and all(line.split()[2:4] == ["25", "1"] and "(100 %)" in line for line in lines[2:])
    parts = Dirichlet(0.3)(LABELS, 100, 0)
    sizes = sorted((len(part) for part in parts.values()), reverse=True)
    lines = shown(table(parts, LABELS, most=10))[2:]
    assert lines[5].strip() == "... 90 more"
    assert [int(line.split()[2].replace(",", "")) for line in lines[:5] + lines[6:]] == sizes[:5] + sizes[-5:]


def test_an_empty_client_is_shown_as_such() -> None:
    labels = torch.tensor([0, 0, 1])
    parts = {"full": torch.arange(3), "none": torch.empty(0, dtype=torch.int64)}
    line = next(line for line in shown(table(parts, labels)) if "none" in line)
    assert line.split() == ["none", "0", "0", "-"]
