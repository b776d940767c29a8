"""Every error a user can cause, in one small tree.

A message says four things: what is wrong, where (the tensor's or the file's name), what was found, what to do. The
command line prints the message alone and exits with 2; a traceback means a defect of ours.
"""

import difflib
from collections.abc import Iterable


class LoomweightError(Exception):
    """Root of all errors that a user can cause and mend; the command line exits with 2 on it."""


class NamesDiffer(LoomweightError):
    """Weight sets do not hold the same tensor names; the message lists the difference."""


class ShapesDiffer(LoomweightError):
    """A tensor has different shapes in different weight sets."""


class DtypesDiffer(LoomweightError):
    """A tensor has different dtypes in different weight sets and no output dtype was chosen."""


class TiesDiffer(LoomweightError):
    """A tensor is shared by several names in one weight set and stored apart in another."""


class IntegersDiffer(LoomweightError):
    """An integer or boolean tensor, which is never averaged, differs between weight sets."""


class NonFinite(LoomweightError):
    """A tensor holds NaN or Inf; the message names the set, the tensor and the first position."""


class Overflow(LoomweightError):
    """A finite value does not fit the dtype that was asked for."""


class TooFewSets(LoomweightError):
    """A rule was given fewer weight sets than its formula or its breakdown bound needs."""


class TooFewReplies(TooFewSets):
    """A round of a federation has fewer replies that count than its aggregate needs."""


class BadReply(LoomweightError):
    """A client's reply does not count, and the strategy says to stop then; the message names the client and what was found."""


class BadParameter(LoomweightError, ValueError):
    """A parameter is outside its range; the message gives the range and the value found."""


class UnknownName(LoomweightError, LookupError):
    """A name (method, parameter, tensor, ...) does not exist; the message gives the nearest ones."""


class BrokenFile(LoomweightError):
    """A file is damaged, truncated, inconsistent or of a kind that is not understood."""


class UnsafeFile(LoomweightError):
    """A file asks for something that is never done: running code, or reading outside its folder."""


class OutputError(LoomweightError):
    """The output cannot be written there: it exists, lies inside an input, is busy, or the disk is full."""


class RecipeError(LoomweightError):
    """A recipe cannot be understood or cannot be carried out; the message names the line or the key."""


class MissingExtra(LoomweightError, ImportError):
    """An optional library is needed; the message gives the extra that installs it."""


class WorkerDied(LoomweightError):
    """A worker process ended before its task did; the message says what is known of it."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a name that does not exist, with the nearest ones and the whole list.

    >>> str(unknown("rule", "trimed_mean", ["mean", "trimmed_mean"]))
    "no rule named 'trimed_mean'; nearest: 'trimmed_mean', 'mean'; all: mean, trimmed_mean"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(map(repr, near))}" if near else ""
    return UnknownName(f"no {kind} named {name!r}{hint}; all: {', '.join(names)}")
