"""The digest must notice what happens to bytes on disks: and be the same for the same bytes wherever they lie in memory."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loomweight.weights.digest import START, chained

sizes = st.integers(1, 20_000)


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


@given(size=sizes, seed=st.integers(0, 99), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(size: int, seed: int, place: float, bit: int) -> None:
    data = noise(size, seed)
    flipped = data.copy()
    flipped[int(place * size)] ^= 1 << bit
    assert chained(START, flipped) != chained(START, data)


@given(pages=st.integers(2, 64), page=st.integers(0, 63))
def test_a_zeroed_page_is_noticed(pages: int, page: int) -> None:
    data = noise(4096 * pages)
    zeroed = data.copy()
    zeroed[4096 * (page % pages) :][:4096] = 0
    assert chained(START, zeroed) != chained(START, data)


@given(st.integers(2, 40), st.integers(0, 39), st.integers(0, 39), st.sampled_from([1024, 4096, 65536]))
def test_swapped_pages_are_noticed(count: int, one: int, two: int, size: int) -> None:
    one, two = one % count, two % count
    data = noise(count * size).reshape(count, size)
    swapped = data.copy()
    swapped[[one, two]] = data[[two, one]]
    assert (chained(START, swapped.reshape(-1)) == chained(START, data.reshape(-1))) == (one == two)


def test_swapped_and_zeroed_buffers_of_a_chain_are_noticed() -> None:
    one, two, zero = noise(9000, 1), noise(9000, 2), np.zeros(9000, np.uint8)
    chains = [(one, two), (two, one), (one, zero), (zero, two), (zero, zero), (one, one)]
    assert len({chained(chained(START, first), second) for first, second in chains}) == len(chains)


@given(size=sizes, shift=st.integers(0, 15))
def test_alignment_in_memory_does_not_matter(size: int, shift: int) -> None:
    data = noise(size)
    moved = np.zeros(size + 16, np.uint8)
    moved[shift : shift + size] = data
    assert chained(START, moved[shift : shift + size]) == chained(START, data)


def test_it_is_what_the_formula_says() -> None:
    """Against plain integers: odd multipliers from SplitMix64 over a counter, sums of rows of 128 words, modulo 2^64."""
    mask, golden = (1 << 64) - 1, 0x9E3779B97F4A7C15

    def odd(i: int) -> int:
        z = (i * golden) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return (z ^ (z >> 31)) | 1

    data = noise(5 * 1024)
    words = [int.from_bytes(data[i : i + 8].tobytes(), "little") for i in range(0, len(data), 8)]
    rows = sum(odd(r + 1) * sum(words[128 * r : 128 * (r + 1)]) for r in range(5))
    assert chained(7, data) == (7 * golden + rows) & mask
