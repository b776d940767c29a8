"""A client of NVFlare, which trains as loomweight's clients do."""

import nvflare.client as flare
import torch
from net import Net, data, strategy

from loomweight.federate import Task, local_round
from loomweight.federate.pooling.pool import stepped

flare.init()
site = flare.get_site_name()
while flare.is_running():
    got = flare.receive()
    weights = {name: torch.as_tensor(value) for name, value in got.params.items()}
    reply, _ = local_round(Net(), data(int(site[-1]) - 1), Task(site, got.current_round, weights), strategy)
    flare.send(flare.FLModel(params=stepped(weights, reply.update), meta={"NUM_STEPS_CURRENT_ROUND": reply.weight}))
