"""Run by test_killed.py: three processes train with DiLoCo, one is killed with SIGKILL.

python -m tests.federate.lowcomm.killed FOLDER
"""

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch.distributed import TCPStore

from loomweight.federate.lowcomm import DiLoCo, Members
from tests.processes import CHILDREN, forked

from .workers import net, train

ROUNDS, KILLED_AFTER, DEAD_AFTER, TIMEOUT = 12, 4, 2.0, 60.0


def worker(name: str, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    members = Members(TCPStore("127.0.0.1", port, is_master=False), name, fewest=2, wished=3, timeout=TIMEOUT, dead_after=DEAD_AFTER)
    model = net(seed=ord(name))
    inner = partial(torch.optim.AdamW, lr=0.02)(model.parameters())
    diloco, step, slowest = DiLoCo(model, inner, 5, members), 0, 0.0
    while diloco.rounds < ROUNDS:
        if name == "b" and diloco.rounds == KILLED_AFTER and step % 5 == 3:
            (folder / "ready").touch()
            time.sleep(TIMEOUT)  # it is killed here, in the midst of a round
        begun = time.monotonic()
        train(model, inner, ord(name), range(step, step + 1), diloco.step)
        slowest, step = max(slowest, time.monotonic() - begun) if diloco.rounds > KILLED_AFTER else slowest, step + 1
    members.leave()
    bits = {key: tensor.double().tolist() for key, tensor in model.state_dict().items()}
    (folder / f"{name}.json").write_text(json.dumps({"weights": bits, "history": members.history, "slowest": slowest}))


def waited_for(path: Path) -> str:
    until = time.monotonic() + TIMEOUT
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} did not come"
        time.sleep(0.02)
    return path.read_text()


def main(folder: Path) -> None:
    rank = forked(4)
    if rank:
        worker("abc"[rank - 1], int(waited_for(folder / "port")), folder)
        return
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    (folder / "new").write_text(str(store.port))
    (folder / "new").rename(folder / "port")
    waited_for(folder / "ready")
    os.kill(CHILDREN[1], signal.SIGKILL)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in CHILDREN]
    (folder / "ended.json").write_text(json.dumps(ended))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
