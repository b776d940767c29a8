"""Dynamic Local Updates: as many local steps as a worker's speed allows, so that all finish at about the same time.

Paper: Asynchronous Local-SGD Training for Language Modeling (2024, https://arxiv.org/abs/2401.09135), section 5, equation of DyLU.

Code read: google-deepmind/asyncdiloco at commit e783a30, `sample_train_task`, which has it with at least 5 steps. We differ: at least 1, where the paper's
formula gives 0 for a worker that is more than H times slower.
"""

from collections.abc import Mapping
from math import floor, isfinite

from ...errors import BadParameter


def local_steps(speeds: Mapping[str, float], most: int) -> dict[str, int]:
    """floor(v_i / max_j v_j H) local steps for each worker, at least 1.

    Args:
        speeds: v_i, steps per second of each worker, in any unit.
        most: H, for the fastest.

    Raises:
        BadParameter: no worker, a speed that is not positive, or no step.

    >>> local_steps({"a": 4.0, "b": 2.0, "c": 1.0}, 50)
    {'a': 50, 'b': 25, 'c': 12}
    """
    if not speeds or most < 1 or not all(isfinite(speed) and speed > 0 for speed in speeds.values()):
        raise BadParameter(f"speeds are positive numbers, of at least one worker, and steps at least 1; found {dict(speeds)}, {most}.")
    fastest = max(speeds.values())
    return {name: max(1, floor(most * (speed / fastest))) for name, speed in speeds.items()}
