"""The server sees the sum and nothing of its parts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter, TooFewSets
from loomweight.federate import masked, unmasked_sum

NAMES = ["ann", "bob", "cai", "dee"]


@given(st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4), st.integers(0, 2**60))
def test_masks_cancel_in_the_sum_exactly(values: list[float], seed: int) -> None:
    fixed = [round(value * 2**24) / 2**24 for value in values]
    sent = [masked({"w": torch.tensor([value], dtype=torch.float64)}, client, NAMES, seed) for client, value in zip(NAMES, fixed, strict=True)]
    assert unmasked_sum(sent, NAMES)["w"].item() == sum(fixed)


def test_what_one_client_sends_is_noise_whatever_it_holds() -> None:
    zeros, ones = (masked({"w": torch.full((20_000,), value)}, "bob", NAMES, seed=1)["w"].double() for value in (0.0, 1000.0))
    spread = 2.0**64 / 12**0.5
    for sent in (zeros, ones):
        # 2 %: more than five standard errors of the deviation of 20,000 uniform numbers; the mean has 1 / sqrt(20000) = 0.7 % of it
        assert float(sent.std()) == pytest.approx(spread, rel=0.02)
        assert abs(float(sent.mean())) < 0.035 * spread


def test_all_but_one_do_not_unmask_the_last() -> None:
    """The others' masks with each other cancel; those with the last do not."""
    update = {"w": torch.zeros(1000)}
    three = sum(masked(update, client, NAMES, seed=2)["w"] for client in NAMES[:3]).double()
    assert float(three.abs().mean()) > 2.0**60


def test_rounds_and_names_have_masks_of_their_own() -> None:
    update = {"v": torch.zeros(3), "w": torch.zeros(3)}
    first, second = (masked(update, "ann", NAMES, seed=0, number=number) for number in (0, 1))
    assert not torch.equal(first["w"], second["w"]) and not torch.equal(first["v"], first["w"])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: unmasked_sum([{}], NAMES), TooFewSets, "1 of 4 clients"),
        (lambda: masked({}, "eve", NAMES, 0), BadParameter, "not among the clients"),
        (lambda: masked({"w": torch.tensor([float("nan")])}, "ann", NAMES, 0), BadParameter, "'w' of client 'ann' holds NaN"),
        (lambda: masked({"w": torch.tensor([1e20])}, "ann", NAMES, 0), BadParameter, "clip first"),
    ],
)
def test_what_would_break_the_sum_is_refused(make: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
