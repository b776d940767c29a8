"""The key `align`: models are brought into the reference's order of units before the rule sees them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import loomweight as lw
from loomweight.errors import RecipeError
from loomweight.merge import Draft, plans, run
from loomweight.merge.alignment import How
from loomweight.merge.stages import STAGES
from loomweight.weights import Output, write
from loomweight.weights.axes import axes, axes_of

from ..cli.networks import mlp, same, shuffled, table, tiny, write_networks

LLAMA = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
LINEAR = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_networks(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("nets", None)


def merged(text: str, out: str = "out") -> lw.Weights:
    Path("r.yaml").write_text(text)
    run("r.yaml", out, stages=STAGES)
    return lw.load(out)


def equal(left: lw.Weights, right: lw.Weights) -> bool:
    return left.names == right.names and all(same(left[name], right[name]) for name in left)


def test_the_key_is_read() -> None:
    def read(value: str) -> How | None:
        return Draft.of(LINEAR + f"seed: 4\nalign: {value}\n").recipes()[0].align

    assert read("ot") == How("ot", seed=4)
    assert read("{method: ot, axes: auto}") == How("ot", seed=4)
    assert read("{model: 'm:f', example: 'm:x', seed: 0}") == How("weights", "m:f", example="m:x")
    assert read("{method: activations, model: m, axes: t, data: 'm:d'}") == How("activations", "m", "t", data="m:d", seed=4)
    assert read("{method: depth, model: m, moving_model: n, moving_axes: t}") == How("depth", "m", seed=4, moving_model="n", moving_table="t")
    assert Draft.of(LINEAR).recipes()[0].align is None


def test_the_average_of_a_network_and_its_shuffled_copy_is_the_network() -> None:
    a = lw.load("a")
    assert not equal(merged(LINEAR), a)
    assert equal(merged(LINEAR + "align: {axes: hand.axes}\n", "out2"), a)


@pytest.mark.parametrize("rule", ["ties", "task_arithmetic", "slerp", "trimmed_mean"])
def test_any_rule_sees_aligned_models(rule: str) -> None:
    """What the recipe gives is what the rule gives of models that were aligned before, each on its own."""
    for seed in (5, 6):
        lw.save(shuffled(lw.load(mlp(seed=seed)), table(), seed), f"m{seed}")
    models = {
        "slerp": "base_model: a\nmodels: [{model: a}, {model: NAME5}]\nparameters: {t: 0.4}\n",
        "trimmed_mean": "models: [{model: a}, {model: NAME5}, {model: NAME6}]\nparameters: {f: 1}\n",
    }.get(rule, "base_model: a\nmodels: [{model: NAME5}, {model: NAME6}]\nparameters: {weight: 0.5}\n")
    text = f"merge_method: {rule}\n{models}"
    found = merged(text.replace("NAME", "m") + "align: {axes: hand.axes}\n")
    for seed in (5, 6):
        lw.save(lw.align.weight_matching(table(), lw.load(f"m{seed}"), lw.load("a"))(lw.load(f"m{seed}")), f"aligned{seed}")
    assert equal(found, merged(text.replace("NAME", "aligned"), "expected"))


def test_without_a_base_the_first_model_stays() -> None:
    found = merged("merge_method: linear\nmodels: [{model: b}, {model: a}]\nparameters: {weight: 1}\nalign: {axes: hand.axes}\n")
    assert equal(found, lw.load("b"))


def test_a_family_is_known_by_its_config(tmp_path) -> None:
    tiny("LlamaForCausalLM", tmp_path / "one", **LLAMA)
    one = lw.load("one")
    write(shuffled(one, axes_of("one")), Output("two"))  # no config: the base's tells the family
    text = "merge_method: linear\nmodels: [{model: one}, {model: two}]\nparameters: {weight: 1}\nalign: weights\n"
    assert equal(merged(text), one)
    assert "two is first aligned to one by weight matching; axes by the family of one." in Path("out/README.md").read_text()


def test_what_is_dropped_needs_no_axes() -> None:
    for name in ("a", "b"):
        lw.save({**dict(lw.load(name)), "old.buffer": torch.arange(3)} if name == "b" else dict(lw.load(name)), f"{name}2")
    text = LINEAR.replace("model: a", "model: a2").replace("model: b", "model: b2") + 'drop: ["old.*"]\nalign: {axes: hand.axes}\n'
    assert equal(merged(text), lw.load("a"))


def test_networks_of_different_width() -> None:
    found = merged("merge_method: linear\nmodels: [{model: a}, {model: wide}]\nparameters: {weight: 1}\nalign: {method: ot, axes: hand.axes}\n")
    assert {name: spec.shape for name, spec in found.spec.items()} == {name: spec.shape for name, spec in lw.load("a").spec.items()}


def test_networks_of_different_depth() -> None:
    deep = lw.load("deep")
    how = "align: {method: depth, model: 'nets:deep', moving_model: 'nets:mlp', example: 'nets:inputs'}\n"
    found = merged("merge_method: linear\nmodels: [{model: deep}, {model: a}]\nparameters: {weight: 1}\n" + how)
    line = torch.linspace(-1, 1, 6).reshape(2, 3)
    tables = [axes(mlp(depth=depth), line) for depth in (1, 2)]
    carried = lw.align.cla_fusion(tables[0], lw.load("a"), tables[1], deep)(lw.load("a"))
    assert equal(found, lw.combine([deep, carried], lw.rules.Mean()))


def test_families_of_different_depth(tmp_path) -> None:
    for name, layers in (("one", 3), ("two", 2), ("three", 3)):
        tiny("LlamaForCausalLM", tmp_path / name, **LLAMA | {"num_hidden_layers": layers})
    text = "merge_method: linear\nmodels: [{model: one}, {model: two}, {model: three}]\nparameters: {weight: 1}\n"
    found = merged(text + "align: depth\n")
    assert found.names == lw.load("one").names
    assert "two, three are first aligned to one by cross-layer alignment" in Path("out/README.md").read_text()
    with pytest.raises(lw.errors.NamesDiffer, match=r"line 4: align: two and one have different numbers of layers model\.layers\.\*"):
        merged(text + "align: weights\n", "other")


def test_the_result_of_another_document_is_aligned_too() -> None:
    text = "name: first\n" + LINEAR.replace("model: a", "model: c") + "align: {axes: hand.axes}\n---\n"
    text += "merge_method: linear\nmodels: [{model: a}, {model: first}]\nparameters: {weight: 1}\nalign: {axes: hand.axes}\n"
    step = lw.combine([lw.load("c"), lw.align.weight_matching(table(), lw.load("b"), lw.load("c"))(lw.load("b"))], lw.rules.Mean())
    second = lw.combine([lw.load("a"), lw.align.weight_matching(table(), step, lw.load("a"))(step)], lw.rules.Mean())
    assert equal(merged(text), second)


def test_planning_reads_no_data(monkeypatch) -> None:
    def refuse(*given: object) -> None:
        raise AssertionError("data was read")

    monkeypatch.setattr(lw.Weights, "open", refuse)
    (planned,) = plans(Draft.of(LINEAR + "align: {axes: hand.axes}\n").recipes(), STAGES)
    assert planned.notes[-1].endswith("line 3: b is first aligned to a by weight matching; axes by hand.axes.")


def test_a_finished_output_is_known_and_another_way_is_not() -> None:
    from loomweight.merge import Options

    text = LINEAR + "align: {axes: hand.axes}\n"
    merged(text)
    assert run("r.yaml", "out", Options(resume=True), STAGES).kept == (Path("out"),)
    Path("r.yaml").write_text(text.replace("axes: hand.axes", "axes: hand.axes, method: ot"))
    with pytest.raises(lw.errors.OutputError):
        run("r.yaml", "out", Options(resume=True), STAGES)


def test_a_search_aligns_every_trial() -> None:
    from loomweight.cli.tune import tune as command

    Path("judges.py").write_text("import loomweight as lw\ndef near(w): return -lw.norm(w - lw.load('a'))\n")
    text = LINEAR.replace("{model: b, parameters: {weight: 1}}", "{model: b, parameters: {weight: !search [0.5, 1]}}") + "align: {axes: hand.axes}\n"
    Path("t.yaml").write_text(text)
    command(Path("t.yaml"), Path("search"), "judges:near", trials=2, sampler="random")
    values = [float(line.split(",")[2]) for line in Path("search/trials.csv").read_text().splitlines()[1:]]
    assert len(values) == 2 and all(value > -1e-4 for value in values)  # all are `a`: aligned, the two agree


def test_a_mistake_has_its_line() -> None:
    with pytest.raises(RecipeError, match="line 3: no align named 'wieghts'; nearest: 'weights'"):
        Draft.of(LINEAR + "align: wieghts\n").recipes()


def test_a_run_without_the_stage_says_so() -> None:
    Path("r.yaml").write_text(LINEAR + "align: {axes: hand.axes}\n")
    with pytest.raises(RecipeError, match="line 3: align is the work of a stage"):
        run("r.yaml", "out")
    assert not Path("out").exists()
