"""How networks are brought into one order of units, as the command and the key `align` of a recipe say it."""

from dataclasses import dataclass

from ..errors import BadParameter, LoomweightError, unknown
from .fields import fields, one_of, whole, word
from .marks import Item

METHODS = ("weights", "activations", "ot", "depth")


@dataclass(frozen=True)
class How:
    """How networks are brought into one order of units.

    Args:
        method: "weights" (weight matching), "activations" (activation matching: needs a model and data), "ot" (optimal transport:
            other widths too; by activations where there are a model and data, else by weights), or "depth" (cross-layer alignment:
            other numbers of layers too, and other widths; which layers correspond is told by data where there are a model and data,
            else by relative depth).
        model: `module:factory` or a Transformers config, see `network`; it is traced for the table, where no table is given.
        table: a file with an axes table. Without model and table the family's table is used, by `config.json`.
        moving_model: the model of what is moved, where it is another one than `model`: of another width or depth.
        moving_table: the table of what is moved, where it is another one.
        example: `module:function`, inputs to trace the model on.
        data: `module:function`, batches.
        seed: of the matching.

    Raises:
        UnknownName: no such method.
        BadParameter: activations without a model or without data; data without a model.
    """

    method: str = "weights"
    model: str | None = None
    table: str | None = None
    example: str | None = None
    data: str | None = None
    seed: int = 0
    moving_model: str | None = None
    moving_table: str | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown("way to align", self.method, METHODS)
        if self.method == "activations" and not (self.model and self.data):
            raise BadParameter("activations are those of a model on data: give both, a model (module:factory, or a Transformers config) and data.")
        if self.data and (self.method == "weights" or not self.model):
            lacking = "the method weights looks at no data; take activations, ot or depth" if self.method == "weights" else "data needs a model to run on"
            raise BadParameter(f"{lacking}, or leave data out.")


def read_how(item: Item, seed: int = 0) -> How:
    """The value of the key `align`: a method's name, or a mapping with `method`, `model`, `axes` (a table's file, or auto), `example`, `data`,
    and `moving_model`, `moving_axes` for models of another width or depth than the reference.

    Raises:
        RecipeError: an unknown key or method, or things that do not go together; the message gives the line.
    """
    if not isinstance(item.value, dict):
        return _made(item, {"method": one_of(item, "align", METHODS)}, seed)
    found = fields(item, "align", ("method", "model", "axes", "example", "data", "seed", "moving_model", "moving_axes"))
    words = {key: word(value, f"{key} of align") for key, value in found.items() if key != "seed"}
    if "method" in found:
        one_of(found["method"], "method of align", METHODS)
    return _made(item, words, whole(found["seed"], "the seed of align", 0) if "seed" in found else seed)


def _made(item: Item, words: dict[str, str], seed: int) -> How:
    ours, theirs = (None if table == "auto" else table for table in (words.get("moving_axes"), words.get("axes")))
    named = {key: words.get(key) for key in ("model", "example", "data", "moving_model")}
    try:
        return How(words.get("method", METHODS[0]), table=theirs, moving_table=ours, seed=seed, **named)
    except LoomweightError as error:
        raise item.place.error(f"align: {error}") from error
