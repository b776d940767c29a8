"""Laws and golden values of the rules made for sets of which some are hostile."""

from loomweight.rules import (
    Bucketing,
    Bulyan,
    CenteredClip,
    CovarianceFilter,
    GeometricMedian,
    GradientSplitting,
    Krum,
    Mean,
    MeanAroundMedian,
    Median,
    MinimumDiameter,
    MultiKrum,
    NearestNeighbourMean,
    NearestNeighbourMixing,
    Rule,
    TrimmedMean,
)

from .laws import ALL, Law, ignores_order

LAWS: dict[Rule, frozenset[Law]] = {
    Bulyan(f=1): ALL,
    MeanAroundMedian(f=1): ALL,
    MinimumDiameter(f=1): ALL,
    CovarianceFilter(f=1): ALL,
    Krum(f=1, neighbours=2): ALL,
    Bucketing(Median(), size=2): ALL - {ignores_order},
    Bucketing(MultiKrum(f=0), size=2): ALL - {ignores_order},
    GradientSplitting(Median(), parts=2, f=1): ALL,
    GradientSplitting(GeometricMedian(), parts=2, f=1): ALL,
}

#: one of eight is an outlier
EIGHT = [[1, 0.2, -3.1], [1.3, 0.9, -2], [0.4, 1.1, -2.7], [2.2, -0.5, -1.9], [1.8, 0.3, -3.6], [0.7, 2.4, -2.2], [30, -20, 8], [1.5, 0.6, -2.45]]
BYZFL = "byzfl 0.0.11, float64, {} of these eight vectors"
#: the mean of the seven, and of six
SEVEN, SIX = [8.9 / 7, 5 / 7, -17.95 / 7], [41 / 30, 13 / 30, -2.625]

VALUES = [
    (Bulyan(f=1), [[1], [1.5], [2], [2.5], [3], [3.7], [99]], [2.5], "by hand: 2, 2.5, 1.5, 3, 3.7 are chosen; 2, 2.5, 3 lie nearest to the median"),
    (Bulyan(), [[1], [2], [9]], [4], "by hand: all are chosen and all averaged"),
    (MeanAroundMedian(f=1), [[1], [2], [6], [1000]], [3], "by hand: median 4"),
    (MeanAroundMedian(f=1), [[1], [4], [7]], [4], "by hand: 1 and 7 are as near and share a place: (4 + (1 + 7) / 2) / 2"),
    (MeanAroundMedian(f=1), EIGHT, SEVEN, BYZFL.format("Meamed(1)")),
    (MeanAroundMedian(f=2), EIGHT, [17 / 12, 13 / 30, -14.35 / 6], BYZFL.format("Meamed(2)")),
    (MinimumDiameter(f=2), [[1], [2], [3], [3.5], [99]], [8.5 / 3], "by hand: 2, 3, 3.5"),
    (MinimumDiameter(f=1), [[1], [2], [3], [4.1], [4.1]], [3.3], "by hand: without 1 the diameter is 2.1"),
    (MinimumDiameter(f=1), [[0], [0], [1]], [0], "by hand"),
    (MinimumDiameter(f=1), [[1], [2], [3]], [2], "by hand: 1, 2 and 2, 3 are equal and share"),
    (MinimumDiameter(f=1), EIGHT, SEVEN, BYZFL.format("MDA(1)")),
    (MinimumDiameter(f=2), EIGHT, SIX, BYZFL.format("MDA(2)")),
    (CovarianceFilter(f=1), [[0], [0], [0], [3]], [0], "by hand: the fourth loses all its weight, and no variance is left"),
    (
        CovarianceFilter(f=1),
        [[1], [2], [3], [99]],
        [sum(x * (1 - ((x - 26.25) / 72.75) ** 2) for x in (1, 2, 3)) / sum(1 - ((x - 26.25) / 72.75) ** 2 for x in (1, 2, 3))],
        "by hand: mean 26.25, one step, and the next leaves a weight of 0.9, which is too little",
    ),
    (Bucketing(Mean(), size=3), [[1], [2], [3], [4], [5], [9]], [4], "by hand: buckets of one size keep the mean"),
    (Bucketing(Median(), size=1), [[1], [2], [9]], [2], "by hand: one set a bucket"),
    (GradientSplitting(Median(), parts=1, f=1), [[1], [2], [3], [99]], [2], "by hand: median 2.5, distances 1.5, .5, .5, 96.5"),
    (
        GradientSplitting(Median(), parts=3, f=1),
        [[0, 0, 3], [0, 0, 0], [2, 2, 0], [0, 0, 1]],
        [0, 0, 4 / 3],
        "by hand: sums of distances from 0, 0, .5: 2.5, .5, 4.5, .5",
    ),
    (Krum(f=2, neighbours=5), EIGHT, [1.5, 0.6, -2.45], BYZFL.format("Krum(2), which sums n - f - 1 = 5 distances")),
    (MultiKrum(f=1, neighbours=6), EIGHT, SEVEN, BYZFL.format("MultiKrum(1)")),
    (MultiKrum(f=2, neighbours=5), EIGHT, SIX, BYZFL.format("MultiKrum(2)")),
    (TrimmedMean(f=2), EIGHT, [1.4, 0.5, -2.3375], BYZFL.format("TrMean(2)")),
    (
        CenteredClip(tau=2, iterations=3),
        EIGHT,
        [1.4858376792689159, 0.5406840925980552, -2.4601158673190016],
        BYZFL.format("CenteredClipping(tau=2, L=3)"),
    ),
    (NearestNeighbourMean(f=2, trusted=1), EIGHT, [7.1 / 6, 4.7 / 6, -14.35 / 6], BYZFL.format("MoNNA(2, 1)")),
    (NearestNeighbourMixing(TrimmedMean(f=2), f=2), EIGHT, [1.320833333333333, 0.5208333333333334, -2.625], BYZFL.format("NNM(2), then TrMean(2)")),
    (NearestNeighbourMixing(Median(), f=2), EIGHT, SIX, BYZFL.format("NNM(2), then Median()")),
]
