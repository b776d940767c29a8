"""`Float[Tensor, "n *shape"]` in annotations: checked when jaxtyping is already loaded (pytest loads it), plain otherwise."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Float64 as Float64
else:

    class _Plain:
        """Stands for a jaxtyping name where jaxtyping is not loaded: the tensor type without its shape."""

        def __class_getitem__(cls, item: tuple[type, str]) -> type:
            return item[0]

    Bool = Float = Float64 = _Plain
