"""One pooling of updates that are all there, with the contract before the arithmetic: the core of the homes without a server."""

from collections.abc import Sequence

from ...errors import BadParameter, TooFewReplies, TooFewSets
from ...rules import Rule
from ...weights.names import listed
from ..guard import Guard, Refusal, refusal
from ..plain import Plain, Reply, Tensors
from ..pooling import Book, Pool


def together(replies: Sequence[Reply], how: Rule | Pool, like: Tensors, guard: Guard) -> tuple[Tensors, list[Refusal]]:
    """The pooled update, in working precision, and the replies that do not count.

    Args:
        replies: in an order that is the same in every process.
        how: a rule, or a `Pool` of one.
        like: names, shapes and dtypes that are expected.
        guard: with the limits.

    Raises:
        BadParameter: `how` is no rule.
        TooFewReplies: fewer count than the rule needs.

    >>> from loomweight.rules import Median
    >>> replies = [Reply(name, 0, {"w": torch.tensor([value])}) for name, value in (("a", 1.0), ("b", 3.0), ("c", float("nan")))]
    >>> change, refused = together(replies, Median(), replies[0].update, Guard())
    >>> change["w"], refused[0].client, refused[0].code
    (tensor([2.]), 'c', 'nonfinite')
    """
    pool = Pool(how) if isinstance(how, Rule) else how
    if not isinstance(pool, Pool):
        raise BadParameter(f"updates are pooled here by a rule of loomweight.rules, or a Pool of one; found {how!r}.")
    held: Plain = {}
    book = Book(0, tuple(reply.client for reply in replies))
    found = [refusal(reply, like, guard) for reply in replies]
    for reply, wrong in zip(replies, found, strict=True):
        if wrong:
            book.refused[reply.client] = wrong.code
        else:
            pool.add(held, reply, like)
    refused = [wrong for wrong in found if wrong]
    count = len(replies) - len(refused)
    try:
        pool.check(count, len(refused))
        if count < guard.fewest:
            raise TooFewSets(f"the guard asks for at least {guard.fewest}.")
    except TooFewSets as error:
        out = f" Left out: {listed(wrong.client for wrong in refused)}; the first: {refused[0].words}." if refused else ""
        raise TooFewReplies(f"{count} of {len(replies)} updates count; {error}{out}") from error
    return pool.change(held, book), refused
