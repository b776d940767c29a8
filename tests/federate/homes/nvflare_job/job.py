"""Two clients, two rounds, in NVFlare's simulator: python job.py FOLDER."""

import sys

from net import Net, Ours
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv

recipe = FedAvgRecipe(name="loom", model=Net(), min_clients=2, num_rounds=2, train_script="client.py", aggregator=Ours())
recipe.execute(SimEnv(num_clients=2, num_threads=2, workspace_root=sys.argv[1]))
