"""Every rule of loomweight is a method of recipes: the same numbers as the rule itself gives."""

import pytest
import torch

from loomweight import Weights, combine, rules
from loomweight.errors import RecipeError, ShapesDiffer
from loomweight.merge import plan
from loomweight.merge.mergekit_names import METHODS
from loomweight.merge.native import made_by
from loomweight.rules import Around, Rule
from tests.parity.models import noise

from .yaml_of import planned, recipe

NAMES = {f"model.layers.{i}.w": (6, 4) for i in range(4)} | {"model.norm.w": (4,), "lm_head.w": (5, 4)}
SETS = {key: Weights.of({name: noise(name, shape).float() + 0.2 * noise(f"{key}{name}", shape).float() for name, shape in NAMES.items()}) for key in "abcde"}
BASE = Weights.of({name: noise(name, shape).float() for name, shape in NAMES.items()})
KNOWN = {f"f{key}": Weights.of({name: noise(f"f{key}{name}", shape).float().square() for name, shape in NAMES.items()}) for key in "abcde"}
EVIDENCE = tuple(KNOWN.values())

#: name -> (parameters of the merge, parameters of each model, the rule they make); those with a base work on differences
NATIVES: dict[str, tuple[str, str, Rule]] = {
    "bulyan": ("f: 0", "", rules.Bulyan(0)),
    "centered_clip": ("tau: 0.5", "weight: 2", rules.CenteredClip(0.5, weights=(2,) * 5)),
    "consensus": ("tall: 0.2, agree: 2", "", rules.Consensus(0.2, 2)),
    "consensus_merging": ("tall: 0.2, scale: 0.5", "", rules.consensus_merging(BASE, 0.2, scale=0.5)),
    "covariance_filter": ("f: 1", "", rules.CovarianceFilter(1)),
    "diwa": ("", "", rules.diwa()),
    "elect_sign": ("tie: positive, lambda: 0.5", "", Around(BASE, rules.ElectSign(tie="positive"), scale=0.5)),
    "fisher": ("floor: 0.1", "evidence: f", rules.Fisher(EVIDENCE, floor=0.1)),
    "flag_aggregator": ("", "", rules.FlagAggregator()),
    "geometric_median": ("", "", rules.GeometricMedian()),
    "gradient_matching": ("delta: 0.5", "evidence: f", rules.GradientMatching(BASE, EVIDENCE, delta=0.5)),
    "inverse_distance": ("", "", rules.InverseDistance()),
    "iso_c": ("", "", Around(BASE, rules.IsoC())),
    "krum": ("f: 1", "", rules.Krum(1)),
    "layer_swapping": ("layers: 4, bottom: 1, top: 1, transition: 0", "", rules.layer_swapping(4, 1, 1, 0)),
    "magmax": ("", "", rules.magmax(BASE)),
    "majority_sign": ("", "", rules.MajoritySign()),
    "mean": ("", "weight: 2", rules.Mean((2,) * 5)),
    "mean_around_median": ("f: 1", "", rules.MeanAroundMedian(1)),
    "median": ("", "", rules.Median()),
    "minimum_diameter": ("f: 1", "", rules.MinimumDiameter(1)),
    "multi_krum": ("f: 1, m: 2", "", rules.MultiKrum(1, 2)),
    "nearest_neighbour_mean": ("f: 1", "", rules.NearestNeighbourMean(1)),
    "pcb": ("keep: 0.5", "", Around(BASE, rules.PCB(0.5))),
    "pcb_merging": ("keep: 0.5, scale: 0.8", "", rules.pcb_merging(BASE, 0.5, 0.8)),
    "ratatouille": ("", "", rules.ratatouille()),
    "rewarded_soup": ("", "preference: 0.2", rules.rewarded_soup(*(0.2,) * 5)),
    "robust_signatures": ("shallow: ['*.0.*', '*.1.*'], bits: 4", "strength: 0.5", rules.robust_signatures(BASE, ("*.0.*", "*.1.*"), (0.5,) * 5, 4)),
    "sce_merging": ("select: 0.5", "", rules.sce_merging(BASE, 0.5)),
    "take": ("index: 3", "", rules.Take(3)),
    "task_singular_vectors": ("", "", Around(BASE, rules.TaskSingularVectors())),
    "trimmed_mean": ("f: 2", "", rules.TrimmedMean(2)),
    "uniform_soup": ("", "", rules.uniform_soup()),
}
#: for another number of sets, or without a base where the test has one; each with the reason
ELSEWHERE = {
    "wise_ft": "two sets, below",
    "bucketing": "refused: YAML cannot say the inner rule",
    "gradient_splitting": "refused: YAML cannot say the inner rule",
    "nearest_neighbour_mixing": "refused: YAML cannot say the inner rule",
    "reg_mean": "needs Gram matrices named after weights, below",
    "multi_slerp": "mergekit's multislerp is the recipe, tests/parity",
    "mag_max": "found as magmax, the recipe over it",
    "near_swap": "mergekit's nearswap, tests/parity",
}
WITH_BASE = {name for name, (_, _, rule) in NATIVES.items() if isinstance(rule, Around)} | {"gradient_matching"}


def test_every_rule_is_here() -> None:
    assert set(made_by()) - {method.name for method in METHODS} == set(NATIVES) | set(ELSEWHERE)


@pytest.mark.parametrize("name", NATIVES)
def test_a_recipe_gives_what_the_rule_gives(name: str) -> None:
    told, each, rule = NATIVES[name]
    lines = [f"  - {{model: {key}, parameters: {{{each.replace(': f', f': f{key}')}}}}}" for key in SETS]
    base = "base_model: base\n" if name in WITH_BASE else ""
    text = f"merge_method: {name}\n{base}parameters: {{{told}}}\nmodels:\n" + "\n".join(lines)
    merged = plan(recipe(text), {**SETS, "base": BASE}, KNOWN.__getitem__).weights()
    expected = combine(SETS.values(), rule)
    assert all(torch.equal(merged[tensor], expected[tensor]) for tensor in expected)


def test_wise_ft_goes_from_the_first_model_to_the_second() -> None:
    merged = planned("{merge_method: wise_ft, models: [{model: base}, {model: a}], parameters: {alpha: 0.25}}", {"base": BASE, "a": SETS["a"]}).weights()
    assert torch.allclose(merged["lm_head.w"], 0.75 * BASE["lm_head.w"] + 0.25 * SETS["a"]["lm_head.w"])


def test_reg_mean_takes_a_gram_matrix_a_model() -> None:
    grams = {name: Weights.of({"model.layers.0.w": torch.eye(4) * size}) for name, size in (("ga", 1.0), ("gb", 3.0))}
    text = "{merge_method: reg_mean, models: [{model: a, parameters: {grams: ga}}, {model: b, parameters: {grams: gb}}], parameters: {keep: 1}}"
    merged = plan(recipe(text), SETS, grams.__getitem__).weights()
    expected = 0.25 * SETS["a"]["model.layers.0.w"] + 0.75 * SETS["b"]["model.layers.0.w"]
    torch.testing.assert_close(merged["model.layers.0.w"], expected)


def test_reg_mean_of_weights_that_lie_both_ways() -> None:
    """GPT-2 with a head: a layout for each kind of layer, by a filter."""
    torch.manual_seed(0)
    sets = {name: Weights.of({"h.0.c_fc.weight": torch.randn(3, 5), "lm_head.weight": torch.randn(4, 5)}) for name in "ab"}
    grams = {
        f"g{name}": Weights.of({key: (x := torch.randn(9, width)).T @ x for key, width in (("h.0.c_fc.weight", 3), ("lm_head.weight", 5))}) for name in "ab"
    }
    text = """
        merge_method: reg_mean
        models: [{model: a, parameters: {grams: ga}}, {model: b, parameters: {grams: gb}}]
        parameters: {keep: 1, layout: LAYOUT}
    """
    both = text.replace("LAYOUT", "[{filter: lm_head, value: linear}, {value: conv1d}]")
    merged = plan(recipe(both), sets, grams.__getitem__).weights()
    loaded = (grams["ga"], grams["gb"])
    straight = combine([sets["a"], sets["b"]], rules.RegMean(loaded, keep=1, axes={"h.0.c_fc.weight": 0, "lm_head.weight": 1}))
    assert all(torch.equal(merged[name], straight[name]) for name in merged)
    with pytest.raises(ShapesDiffer, match=r"fits the other axis: .* in a recipe a layout with a filter"):
        plan(recipe(text.replace("LAYOUT", "conv1d")), sets, grams.__getitem__).weights()


def test_a_list_of_words_is_no_gradient() -> None:
    with pytest.raises(RecipeError, match="shallow must be a list of words, found 3"):
        planned("{merge_method: robust_signatures, base_model: base, models: [{model: a}], parameters: {shallow: [x, 3]}}", {"a": SETS["a"], "base": BASE})


DARE = "merge_method: {method}\nbase_model: base\nmodels:\n  - {{model: a, parameters: {{weight: 1, density: 0.5}}}}\nseed: {seed}\n"


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della", "della_linear"])
def test_what_random_methods_draw_depends_on_seed_and_name_alone(method: str) -> None:
    def merged(seed: int, only: str = "*") -> Weights:
        inputs = {"a": SETS["a"].select(only), "base": BASE.select(only)}
        return planned(DARE.format(method=method, seed=seed), inputs).weights()

    whole, part, other = merged(1), merged(1, "lm_head.*"), merged(2)
    assert torch.equal(whole["lm_head.w"], part["lm_head.w"]) and not torch.equal(whole["lm_head.w"], other["lm_head.w"])


def test_dare_keeps_the_sum_of_magnitudes_as_mergekit_does_or_does_not_rescale() -> None:
    base, tuned = Weights.of({"w": torch.zeros(1000)}), Weights.of({"w": torch.ones(1000)})
    for rescale, size in (("true", 1000), ("false", None)):
        text = DARE.format(method="dare_linear", seed=0) + f"parameters: {{rescale: {rescale}}}\n"
        moved = planned(text, {"a": tuned, "base": base}).weights()["w"]
        kept = int((moved != 0).sum())
        assert 430 < kept < 570 and moved.sum().item() == pytest.approx(size or kept, rel=1e-5)


def test_a_density_for_each_model_is_an_edit_for_each_set() -> None:
    text = "merge_method: ties\nbase_model: base\nmodels:\n  - {model: a, parameters: {density: 0.5}}\n  - {model: b}\nparameters: {weight: 1}\n"
    made = planned(text, {"a": SETS["a"], "b": SETS["b"], "base": BASE})
    assert "PerSet(edits=(Trim(keep=0.5, by='tensor'), Scale(factor=1.0)))" in repr(made.rule(made.groups[0]))
