"""What a family's table needs to know of a config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....errors import BadParameter

#: endings of the names of classes that predict words by an output layer
_WORDS = ("ForCausalLM", "LMHeadModel", "DoubleHeadsModel", "ForMaskedLM", "ForPreTraining", "ForConditionalGeneration")


@dataclass(frozen=True)
class Config:
    """A `config.json`, asked for numbers by name.

    Args:
        values: what the file says.
        names: of the tensors, as far as they are known: they tell what the config does not.
        prefix: of the tensors of this family's models behind a head, such as "bert.".
    """

    values: Mapping[str, Any]
    names: tuple[str, ...] = ()
    prefix: str = ""

    def number(self, *keys: str, default: int | None = None) -> int:
        """The first of these keys that is set.

        Raises:
            BadParameter: none is, or it is no positive whole number.
        """
        for key in keys:
            found = self.values.get(key)
            if found is None:
                continue
            if type(found) is not int or found < 1:
                raise BadParameter(f"the config says {key} = {found!r}; a positive whole number is needed.")
            return found
        if default is None:
            raise BadParameter(f"the config ({self.kind}) lacks {' or '.join(keys)}, which its axes table needs; mend it, or give a table or the model.")
        return default

    @property
    def kind(self) -> str:
        """The family, such as "llama"."""
        return str(self.values.get("model_type", ""))

    @property
    def architecture(self) -> str:
        """The class that the checkpoint was saved from; "" where the config does not say."""
        named = self.values.get("architectures") or [""]
        return str(named[0])

    @property
    def words(self) -> bool:
        """True where the model predicts words."""
        return self.architecture.endswith(_WORDS)

    def tied(self, default: bool) -> bool:
        """True where the output layer is the input embedding."""
        said = self.values.get("tie_word_embeddings")
        return self.words and (default if said is None else bool(said))

    @property
    def bare(self) -> bool:
        """True where the hidden states are the output: their units then stay where they are."""
        if self.architecture:
            return self.architecture.endswith(("Model", "Encoder")) and not self.words
        return bool(self.prefix and self.names) and not self.prefixed

    @property
    def prefixed(self) -> bool:
        """True where the tensors of the model behind the head are stored under the family's prefix."""
        if self.names:
            return any(name.startswith(self.prefix) for name in self.names)
        return not self.bare

    def has(self, *words: str) -> bool:
        """True where a tensor's name contains one of these words."""
        return any(word in name for name in self.names for word in words)


def per_head(config: Config, width: int, heads: int) -> int:
    """Entries of a head where the config does not say: the width, divided among them.

    Raises:
        BadParameter: it does not divide.
    """
    if width % heads:
        raise BadParameter(f"the config ({config.kind}) says {heads} heads and a width of {width}, which they do not divide.")
    return width // heads
