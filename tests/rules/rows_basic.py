"""Laws and golden values of the basic rules. A value's row: rule, sets (one tensor each), result, origin."""

from loomweight.rules import Mean, Per, Rule, Take

from .laws import ALL, ALWAYS, Law, ignores_order, keeps_agreement, moves_with_the_sets, stays_in_range

LAWS: dict[Rule, frozenset[Law]] = {
    Mean(): ALL,
    Mean(weights=(3, 1, 2)): ALL - {ignores_order},
    Mean(weights=(3, 1, -2), normalize=False): ALL - {ignores_order, keeps_agreement, moves_with_the_sets, stays_in_range},
    Take(1): ALL - {ignores_order},
    Per("layer", Mean()): ALL,
}

VALUES = [
    (Mean(), [[1, 2], [3, 6]], [2, 4], "by hand"),
    (Mean(weights=(3, 1)), [[1, 2], [3, 6]], [1.5, 3], "by hand: (3 * 1 + 3) / 4"),
    (Mean(weights=(1, -1), normalize=False), [[1, 2], [3, 6]], [-2, -4], "by hand"),
    (Take(1), [[1, 2], [3, 6]], [3, 6], "by hand"),
]
assert ALWAYS <= ALL
