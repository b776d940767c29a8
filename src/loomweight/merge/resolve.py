"""From what a recipe says to the numbers of every tensor: source before slice before module before file, then the default."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .marks import Place
from .method import Method, Numbers
from .parameter import REQUIRED, Number, Parameter
from .recipe import Recipe, Slice, Source
from .settings import Setting, Settings
from .slots import Slot


@dataclass(frozen=True)
class _Scope:
    """One `parameters` mapping and where it stands."""

    settings: Settings
    kind: str
    base: bool = False


class Resolver:
    """The numbers of a recipe's tensors. Making it checks every value that the recipe holds, before any model is looked at.

    Raises:
        RecipeError: an unknown or misplaced parameter, a value of the wrong kind or out of range.
    """

    def __init__(self, recipe: Recipe, method: Method) -> None:
        self.recipe, self.method = recipe, method
        self.notes: list[str] = []
        self._typed = {id(scope.settings): self._checked(scope) for scope in _scopes(recipe)}
        self._seen: dict[int, set[str]] = {}

    def order(self, part: Slice) -> tuple[int, ...]:
        """Which sources the rule gets, in its order: the base first, or left out, or as any other."""
        base = part.base_model
        if self.method.base == "plain" or base is None:
            return tuple(range(len(part.sources)))
        others = tuple(i for i, source in enumerate(part.sources) if source.model != base)
        return (part.models.index(base), *others) if self.method.base == "first" else others

    def numbers(self, slot: Slot) -> Numbers:
        """Every number for this tensor.

        Raises:
            RecipeError: a parameter without a default is not set for it.
        """
        scopes = [slot.part.parameters, slot.module.parameters, self.recipe.parameters]
        shared = {p.name: self._value(p, scopes, slot.name, slot.t, self.recipe.method_place) for p in self.method.parameters if p.reach == "shared"}
        each: dict[str, tuple[Number, ...]] = {}
        for parameter in self.method.parameters:
            if parameter.reach != "shared":
                each[parameter.name] = tuple(self._of(parameter, slot, i, scopes) for i in self.order(slot.part))
        return Numbers(shared, each)

    def refuse_idle(self, slots: Iterable[Slot]) -> None:
        """Raise where a filter matches none of the tensors that its parameters are about."""
        names: dict[int, dict[str, None]] = {}
        for slot in slots:
            own = zip((id(source.parameters) for source in slot.part.sources), slot.names, strict=True)
            wide = (
                (id(settings), name) for settings in (slot.part.parameters, slot.module.parameters, self.recipe.parameters) for name in (slot.name, *slot.names)
            )
            for key, name in (*own, *wide):
                names.setdefault(key, {})[name] = None
        for key, settings in self._typed.items():
            for parameter, setting in settings.items():
                if key in names:
                    setting.refuse_idle(parameter, names[key])

    def _of(self, parameter: Parameter, slot: Slot, index: int, scopes: list[Settings]) -> Number:
        source = slot.part.sources[index]
        return self._value(parameter, [source.parameters, *scopes], slot.names[index], slot.t, source.place, source)

    def _value(self, parameter: Parameter, scopes: list[Settings], name: str, t: float, place: Place, source: Source | None = None) -> Number:
        for scope in scopes:
            setting = self._typed[id(scope)].get(parameter.name) if id(scope) in self._typed else None
            if setting and (condition := setting.find(name)):
                return parameter.value(condition, t)
        if parameter.default is REQUIRED:
            where = f"model {source.model!r}" if source else "the merge"
            place.refuse(f"{self.method.name} needs {parameter.name}, and nothing says what it is for {where} and tensor {name!r}.")
        return parameter.default

    def _checked(self, scope: _Scope) -> dict[str, Setting]:
        found: dict[str, Setting] = {}
        for name, setting in scope.settings.items():
            if name == "int8_mask" and all(name != parameter.name for parameter in self.method.parameters):
                self._note(setting.place, f"{name} has no effect: memory is bounded here anyway")
                continue
            parameter = self.method.parameter(name, setting.place)
            if scope.kind == "source" and parameter.reach == "shared":
                setting.place.refuse(
                    f"{name} of {self.method.name} holds for the whole merge, not for one model; put it under parameters of the slice or of the file."
                )
            found[name] = parameter.typed(setting)
            self._remark(parameter, setting, scope)
        return found

    def _remark(self, parameter: Parameter, setting: Setting, scope: _Scope) -> None:
        if parameter.idle:
            self._note(setting.place, f"{parameter.name} has no effect: {parameter.idle}")
        if scope.base and parameter.reach == "each":
            self._note(setting.place, f"{parameter.name} of the base model has no effect in {self.method.name}: differences are taken from it")
        if dead := setting.shadowed():
            self._note(dead.place, f"this condition of {parameter.name} never decides: one before it holds for every tensor")

    def _note(self, place: Place, words: str) -> None:
        note = f"{place}: {words}."
        if note not in self.notes:
            self.notes.append(note)


def _scopes(recipe: Recipe) -> Iterator[_Scope]:
    yield _Scope(recipe.parameters, "file")
    for module in recipe.modules.values():
        yield _Scope(module.parameters, "module")
        for part in module.slices:
            yield _Scope(part.parameters, "slice")
            base = part.base_model or recipe.base_model
            yield from (_Scope(source.parameters, "source", source.model == base) for source in part.sources)
