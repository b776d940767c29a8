"""The words for the weights of an attention: heads, groups of queries that share a key, and the dims inside heads."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attention:
    """Axes of the four projections of one attention, in the tables' language.

    Args:
        at: what the names of its spaces begin with.
        heads: query heads.
        size: entries of a head.
        keys: key and value heads; fewer than `heads` with grouped queries.
        rotary: keys and queries are rotated by position, so that their dims keep their places.
        heads_at: the name of the heads' space, where several attentions share it.
    """

    at: str
    heads: int
    size: int
    keys: int
    rotary: bool = False
    heads_at: str = ""

    @property
    def spaces(self) -> str:
        """Lines for the sizes; a space of one unit is left out."""
        inside = f" in {self._heads}" if self._heads else ""
        lines = [
            f"{self._heads} = {self.keys}" * bool(self._heads),
            f"{self._groups} = {self.heads // self.keys}{inside}" * bool(self._groups),
            f"{self.at}.keys = {self.size}{inside}" * (not self.rotary),
            f"{self.at}.values = {self.size}{inside}",
        ]
        return "\n".join(line for line in lines if line)

    @property
    def q(self) -> str:
        """The axis of queries."""
        return axis(self._heads, self._groups, self._dims)

    @property
    def k(self) -> str:
        """The axis of keys."""
        return axis(self._heads, self._dims)

    @property
    def v(self) -> str:
        """The axis of values."""
        return axis(self._heads, f"{self.at}.values")

    @property
    def o(self) -> str:
        """The axis that the output projection sums over."""
        return axis(self._heads, self._groups, f"{self.at}.values")

    @property
    def _heads(self) -> str:
        return (self.heads_at or f"{self.at}.heads") if self.keys > 1 else ""

    @property
    def _groups(self) -> str:
        return f"{self.at}.groups" if self.heads > self.keys else ""

    @property
    def _dims(self) -> str:
        return str(self.size) if self.rotary else f"{self.at}.keys"


def axis(*factors: str) -> str:
    """A product of factors; empty ones are left out.

    >>> axis("", "groups", "4"), axis("", "values")
    ('(groups 4)', 'values')
    """
    found = [factor for factor in factors if factor]
    return found[0] if len(found) == 1 else f"({' '.join(found)})"
