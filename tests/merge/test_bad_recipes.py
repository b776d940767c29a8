"""Every mistake a recipe can hold: the line, what is wrong, what was meant; exit code 2, and nothing left behind."""

import re
from pathlib import Path

import pytest
import torch

from loomweight.cli import main
from loomweight.errors import LoomweightError
from loomweight.merge import Options, run
from loomweight.weights.write import Output, write

from .yaml_of import stack

MODELS = "models:\n  - {model: a, parameters: {weight: 1}}\n  - {model: b, parameters: {weight: 1}}\n"
TIES = "merge_method: ties\nbase_model: base\nmodels:\n  - {model: a, parameters: {weight: 1}}\n"
SLERP = "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n"
CUT = "merge_method: passthrough\nslices:\n  - sources:\n      - model: a\n        layer_range: "

#: name -> (recipe, pattern of the message)
CASES = {
    "unknown method": ("merge_method: lineer\n" + MODELS, r"line 1: no merge method named 'lineer'; nearest: 'linear'.*; all: .*ties.*"),
    "no method": (MODELS, r"line 1: the recipe lacks the key 'merge_method'"),
    "required parameter misspelt": (
        "merge_method: linear\nmodels:\n  - model: a\n    parameters:\n      wieght: 1\n",
        r"line 5: no parameter of linear named 'wieght'; nearest: 'weight'; all: normalize, weight",
    ),
    "required parameter left out": (
        "merge_method: linear\nmodels:\n  - {model: a, parameters: {weight: 1}}\n  - {model: b}\n",
        r"line 4: linear needs weight, and nothing says what it is for model 'b' and tensor '\S+'",
    ),
    "optional parameter misspelt": (
        TIES + "parameters:\n  desnity: 0.2\n",
        r"line 6: no parameter of ties named 'desnity'; nearest: 'density'; all: density, int8_mask, lambda, normalize, rescale, weight",
    ),
    "parameter of another method": ("merge_method: linear\n" + MODELS + "parameters: {density: 0.5}\n", r"line 5: no parameter of linear named 'density'"),
    "parameter of the merge under a model": (
        SLERP.replace("{model: b}", "{model: b, parameters: {t: 0.5}}"),
        r"line 3: t of slerp holds for the whole merge, not for one model; put it under parameters of the slice or of the file",
    ),
    "unknown key": ("merge_methd: linear\n" + MODELS, r"line 1: a recipe: no key named 'merge_methd'; nearest: 'merge_method'"),
    "another unknown key": (
        "merge_method: linear\n" + MODELS + "\nparmeters:\n  weight: 1\n",
        r"line 6: a recipe: no key named 'parmeters'; nearest: 'parameters'",
    ),
    "unknown key of a model": ("merge_method: linear\nmodels:\n  - model: a\n    layer_range: [0, 1]\n", r"line 4: a model: no key named 'layer_range'"),
    "unknown key of a condition": (
        "merge_method: linear\nmodels: [{model: a}]\nparameters:\n  weight:\n    - fliter: mlp\n      value: 1\n",
        r"line 5: a condition of weight: no key named 'fliter'; nearest: 'filter'",
    ),
    "filter that matches nothing": (
        "merge_method: linear\n" + MODELS + "parameters:\n  weight:\n    - filter: mpl\n      value: 1\n    - value: 2\n",
        r"line 7: the filter 'mpl' of weight matches no tensor; names look like '\S+'",
    ),
    "filter of a model that matches nothing of it": (
        "merge_method: linear\nmodels:\n  - {model: a, parameters: {weight: [{filter: layers.7., value: 1}, {value: 0}]}}\n",
        r"line 3: the filter 'layers.7.' of weight matches no tensor",
    ),
    "density above its range": (TIES + "parameters: {density: 1.7}\n", r"line 5: density must lie in \[0, 1\], found 1.7"),
    "density below its range": (TIES + "parameters: {density: [0.5, -0.5]}\n", r"line 5: density must lie in \[0, 1\], found -0.5"),
    "t above its range": (SLERP + "parameters:\n  t: 7.5\n", r"line 5: t must lie in \[0, 1\], found 7.5"),
    "t within a condition": (
        SLERP + "parameters:\n  t:\n    - {filter: mlp, value: 0.5}\n    - {value: [0, 2]}\n",
        r"line 7: t must lie in \[0, 1\], found 2",
    ),
    "a number that is a word": (SLERP + "parameters: {t: half}\n", r"line 4: t must be a finite number, found 'half'"),
    "a number that is none": ("merge_method: linear\n" + MODELS.replace("weight: 1", "weight: .nan"), r"line 3: weight must be a finite number, found nan"),
    "an empty gradient": (SLERP + "parameters: {t: []}\n", r"line 4: t must be a value, a list of values .*; found an empty list"),
    "a gradient of gradients": (SLERP + "parameters: {t: [[0, 1], 1]}\n", r"line 4: a gradient of t holds plain values only, found a list"),
    "numbers that do not go together": (
        "merge_method: della\nbase_model: base\nmodels:\n  - {model: a, parameters: {weight: 1, density: 0.95}}\n",
        r"line 1: .*density - epsilon and density \+ epsilon must be from 0 to 1, found 0.8 and 1.1",
    ),
    "weights that cannot be normalized": (
        "merge_method: multislerp\n" + MODELS.replace("weight: 1", "weight: -1", 1),
        r"line 1: .*the weights sum to 0, so they cannot be normalized",
    ),
    "bad dtype": (
        "merge_method: linear\ndtype: bfloat61\n" + MODELS,
        r"line 2: no dtype named 'bfloat61'; nearest: 'bfloat16'",
    ),
    "bad out_dtype": ("merge_method: linear\nout_dtype: int64\n" + MODELS, r"line 2: no dtype named 'int64'"),
    "no base where one is needed": ("merge_method: ties\n" + MODELS, r"line 1: ties works on differences from a base: add base_model"),
    "no base for slerp": ("merge_method: slerp\nmodels: [{model: a}, {model: b}]\nparameters: {t: 0.5}\n", r"line 1: slerp .*: add base_model"),
    "base that no slice has": (
        "merge_method: ties\nbase_model: base\nslices:\n  - sources: [{model: a, layer_range: [0, 1]}]\nparameters: {weight: 1}\n",
        r"line 4: the base model 'base' is not among the sources of this slice; add it with its layer_range",
    ),
    "too many models": (SLERP.replace("{model: b}", "{model: b}, {model: base}") + "parameters: {t: 0}\n", r"line 3: slerp merges exactly 2 models, found 3"),
    "too few models": (
        "merge_method: model_stock\nbase_model: base\nmodels: [{model: a}]\n",
        r"line 3: model_stock merges at least 2 models besides the base, found 1",
    ),
    "two models to pass through": (
        "merge_method: passthrough\nmodels: [{model: a}, {model: b}]\n",
        r"line 2: passthrough merges exactly 1 model, found 2: a, b",
    ),
    "one model twice": ("merge_method: linear\nmodels: [{model: a}, {model: a}]\nparameters: {weight: 1}\n", r"line 2: 'a' stands twice among the models"),
    "too few models for a robust rule": (
        "merge_method: krum\nmodels: [{model: a}, {model: b}, {model: base}]\nparameters: {f: 1}\n",
        r"line 1: Krum\(f=1.*\) .*; got 3 sets",
    ),
    "empty list of models": ("merge_method: linear\nmodels: []\n", r"line 2: models must be a list with at least one entry, found an empty list"),
    "models left empty": ("merge_method: linear\nmodels:\n", r"line 1: a recipe has exactly one of models, slices and modules; found none"),
    "models and slices": ("merge_method: linear\n" + MODELS + "slices: []\n", r"line 1: .* exactly one of .*; found models and slices"),
    "a model without a name": ("merge_method: linear\nmodels:\n  - parameters: {weight: 1}\n", r"line 3: a model lacks the key 'model'"),
    "a model that is a list": ("merge_method: linear\nmodels:\n  - model: [a]\n", r"line 3: a model is named by a path, .*, found a list"),
    "two adapters": ("merge_method: linear\nmodels: [{model: a+b+c}]\n", r"line 2: the model 'a\+b\+c' must read path\[@revision\]\[\+adapter\]"),
    "a model that is not there": ("merge_method: linear\nmodels:\n  - {model: a}\n  - {model: bb}\n", r"line 4: no such file or folder: 'bb'; near it: 'b'"),
    "layers reversed": (CUT + "[3, 1]\n", r"line 5: layer_range \[3, 1\] holds no layer: .*; did you mean \[1, 3\]\?"),
    "no layers": (CUT + "[1, 1]\n", r"line 5: layer_range \[1, 1\] holds no layer"),
    "layers below 0": (CUT + "[-1, 1]\n", r"line 5: a layer number must be a whole number of at least 0, found -1"),
    "layers beyond the model": (CUT + "[2, 9]\n", r"line 4: layer_range \[2, 9\] reaches beyond 'a', which has 3 layers model.layers.0 to model.layers.2"),
    "half a range": (CUT + "3\n", r"line 5: layer_range must be \[first, end\], found 3"),
    "ranges of unequal length": (
        "merge_method: linear\nslices:\n  - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 3]}]\n",
        r"line 3: the sources of a slice must have equally many layers; found \[0, 2\] of 'a', \[0, 3\] of 'b'",
    ),
    "residual_weight": (
        "merge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: [0, 1]}]\n    residual_weight: 0.5\n",
        r"line 4: residual_weight does nothing in mergekit",
    ),
    "a module that is not there": (
        "merge_method: linear\nmodules:\n  decodr:\n    models: [{model: a}]\n",
        r"line 3: no module named 'decodr'; .*all: .*model.layers",
    ),
    "a module without models": (
        "merge_method: linear\nmodules:\n  rest: {parameters: {weight: 1}}\n",
        r"line 3: module 'rest' must have either models or slices",
    ),
    "mixed architectures": (
        "merge_method: linear\nmodels: [{model: a}, {model: bert}]\nparameters: {weight: 1}\n",
        r"a and bert hold different tensors: only in a: .*; only in bert: ",
    ),
    "empty": ("", r"r.yaml is empty"),
    "only a comment": ("# nothing\n", r"r.yaml is empty"),
    "a list": ("- merge_method: linear\n", r"line 1: a recipe must be a mapping of keys to values, found a list"),
    "malformed": ("merge_method: linear\nmodels: [{model: a}\nbase_model: b\n", r"line 3: this is not YAML: "),
    "a tab": ("merge_method: linear\nmodels:\n\t- a\n", r"line 3: this is not YAML: "),
    "a key twice": ("merge_method: linear\nmodels: [{model: a}]\nmerge_method: ties\n", r"line 3: the key 'merge_method' stands twice, first in line 1"),
    "a tag that would run code": (
        "merge_method: !!python/object/apply:os.system ['touch ran']\n" + MODELS,
        r"line 1: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is unknown",
    ),
    "an anchor within itself": ("merge_method: linear\nmodels: &m [*m]\n", r"line 2: this anchor contains itself"),
    "a search mark": (
        "merge_method: linear\nmodels:\n  - {model: a, parameters: {weight: !search [0, 1]}}\n",
        r"line 3: !search is for `loomweight tune`; put a value here to merge",
    ),
    "a search mark of words": (
        "merge_method: linear\nmodels: [{model: a, parameters: {weight: !search [x, 1]}}]\n",
        r"line 2: the ends of !search must be numbers",
    ),
    "a search mark upside down": (
        "merge_method: linear\nmodels: [{model: a, parameters: {weight: !search [1, 0]}}]\n",
        r"line 2: !search needs the lower end first",
    ),
    "align": ("merge_method: linear\nalign: weight\n" + MODELS, r"line 2: no align named 'weight'; nearest: 'weights'"),
    "both kinds of tokenizer": (
        "merge_method: linear\ntokenizer_source: union\ntokenizer: {source: base}\n" + MODELS,
        r"line 3: tokenizer and tokenizer_source exclude each other",
    ),
    "a token source of no kind": (
        "merge_method: linear\ntokenizer:\n  tokens:\n    x: {source: {kind: zerro}}\n" + MODELS,
        r"line 4: no kind of token source named 'zerro'; nearest: 'zero'",
    ),
    "a token without a token": (
        "merge_method: linear\ntokenizer: {tokens: {x: {source: {kind: model_token, model: a}}}}\n" + MODELS,
        r"line 2: .* needs either token or token_id",
    ),
    "a name that is a path": ("name: ../x\nmerge_method: linear\n" + MODELS, r"line 1: the name '../x' must be a plain word"),
    "a name twice": (
        f"name: x\nmerge_method: linear\n{MODELS}---\nname: x\nmerge_method: linear\n{MODELS}",
        r"line 7: the name 'x' stands twice, first at r.yaml, line 1",
    ),
    "documents in a circle": (
        "name: x\nmerge_method: linear\nmodels: [{model: y}]\n---\nname: y\nmerge_method: linear\nmodels: [{model: x}]\n",
        r"line 1: documents wait for each other in a circle: 'x' uses 'y'; 'y' uses 'x'",
    ),
    "two outputs without names": (
        f"merge_method: linear\n{MODELS}---\nname: y\nmerge_method: linear\n{MODELS}",
        r"line 1: 2 documents are written, .* this one has none; add `name:`",
    ),
    "an unknown document": (
        "name: soup\nmerge_method: linear\nmodels: [{model: a}]\nparameters: {weight: 1}\n---\nmerge_method: linear\nmodels: [{model: suop}]\n",
        r"line 7: no such file or folder: 'suop'.* Documents of this file: 'soup'",
    ),
    "a seed that is no number": ("merge_method: linear\nseed: x\n" + MODELS, r"line 2: seed must be a whole number of at least 0, found 'x'"),
    "integers": ("merge_method: linear\nintegers: last\n" + MODELS, r"line 2: no integers named 'last'; .*all: equal, first"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for value, name in enumerate(("base", "a", "b")):
        write(stack(value), Output(tmp_path / name))
    write({"encoder.layer.0.w": torch.ones(2)}, Output(tmp_path / "bert"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_told_and_nothing_is_left_behind(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, pattern = CASES[case]
    Path("r.yaml").write_text(text)
    before = sorted(here.rglob("*"))
    with pytest.raises(LoomweightError) as caught:
        run("r.yaml", "out", Options(progress=False))
    message = str(caught.value)
    assert re.search(pattern, message), message
    with pytest.raises(SystemExit) as ended:
        main(["merge", "r.yaml", "out"])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and message in told and "Traceback" not in told
    assert sorted(here.rglob("*")) == before


def test_the_same_recipes_without_their_mistakes_run(here: Path) -> None:
    for number, text in enumerate((TIES, SLERP + "parameters: {t: 0.5}\n", CUT + "[1, 3]\n", "merge_method: linear\n" + MODELS)):
        Path("r.yaml").write_text(text)
        run("r.yaml", f"out{number}", Options(progress=False))


def test_a_recipe_that_was_edited_is_merged_anew(here: Path) -> None:
    graph = (
        "name: middle\nmerge_method: passthrough\nmodels: [{model: a, parameters: {scale: SCALE}}]\n---\nmerge_method: passthrough\nmodels: [{model: middle}]\n"
    )
    sizes = []
    for scale in ("1", "2"):
        Path("r.yaml").write_text(graph.replace("SCALE", scale))
        run("r.yaml", "out", Options(progress=False, overwrite=True))
        sizes.append(Path("out/model.safetensors").read_bytes())
    assert sizes[0] != sizes[1]


@pytest.mark.parametrize("first", [None, 40])
def test_a_second_merge_into_a_folder_needs_a_word_and_leaves_nothing_of_the_first(here: Path, first: int | None) -> None:
    Path("r.yaml").write_text("merge_method: linear\n" + MODELS)
    run("r.yaml", "out", Options(progress=False, shard_size=first))
    with pytest.raises(LoomweightError, match="exists already"):
        run("r.yaml", "out", Options(progress=False))
    run("r.yaml", "out", Options(progress=False, overwrite=True, shard_size=40 if first is None else None))
    names = sorted(path.name for path in Path("out").iterdir())
    assert ("model.safetensors" in names) == (first is not None) and len(names) == (1 if first else len(set(names)))
