"""`loomweight axes`: the table of a model, of a checkpoint, and what is wrong with a name."""

import re
from pathlib import Path

import pytest
import torch

import loomweight as lw
from loomweight.weights.axes import axes_of, table_for

from .networks import TABLE, table, tiny
from .run import run

pytestmark = pytest.mark.usefixtures("here")
LLAMA = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}


def test_the_table_of_a_model_is_printed_proved_and_written(capsys) -> None:
    ran = run(capsys, "axes", "nets:mlp", "--example", "nets:inputs", "--verify", "--out", "t.axes")
    assert ran.code == 0, ran.err
    assert ran.out == f"{table()}\n"
    assert "verified: 1 spaces" in ran.err
    assert table_for(Path("t.axes").read_text(), lw.load("a")).layouts == table().layouts


def test_a_table_that_is_wrong_is_found_out(capsys) -> None:
    Path("wrong.axes").write_text(TABLE.replace("2 <- hidden", "2 <- 8"))
    ran = run(capsys, "axes", "nets:mlp", "--example", "nets:inputs", "--table", "wrong.axes", "--verify")
    assert ran.code == 2 and "the axes table is wrong: exchanging the units of 'hidden' changes the outputs" in ran.err


def test_a_checkpoint_needs_no_model(capsys, tmp_path) -> None:
    tiny("LlamaForCausalLM", tmp_path / "llama", **LLAMA)
    ran = run(capsys, "axes", "--checkpoint", "llama")
    assert ran.code == 0 and ran.out == f"{axes_of(tmp_path / 'llama')}\n"
    by_hand = run(capsys, "axes", "--checkpoint", "a", "--table", "hand.axes")
    assert by_hand.code == 0 and "hidden = 8\n" in by_hand.out


def test_a_transformers_config_is_a_model(capsys, tmp_path) -> None:
    tiny("LlamaForCausalLM", tmp_path / "llama", **LLAMA)
    for name in ("llama", "llama/config.json"):
        ran = run(capsys, "axes", name, "--checkpoint", "llama", "--verify")
        assert ran.code == 0 and "# found by torch.export" in ran.out and "verified: 9 spaces" in ran.err, ran.err


def test_what_counts_of_t5_are_its_logits(capsys, tmp_path) -> None:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": 1, "vocab_size": 30, "decoder_start_token_id": 0}
    import transformers

    transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes)).save_pretrained(tmp_path / "t5")
    ran = run(capsys, "axes", "t5")
    assert ran.code == 0
    assert "shared.weight : 30 <- " in ran.out and "shared.weight : 30 16" not in ran.out  # as an output, the encoder's states would keep their places


def test_what_is_not_understood_is_named_and_stays(capsys) -> None:
    ran = run(capsys, "axes", "nets:Sorted", "--example", "nets:inputs", "--verify")
    assert ran.code == 0, ran.err
    assert re.search(r"# .*second.*stay.*sort", ran.out)
    assert "second.weight : 8 <- " in ran.out and "first.weight : first" in ran.out


def test_a_module_may_hold_the_model_itself(capsys) -> None:
    assert run(capsys, "axes", "nets:model", "--example", "nets:inputs").out == f"{table()}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "name a model"),
        ("--checkpoint a --verify", "--verify runs a model"),
        ("nets:mpl --example nets:inputs", "no model in nets named 'mpl'; nearest: 'mlp'"),
        ("net:mlp --example nets:inputs", "no module named 'net'; nearest: 'nets'"),
        ("nets:mlp", "needs example inputs"),
        ("nets:mlp --example nets:input", "no example in nets named 'input'; nearest: 'inputs'"),
        ("nets:mlp --example nets:longer", r"Sequential does not run on the example inputs \(\(2, 4\)\)"),
        ("nets:words --example nets:inputs", r"nets:words\(\) gives a str, not a torch.nn.Module"),
        ("nets:fails --example nets:inputs", r"nets:fails\(\) ended with ValueError: no such luck"),
        ("nets:mlp --example nets:number", "example inputs are a int"),
        ("nets:wide --example nets:inputs --checkpoint a", r"a does not fit nets:wide: .*'0.bias' has shape \(16,\), but it has \(8,\)"),
        ("nets", "no such file or folder: 'nets'.*A model is named module:factory"),
        ("a", "a holds no config.json; a model is named module:factory"),
        ("hand.axes", "hand.axes is no config"),
        ("--checkpoint a", "a has no config.json that tells its family; give the model"),
        ("--checkpoint a --table hand.axe", "no such file or folder: 'hand.axe'; near it: 'hand.axes'"),
        ("--checkpoint c --table a", "a: cannot be read as an axes table"),
        ("--checkpoint a --table hand.axes --out nets.py", "nets.py exists"),
        ("--checkpoint a --table hand.axes --out nowhere/t", "nowhere/t cannot be written"),
    ],
)
def test_what_is_wrong_is_one_message(words: str, says: str, capsys) -> None:
    ran = run(capsys, "axes", *words.split())
    assert ran.code == 2 and ran.err.startswith("error: ") and ran.err.count("\n") == 1, ran
    assert re.search(says, ran.err), ran.err


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{}", "names no class under `architectures`"),
        ('{"architectures": ["LlamaForCausalLN"], "model_type": "llama"}', "has no class 'LlamaForCausalLN'"),
        ('{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": "wide"}', "no model can be made from it"),
        ("{", "not valid JSON"),
    ],
)
def test_a_config_that_makes_no_model(config: str, says: str, capsys) -> None:
    Path("config.json").write_text(config)
    ran = run(capsys, "axes", "config.json")
    assert ran.code == 2 and ran.err.startswith("error: ") and says in ran.err and "Traceback" not in ran.err, ran.err


def test_a_module_that_asks_for_another_one(capsys) -> None:
    Path("asks.py").write_text("import surely_not_installed_anywhere\n")
    ran = run(capsys, "axes", "asks:mlp", "--example", "nets:inputs")
    assert ran.code == 2 and "the module asks asks for surely_not_installed_anywhere" in ran.err
    Path("typo.py").write_text("def mlp(:\n")
    ran = run(capsys, "axes", "typo:mlp", "--example", "nets:inputs")
    assert ran.code == 2 and "typo.py, line 1" in ran.err


def test_nothing_random_happens_to_the_caller(capsys, tmp_path) -> None:
    tiny("LlamaForCausalLM", tmp_path / "llama", **LLAMA)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    run(capsys, "axes", "llama")
    assert torch.rand(1) == expected
