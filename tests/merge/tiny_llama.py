"""Tiny real models with tokenizers of their own: what tests of vocabularies merge."""

import json
from pathlib import Path

import torch

ENGLISH = ["the quick brown fox jumps over the lazy dog", "hello world and hello again", "the weights of the network"] * 4
LATIN = ["lorem ipsum dolor sit amet", "hello mundus et the alia res", "consectetur adipiscing elit amet"] * 4


def bpe(corpus: list[str], size: int, added: tuple[str, ...] = ()):
    """A byte-level BPE tokenizer with <s>, </s> and <pad> at its start; `added` are special tokens behind its pieces."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    letters = sorted({letter for text in ENGLISH + LATIN for letter in text if letter != " "} | {"Ġ"})
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<s>", "</s>", "<pad>"], initial_alphabet=letters, show_progress=False)
    raw.train_from_iterator(corpus, trainer)
    raw.add_special_tokens([AddedToken(token, normalized=False) for token in added])
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def save(folder: Path, tokenizer, seed: int, rows: int | None = None, **config: object) -> Path:
    """A Llama of two layers with this tokenizer; `rows` beyond its tokens where told."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    LlamaForCausalLM(LlamaConfig(vocab_size=rows or len(tokenizer), **sizes, **ids, **config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def merged(tmp_path: Path, recipe: str, out: str = "out") -> Path:
    """The recipe as the command line carries it out; TMP is the folder of the test."""
    from loomweight.merge import run
    from loomweight.merge.stages import STAGES

    (tmp_path / "r.yaml").write_text(recipe.replace("TMP", str(tmp_path)))
    run(tmp_path / "r.yaml", tmp_path / out, stages=STAGES)
    return tmp_path / out


def rows(folder: Path, name: str = "model.embed_tokens.weight") -> torch.Tensor:
    """A tensor of a saved model."""
    import loomweight as lw

    return lw.load(folder)[name]


def tokens(folder: Path) -> dict[str, int]:
    """token -> number, as transformers reads the folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder).get_vocab()


def edit(path: Path, **changes: object) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **changes}))
