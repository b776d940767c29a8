"""Chat templates: the documented formats, where they are written, and names that stand for none."""

import json
from pathlib import Path

import pytest

from loomweight.errors import RecipeError
from loomweight.merge.chat_formats import FORMATS

pytest.importorskip("transformers")

from .tiny_llama import ENGLISH, bpe, edit, merged, save

RECIPE = "{merge_method: linear, base_model: TMP/a, models: [{model: TMP/b}, {model: TMP/c}], parameters: {weight: 1}, chat_template: TOLD}"
LONG = "merge_method: linear\nbase_model: TMP/a\nmodels:\n  - {model: TMP/b}\nparameters: {weight: 1}\n"
ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
TALK = [*ASK, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye"}]

#: format -> what TALK looks like with the start of an answer, by hand from the documents that chat_formats names
DOCUMENTED = {
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llama3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistral": "<s> [INST] Be brief.\n\nHi [/INST] Hello.</s> [INST] Bye [/INST]",
    "alpaca": "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello.</s>\n\n### Instruction:\nBye\n\n### Response:\n",
    "exaone": "[|system|]Be brief.[|endofturn|]\n[|user|]Hi\n[|assistant|]Hello.[|endofturn|]\n[|user|]Bye\n[|assistant|]",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate("abc"):
        save(tmp_path / name, bpe(ENGLISH, 60), seed)
    return tmp_path


def rendered(out: Path, talk: list[dict[str, str]] = TALK, prompt: bool = True) -> str:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(out).apply_chat_template(talk, tokenize=False, add_generation_prompt=prompt)


def told(folder: Path, template: str) -> Path:
    return merged(folder, RECIPE.replace("TOLD", json.dumps(template)))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_format_by_name_renders_as_documented(folder, name) -> None:
    out = told(folder, name)
    assert rendered(out) == DOCUMENTED[name]
    before = rendered(out, TALK[:2], prompt=False)
    assert DOCUMENTED[name].startswith(before) and "Hello" not in before
    assert DOCUMENTED.keys() == FORMATS.keys()


def test_exaone_opens_with_an_empty_system_turn(folder) -> None:
    assert rendered(told(folder, "exaone"), TALK[1:2]) == "[|system|][|endofturn|]\n[|user|]Hi\n[|assistant|]"


def test_a_role_that_a_format_does_not_have_is_refused(folder) -> None:
    with pytest.raises(Exception, match="mistral knows the roles system, user and assistant, not tool"):
        rendered(told(folder, "mistral"), [{"role": "tool", "content": "x"}])


def test_a_template_as_it_is_written(folder) -> None:
    assert rendered(told(folder, "{% for m in messages %}<{{ m['content'] }}>{% endfor %}")) == "<Be brief.><Hi><Hello.><Bye>"


def test_auto_is_what_most_models_have_and_the_bases_where_they_tie(folder) -> None:
    for name, template in (("a", "A{{ 1 }}"), ("b", "B{{ 1 }}"), ("c", "B{{ 1 }}\n")):
        edit(folder / name / "tokenizer_config.json", chat_template=template)
    assert rendered(told(folder, "auto")) == "B1"
    (folder / "c" / "tokenizer_config.json").unlink()
    assert rendered(merged(folder, RECIPE.replace("TOLD", "auto"), "tie")) == "A1"


def test_auto_without_any_template_leaves_none(folder) -> None:
    out = told(folder, "auto")
    assert "chat_template" not in json.loads((out / "tokenizer_config.json").read_text())
    assert "line 1: chat_template is auto, and no model has a chat template, so the result has none." in (out / "README.md").read_text()
    edit(folder / "b" / "tokenizer_config.json", chat_template="B{{ 1 }}")
    assert "chat_template is auto" not in (merged(folder, RECIPE.replace("TOLD", "auto"), "one") / "README.md").read_text()


def test_it_is_written_where_the_reference_keeps_its_own(folder) -> None:
    (folder / "a" / "chat_template.jinja").write_text("old")
    out = told(folder, "chatml")
    assert (out / "chat_template.jinja").read_text() == FORMATS["chatml"] and rendered(out) == DOCUMENTED["chatml"]
    assert "chat_template" not in json.loads((out / "tokenizer_config.json").read_text())


def test_of_several_named_templates_the_default_is_replaced(folder) -> None:
    named = [{"name": "default", "template": "old"}, {"name": "tool_use", "template": "{{ 'tools' }}"}]
    edit(folder / "a" / "tokenizer_config.json", chat_template=named)
    out = told(folder, "chatml")
    assert rendered(out) == DOCUMENTED["chatml"]
    assert json.loads((out / "tokenizer_config.json").read_text())["chat_template"][1] == named[1]


def test_a_misspelt_name_gets_the_nearest_before_anything_is_written(folder) -> None:
    with pytest.raises(RecipeError, match=r"line 1: chat_template: no chat format named 'chatlm'; nearest: 'chatml'"):
        told(folder, "chatlm")
    with pytest.raises(RecipeError, match=r"r.yaml, line 6: chat_template: no chat format named 'chatlm'"):
        merged(folder, LONG + "chat_template: chatlm\n")
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ('"{% for m in messages %}{{ m }}"', r"line 6: chat_template is no template that Jinja can read: Unexpected end of template.*\.$"),
        ("|\n  {% for m in messages %}\n  {{ m['content' }}\n  {% endfor %}", r"line 6: .*unexpected '}'.* in line 2 of the template\.$"),
        ('"{% genration %}{% endgenration %}"', r"line 6: .*unknown tag 'genration'"),
    ],
)
def test_a_template_that_is_none_is_refused_with_its_line(folder, template, says) -> None:
    with pytest.raises(RecipeError, match=says):
        merged(folder, LONG + f"chat_template: {template}\n")
    assert not (folder / "out").exists()


def test_the_blocks_that_transformers_adds_are_known(folder) -> None:
    assert (
        rendered(
            told(folder, "{% for m in messages %}{% generation %}{{ m['content'][0] }}{% endgeneration %}{% if loop.first %}{% break %}{% endif %}{% endfor %}")
        )
        == "B"
    )


def test_without_jinja_a_template_is_taken_as_it_is(folder, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    out = told(folder, "{% for m in messages %}")
    assert json.loads((out / "tokenizer_config.json").read_text())["chat_template"] == "{% for m in messages %}"


def test_it_goes_with_a_union(folder) -> None:
    save(folder / "b", bpe(ENGLISH, 60, ("<|im_start|>", "<|im_end|>")), 1)
    text = RECIPE.replace("TOLD", "chatml, tokenizer_source: union")
    out = merged(folder, text)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = tokenizer.apply_chat_template(ASK, tokenize=True, return_dict=False)
    assert ids[0] == tokenizer.get_vocab()["<|im_start|>"] == 60 and rendered(out) == DOCUMENTED["chatml"]
