"""The table of kappa as a heat map."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .drawing import sheet, written

if TYPE_CHECKING:
    from .robustness import Robustness

_LEAST, _MOST = 1e-3, 1e1


def robustness_picture(found: "Robustness", path: str | Path) -> Path:
    """Draw it: rules down, attacks across, kappa in colour (logarithmic, cut at 0.001 and 10) and in figures.

    Raises:
        OutputError, MissingExtra: it cannot be written, or matplotlib is not installed.

    >>> import pathlib, tempfile
    >>> from loomweight.federate.report.robustness import Robustness
    >>> found = Robustness(("mean", "median"), ("far",), ((1e12,), (0.1,)), {})
    >>> robustness_picture(found, pathlib.Path(tempfile.mkdtemp()) / "kappa.png").name
    'kappa.png'
    """
    place = Path(path)
    figure = sheet(place, 2.8 + 0.75 * len(found.attacks), 1.0 + 0.3 * len(found.rules))
    from matplotlib.colors import LogNorm

    kappa = np.array(found.kappa, dtype=float)
    panel = figure.subplots()
    shown = np.where(np.isnan(kappa), np.nan, np.clip(kappa, _LEAST, _MOST))
    image = panel.imshow(shown, cmap="RdYlGn_r", norm=LogNorm(_LEAST, _MOST), aspect="auto")
    panel.set_xticks(range(len(found.attacks)), found.attacks)
    panel.set_yticks(range(len(found.rules)), found.rules)
    panel.tick_params(length=0)
    for (i, j), value in np.ndenumerate(kappa):
        dark = value < 2 * _LEAST or value > 0.5 * _MOST
        panel.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
    panel.set_title("κ: how far the hostile move the pooled update", fontsize=10)
    figure.colorbar(image, ax=panel, shrink=0.8)
    return written(figure, place)
