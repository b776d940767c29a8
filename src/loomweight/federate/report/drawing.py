"""A sheet to draw on, without a display and without touching pyplot's state."""

from pathlib import Path
from typing import Any

from ...errors import OutputError
from ...evaluate.picture import check_picture

BLUE, ORANGE, GREY = "#2f6f8f", "#e8710a", "#9aa0a6"
COLORS = (BLUE, ORANGE, "#5b8c3a", "#8c4a7d", "#b9862f", "#c2334d", "#4d4d4d", GREY)


def sheet(path: Path, width: float, height: float) -> Any:
    """An empty figure of so many inches, after a look whether it could be written to `path`.

    Raises:
        OutputError: the name ends in no kind of picture, or its folder is not there.
        MissingExtra: matplotlib is not installed.
    """
    check_picture(path)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def written(figure: Any, path: Path) -> Path:
    """Save the figure."""
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise OutputError(f"the picture cannot be written to {path}: {error}.") from error
    return path
