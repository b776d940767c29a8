"""Vocabularies read from the files of a model's folder.

`tokenizer.json`, `vocab.json` and `vocab.txt` are read as they are. Only what is in neither (sentencepiece, tiktoken) goes
through `transformers`, from local files and without any code of the model's.
"""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import BrokenFile, MissingExtra
from ..weights.json_file import read_json
from .vocabulary import PLAIN, Vocabulary

#: the files that decide which token has which number
DECIDING = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "tokenizer_config.json", "*.model", "*.tiktoken")


def deciding(folder: Path) -> dict[str, Path]:
    """name -> path of the files that decide which token has which number."""
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and any(fnmatch(path.name, pattern) for pattern in DECIDING)}


def same_files(left: Path, right: Path) -> bool:
    """True where both folders hold the same tokenizer files, byte for byte."""
    a, b = deciding(left), deciding(right)
    return bool(a) and a.keys() == b.keys() and all(a[name].samefile(b[name]) or a[name].read_bytes() == b[name].read_bytes() for name in a)


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The vocabulary of a model's folder, or None where it has no tokenizer.

    Raises:
        BrokenFile: a file is not what its name says.
        MissingExtra: it can be read by `transformers` alone, which is not installed.
    """
    files = deciding(folder)
    state = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files.values())
    return _read(folder, state)


@lru_cache(maxsize=16)
def _read(folder: Path, state: tuple[object, ...]) -> Vocabulary | None:
    files = deciding(folder)
    if "tokenizer.json" in files:
        found = from_json(read_json(files["tokenizer.json"]), str(files["tokenizer.json"]))
    elif "vocab.json" in files:
        found = Vocabulary(_numbers(read_json(files["vocab.json"]), str(files["vocab.json"])))
    elif "vocab.txt" in files:
        found = Vocabulary(_lines(files["vocab.txt"]))
    elif any(name.endswith((".model", ".tiktoken")) for name in files):
        return from_json(converted(folder), str(folder))
    else:
        return None
    return _with_added(found, files)


def converted(folder: Path) -> dict[str, Any]:
    """The content of `tokenizer.json` for a folder, made by `transformers` where there is no such file.

    Raises:
        BrokenFile: `transformers` cannot read the folder, or has no fast tokenizer for it.
        MissingExtra: `transformers` is not installed, or what it needs for a sentencepiece file.
    """
    import json

    if (folder / "tokenizer.json").exists():
        return read_json(folder / "tokenizer.json")
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtra(f"the tokenizer in {folder} can be read by transformers alone: pip install 'loomweight[hf]'.") from error
    if lacking := _lacking(folder):
        words = f"the sentencepiece file in {folder} is read through {' and '.join(lacking)}, which is not installed"
        raise MissingExtra(f"{words}: pip install 'loomweight[hf]', or put tokenizer.json into the folder.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises what it likes
        raise BrokenFile(
            f"{folder}: transformers cannot read this tokenizer: {str(error).strip().splitlines()[0] if str(error).strip() else error!r}"
        ) from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise BrokenFile(f"{folder}: this tokenizer has no form as tokenizer.json; save it as a fast tokenizer first.")
    return json.loads(backend.to_str())


def _lacking(folder: Path) -> list[str]:
    """The libraries that transformers needs for a sentencepiece file, and that are not here."""
    lacking = []
    for module, package in (("sentencepiece", "sentencepiece"), ("google.protobuf", "protobuf")) if any(folder.glob("*.model")) else ():
        try:
            import_module(module)
        except ImportError:
            lacking.append(package)
    return lacking


def from_json(content: Mapping[str, Any], where: str) -> Vocabulary:
    """The vocabulary that the content of a `tokenizer.json` says."""
    model = content.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    ids = _scored(vocab, where) if isinstance(vocab, list) else _numbers(vocab, where)
    added = list(_added(((entry.get("id") if isinstance(entry, dict) else None, entry) for entry in content.get("added_tokens") or []), where))
    return Vocabulary({**ids, **{token: number for token, number, _ in added}}, {token: how for token, _, how in added})


def _scored(vocab: list[Any], where: str) -> dict[str, int]:
    """Of a list of [token, score]."""
    bad = [entry for entry in vocab if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str))]
    if bad:
        raise BrokenFile(f"{where}: a vocabulary that is a list holds [token, score], found {bad[0]!r}.")
    return {entry[0]: i for i, entry in enumerate(vocab)}


def _added(entries: Iterable[tuple[Any, Any]], where: str) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """token, number, flags of each (number, entry)."""
    for number, entry in entries:
        if not (isinstance(entry, dict) and isinstance(entry.get("content"), str) and str(number).isdecimal()):
            raise BrokenFile(f"{where}: an added token needs a number and its content, found {entry!r}.")
        yield entry["content"], int(number), _flags(entry)


def _lines(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise BrokenFile(f"{path}: not a text file in UTF-8 (byte {error.start}).") from error
    return {line: i for i, line in enumerate(lines)}


def _numbers(vocab: Any, where: str) -> dict[str, int]:
    if not isinstance(vocab, dict) or not all(type(number) is int and number >= 0 for number in vocab.values()):
        raise BrokenFile(f"{where}: no vocabulary in it that maps tokens to numbers.")
    return vocab


def _with_added(found: Vocabulary, files: Mapping[str, Path]) -> Vocabulary:
    """With the added tokens that stand in other files, which transformers adds when it loads."""
    more = {token: (number, how) for token, number, how in _elsewhere(files) if token not in found.added}
    ids = {token: number for token, (number, _) in more.items() if token not in found.ids}
    return Vocabulary({**found.ids, **ids}, {**found.added, **{token: how for token, (_, how) in more.items()}})


def _elsewhere(files: Mapping[str, Path]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    if "added_tokens.json" in files:
        yield from ((token, number, PLAIN) for token, number in _numbers(read_json(files["added_tokens.json"]), str(files["added_tokens.json"])).items())
    if "tokenizer_config.json" in files:
        told = read_json(files["tokenizer_config.json"]).get("added_tokens_decoder") or {}
        yield from _added(told.items(), str(files["tokenizer_config.json"]))


def _flags(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry.get(key, PLAIN[key]) for key in PLAIN}
