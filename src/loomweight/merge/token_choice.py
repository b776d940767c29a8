"""What a recipe says about the vocabulary: `tokenizer_source` or `tokenizer`. Carried out elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .fields import fields, flag, mapping, one_of, required, shown, whole, word
from .marks import Item, Place
from .references import reference


@dataclass(frozen=True)
class TokenSource:
    """Where the embedding of one token comes from.

    Args:
        kind: "model" takes the token's own row in `model`; "model_token" the row of `token` or `token_id` there; "zero" a row
            of zeros; "default" what would have been done anyway.
        force: use it even where a model has a row of its own.
    """

    kind: Literal["default", "model", "model_token", "zero"]
    model: str | None = None
    token: str | None = None
    token_id: int | None = None
    force: bool = False


@dataclass(frozen=True)
class TokenChoice:
    """The vocabulary of the result.

    Args:
        source: "union", "base", or a model.
        tokens: token -> where its embedding comes from; tokens that the source lacks are added.
        multiple: pad the number of rows to a multiple of this.
    """

    source: str
    tokens: Mapping[str, TokenSource]
    multiple: int | None
    place: Place

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it names."""
        named = [self.source] if self.source not in ("union", "base") else []
        return tuple(dict.fromkeys(named + [source.model for source in self.tokens.values() if source.model]))


def token_choice(found: dict[str, Item]) -> TokenChoice | None:
    """What a document says under `tokenizer_source` or `tokenizer`, or None."""
    if "tokenizer" in found and "tokenizer_source" in found:
        found["tokenizer"].place.refuse("tokenizer and tokenizer_source exclude each other; keep one.")
    if item := found.get("tokenizer_source"):
        return TokenChoice(_source(item), {}, None, item.place)
    if item := found.get("tokenizer"):
        told = fields(item, "tokenizer", ("source", "tokens", "pad_to_multiple_of"))
        tokens = {name: _token(child) for name, child in mapping(told["tokens"], "tokens").items()} if "tokens" in told else {}
        multiple = whole(told["pad_to_multiple_of"], "pad_to_multiple_of", 1) if "pad_to_multiple_of" in told else None
        return TokenChoice(_source(told["source"]) if "source" in told else "union", tokens, multiple, item.place)
    return None


def _source(item: Item) -> str:
    return item.value if item.value in ("union", "base") else reference(item)  # type: ignore[return-value]


def _token(item: Item) -> TokenSource:
    told = fields(item, "a token", ("source", "force"))
    force = flag(told["force"], "force") if "force" in told else False
    source = told.get("source")
    if source is None:
        return TokenSource("default", force=force)
    if not isinstance(source.value, dict) or "kind" not in source.value:
        return TokenSource("model", model=reference(source), force=force)
    kind = one_of(source.value["kind"], "kind of token source", ("zero", "model_token"))
    if kind == "zero":
        fields(source, "a token source of kind zero", ("kind",))
        return TokenSource("zero", force=force)
    return _model_token(source, force)


def _model_token(item: Item, force: bool) -> TokenSource:
    what = "a token source of kind model_token"
    told = fields(item, what, ("kind", "model", "token", "token_id"))
    if ("token" in told) == ("token_id" in told):
        item.place.refuse(f"{what} needs either token or token_id, found {shown(item)} with {', '.join(told)}.")
    model = reference(required(told, "model", item, what))
    token = word(told["token"], "token") if "token" in told else None
    number = whole(told["token_id"], "token_id", 0) if "token_id" in told else None
    return TokenSource("model_token", model, token, number, force)
