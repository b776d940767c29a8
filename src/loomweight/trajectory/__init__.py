"""Averages along a training run, in samples: two lines in the loop that you have.

>>> model = torch.nn.Linear(4, 2)
>>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
>>> ema = lw.trajectory.EMA(model, half_life=5_000)  # samples
>>> for batch in torch.randn(3, 32, 4):
...     optimizer.zero_grad()
...     model(batch).square().mean().backward()
...     optimizer.step()
...     _ = ema.update(samples=len(batch))
>>> with ema.applied():
...     loss = model(torch.randn(8, 4)).square().mean()
>>> ema.value()
Weights(EMA of Linear, 2 tensors, 10 parameters, float32)
"""

from .average import Average as Average
from .candidates import Candidate as Candidate
from .candidates import Choice as Choice
from .candidates import candidates as candidates
from .clock import Clock as Clock
from .combinatorial import DCA as DCA
from .combinatorial_loss import combinatorial_loss as combinatorial_loss
from .constant_cooldown import constant_cooldown as constant_cooldown
from .cyclical import cyclical as cyclical
from .distillation import WAKD as WAKD
from .distillation import distillation_loss as distillation_loss
from .ema import EMA as EMA
from .ema import half_life_of as half_life_of
from .exponential import Exponential as Exponential
from .fge import FGE as FGE
from .gva import GVA as GVA
from .lightning_callback import lightning_callback as lightning_callback
from .lookahead import Lookahead as Lookahead
from .model_stock import periodic_model_stock as periodic_model_stock
from .moment import Moment as Moment
from .oscillation import Curve as Curve
from .oscillation import oscillation as oscillation
from .posthoc import PostHocEMA as PostHocEMA
from .power import Power as Power
from .reconstruct import Synthesis as Synthesis
from .reconstruct import reconstruct as reconstruct
from .run_folder import RunFolder as RunFolder
from .scaling import scaling_rule as scaling_rule
from .snapshots import Snapshots as Snapshots
from .snapshots import synthesise as synthesise
from .state_file import load_state as load_state
from .state_file import save_state as save_state
from .swa import SWA as SWA
from .swad import SWAD as SWAD
from .swag import SWAG as SWAG
from .switch_ema import SwitchEMA as SwitchEMA
from .track import Track as Track
from .transformers_callback import transformers_callback as transformers_callback
from .window import LAWA as LAWA
