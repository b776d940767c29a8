"""What a recipe file says, read into plain data."""

from pathlib import Path

import pytest

from loomweight.errors import RecipeError, UnknownName
from loomweight.merge import Draft, read_recipes
from loomweight.merge.marks import Item, Place, Search, documents

from .yaml_of import recipe


def test_everything_that_mergekit_reads() -> None:
    found = recipe("""
        merge_method: ties
        base_model: org/base@v2
        slices:
          - sources:
              - {model: a+adapter, layer_range: [0, 8], parameters: {weight: 0.5, density: [0, 0.5, 1]}}
              - {model: {model: {path: b, revision: main}, lora: c}, layer_range: [8, 16]}
            base_model: d
            parameters: {lambda: 2}
        parameters: {normalize: false}
        dtype: float32
        out_dtype: bfloat16
        tokenizer:
          source: union
          tokens:
            <|a|>: {source: b, force: true}
            <|b|>: {source: {kind: zero}}
            <|c|>: {source: {kind: model_token, model: b, token: x}}
            <|d|>: {source: {kind: model_token, model: b, token_id: 3}}
          pad_to_multiple_of: 64
        chat_template: auto
    """)
    [(module, part)] = found.slices
    assert (found.method, found.base_model, found.dtype, module.kind, part.base_model) == ("ties", "org/base@v2", "bfloat16", "slices", "d")
    assert part.models == ("a+adapter", "b@main+c") and [source.layers for source in part.sources] == [(0, 8), (8, 16)]
    assert part.sources[0].parameters["density"].conditions[0].value == (0, 0.5, 1)
    assert part.parameters["lambda"].conditions[0].value == 2 and found.parameters["normalize"].conditions[0].value is False
    assert found.chat_template == "auto" and found.tokenizer is not None and found.tokenizer.multiple == 64
    kinds = {name: (token.kind, token.model, token.token, token.token_id, token.force) for name, token in found.tokenizer.tokens.items()}
    assert kinds == {
        "<|a|>": ("model", "b", None, None, True),
        "<|b|>": ("zero", None, None, None, False),
        "<|c|>": ("model_token", "b", "x", None, False),
        "<|d|>": ("model_token", "b", None, 3, False),
    }
    assert list(found.models) == ["a+adapter", "b@main+c", "org/base@v2", "d"] and list(found.donors) == ["b"]


def test_the_dtype_is_the_stored_one_and_the_recipe_says_so() -> None:
    found = recipe("{merge_method: linear, models: [{model: a}], dtype: torch.float16}")
    assert found.dtype == "torch.float16"
    assert any("arithmetic is in float32" in note and "float16" in note for note in found.notes)


def test_what_is_left_empty_counts_as_left_out() -> None:
    found = recipe("""
        merge_method: linear
        models:
          - model: a
            parameters:
        base_model:
        tokenizer_source:
    """)
    assert found.base_model is None and found.tokenizer is None and not next(found.slices)[1].sources[0].parameters


def test_several_documents_empty_ones_and_separators() -> None:
    draft = Draft.of("---\nname: one\nmerge_method: linear\nmodels: [{model: a}]\n---\n---\nmerge_method: linear\nmodels: [{model: one}]\n")
    assert [found.name for found in draft.recipes()] == ["one", None]


def test_numbers_in_scientific_notation_without_a_dot_are_numbers_too() -> None:
    value = recipe("{merge_method: linear, models: [{model: a}], parameters: {weight: 1e-4}}").parameters["weight"].conditions[0].value
    assert value == "1e-4"  # YAML reads a word; the parameter's kind makes a number of it, see test_plan.py


def test_anchors_and_merge_keys() -> None:
    found = recipe("""
        merge_method: linear
        models:
          - &first {model: a, parameters: &numbers {weight: 1}}
          - {model: b, parameters: *numbers}
          - {<<: *first, model: c}
    """)
    assert [source.parameters["weight"].conditions[0].value for source in next(found.slices)[1].sources] == [1, 1, 1]


def test_anchors_that_unfold_without_end_are_refused_and_cost_no_memory() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    with pytest.raises(RecipeError, match=r"line \d+: anchors unfold this to more than 100,000 entries"):
        documents("\n".join(lines))
    [item] = documents("\n".join(lines[:12]))
    assert isinstance(item.value, dict) and len(item.value) == 12


def bombs() -> dict[str, str]:
    """Texts of a few kB that `<<` and aliases would unfold to far more than memory, or to hours of work."""
    nine = [f"k{i}: 1" for i in range(9)]
    tree = [f"m0: &m0 {{{', '.join(nine)}}}"] + [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 60)]
    chain = ["m0: &m0 {k0: 1}"] + [f"m{i}: &m{i} {{<<: *m{i - 1}, k{i}: 1}}" for i in range(1, 3000)]
    wide = ["big: &big", *(f"  k{i}: 1" for i in range(500)), f"all: {{<<: [{', '.join(['*big'] * 500)}]}}"]
    lists = ["m0: &m0 {a: [1, 1]}"] + [f"m{i}: &m{i} {{<<: *m{i - 1}, b: [*m{i - 1}, *m{i - 1}]}}" for i in range(1, 60)]
    return {"harmless": "\n".join(tree), "a chain": "\n".join(chain), "a wide merge": "\n".join(wide), "both": "\n".join(lists)}


def test_merges_of_merges_of_the_same_keys_do_no_harm() -> None:
    assert len(documents(bombs()["harmless"])[0].plain()["m59"]) == 9


@pytest.mark.parametrize("case", ["a chain", "a wide merge", "both"])
def test_merges_that_unfold_without_end_are_refused(case: str) -> None:
    with pytest.raises(RecipeError, match=r"line \d+: anchors (merge|unfold this to) more than 100,000 entries"):
        documents(bombs()[case])


def test_what_a_merge_brings_stands_behind_the_own_keys_and_the_first_mapping_wins() -> None:
    [item] = documents("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: {'<<': 4}")
    assert item.plain()["c"] == {"x": 3, "y": 1, "z": 2} and item.plain()["d"] == {"<<": 4}
    assert isinstance(item.value, dict) and isinstance(item.value["c"].value, dict) and item.value["c"].value["z"].place.line == 2


@pytest.mark.parametrize("text", ["a: 1\nb: {<<: 3}", "a: 1\nb: {<<: [{x: 1}, 3]}", "a: &a 1\nb: {<<: *a}"])
def test_only_mappings_are_merged(text: str) -> None:
    with pytest.raises(RecipeError, match="line 2: << merges a mapping, or a list of mappings, into this one"):
        documents(text)


def test_a_mapping_does_not_merge_itself() -> None:
    with pytest.raises(RecipeError, match="line 1: this anchor contains itself"):
        documents("a: &a {<<: *a}")


def test_a_file_keeps_its_folder_and_messages_show_its_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "soup.yaml"
    path.write_text("merge_method: linear\nmodels:\n  - {model: a}\n")
    [found] = read_recipes(path)
    assert found.folder == tmp_path and str(found.place) == "soup.yaml, line 1" and found.text == path.read_text()
    with pytest.raises(UnknownName, match=r"no recipe file named 'soop.yaml'; nearest: 'soup.yaml'"):
        read_recipes(tmp_path / "soop.yaml")


SEARCHED = """
merge_method: !search {choice: [linear, ties]}
models:
  - {model: a, parameters: {weight: !search [0, 1]}}
  - {model: b, parameters: {weight: [0.5, !search {low: 1e-3, high: 1, log: true}]}}
"""


def test_search_marks_have_paths_and_take_values() -> None:
    draft = Draft.of(SEARCHED)
    assert draft.searches == {
        "merge_method": Search(choice=("linear", "ties")),
        "models[0].parameters.weight": Search(0, 1),
        "models[1].parameters.weight[1]": Search(1e-3, 1, log=True),
    }
    [found] = draft.recipes({"merge_method": "ties", "models[0].parameters.weight": 0.25, "models[1].parameters.weight[1]": 0.75})
    values = [source.parameters["weight"].conditions[0].value for source in next(found.slices)[1].sources]
    assert found.method == "ties" and values == [0.25, (0.5, 0.75)]
    with pytest.raises(UnknownName, match=r"no !search mark named 'models\[0\].parameters.wieght'; nearest: 'models\[0\].parameters.weight'"):
        draft.recipes({"models[0].parameters.wieght": 1})


def test_search_marks_of_several_documents_are_told_apart() -> None:
    draft = Draft.of("name: x\n" + SEARCHED + "---\n" + SEARCHED)
    assert {path.partition(".")[0] for path in draft.searches} == {"0", "1"}


def test_every_path_of_a_walk_leads_to_its_item() -> None:
    item = Item({"a": Item([Item(1, Place("", 1)), Item(2, Place("", 2))], Place("", 1))}, Place("", 1))
    assert [path for path, _ in item.walk()] == ["", "a", "a[0]", "a[1]"]
    seen: list[str] = []
    item.changed(lambda path, leaf: (seen.append(path), leaf)[1])
    assert seen == ["a[0]", "a[1]"]


def test_a_place_knows_file_and_line() -> None:
    with pytest.raises(RecipeError, match=r"^r\.yaml, line 3: "):
        Draft.of("merge_method: linear\nmodels: [{model: a}]\nbase_modle: b\n", "r.yaml").recipes()
