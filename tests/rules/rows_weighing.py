"""Laws and golden values of the rules that look at the Gram matrix alone."""

from loomweight.rules import (
    CenteredClip,
    FlagAggregator,
    GeometricMedian,
    InverseDistance,
    Karcher,
    Krum,
    Mean,
    ModelStock,
    MultiKrum,
    MultiSlerp,
    NearestNeighbourMean,
    NearestNeighbourMixing,
    Per,
    PerVector,
    Rule,
    Slerp,
)

from .laws import ALL, Law, ignores_order, keeps_agreement, moves_with_the_sets, stays_in_range

#: laws of rules that measure angles at the origin: a mean direction bulges out of the box that the sets span
AT_ORIGIN = ALL - {moves_with_the_sets, stays_in_range}

LAWS: dict[Rule, frozenset[Law]] = {
    Krum(f=1): ALL,
    MultiKrum(f=1): ALL,
    GeometricMedian(): ALL,
    GeometricMedian(weights=(1, 2, 3, 1)): ALL - {ignores_order},
    CenteredClip(): AT_ORIGIN,
    CenteredClip(start="core", iterations=3): ALL,
    NearestNeighbourMean(f=1, trusted=1): ALL - {ignores_order},
    NearestNeighbourMixing(MultiKrum(f=1), f=1): ALL,
    InverseDistance(): ALL,
    ModelStock(): AT_ORIGIN,
    Slerp(0.5): AT_ORIGIN,
    Slerp(0.2, straight=0.9995): AT_ORIGIN - {ignores_order},
    PerVector(ModelStock(), axis=0): AT_ORIGIN,
    Per("tensor", PerVector(GeometricMedian())): ALL,
    MultiSlerp(): AT_ORIGIN,
    MultiSlerp(weights=(1, 2, 3), normalize=False): AT_ORIGIN - {ignores_order, keeps_agreement},
    Karcher(weights=(1, 2, 3)): AT_ORIGIN - {ignores_order},
    FlagAggregator(): AT_ORIGIN,
}

ROOT3, ROOT2 = 3**0.5, 2**0.5
CIRCLE = [[1, 0], [0.5, ROOT3 / 2], [0, 1]]  # unit vectors at 0, 60 and 90 degrees

VALUES = [
    (Krum(), [[0], [1], [3], [3.5]], [3], "by hand: two neighbours each: 10, 5, 4.25, 6.5"),
    (Krum(f=1), [[1], [1.1], [1.3], [1.6], [99]], [1.1], "by hand: scores .1^2+.3^2, .1^2+.2^2, .2^2+.3^2, .3^2+.5^2"),
    (MultiKrum(f=1), [[1], [1.5], [2], [2.5], [99]], [1.75], "by hand: all but the last"),
    (MultiKrum(f=1, m=2), [[1], [1.1], [1.3], [1.6], [99]], [1.05], "by hand: scores .10, .05, .13, .34"),
    (MultiKrum(f=1, weights=(1, 3, 0, 0, 9)), [[1], [1.5], [2], [2.5], [99]], [1.375], "by hand: (1 + 3 * 1.5) / 4"),
    (GeometricMedian(), [[0], [1], [10]], [1], "by hand: on a line it is the median"),
    (GeometricMedian(weights=(5, 1, 1)), [[0], [1], [10]], [0], "by hand: more than half of the weight"),
    (GeometricMedian(), [[0, 0], [3, 0], [0, 3], [3, 3]], [1.5, 1.5], "by hand: where the diagonals of a convex quadrilateral cross"),
    (
        GeometricMedian(tolerance=1e-10),
        [[0, 0], [4, 0], [1, 3], [4, 3]],
        [2.2857142857142856, 1.7142857142857142],
        "by hand: diagonals x = 4/3 y and x + y = 4 cross",
    ),
    (CenteredClip(tau=4), [[1], [2], [3], [1e6]], [2.5], "by hand: (1 + 2 + 3 + 4) / 4"),
    (CenteredClip(tau=1, start="core"), [[-0.5], [0], [0.5], [8]], [0.25], "by hand: from 0, (-.5 + 0 + .5 + 1) / 4"),
    (CenteredClip(), [[1], [2], [9]], [5 / 3], "by hand: the radius is 2, so (1 + 2 + 2) / 3"),
    (CenteredClip(tau=1, iterations=2), [[3], [4]], [2], "by hand: two steps of 1"),
    (NearestNeighbourMean(f=1), [[1], [2], [99]], [1.5], "by hand"),
    (NearestNeighbourMixing(Mean(), f=1), [[1], [4], [7]], [3.5], "byzfl 69bd1ac: NNM(1) of 1, 4, 7 documents 2.5, 2.5, 5.5"),
    (NearestNeighbourMixing(GeometricMedian(), f=1), [[1], [4], [7]], [2.5], "by hand: the median of 2.5, 2.5, 5.5"),
    (InverseDistance(), [[0], [2], [7]], [45 / 19], "by hand: mean 3, coefficients 4/19, 12/19, 3/19"),
    (InverseDistance(), [[0], [3], [6]], [3], "by hand: the second is the mean and takes all"),
    (InverseDistance(weights=(1, 2, 1)), [[0], [3], [9]], [255 / 82], "by hand: mean 15/4, shares 4/15, 8/3, 4/21"),
    (ModelStock(), [[1, 0], [0, 1]], [0, 0], "by hand: 90 degrees, t = 0"),
    (ModelStock(), [[2, 1], [2, 1]], [2, 1], "by hand: equal, t = 1"),
    (ModelStock(), CIRCLE[:2], [0.5, ROOT3 / 6], "by hand: 60 degrees, t = 2 * 0.5 / 1.5"),
    (ModelStock(), [[1, 0], [-3 / 5, 4 / 5]], [0, 0], "by hand: an obtuse angle, t cut to 0"),
    (ModelStock(extrapolate=True), [[1, 0], [-3 / 5, 4 / 5]], [-0.6, -1.2], "by hand: t = 2 * -.6 / .4 = -3"),
    (Slerp(1 / 3), [[1, 0], [0, 1]], [ROOT3 / 2, 0.5], "by hand: 30 degrees"),
    (Slerp(0.5), [[1, 0], [0, 3]], [ROOT2 / 2, 3 * ROOT2 / 2], "by hand: the factors apply to the sets as they are"),
    (Slerp(0.25), [[1, 0], [2, 0]], [1.25, 0], "by hand: parallel, so straight"),
    (Slerp(0.25), [[1, 0], [-1, 0]], [0.5, 0], "by hand: opposite, so straight"),
    (Slerp(0.25), [[0, 0], [0, 4]], [0, 1], "by hand: no direction, so straight"),
    (Slerp(0.5, straight=0.4), CIRCLE[:2], [0.75, ROOT3 / 4], "by hand: cos 60 degrees > 0.4, so straight"),
    (PerVector(Slerp(0.5)), [[[1, 0], [2, 0]], [[0, 1], [2, 0]]], [[ROOT2 / 2, ROOT2 / 2], [2, 0]], "by hand"),
    (PerVector(Slerp(0.5), axis=0), [[[1, 0], [2, 0]], [[2, 0], [-1, 0]]], [[3 * ROOT2 / 2, 0], [ROOT2 / 2, 0]], "by hand: 90 degrees down the column"),
    (MultiSlerp(), [[2, 0], [0, 4]], [3 * ROOT2 / 2, 3 * ROOT2 / 2], "by hand: length 3 at 45 degrees"),
    (MultiSlerp(weights=(1, 2), normalize=False), [[1, 0], [0, 1]], [3 / 5**0.5, 6 / 5**0.5], "by hand: length 3 towards (1, 2)"),
    (MultiSlerp(), [[1, 0], [-3, 0]], [-1, 0], "by hand: the directions cancel, so the mean"),
    (Karcher(weights=(2, 1)), [[1, 0], [0, 1]], [ROOT3 / 2, 0.5], "by hand: 30 degrees"),
    (Karcher(), CIRCLE, [0.6427876096865394, 0.766044443118978], "by hand: on a circle the mean angle, 50 degrees"),
    (Karcher(), [[1, 0], [-3, 0]], [-1, 0], "by hand: the directions cancel, so the mean"),
    (FlagAggregator(rank=1), [[1, 0], [1, 0], [1, 0], [0, 1]], [0.75, 0], "by hand: three sets at no cost and one at 1 is the least"),
    (FlagAggregator(rank=2), [[1, 0], [1, 0], [1, 0], [0, 1]], [0.75, 0.25], "by hand: two columns hold everything, so the mean"),
    (FlagAggregator(rank=1, lengths="median"), [[2, 0], [1, 0], [4, 0], [0, 9]], [2.25, 0], "by hand: median length 3, three of four"),
]
