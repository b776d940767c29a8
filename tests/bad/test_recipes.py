"""Recipes with a mistake, through the command: the cases in which the peer stops with a traceback or says nothing."""

import pytest

from ..cli.run import run
from .scene import LINEAR, SLERP, TIES, recipe, refused

CUT = "merge_method: passthrough\nslices:\n  - sources: [{model: one, layer_range: [0, 2]}]\n  - sources:\n      - model: two\n        layer_range: "
DELLA = TIES.replace("ties", "della")

#: case -> (recipe, what the message says)
CASES = {
    "unknown method": (LINEAR.replace("linear", "lineer"), r"r\.yaml, line 1: no merge method named 'lineer'; nearest: 'linear'"),
    "required parameter misspelt": (LINEAR.replace("weight", "wieght", 1), r"r\.yaml, line 3: no parameter of linear named 'wieght'; nearest: 'weight'"),
    "required parameter missing": (LINEAR.replace(", parameters: {weight: 1}", "", 1), r"line 3: linear needs weight, .* for model 'one'"),
    "optional parameter misspelt": (TIES + "parameters: {desnity: 0.2}\n", r"line 6: no parameter of ties named 'desnity'; nearest: 'density'"),
    "unknown key at the top, instead of a known one": (
        LINEAR.replace("merge_method", "merge_methd"),
        r"line 1: .*no key named 'merge_methd'; nearest: 'merge_method'",
    ),
    "unknown key at the top, besides": (LINEAR + "parmeters: {normalize: false}\n", r"line 5: .*no key named 'parmeters'; nearest: 'parameters'"),
    "filter that matches nothing": (
        SLERP + "parameters:\n  t:\n    - {filter: mpl, value: 0.1}\n    - {value: 0.5}\n",
        r"line 6: the filter 'mpl' of t matches no tensor; names look like '\S+'",
    ),
    "density above 1": (TIES + "parameters: {density: 1.7}\n", r"line 6: density must lie in \[0, 1\], found 1\.7"),
    "density below 0": (TIES + "parameters: {density: -0.5}\n", r"line 6: density must lie in \[0, 1\], found -0\.5"),
    "t out of range": (SLERP + "parameters: {t: 7.5}\n", r"line 4: t must lie in \[0, 1\], found 7\.5"),
    "bad dtype": (LINEAR + "dtype: float61\n", r"line 5: no dtype named 'float61'; nearest: 'float64', 'float16'"),
    "bad out_dtype": (LINEAR + "out_dtype: bloat16\n", r"line 5: no dtype named 'bloat16'; nearest: 'bfloat16'"),
    "ties without base": (TIES.replace("base_model: base\n", ""), r"line 1: ties works on differences from a base: add base_model"),
    "epsilon of della out of range": (DELLA + "parameters: {density: 0.95}\n", r"line 1: .*density \+ epsilon must be from 0 to 1, found 0\.8 and 1\.1"),
    "epsilon of della itself": (
        DELLA + "parameters: {density: 0.5, epsilon: 1.5}\n",
        r"line \d: .*epsilon must .*found .*1\.5|line 1: .*density - epsilon .* found -1 and 2",
    ),
    "layer_range reversed": (CUT + "[3, 1]\n", r"line 6: layer_range \[3, 1\] holds no layer: .*; did you mean \[1, 3\]\?"),
    "layer_range beyond the model": (CUT + "[2, 9]\n", r"line 5: layer_range \[2, 9\] reaches beyond 'two', which has 4 layers"),
    "path that does not exist": (LINEAR.replace("two", "tow"), r"line 4: no such file or folder: 'tow'; near it: 'two'"),
    "path below a folder that does not exist": (
        LINEAR.replace("two", "/nowhere/two"),
        r"line 4: no such file or folder: '/nowhere/two'; '/nowhere' is no folder",
    ),
    "repository that is not here": (LINEAR.replace("two", "org/two"), r"line 4: no such file or folder: 'org/two'.* hf download org/two"),
    "empty file": ("", r"r\.yaml is empty; a recipe needs at least merge_method and models"),
    "malformed YAML": ("merge_method: linear\nmodels: [{model: one\n", r"r\.yaml, line \d: this is not YAML"),
    "empty list of models": ("merge_method: linear\nmodels: []\n", r"line 2: models must be a list with at least one entry"),
    "parameter of another kind": (LINEAR.replace("weight: 1", "weight: heavy", 1), r"line 3: weight must be a finite number, found 'heavy'"),
    "too few models for a bound": (
        "merge_method: krum\nmodels: [{model: base}, {model: one}, {model: two}]\nparameters: {f: 1}\n",
        r"line 1: Krum\(f=1.*\).*got 3",
    ),
    "search mark outside of tune": (SLERP + "parameters: {t: !search [0, 1]}\n", r"line 4: !search is for `loomweight tune`; put a value here"),
    "tag that would run code": (LINEAR + "seed: !!python/object/apply:os.mkdir [ran]\n", r"line 5: the tag '.*os\.mkdir' is unknown"),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("case", CASES)
def test_a_mistake_in_a_recipe(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, says = CASES[case]
    refused(capsys, "merge", recipe(text), "out", says=says)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("text", [LINEAR, TIES, DELLA + "parameters: {density: 0.5}\n", SLERP + "parameters: {t: 0.5}\n", CUT + "[1, 3]\n"])
def test_the_same_recipe_without_the_mistake(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "merge", recipe(text), "out", "--dry-run").code == 0


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", ["merge {} out", "recipe explain {}"])
def test_every_command_that_reads_recipes_ends_alike(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = recipe(LINEAR.replace("linear", "lineer"))
    refused(capsys, *command.format(name).split(), says=r"r\.yaml, line 1: no merge method named 'lineer'")
    refused(capsys, *command.format("q.yaml").split(), says=r"q\.yaml: no recipe file named 'q\.yaml'; nearest: 'r\.yaml'")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe\x00m", r"r\.yaml: not a text file in UTF-8"),
        (b"a: 1\n\x00", r"r\.yaml, line 2: this is not YAML"),
        (b"{" * 5000, r"r\.yaml.*(not YAML|nested)"),
    ],
)
def test_a_recipe_of_strange_bytes(content: bytes, says: str, here, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "r.yaml").write_bytes(content)
    refused(capsys, "merge", "r.yaml", "out", says=says)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("path", ["one", "one/model.safetensors", "x" * 300, "nowhere/r.yaml", "/dev/null"])
def test_a_recipe_path_that_is_none(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "merge", path, "out", says=r"error: .*(no recipe file named|not a text file)")
