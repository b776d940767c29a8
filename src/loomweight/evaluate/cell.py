"""Cells of NAS-Bench-201: six edges between four nodes, an operator on each.

Paper: NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search (2020, https://arxiv.org/abs/2001.00326), section 2.1.
Original code: https://github.com/D-X-Y/AutoDL-Projects (xautodl/models/cell_searchs/genotypes.py).
"""

import re
from collections.abc import Mapping
from itertools import product
from types import MappingProxyType

from ..errors import BadParameter, unknown

OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
#: (from, to) in the order of an architecture string: node 1, then 2, then 3, each with its inputs in order
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
NAMES = tuple(f"edge_{source}_{target}" for source, target in EDGES)

#: edge -> operators: the dimensions of a search space
CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(dict.fromkeys(NAMES, OPERATORS))

_STRING = re.compile(r"\+".join(r"\|" + "".join(rf"(\w+)~{source}\|" for source, target in EDGES if target == node) for node in (1, 2, 3)))


def cell_values(arch: str | Mapping[str, str]) -> dict[str, str]:
    """The operator on every edge of a cell, from its architecture string or from such a mapping, checked.

    Part of: nasbench201.

    Raises:
        BadParameter: it is no architecture string, or an edge is missing.
        UnknownName: there is no such operator or edge.

    >>> cell_values("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")["edge_1_2"]
    'skip_connect'
    """
    values = dict(arch) if isinstance(arch, Mapping) else _parsed(arch)
    for edge, operator in values.items():
        if edge not in CHOICES:
            raise unknown("edge", edge, NAMES)
        if operator not in OPERATORS:
            raise unknown("operator", operator, OPERATORS)
    if missing := [edge for edge in NAMES if edge not in values]:
        raise BadParameter(f"a cell needs an operator on every edge; there is none on {', '.join(missing)}.")
    return {edge: values[edge] for edge in NAMES}


def cell_string(values: Mapping[str, str]) -> str:
    """The architecture string of a cell: inverse of `cell_values`.

    Part of: nasbench201.

    Raises:
        BadParameter, UnknownName: as for `cell_values`.

    >>> cell_string(dict.fromkeys(CHOICES, "none"))
    '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'
    """
    return _joined(tuple(cell_values(values).values()))


def all_cells() -> list[str]:
    """All 15,625 architecture strings."""
    return [_joined(operators) for operators in product(OPERATORS, repeat=len(EDGES))]


def _joined(operators: tuple[str, ...]) -> str:
    a, b, c, d, e, f = operators
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def _parsed(arch: str) -> dict[str, str]:
    found = _STRING.fullmatch(arch)
    if not found:
        raise BadParameter(f"{arch!r} is no architecture string; the form is {_joined(('OPERATOR',) * len(EDGES))}.")
    return dict(zip(NAMES, found.groups(), strict=True))
