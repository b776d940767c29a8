"""What an attack has read, beside the truth."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ...errors import ShapesDiffer
from ..report.drawing import sheet, written
from .matched import matched


def leak_picture(recovered: Tensor, truth: Tensor, shape: Sequence[int], path: str | Path) -> Path:
    """True images in one row, what was recovered of each below, with its score; a `.png`, `.svg` or `.pdf`. Part of: leaks.

    Args:
        recovered: what `leaks` gives.
        truth: the images.
        shape: (rows, columns) of one; of several channels the first is drawn.
        path: where the picture goes.

    Raises:
        ShapesDiffer: not as many, or not of that shape.
        OutputError, MissingExtra: it cannot be written, or matplotlib is not installed.

    >>> import pathlib, tempfile
    >>> images = torch.rand(3, 16)
    >>> leak_picture(images.flip(0), images, (4, 4), pathlib.Path(tempfile.mkdtemp()) / "leak.png").name
    'leak.png'
    """
    found = matched(recovered.flatten(1), truth.flatten(1))
    if truth[0].numel() % (shape[-2] * shape[-1]):
        raise ShapesDiffer(f"leak_picture: images of {truth[0].numel()} entries do not have shape {list(shape)}.")
    place, count = Path(path), len(truth)
    figure = sheet(place, 1.0 * count + 0.6, 2.5)
    for at, (axes, image) in enumerate(zip(figure.subplots(2, count, squeeze=False).flat, (*truth, *found.recovered), strict=True)):
        axes.imshow(image.reshape(-1, shape[-2], shape[-1])[0].detach().numpy(), cmap="gray")
        axes.set_axis_off()
        axes.set_title("true" if at < count else f"{found.scores[at - count]:.2f}", fontsize=8)
    return written(figure, place)
