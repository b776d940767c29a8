"""A strategy whose clients are protected, or the reason why they would not be."""

from dataclasses import replace

from ...errors import BadParameter
from ..choosing import Available, Choose
from ..objectives import Term
from ..strategy import Strategy
from .client_noise import ClientNoise
from .gaussian_noise import GaussianNoise
from .poisson_sample import PoissonSample


def private(strategy: Strategy, noise: GaussianNoise) -> Strategy:
    """The strategy with its pooled updates clipped, summed and noised, when nothing else of a client gets past the noise.

    The strategy's own aggregate takes the noised mean. What a server learns besides is not protected: who answered, the bytes, and the local loss that
    replies report and the history averages; leave these out of what is published. BatchNorm's running statistics are pooled, clipped and noised like
    weights unless `tensors` says "local"; its counts of batches travel unless it says "keep".

    Args:
        strategy: as without privacy.
        noise: what protects it.

    Raises:
        BadParameter: something of a client would go round the noise, or the noise claims more than the choice of clients gives.

    >>> protected = private(Strategy(), GaussianNoise(multiplier=1.0, clip=0.5, expected=10))
    >>> protected.aggregate.then
    Pool(rule=Mean(weights=None, normalize=True), rate=1.0, counts=True)
    """
    for found in (_terms(strategy), _slices(strategy), _sampling(strategy, noise), _message(strategy, noise), _weights(strategy, noise)):
        if found:
            raise BadParameter(f"private: {found}.")
    return replace(strategy, aggregate=replace(noise, then=strategy.pooling))


def _terms(strategy: Strategy) -> str:
    sending = [term.key for term in strategy.terms if type(term).finish is not Term.finish]
    return f"the term {sending[0]} may send tensors of its own, which get no noise; leave it out" if sending else ""


def _slices(strategy: Strategy) -> str:
    alone = [(pattern, word) for pattern, word in strategy.tensors.items() if word in ("mean", "sum", "max")]
    return f"tensors {alone[0][0]!r} travel by themselves ({alone[0][1]!r}) and get no noise; say pool, keep or local" if alone else ""


def _sampling(strategy: Strategy, noise: GaussianNoise) -> str:
    choose = strategy.choose.among if isinstance(strategy.choose, Available) else strategy.choose
    if type(choose).choose_knowing is not Choose.choose_knowing:
        return f"{type(choose).__name__} chooses by what clients have said of their data, so that one of them moves which others count; choose without"
    chosen = strategy.choose.rate if isinstance(strategy.choose, PoissonSample) else 1.0
    if noise.rate < chosen:
        return (
            f"the noise counts on clients that are asked with probability {noise.rate:g}, each by itself; "
            f"{strategy.choose} does not give that: choose=PoissonSample({noise.rate:g}), or rate=1"
        )
    return ""


def _message(strategy: Strategy, noise: GaussianNoise) -> str:
    parts = [part for part in strategy.parts if isinstance(part, ClientNoise)]
    if noise.added_by == "server":
        return ""
    if not parts:
        return "clients shall add the noise, but the message has no ClientNoise"
    wanted, given = (noise.multiplier, noise.clip, noise.expected), (parts[0].multiplier, parts[0].clip, parts[0].clients)
    return (
        f"multiplier, clip and number of clients are {wanted} for the server and {given} for ClientNoise; they have to be the same" if wanted != given else ""
    )


def _weights(strategy: Strategy, noise: GaussianNoise) -> str:
    shared = strategy.guard.largest_share < 1 and noise.whole is not None
    return "Guard(largest_share) makes a client's weight depend on the others', so that one of them moves more than its own; leave it at 1" if shared else ""
