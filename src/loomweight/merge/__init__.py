"""Recipes: the YAML that mergekit users already have, and more. Read, plan, explain, run. No methods live here."""

from .explain import explain as explain
from .graph import in_order as in_order
from .inputs import home as home
from .inputs import located as located
from .inputs import opened as opened
from .plan import Group as Group
from .plan import Plan as Plan
from .planning import plan as plan
from .read import Draft as Draft
from .read import read_draft as read_draft
from .read import read_recipes as read_recipes
from .recipe import Recipe as Recipe
from .repo import Repository as Repository
from .run import Options as Options
from .run import Outcome as Outcome
from .run import Stages as Stages
from .run import plans as plans
from .run import run as run
