"""One set of weights that holds a thousand networks: declare what may vary, train once, pick, prove and ship a plain network.

net = elastic(model, "width features.* : 16 32 64", example)      # no rewrite of the model
optimizer = SubnetOptimizer(net, torch.optim.AdamW(net.parameters(), lr=1e-3))
net.select(net.sample(seed))                                      # train subnets in turn
net.calibrate(batches)                                            # BatchNorm of each subnet, when it is first evaluated
plain = net.export(net.min())                                     # an ordinary module with its own memory
"""

from .choice import Choice as Choice
from .cost import Cost as Cost
from .elastic import Elastic as Elastic
from .elastic import elastic as elastic
from .gradient import AutoHas as AutoHas
from .gradient import Coefficients as Coefficients
from .gradient import Darts as Darts
from .gradient import Dirichlet as Dirichlet
from .gradient import DropNas as DropNas
from .gradient import Field as Field
from .gradient import Gates as Gates
from .gradient import GoldNas as GoldNas
from .gradient import GroupedDropout as GroupedDropout
from .gradient import Gumbel as Gumbel
from .gradient import Pruned as Pruned
from .gradient import Rarts as Rarts
from .gradient import Relaxed as Relaxed
from .gradient import Rome as Rome
from .gradient import Softmax as Softmax
from .gradient import costs_of as costs_of
from .gradient import relaxed as relaxed
from .gradient import select_by_perturbation as select_by_perturbation
from .gradient import sgd_update as sgd_update
from .heuristics import Recipe as Recipe
from .heuristics import Scored as Scored
from .heuristics import ScoredRecipes as ScoredRecipes
from .heuristics import heuristics as heuristics
from .heuristics import varied as varied
from .join import Join as Join
from .kinds import KINDS as KINDS
from .losses.alpha_divergence import AlphaDivergence as AlphaDivergence
from .losses.soft_labels import SoftLabels as SoftLabels
from .optimizer import SubnetOptimizer as SubnetOptimizer
from .order import magnitude as magnitude
from .parallel import Parallel as Parallel
from .sampler import Sampler as Sampler
from .samplers.any_connection import AnyConnection as AnyConnection
from .samplers.attentive import Attentive as Attentive
from .samplers.balanced import Balanced as Balanced
from .samplers.by_operator import ByOperator as ByOperator
from .samplers.important_data import ImportantData as ImportantData
from .samplers.important_paths import ImportantPaths as ImportantPaths
from .samplers.shifting import Shifting as Shifting
from .samplers.shrinking import Shrinking as Shrinking
from .samplers.stratified import Stratified as Stratified
from .samplers.uniform import Uniform as Uniform
from .sharing.balanced_mixture import BalancedMixture as BalancedMixture
from .sharing.conflict import Conflict as Conflict
from .sharing.conflict import Matching as Matching
from .sharing.conflict import conflicts as conflicts
from .sharing.decoupled import Adapters as Adapters
from .sharing.decoupled import decoupled_adapters as decoupled_adapters
from .sharing.few_shot import Regions as Regions
from .sharing.few_shot import few_shot as few_shot
from .sharing.grouped import grouped as grouped
from .sharing.grouped import prefix as prefix
from .sharing.routed import Routing as Routing
from .sharing.routed import mixture_of_supernets as mixture_of_supernets
from .space_table import Line as Line
from .space_table import SpaceTable as SpaceTable
from .step import Step as Step
from .steps.delayed import Delayed as Delayed
from .steps.progressive_depth import ProgressiveDepth as ProgressiveDepth
from .steps.progressive_depth import at_scale as at_scale
from .steps.regularise import ExponentialThenConstant as ExponentialThenConstant
from .steps.sandwich import Sandwich as Sandwich
from .steps.single_path import SinglePath as SinglePath
from .steps.taught import Taught as Taught
from .steps.zero_residuals import zero_residuals as zero_residuals
