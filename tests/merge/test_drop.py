"""`drop`: tensors that the result shall not have; and what is said where models hold different ones."""

from pathlib import Path

import pytest
import torch

import loomweight as lw
from loomweight import Weights
from loomweight.errors import NamesDiffer, RecipeError, TiesDiffer
from loomweight.merge import explain, plans, read_recipes

from .tiny_llama import merged
from .yaml_of import planned, stack

BOTH = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n"
IDS = torch.arange(4)


def test_tensors_that_one_model_has_are_left_out() -> None:
    sets = {"a": stack(1, **{"model.rotary.inv_freq": torch.ones(2), "embeddings.position_ids": IDS}), "b": stack(3)}
    plan = planned(BOTH + 'drop: ["*.inv_freq", embeddings.position_ids]\n', sets)
    result = plan.weights()
    assert set(result.names) == set(sets["b"].names) and result["lm_head.weight"][0] == 2
    assert [note for note in plan.notes if "drop" in note] == [
        "drop leaves out 'model.rotary.inv_freq', held by a.",
        "drop leaves out 'embeddings.position_ids', held by a.",
    ]
    assert "note: drop leaves out 'embeddings.position_ids', held by a." in explain(plan)


def test_they_are_left_out_of_all_and_of_every_layer() -> None:
    plan = planned(BOTH + 'drop: ["*.mlp.w"]\n', {"a": stack(1), "b": stack(3)})
    assert not [name for name in plan.weights().names if "mlp" in name]
    assert "drop leaves out 'model.layers.*.mlp.w', held by a, b." in plan.notes


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ('drop: ["*.position_id", "*"]', r"line 4: drop: no tensor that matches named '\*\.position_id'; nearest: .*'embeddings\.position_ids'"),
        ('drop:\n  - "*.position_ids"\n  - nothing', r"line 6: drop: no tensor that matches named 'nothing'"),
        ('drop: ["*"]', r"line 4: drop leaves no tensor to merge"),
        ("drop: embeddings.position_ids", r"line 4: drop must be a list with at least one entry, found 'embeddings.position_ids'"),
        ("drop: [[a]]", r"line 4: a pattern of drop must be a word, found a list"),
    ],
)
def test_slips(told: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        planned(BOTH + told + "\n", {"a": stack(1, **{"embeddings.position_ids": IDS}), "b": stack(3)})


def test_the_owner_of_a_shared_tensor_may_be_dropped() -> None:
    def sharing(value: float) -> Weights:
        table = torch.full((3,), value)
        return Weights.of({"embed_tokens.weight": table, "lm_head.weight": table, "w": torch.ones(1)})

    found = planned(BOTH + "drop: [embed_tokens.weight]\n", {"a": sharing(1.0), "b": sharing(2.0)}).weights()
    assert set(found.names) == {"lm_head.weight", "w"} and not found.ties and found["lm_head.weight"][0] == 1.5


def test_different_tensors_get_the_hint() -> None:
    with pytest.raises(NamesDiffer, match=r"a and b hold different tensors: only in a: .*`drop: \['embeddings.position_ids', 'h.\*.attn.bias'\]`"):
        planned(BOTH, {"a": stack(1, **{"embeddings.position_ids": IDS, "h.0.attn.bias": IDS, "h.1.attn.bias": IDS}), "b": stack(3)})
    with pytest.raises(NamesDiffer) as many:
        planned(BOTH, {"a": stack(1, **{f"w{i}.x": IDS for i in range(9)}), "b": stack(3)})
    assert "drop" not in str(many.value)


def heads(value: float | None) -> Weights:
    table = torch.full((3, 2), 1.0)
    more = {} if value is None else {"lm_head.weight": torch.full((3, 2), value)}
    return Weights.of({"model.embed_tokens.weight": table, "model.norm.weight": torch.ones(2), **more})


def test_an_output_layer_that_only_one_model_has_is_a_copy_or_not() -> None:
    with pytest.raises(NamesDiffer, match=r"'lm_head.weight' of 'b' is an exact copy of 'model.embed_tokens.weight', .*: `drop: \[lm_head.weight\]` leaves"):
        planned(BOTH, {"a": heads(None), "b": heads(1.0)})
    assert "lm_head.weight" not in planned(BOTH + "drop: [lm_head.weight]\n", {"a": heads(None), "b": heads(1.0)}).weights()
    with pytest.raises(NamesDiffer, match=r"'lm_head.weight' of 'b' is not the embedding, so it cannot be dropped") as error:
        planned(BOTH, {"a": heads(None), "b": heads(2.0)})
    assert "drop:" not in str(error.value)


def bert(folder: Path, seed: int, buffer: bool) -> None:
    """A BERT as Transformers saves it, with its buffer as old versions did."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 16}
    BertModel(BertConfig(vocab_size=20, **sizes)).save_pretrained(folder)
    if buffer:
        held = dict(lw.load(folder).items()) | {"embeddings.position_ids": torch.arange(16)[None]}
        lw.save(held, folder / "model.safetensors", metadata={"format": "pt"}, overwrite=True)


def test_an_old_bert_meets_a_new_one(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    bert(tmp_path / "old", 0, buffer=True)
    bert(tmp_path / "new", 1, buffer=False)
    text = "merge_method: linear\nmodels: [{model: TMP/old}, {model: TMP/new}]\nparameters: {weight: 1}\n"
    with pytest.raises(NamesDiffer, match=r"only in .*old: 'embeddings.position_ids'.*`drop: \['embeddings.position_ids'\]`"):
        merged(tmp_path, text)
    out = merged(tmp_path, text + 'drop: ["*.position_ids"]\n')
    model, info = transformers.BertModel.from_pretrained(out, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    old, new = lw.load(tmp_path / "old"), lw.load(tmp_path / "new")
    assert all(torch.allclose(value, (old[name] + new[name]) / 2) for name, value in model.state_dict().items())
    assert "drop leaves out 'embeddings.position_ids', held by old." in (out / "README.md").read_text()
    assert str(tmp_path) not in (out / "README.md").read_text()


def test_a_union_of_vocabularies_leaves_them_out_too(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from .test_tokenizer_kinds import wordpiece
    from .tiny_llama import ENGLISH, LATIN

    for seed, (name, corpus) in enumerate((("a", ENGLISH), ("b", LATIN))):
        bert(tmp_path / name, seed, buffer=name == "a")
        wordpiece(corpus).save_pretrained(tmp_path / name)
    (tmp_path / "r.yaml").write_text(
        f"{{merge_method: linear, models: [{{model: {tmp_path}/a}}, {{model: {tmp_path}/b}}], parameters: {{weight: 1}}, tokenizer_source: union,"
        " drop: [embeddings.position_ids]}"
    )
    from loomweight.merge.stages import STAGES

    [plan] = plans(read_recipes(tmp_path / "r.yaml"), STAGES)
    assert "embeddings.position_ids" not in plan.names and plan.headers["embeddings.word_embeddings.weight"].shape[0] > 20


def tied(value: float, head: float | None) -> Weights:
    """An output layer that shares the embedding's tensor, or one of its own."""
    table = torch.full((3, 2), float(value))
    return Weights.of({"model.embed_tokens.weight": table, "lm_head.weight": table if head is None else torch.full((3, 2), float(head))})


def test_a_copy_of_what_another_model_shares_is_told_from_weights_of_its_own() -> None:
    says = r"'lm_head.weight' is shared in a, apart in b; in b it is an exact copy of 'model.embed_tokens.weight'.*`drop: .* and take .*, or save b"
    with pytest.raises(TiesDiffer, match=says):
        planned(BOTH, {"a": tied(1, None), "b": tied(3, 3)})
    assert planned(BOTH + "drop: [lm_head.weight]\n", {"a": tied(1, None), "b": tied(3, 3)}).weights().names == ("model.embed_tokens.weight",)
    with pytest.raises(TiesDiffer, match=r"in b it differs from 'model.embed_tokens.weight': save the models that share it with a tensor of its own") as error:
        planned(BOTH, {"a": tied(1, None), "b": tied(3, 4)})
    assert "drop" not in str(error.value)
