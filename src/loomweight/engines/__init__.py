"""Where work runs. One verb: `map` a function over tasks, results in the order of the tasks.

>>> list(Inline().map(len, ["a", "bb"]))
[1, 2]
>>> with Threads(2) as engine:
...     list(current().map(len, ["a", "bb"]))
[1, 2]
"""

from .allocator import keep_freed_blocks as keep_freed_blocks
from .engine import Engine as Engine
from .engine import current as current
from .inline import Inline as Inline
from .named import engine_named as engine_named
from .ray import Ray as Ray
from .shared import Here as Here
from .shared import Shared as Shared
from .threads import Threads as Threads

keep_freed_blocks()
