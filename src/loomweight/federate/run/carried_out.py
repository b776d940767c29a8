"""A federation from its setting: data divided, trained, tested, written down."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...engines import Engine
from ...errors import BadParameter
from ...weights import save
from ..federation import Federation
from ..partition import picture, split
from ..report import accuracy, history_picture, write_history
from ..simulate import simulate
from ..world import World
from .setting import Setting

Data = tuple[Tensor, Tensor]


def carried_out(run: Path, setting: Setting, data: Any, model: nn.Module, rounds: int, engine: Engine) -> Federation:
    """Train, and leave in the folder: state, model.safetensors, history.csv, and pictures where matplotlib is installed.

    Args:
        run: the folder, in which the setting has begun.
        setting: what was told.
        data: (inputs, labels), or such a pair to train on and one to test.
        model: at the start.
        rounds: in all.
        engine: that the clients run on.

    Raises:
        BadParameter: the data is something else.
    """
    train, test = pairs(data, setting.data)
    partition, attack = setting.partition(), setting.attacker()
    clients = split(train, partition, setting.clients, setting.seed)
    hostile = dict.fromkeys(list(clients)[len(clients) - setting.hostile :], attack) if attack else {}

    world = World(seed=setting.seed, attackers=hostile, test=(lambda network: {"accuracy": accuracy(network, *test)}) if test else None)
    found = simulate(model, clients, setting.strategy.strategy(), rounds, engine, world, run)
    save(found.weights, run / "model.safetensors", overwrite=True)
    write_history(found.history, run / "history.csv")
    if drawn():
        history_picture(found.history, run / "history.png")
        picture(partition(train, setting.clients, setting.seed), train[1], run / "clients.png")
    return found


def pairs(data: Any, name: str) -> tuple[Data, Data | None]:
    """(inputs, labels) to train on, and to test on where there are some.

    Raises:
        BadParameter: it is something else.
    """
    both = isinstance(data, tuple | list) and len(data) == 2 and all(_pair(item) for item in data)
    if not both and not _pair(data):
        raise BadParameter(f"{name} gives a {type(data).__name__}, not (inputs, labels), nor such a pair to train on and one to test.")
    train, test = (data[0], data[1]) if both else (data, None)
    return (train[0], train[1]), (test[0], test[1]) if test is not None else None


def _pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(part, Tensor) for part in item) and len(item[0]) == len(item[1])


def drawn() -> bool:
    """Whether pictures can be drawn here."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None
