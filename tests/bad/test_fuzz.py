"""Recipes and models damaged at random: whatever comes in, a message comes out, never a traceback."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ..cli.run import run
from .scene import LINEAR, SLERP, TIES, WEIGHTS, told

SLICES = """name: stack
merge_method: passthrough
slices:
  - sources: [{model: one, layer_range: [0, 2]}]
  - sources: [{model: two, layer_range: [1, 4], parameters: {scale: [{filter: mlp, value: [0, 1]}, {value: 1}]}}]
dtype: bfloat16
---
name: soup
merge_method: linear
models: [{model: stack}]
parameters: {weight: 1, normalize: true}
"""
TEXTS = [LINEAR, TIES + "parameters: {density: 0.5, int8_mask: true}\n", SLERP + "parameters: {t: [0, 0.5, 1]}\n", SLICES]
WORDS = [
    "&a ",
    "*a",
    "!!int ",
    "!search ",
    "? ",
    "<<: *a",
    "{",
    "]",
    "'",
    "0x_",
    "2024-13-45",
    ".nan",
    "1e999",
    "9" * 400,
    "~",
    "\t",
    "\n",
    ": ",
    "- ",
    "---\n",
    "%YAML 9.9",
]

_fuzzing = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
_edits = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 6), st.sampled_from(WORDS).map(str.encode) | st.binary(max_size=4)), min_size=1, max_size=3)


def _ends_well(capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    Path("r.yaml").write_bytes(content)
    ran = run(capsys, "merge", "r.yaml", "out", "--dry-run")
    assert ran.code in (0, 2), ran
    if ran.code:
        assert re.fullmatch(r"error: [^\n]+\n", ran.err) and ran.out == "", ran
    assert not Path("out").exists() and not Path(".out.partial").exists()


@pytest.mark.usefixtures("here")
@_fuzzing
@given(st.sampled_from(TEXTS), _edits)
def test_a_recipe_with_bytes_changed(capsys: pytest.CaptureFixture[str], text: str, edits: list[tuple[int, int, bytes]]) -> None:
    content = text.encode()
    for at, drop, more in edits:
        at %= len(content) + 1
        content = content[:at] + more + content[at + drop :]
    _ends_well(capsys, content)


@pytest.mark.usefixtures("here")
@_fuzzing
@given(st.sampled_from(["weight: 1", "one", "linear", "models"]), st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(WORDS))
@example("weight: 1", "weight: 0x_")
@example("weight: 1", "weight: !!bool maybe")
@example("weight: 1", "weight: !!timestamp x")
@example("weight: 1", "weight: 2024-13-45")
@example("weight: 1", "weight: ._")
@example("linear", "linear\nseed: 99999999999999999999999999")
@example("linear", "linear\nname: " + "n" * 300)
@example("linear", "linear\nname: '..'")
@example("linear", 'linear\nname: "a\\0b"')
@example("one", '"a\\0b"')
@example("one", '"~nobody-at-all/x"')
@example("one", "'+'")
@example("one", "two")
def test_a_word_of_a_recipe_replaced(capsys: pytest.CaptureFixture[str], word: str, other: str) -> None:
    _ends_well(capsys, LINEAR.replace(word, other, 1).encode())


@pytest.mark.usefixtures("here")
@pytest.mark.timeout(60)
def test_a_recipe_that_would_unfold_without_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is ten times the one before: thirty lines are more than any memory holds."""
    lines = ["a0: &a0 [0, 0]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30))]
    _ends_well(capsys, (LINEAR + "parameters:\n" + "".join(f"  {line}\n" for line in lines)).encode())


@pytest.mark.usefixtures("here")
@_fuzzing
@given(st.integers(0, 5000), st.integers(0, 255))
def test_a_model_with_a_byte_of_its_header_changed(capsys: pytest.CaptureFixture[str], at: int, byte: int) -> None:
    path = Path("two") / WEIGHTS
    whole = path.read_bytes()
    Path("r.yaml").write_text(LINEAR)
    try:
        path.write_bytes(whole[: at % 4000] + bytes([byte]) + whole[at % 4000 + 1 :])
        ran = run(capsys, "merge", "r.yaml", "out", "--dry-run")
        assert ran.code == 0 or told(ran, "two|parameter") is None
    finally:
        path.write_bytes(whole)
