"""resolution: the size to which images are brought before the network sees them."""

from ...errors import BadParameter
from ..draft import Draft
from ..space_table import Line


def resolution(draft: Draft, line: Line) -> None:
    """`resolution : 24 28 32`: the height and width of the first input, (n, channels, height, width), resized with smoothing."""
    if line.where:
        raise BadParameter(f"{line.label}: the resolution is that of the input; write `resolution : {' '.join(map(str, line.values))}`.")
    if bad := [value for value in line.values if not isinstance(value, int) or value < 1]:
        raise BadParameter(f"{line.label}: a resolution is a whole number of at least 1, found {bad[0]!r}.")
    (draft.resolution,) = draft.add(line, [("", tuple(sorted(line.values)), [])])
