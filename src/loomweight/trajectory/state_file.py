"""The state of an average in one safetensors file: tensors as tensors, numbers and words in the header. Nothing in it can run code."""

from pathlib import Path

from ..weights.plain_state import load_plain_state, save_plain_state
from .track import Track

_KEY = "average"


def save_state(track: Track, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write everything there is to resume the average, whole or not at all; `load_state` gives every bit back.

    Args:
        track: any average.
        path: a file that ends in `.safetensors`.
        overwrite: replace a file that exists.

    Raises:
        OutputError: the file exists, or cannot be written.
        BadParameter: the path ends otherwise, or the state holds something that is no number, word, tensor, list or dict of these.

    >>> import tempfile
    >>> model = torch.nn.Linear(1, 1)
    >>> ema = lw.trajectory.EMA(model, half_life=100)
    >>> _ = ema.update()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_state(ema, f"{folder}/ema.safetensors")
    ...     again = load_state(lw.trajectory.EMA(model, half_life=100), path)
    >>> again.count
    1
    """
    return save_plain_state(track.state_dict(), path, _KEY, overwrite=overwrite)


def load_state(track: Track, path: str | Path) -> Track:
    """Go on from a file that `save_state` has written; the track comes back.

    Raises:
        BrokenFile: it is no such file.
        NamesDiffer, ShapesDiffer: it is the state of another model.
        BadParameter: it is the state of another kind of average.
    """
    return track.load_state_dict(load_plain_state(path, _KEY))
