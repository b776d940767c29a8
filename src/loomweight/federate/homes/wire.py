"""Tasks, replies and memories as Flower's records, and back: one copy on the way out, none on the way in."""

import io
import json
import logging
import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...errors import BrokenFile
from ..plain import Lost, Plain, Reply, Task, Tensors

if TYPE_CHECKING:
    from flwr.app import Array, ArrayRecord, RecordDict

log = logging.getLogger("loomweight.federate")

#: of the keys in a message: what a term of the objective sends follows it
_TERM = "term:"
_KINDS = {str(kind).removeprefix("torch."): kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}
#: what numpy cannot name travels as integers of its width
_CARRIER = {1: torch.uint8, 2: torch.int16}


def record_of(tensors: Mapping[str, Tensor]) -> "ArrayRecord":
    """An `ArrayRecord`; what numpy knows is what Flower's own `Array(ndarray)` is, and bfloat16 travels as it is, named by its dtype.

    >>> record_of({"w": torch.ones(2, dtype=torch.bfloat16)})["w"].dtype
    'bfloat16'
    """
    from flwr.app import ArrayRecord

    return ArrayRecord({name: _array(tensor.detach().cpu().contiguous()) for name, tensor in tensors.items()})


def tensors_of(record: "Mapping[str, Array]", whose: str = "") -> Tensors:
    """Views of a record's bytes. A tensor that cannot be read is left out, and named in the log: it is missing where it is asked for."""
    found: Tensors = {}
    for name, array in record.items():
        try:
            found[name] = _view(array)
        except (ValueError, TypeError, EOFError, BrokenFile) as error:
            log.warning("%s: tensor %r cannot be read: %s", whose, name, error)
    return found


def content_of_task(task: Task, sent: Mapping[str, "ArrayRecord"]) -> "RecordDict":
    """The content of a message; `sent` holds the records of `carried(task)`, which all clients of a round share."""
    from flwr.app import ConfigRecord, RecordDict

    told = {"client": task.client, "round": task.round, "seed": task.seed, "number": task.number}
    steps = {} if task.steps is None else {"steps": task.steps}
    return RecordDict({**sent, "task": ConfigRecord({**told, **steps})})


def carried(task: Task) -> dict[str, Tensors]:
    """The tensors of a task, by the key of their record."""
    return {"weights": task.weights, **{f"{_TERM}{key}": tensors for key, tensors in task.shared.items()}}


def task_of(content: "RecordDict") -> Task:
    """The other way, at the client."""
    told: Any = content.config_records["task"]
    weights = tensors_of(content.array_records["weights"])
    return Task(told["client"], told["round"], weights, _of_terms(content), told.get("steps"), told["seed"], told["number"])


def content_of_reply(reply: Reply) -> "RecordDict":
    """The content of an answer: Flower's tools find the weight under their own word, `num-examples`."""
    from flwr.app import ConfigRecord, MetricRecord, RecordDict

    records: dict[str, Any] = {"update": record_of(reply.update), **{f"{_TERM}{key}": record_of(extra) for key, extra in reply.extra.items()}}
    metrics = MetricRecord({**reply.metrics, "num-examples": reply.weight})
    return RecordDict({**records, "metrics": metrics, "reply": ConfigRecord({"round": reply.round})})


def reply_of(content: "RecordDict", task: Task) -> Reply | Lost:
    """The other way, at the server: whatever stands in the message, the reply is that of the client that was asked."""
    update = content.array_records.get("update")
    if update is None:
        return Lost(task.client, task.round, "nothing", "its answer holds no update")
    metrics = {key: float(value) for key, value in content.metric_records.get("metrics", {}).items() if isinstance(value, int | float)}
    number: Any = content.config_records.get("reply", {}).get("round", task.round)
    weight = metrics.pop("num-examples", math.nan)
    return Reply(task.client, number if isinstance(number, int) else -1, tensors_of(update, task.client), weight, _of_terms(content), metrics)


def keep(state: "RecordDict", memory: Plain) -> None:
    """Put what a client keeps into the state of its Flower context."""
    from flwr.app import ConfigRecord

    tensors: Tensors = {}
    state["loomweight"] = ConfigRecord({"memory": json.dumps(_plain(memory, tensors))})
    state["loomweight:tensors"] = record_of(tensors)


def kept(state: "RecordDict") -> Plain:
    """What it has kept, {} at first."""
    if "loomweight" not in state.config_records:
        return {}
    tensors = tensors_of(state.array_records["loomweight:tensors"])
    words: Any = state.config_records["loomweight"]["memory"]
    return json.loads(words, object_hook=lambda found: tensors[found["tensor of"]].clone() if set(found) == {"tensor of"} else found)


def _plain(value: Any, tensors: Tensors) -> Any:
    """JSON in which a tensor is its number."""
    match value:
        case Tensor():
            tensors[str(len(tensors))] = value
            return {"tensor of": str(len(tensors) - 1)}
        case Mapping():
            return {key: _plain(inner, tensors) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner, tensors) for inner in value]
    return value


def _of_terms(content: "RecordDict") -> dict[str, Tensors]:
    return {key.removeprefix(_TERM): tensors_of(record, key) for key, record in content.array_records.items() if key.startswith(_TERM)}


def _array(tensor: Tensor) -> "Array":
    from flwr.app import Array

    word = str(tensor.dtype).removeprefix("torch.")
    plain = tensor if hasattr(np, word) else tensor.view(_CARRIER[tensor.element_size()])
    array, head = plain.numpy(), io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape})
    return Array(word, tuple(tensor.shape), "numpy.ndarray", b"".join((head.getvalue(), array.data.cast("B") if array.size else b"")))


def _view(array: "Array") -> Tensor:
    """A tensor on the bytes of an array, if they are what they are said to be."""
    head = io.BytesIO(array.data)
    if array.stype != "numpy.ndarray" or array.dtype not in _KINDS or np.lib.format.read_magic(head) != (1, 0):
        raise BrokenFile(f"it is {array.stype} of {array.dtype}, not a numpy array of a dtype of torch")
    shape, fortran, kind = np.lib.format.read_array_header_1_0(head)
    flat = np.frombuffer(array.data, np.uint8, offset=head.tell())
    if fortran or kind.hasobject or flat.size != kind.itemsize * int(np.prod(shape, dtype=np.int64)):
        raise BrokenFile(f"its {flat.size:,} bytes are not {list(shape)} of {kind} in order")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nothing here writes into what it is given
        carrier = torch.from_numpy(flat.view(kind).reshape(shape))
    return carrier if str(kind) == array.dtype else carrier.view(_KINDS[array.dtype])
