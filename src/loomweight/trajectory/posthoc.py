"""Post-hoc EMA: choose the length of the average after the run.

Paper: Analyzing and Improving the Training Dynamics of Diffusion Models (2023, https://arxiv.org/abs/2312.02696), section 3.2 and appendix C.5.
Original code: NVlabs/edm2 at commit 4bf8162, training/phema.py and reconstruct_phema.py. We differ: time is counted in samples,
snapshots are safetensors of the dtype that was asked for, and a folder can be bounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsFloat
from uuid import uuid4

import torch
from torch import Tensor, nn

from ..errors import BadParameter, OutputError
from ..weights import Weights, save
from .average import Average
from .clock import Clock
from .model import averaged
from .power import Power
from .snapshots import PATTERN, Snapshot
from .track import Track
from .used import place_of


class PostHocEMA(Track):
    """Two power averages kept beside a model, of which snapshots are written now and then: `synthesise` makes an average of any length.

    `applied`, `value` and `copy_to_model` use the first of the lengths; `tracks` are all of them, each an `Average`. Where several processes train
    (torch.distributed), the first one writes.

    Args:
        model, device: see `Track`.
        lengths: relative standard deviations of the power averages that are kept, in (0, 0.2886].
        every: samples between two snapshots. Fifty in a run give lengths from 0.05 to 0.2 with an error of 0.3 % or less.
        folder: for the snapshots; it is made when the first is written.
        dtype: that the snapshots are stored in, such as "float16"; by default that of the averages, float32 (float64 for float64).
        keep: at most so many moments in the folder: when there are more, every second one is removed, and `every` doubles.

    Raises:
        BadParameter: fewer than two lengths, equal ones, or one out of range; `keep` below 2; `every` not positive.

    >>> import tempfile
    >>> model = nn.Linear(1, 1, bias=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     posthoc = PostHocEMA(model, every=50, folder=folder)
    ...     for step in range(100):
    ...         _ = model.weight.data.fill_(step), posthoc.update()
    ...     for path in sorted(Path(folder).iterdir()):
    ...         path.name
    'snapshot-000000000050-0.0500.safetensors'
    'snapshot-000000000050-0.1000.safetensors'
    'snapshot-000000000100-0.0500.safetensors'
    'snapshot-000000000100-0.1000.safetensors'
    """

    def __init__(
        self,
        model: nn.Module,
        lengths: Sequence[float] = (0.05, 0.10),
        *,
        every: float,
        folder: str | Path,
        dtype: torch.dtype | str | None = None,
        keep: int | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        if len(lengths) < 2 or len({round(length, 4) for length in lengths}) < len(lengths):
            raise BadParameter(f"lengths must be two or more different ones (to 4 digits), found {tuple(lengths)}.")
        if not every > 0:
            raise BadParameter(f"every, the samples between two snapshots, must be positive, found {every}.")
        if keep is not None and keep < 2:
            raise BadParameter(f"keep, the number of moments to keep snapshots of, must be at least 2, found {keep}.")
        super().__init__(model, device=device)
        self.tracks = tuple(Average(model, Power.of_length(length), device=device) for length in lengths)
        self.folder = Path(folder)
        self.dtype = dtype
        self.keep = keep
        self.run = uuid4().hex
        self._writing = Clock(every=every)
        self._written = 0.0

    def update(self, samples: SupportsFloat = 1.0) -> bool:
        """Tell the averages that the model has taken a step, and write a snapshot where one is due; see `Track.update`.

        Raises:
            OutputError: the folder holds snapshots of another run, or cannot be written to; the averages have taken the step, and the snapshot is still due.
        """
        taken = super().update(samples)
        writing, due = self._writing.after(samples)
        self._writing = replace(writing, pending=writing.pending + due)
        if due:
            self.snapshot()
        return taken

    def snapshot(self) -> list[Path]:
        """Write what the averages hold now, such as at the end of a run; the files, none where this moment is written already.

        Raises:
            TooFewSets: nothing was averaged yet.
            OutputError, Overflow: see `loomweight.save`.
            BadParameter: the model is sharded over processes (FSDP2): a snapshot needs whole tensors.
        """
        now, powers = self.clock.run, self._powers()
        weights = [self._whole(track) for track in self.tracks]
        paths: list[Path] = []
        if now > self._written:
            if _first_process():
                self._make_room()
                paths = [self._save(*each, now) for each in zip(weights, powers, strict=True)]
                self._thin()
            self._written = now
        self._writing = replace(self._writing, pending=0.0)
        return paths

    def _powers(self) -> list[Power]:
        return [track.profile for track in self.tracks]  # type: ignore[misc]  # they were made so

    def _save(self, weights: Weights, power: Power, now: float) -> Path:
        path = self.folder / Snapshot.name_of(power, now)
        return save(weights, path, dtype=self.dtype, metadata=Snapshot.metadata_of(power, now, self.run), overwrite=True)

    def _make_room(self) -> None:
        """Snapshots after the last one written are those of a continuation that was given up, or half of a pair: the run passes there again."""
        for path in self.folder.glob(PATTERN):
            snapshot = Snapshot.of(path)
            if snapshot.run != self.run:
                raise OutputError(f"{self.folder} holds {path.name} of another run; name another folder, or resume that run with load_state_dict.")
            if snapshot.samples > self._written:
                path.unlink()

    def _thin(self) -> None:
        if self.keep is None:
            return
        found = [Snapshot.of(path) for path in self.folder.glob(PATTERN)]
        times = sorted({snapshot.samples for snapshot in found})
        if len(times) <= self.keep:
            return
        for snapshot in found:
            if snapshot.samples in times[-2::-2]:
                snapshot.path.unlink()
        self._writing = replace(self._writing, every=2 * self._writing.every)

    def _whole(self, track: Average) -> Weights:
        """The model with an average in it, in the precision in which it is kept."""
        values = track._ready()
        live = averaged(self.model, values)
        held = {place_of(tensor): values[name] for name, tensor in live.items() if name in values}
        state = self.model.state_dict(keep_vars=True)
        if extra := [name for name, value in state.items() if not isinstance(value, Tensor)]:
            raise BadParameter(f"{extra[0]!r} of the model's state is no tensor, and a snapshot holds tensors alone.")
        if sharded := [name for name, tensor in state.items() if hasattr(tensor, "_local_tensor")]:
            raise BadParameter(f"tensor {sharded[0]!r} is sharded over processes; a snapshot needs whole tensors.")
        whole = {name: held[at] if (at := place_of(tensor)) in held else tensor.detach() for name, tensor in state.items()}
        return Weights.of(whole, f"average of {type(self.model).__name__}")

    def _take(self, samples: float) -> None:
        for track in self.tracks:
            track.update(samples)

    def _read(self) -> Mapping[str, Tensor]:
        return self.tracks[0]._read()

    def _held(self) -> Mapping[str, Tensor]:
        return self.tracks[0]._held()

    def _what(self) -> str:
        return f"PostHocEMA({', '.join(f'{power.length:.4f}' for power in self._powers())})"

    def _state(self) -> dict[str, Any]:
        return {"tracks": [track.state_dict() for track in self.tracks], "run": self.run, "writing": self._writing.state(), "written": self._written}

    def _load(self, state: Mapping[str, Any]) -> None:
        for track, held in zip(self.tracks, state["tracks"], strict=True):
            track.load_state_dict(held)
        self.run, self._writing, self._written = state["run"], Clock(**state["writing"]), state["written"]


def _first_process() -> bool:
    from torch import distributed

    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0
