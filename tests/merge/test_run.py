"""Recipe files carried out: what is read, where it is found, what is written."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from loomweight import Weights
from loomweight.errors import BadParameter, LoomweightError, NonFinite, OutputError, RecipeError, UnknownName
from loomweight.merge import Options, Plan, Recipe, Stages, home, in_order, plans, read_recipes, run
from loomweight.merge.masks import nonfinite_of
from loomweight.merge.pick import devices
from loomweight.rules import Around, Krum, Mean, Per, Route, Take
from loomweight.weights.load import load
from loomweight.weights.write import Output, write

from .yaml_of import firsts, stack

QUIET = Options(threads=2, progress=False)
LINEAR = "merge_method: linear\nmodels:\n  - {model: a, parameters: {weight: 1}}\n  - {model: b, parameters: {weight: 3}}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the models a (0) and b (1)."""
    for value, name in enumerate("ab"):
        write(stack(value), Output(tmp_path / name, files={"config.json": b"{}"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(text: str, name: str = "r.yaml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def test_a_file_is_merged_into_a_folder(here: Path) -> None:
    outcome = run(saved(LINEAR), "out", QUIET)
    assert outcome.paths == (Path("out"),) and set(firsts(load("out")).values()) == {0.75, 0.85, 0.95}
    assert sorted(path.name for path in Path("out").iterdir()) == ["model.safetensors"]


def test_into_one_file(here: Path) -> None:
    run(saved(LINEAR), "out.safetensors", QUIET)
    assert firsts(load("out.safetensors"))["lm_head.weight"] == 0.75


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_and_shards_change_no_bit(here: Path, threads: int) -> None:
    run(saved(LINEAR), "one", QUIET)
    run(saved(LINEAR), "two", Options(threads=threads, shard_size=40, progress=False))
    one, two = load("one"), load("two")
    assert len(list(Path("two").glob("*.safetensors"))) > 1 and all(torch.equal(one[name], two[name]) for name in one)


def test_paths_start_in_the_working_folder_then_at_the_recipe(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = saved(LINEAR.replace("model: a", "model: ../b"), "recipes/r.yaml").absolute()
    run(recipe, "near", QUIET)
    assert firsts(load("near"))["lm_head.weight"] == 1  # ../b leads nowhere from here, and to b from the recipe; b is here
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(UnknownName, match=r"^r.yaml, line 4: no such file or folder: 'b'"):
        run(recipe, "out", QUIET)


def test_an_adapter_is_folded_in_and_each_part_is_looked_for_alone(here: Path) -> None:
    from safetensors.torch import save_file

    adapter = here / "recipes" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["up"], "base_model_name_or_path": "m"}')
    save_file(
        {"base_model.model.up.lora_A.weight": torch.ones(1, 3), "base_model.model.up.lora_B.weight": torch.ones(2, 1)}, adapter / "adapter_model.safetensors"
    )
    write({"up.weight": torch.zeros(2, 3)}, Output("m"))
    recipe = saved("merge_method: passthrough\nmodels: [{model: m+adapter}]\n", "recipes/r.yaml")
    run(recipe, "out", QUIET)
    assert torch.equal(load("out")["up.weight"], torch.full((2, 3), 2.0))
    [found] = read_recipes(recipe)
    assert home(found, "m+adapter") == "m"


GRAPH = """
    name: last
    merge_method: linear
    models: [{model: middle, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]
    ---
    name: middle
    merge_method: passthrough
    base_model:
    models: [{model: a, parameters: {scale: 4}}]
"""


def test_documents_are_one_graph_and_the_middle_is_not_written(here: Path) -> None:
    write({"w": torch.tensor([1.0])}, Output("a", overwrite=True))
    write({"w": torch.tensor([2.0])}, Output("b", overwrite=True))
    outcome = run(saved(GRAPH), "out", QUIET)
    assert load("out")["w"].tolist() == [3] and not Path("middle").exists() and len(outcome.plans) == 1
    last, middle = in_order(read_recipes("r.yaml"))[::-1]
    assert (last.name, middle.name) == ("last", "middle") and home(last, "middle") == "a"


def test_the_middle_is_written_when_asked_for(here: Path) -> None:
    run(saved(GRAPH), "out", Options(progress=False, middle=Path("kept")))
    assert firsts(load("kept/middle"))["lm_head.weight"] == 0 and firsts(load("out"))["lm_head.weight"] == 0.5


def test_the_middle_is_not_rounded_on_the_way(here: Path) -> None:
    write({"w": torch.tensor([1.0], dtype=torch.bfloat16)}, Output("a", overwrite=True))
    write({"w": torch.tensor([-1.0], dtype=torch.bfloat16)}, Output("b", overwrite=True))
    run(saved(GRAPH.replace("scale: 4", "scale: 1.001")), "out", QUIET)
    assert load("out")["w"].item() == pytest.approx(0.0005, rel=0.01)  # 1.001 is 1 in bfloat16


def test_documents_that_nobody_uses_are_all_written_under_their_names(here: Path) -> None:
    outcome = run(saved("name: one\n" + LINEAR + "---\nname: two\n" + LINEAR), "out", QUIET)
    assert outcome.paths == (Path("out/one"), Path("out/two")) and load("out/one") is not None
    with pytest.raises(OutputError, match=r"out.safetensors is one file, and 2 documents are written: one, two"):
        run("r.yaml", "out.safetensors", QUIET)


def test_a_dry_run_writes_nothing_and_finds_what_a_run_would_find(here: Path) -> None:
    outcome = run(saved(LINEAR), "out", Options(dry_run=True))
    assert not Path("out").exists() and not outcome.paths and len(outcome.plans) == 1
    with pytest.raises(OutputError, match="is an input"):
        run("r.yaml", "a", Options(dry_run=True))


def test_an_output_is_checked_before_anything_is_weighed(here: Path) -> None:
    run(saved(LINEAR), "out", QUIET)
    krum = saved("merge_method: krum\nmodels: [{model: a}, {model: b}, {model: a/model.safetensors}]\nparameters: {f: 0}\n", "k.yaml")
    with pytest.raises(OutputError, match="exists already"):
        run(krum, "out", QUIET)
    run(saved(LINEAR), "out", Options(overwrite=True, progress=False))


def test_stages_see_the_recipe_the_models_and_the_plan(here: Path) -> None:
    seen: list[str] = []

    def prepare(recipe: Recipe, inputs: dict[str, Weights]) -> dict[str, Weights]:
        seen.append("prepare " + ", ".join(inputs))
        return {model: 2.0 * weights for model, weights in inputs.items()}

    def check(plan: Plan) -> None:
        seen.append(f"check {len(plan.groups)}")

    def beside(plan: Plan) -> dict[str, bytes]:
        seen.append("beside")
        return {"config.json": b"{}", "README.md": plan.recipe.text.encode()}

    run(saved(LINEAR), "out", QUIET, Stages(prepare, (check,), beside))
    assert seen == ["prepare a, b", "check 1", "beside"] and firsts(load("out"))["lm_head.weight"] == 1.5
    assert sorted(path.name for path in Path("out").iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_a_stage_that_objects_leaves_nothing_behind(here: Path) -> None:
    def check(plan: Plan) -> None:
        raise RecipeError("the config lies")

    before = sorted(path.name for path in here.iterdir())
    with pytest.raises(RecipeError, match="the config lies"):
        run(saved(LINEAR), "out", QUIET, Stages(checks=(check,)))
    assert sorted(path.name for path in here.iterdir()) == sorted([*before, "r.yaml"])


def broken(where: str, value: float) -> None:
    tensors = {name: tensor.clone() for name, tensor in stack(1).items()}
    tensors[where][0] = value
    write(tensors, Output("b", overwrite=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_input_that_is_not_finite_is_named_or_masked(here: Path, value: float) -> None:
    broken("model.layers.1.mlp.w", value)
    with pytest.raises(NonFinite, match=r"b: tensor 'model.layers.1.mlp.w' holds (nan|inf) at \[0\]"):
        run(saved(LINEAR), "out", QUIET)
    assert not Path("out").exists()
    run(saved(LINEAR), "out", Options(progress=False, allow_nonfinite=True))
    assert load("out")["model.layers.1.mlp.w"].tolist() == pytest.approx([0.1, 0.85])  # a alone where b has no number


def test_where_entries_cannot_be_masked_the_model_is_dropped(here: Path) -> None:
    broken("lm_head.weight", float("nan"))
    recipe = saved("merge_method: krum\nmodels: [{model: a}, {model: b}, {model: c}, {model: d}, {model: e}]\nparameters: {f: 1}\n")
    for name in "cde":
        write(stack(0), Output(name))
    run(recipe, "out", Options(progress=False, allow_nonfinite=True))
    assert firsts(load("out"))["lm_head.weight"] == 0


def test_the_policy_of_rules() -> None:
    base = stack(0)
    rules = [Mean(), Around(base, Mean()), Krum(0), Per("layer", Krum(0)), Route((("x", Mean()), ("*", Krum(0)))), Route((("*", Take(0)),))]
    assert [nonfinite_of(rule) for rule in rules] == ["mask", "mask", "drop", "drop", "drop", "mask"]


def test_a_device_that_is_not_there_is_an_error_with_those_that_are(here: Path) -> None:
    for name in ("cdua", "cuda:99", "meta"):
        with pytest.raises(BadParameter, match=rf"device '{name}' is not available here; there are: cpu"):
            run(saved(LINEAR), "out", Options(device=name))
    assert devices()[0] == "cpu"


def test_a_killed_run_goes_on_where_it_was(here: Path) -> None:
    recipe = saved(LINEAR)
    code = f"""
        import os, signal
        from importlib import import_module
        from loomweight.merge import Options
        runner = import_module("loomweight.merge.run")
        def stop(done, total):
            if done: os.kill(os.getpid(), signal.SIGKILL)
        from contextlib import contextmanager
        @contextmanager
        def bar(words, show=True):
            yield stop
        runner.bar = bar
        runner.run({str(recipe)!r}, "out", Options(threads=1, shard_size=40))
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, cwd=here)
    assert killed.returncode == -9 and not Path("out").exists()
    run(recipe, "out", Options(threads=1, shard_size=40, resume=True, progress=False))
    assert set(firsts(load("out")).values()) == {0.75, 0.85, 0.95}


def test_every_document_is_planned_with_headers_alone(here: Path) -> None:
    for planned in plans(read_recipes(saved(GRAPH))):
        assert planned.headers.keys() == planned.promised().spec.keys()


def test_errors_are_of_one_family() -> None:
    assert issubclass(RecipeError, LoomweightError) and issubclass(OutputError, LoomweightError)
