"""From what a recipe says to the numbers and rules of every tensor; headers only."""

import pytest
import torch

from loomweight import Weights
from loomweight.errors import DtypesDiffer, IntegersDiffer, NamesDiffer, RecipeError, ShapesDiffer, TiesDiffer
from loomweight.merge import plan
from loomweight.merge.find_method import find_method
from loomweight.merge.marks import Place
from loomweight.merge.native import made_by
from loomweight.rules import Around, Krum, Mean, Per, Take
from loomweight.weights import Block, Spec

from .yaml_of import firsts, planned, recipe, stack

A, B, C = stack(0), stack(1), stack(3)


def unread(spec: dict[str, Spec]) -> Weights:
    """Weights whose data must not be touched."""

    def refuse(name: str) -> Block:
        raise AssertionError(f"{name} was opened")

    return Weights(spec, refuse, label="sealed")


def test_planning_reads_no_data() -> None:
    sealed = {name: unread(dict(A.spec)) for name in "abc"}
    made = planned("{merge_method: krum, models: [{model: a}, {model: b}, {model: c}], parameters: {f: 0}}", sealed)
    assert made.promised().spec == A.spec and len(made.groups) == 1
    with pytest.raises(AssertionError, match="was opened"):
        made.weights()  # a rule of the grain of the model weighs the models now


def test_tensors_with_equal_numbers_are_one_group() -> None:
    made = planned("{merge_method: linear, models: [{model: a}, {model: b}], parameters: {weight: [1, 2, 3]}}", {"a": A, "b": B})
    sizes = {group.numbers.each["weight"][0]: len(group.names) for group in made.groups}
    assert sizes == {1: 5, 2: 2, 3: 2}  # the first layer and all outside of layers, the second, the third


def test_source_before_slice_before_module_before_file() -> None:
    text = """
        merge_method: linear
        modules:
          "":
            slices:
              - sources:
                  - {model: a, layer_range: [0, 3], parameters: {weight: [{filter: attn, value: 1}]}}
                  - {model: b, layer_range: [0, 3]}
                parameters: {weight: [{filter: .0., value: 2}]}
            parameters: {weight: [{filter: mlp, value: 3}]}
        parameters: {weight: 4}
    """
    made = planned(text, {"a": A, "b": B})
    first = {name: group.numbers.each["weight"][0] for group in made.groups for name in group.names}
    assert [first[f"model.layers.{i}.{rest}.w"] for i, rest in ((0, "attn"), (0, "mlp"), (1, "mlp"))] == [1, 2, 3] and first["lm_head.weight"] == 4


def test_the_base_is_a_source_where_the_method_knows_no_base() -> None:
    text = "{merge_method: linear, base_model: c, models: [{model: a}, {model: b}], parameters: {weight: 1}}"
    assert firsts(planned(text, {"a": A, "b": B, "c": C}).weights())["lm_head.weight"] == pytest.approx(4 / 3, abs=1e-4)


def test_the_base_is_the_origin_where_the_method_has_one_and_its_weight_is_remarked_upon() -> None:
    text = """
        merge_method: task_arithmetic
        base_model: a
        models:
          - {model: b, parameters: {weight: 0.5}}
          - {model: a, parameters: {weight: 7}}
          - {model: c, parameters: {weight: 1}}
    """
    made = planned(text, {"a": A, "b": B, "c": C})
    [group] = made.groups
    assert (group.models, group.base, group.numbers.each["weight"]) == (("b", "c"), "a", (0.5, 1))
    assert firsts(made.weights())["lm_head.weight"] == 3.5
    assert any("weight of the base model has no effect" in note and "line 5" in note for note in made.notes)


def test_slerp_runs_from_the_base_wherever_it_stands() -> None:
    turned = {"a": Weights.of({"w": torch.tensor([1.0, 0.0])}), "b": Weights.of({"w": torch.tensor([0.0, 1.0])})}
    for order in ("{model: a}, {model: b}", "{model: b}, {model: a}"):
        made = planned(f"{{merge_method: slerp, base_model: a, models: [{order}], parameters: {{t: 0}}}}", turned)
        assert torch.equal(made.weights()["w"], torch.tensor([1.0, 0.0]))


def test_memory_options_are_accepted_everywhere_and_said_to_do_nothing() -> None:
    made = planned("{merge_method: linear, models: [{model: a}], parameters: {weight: 1, int8_mask: true}}", {"a": A})
    assert any("int8_mask has no effect" in note for note in made.notes)


def test_a_condition_behind_one_that_holds_for_all_is_remarked_upon() -> None:
    made = planned("{merge_method: linear, models: [{model: a}], parameters: {weight: [{value: 1}, {filter: mlp, value: 2}]}}", {"a": A})
    assert any("never decides" in note for note in made.notes)


def test_a_number_may_be_written_without_a_dot_and_a_flag_as_a_word() -> None:
    made = planned("{merge_method: linear, models: [{model: a}], parameters: {weight: 1e-1, normalize: 'no'}}", {"a": A})
    assert made.rule(made.groups[0]) == Mean((0.1,), normalize=False)


@pytest.mark.parametrize("name", ["trimmed-mean", "TrimmedMean", "trimmed_mean", "Krum", "multi krum", "TASK_ARITHMETIC"])
def test_methods_are_found_whatever_the_spelling(name: str) -> None:
    assert find_method(name, Place("", 1)).name.replace("_", "") == "".join(char for char in name.lower() if char.isalpha())


def test_every_rule_that_yaml_can_say_is_a_method() -> None:
    found = made_by()
    assert {"krum", "mean", "fisher", "layer_swapping"} <= set(found) and not {"around", "per", "route", "per_vector"} & set(found)


def test_a_rules_fields_are_parameters() -> None:
    inputs = {name: stack(value) for name, value in zip("abcde", (1, 1.1, 1.2, 1.3, 50), strict=True)}
    made = planned("{merge_method: krum, models: [{model: a}, {model: b}, {model: c}, {model: d}, {model: e}], parameters: {f: 1}}", inputs)
    assert made.rule(made.groups[0]) == Krum(f=1)
    assert firsts(made.weights())["lm_head.weight"] in (1.1, 1.2)


def test_weights_of_models_are_the_rules_weights_all_or_none() -> None:
    made = planned("{merge_method: mean, models: [{model: a, parameters: {weight: 3}}, {model: b, parameters: {weight: 1}}]}", {"a": A, "b": B})
    assert made.rule(made.groups[0]) == Mean((3, 1))
    with pytest.raises(RecipeError, match="weight is set for some models and not for all"):
        planned("{merge_method: mean, models: [{model: a, parameters: {weight: 3}}, {model: b}]}", {"a": A, "b": B})


def test_per_binds_a_rule_to_parts_and_a_base_makes_it_work_on_differences() -> None:
    text = "{merge_method: krum, base_model: a, models: [{model: b}, {model: c}, {model: d}], parameters: {f: 0, per: layer, lambda: 0.5}}"
    made = planned(text, {"a": A, "b": B, "c": C, "d": stack(1)})
    rule = made.rule(made.groups[0])
    assert isinstance(rule, Per) and rule.by == "layer" and isinstance(rule.rule, Around) and rule.rule.rule == Krum(f=0) and rule.rule.scale == 0.5
    assert firsts(made.weights())["lm_head.weight"] == 0.5
    with pytest.raises(RecipeError, match="lambda scales differences from a base; add base_model"):
        planned("{merge_method: krum, models: [{model: b}, {model: c}, {model: d}], parameters: {f: 0, lambda: 0.5}}", {"b": B, "c": C, "d": A})


def test_evidence_is_opened_by_path() -> None:
    evidence = {"fa": Weights.of({"w": torch.tensor([3.0])}), "fb": Weights.of({"w": torch.tensor([1.0])})}
    text = "{merge_method: fisher, models: [{model: a, parameters: {evidence: fa}}, {model: b, parameters: {evidence: fb}}], parameters: {floor: 0}}"
    sets = {"a": Weights.of({"w": torch.tensor([1.0])}), "b": Weights.of({"w": torch.tensor([5.0])})}
    assert plan(recipe(text), sets, evidence.__getitem__).weights()["w"].tolist() == [2]
    with pytest.raises(RecipeError, match="'fa' is named in a parameter"):
        plan(recipe(text), sets)


def test_a_rule_that_yaml_cannot_say_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match="nearest_neighbour_mixing needs rule, which YAML cannot say"):
        planned("{merge_method: nearest_neighbour_mixing, models: [{model: a}]}", {"a": A})


def test_the_stored_dtype_is_promised_and_integers_keep_theirs() -> None:
    more = {"model.position_ids": torch.arange(3)}
    inputs = {"a": stack(0, **more), "b": stack(1, **more)}
    merged = planned("{merge_method: linear, dtype: float32, out_dtype: float16, models: [{model: a}, {model: b}], parameters: {weight: 1}}", inputs).weights()
    assert {str(spec.dtype) for spec in merged.spec.values()} == {"torch.float16", "torch.int64"}
    assert merged["model.position_ids"].tolist() == [0, 1, 2] and merged["lm_head.weight"].dtype == torch.float16


def test_integers_that_differ_are_refused_or_the_firsts_are_taken() -> None:
    inputs = {"a": stack(0, n=torch.tensor(3)), "b": stack(1, n=torch.tensor(4))}
    text = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n"
    with pytest.raises(IntegersDiffer, match="integers are never averaged"):
        dict(planned(text, inputs).weights().items())
    assert planned(text + "integers: first\n", inputs).weights()["n"] == 3


BOTH = "{merge_method: linear, models: [{model: a}, {model: b}], parameters: {weight: 1}}"


def test_what_does_not_fit_is_told_before_data_moves_with_the_models_names() -> None:
    with pytest.raises(NamesDiffer, match=r"a and b hold different tensors: only in b: 'extra'"):
        planned(BOTH, {"a": A, "b": stack(1, extra=torch.ones(1))})
    with pytest.raises(NamesDiffer, match=r"a and b hold different tensors: only in a: 'model.layers.2.attn.w', 'model.layers.2.mlp.w'"):
        planned(BOTH, {"a": A, "b": stack(1, layers=2)})
    with pytest.raises(ShapesDiffer, match=r"tensor 'x' has shapes \[2, 3\] in a, \[3, 2\] in b\."):
        planned(BOTH, {"a": stack(0, x=torch.ones(2, 3)), "b": stack(0, x=torch.ones(3, 2))})
    with pytest.raises(DtypesDiffer, match=r"tensor 'x' has dtypes float32 in a, float16 in b; say which the result shall have"):
        planned(BOTH, {"a": stack(0, x=torch.ones(2)), "b": stack(0, x=torch.ones(2).half())})
    with pytest.raises(DtypesDiffer, match=r"float32 in a, int64 in b; integers are never averaged"):
        planned(BOTH, {"a": stack(0, x=torch.ones(2)), "b": stack(0, x=torch.ones(2).long())})
    shared = torch.ones(2)
    with pytest.raises(TiesDiffer, match=r"tensor 'y' is shared in a, apart in b"):
        planned(BOTH, {"a": stack(0, x=shared, y=shared), "b": stack(0, x=torch.ones(2), y=torch.ones(2))})


def test_rows_that_differ_lead_to_the_tokenizer() -> None:
    with pytest.raises(
        ShapesDiffer, match=r"\[3, 2\] in a, \[4, 2\] in b; if its rows are tokens, say how to unite the vocabularies: `tokenizer_source: union`"
    ):
        planned(BOTH, {"a": stack(0, x=torch.ones(3, 2)), "b": stack(0, x=torch.ones(4, 2))})


def test_shared_tensors_are_merged_once_and_other_numbers_for_the_alias_are_remarked_upon() -> None:
    shared = torch.ones(2)
    inputs = {"a": stack(0, x=shared, y=shared), "b": stack(0, x=3 * shared, y=(other := torch.zeros(2)))}
    inputs["b"] = stack(0, x=other, y=other)
    made = planned("{merge_method: linear, models: [{model: a}, {model: b}], parameters: {weight: [{filter: y, value: 9}, {value: 1}]}}", inputs)
    assert made.ties == {"y": "x"} and all("y" not in group.names for group in made.groups)
    assert any("y shares its storage with x, whose numbers hold for both" in note for note in made.notes)
    assert made.weights()["y"].tolist() == [0.5, 0.5]


def test_passthrough_takes_and_scales() -> None:
    made = planned("{merge_method: passthrough, models: [{model: b}], parameters: {scale: [{filter: lm_head, value: 0.5}]}}", {"b": B})
    assert {type(made.rule(group)) for group in made.groups} == {Take, Mean} and firsts(made.weights())["lm_head.weight"] == 0.5


def test_a_promise_keeps_its_word_and_is_the_same_promise_twice() -> None:
    made = planned(BOTH, {"a": A, "b": B})
    promised, merged = made.promised(), made.weights()
    assert promised.names == merged.names and all(torch.equal(promised[name], merged[name]) for name in merged)
    assert promised.fingerprint == planned(BOTH, {"a": A, "b": B}).promised().fingerprint
