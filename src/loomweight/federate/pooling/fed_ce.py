"""Clients that bring what no other has count more.

Paper: Fair Federated Medical Image Segmentation via Client Contribution Estimation (2023, https://arxiv.org/abs/2303.16520).

Read with the authors' code (NVIDIA/NVFlare, f3b7c1b, app_opt/pt/fedce.py and research/fed-ce). It is fair to clients, and no defence against them: an
update that has nothing to do with the others, hostile or not, is as new as can be.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadParameter
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book, kept
from .mixing import inner_products, mixed
from .pool import stepped

_TERM = "LeaveOneOut"
_LEAST = 1e-6  # as the authors': no part is 0


@dataclass(frozen=True)
class FedCE(Aggregate):
    """w <- w + sum_i c_i D_i; c_i from how unlike the others' D_i is, and how the model without i errs on i's data.

    In the space of updates: 1 - the mean over rounds of cos(D_i, sum_{j != i} c_j D_j), with the c of the round before. In the space of data: the
    error on its own data that the client sends, of the global model with the client's part taken out; it needs `objective=(LeaveOneOut(),)`.
    Both sum to 1 over the clients, and c is their normalised sum or product. Clients are told their c. The paper has all clients answer every round; one that
    is new counts as one among those that are known.

    Args:
        mode: "plus" or "times".

    Raises:
        BadParameter: another mode.

    >>> FedCE(mode="times").combined(torch.tensor([0.5, 0.5]), torch.tensor([0.2, 0.6]))
    tensor([0.2500, 0.7500])
    """

    mode: str = "plus"

    def __post_init__(self) -> None:
        if self.mode not in ("plus", "times"):
            raise BadParameter(f"FedCE: mode is plus or times, found {self.mode!r}.")

    def start(self, weights: Tensors) -> Plain:
        """Nothing is known."""
        return {"share": {}, "cosine": {}, "rounds": {}}

    def wrong(self, reply: Reply) -> str | None:
        """Its error."""
        found = reply.extra.get(_TERM, {}).get("error")
        fits = found is not None and found.numel() == 1 and 0 <= found.item() <= 1
        return None if fits else "it lacks the error of the model without it, between 0 and 1; add LeaveOneOut() to the objective"

    def tells(self, state: Plain, client: str) -> Tensors:
        """Its share of the last round it was in."""
        return {"share": torch.tensor(_prior(state["share"], client), dtype=torch.float64)} if state["share"] else {}

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """The weighted mean, and the clients' contributions among the notes."""
        replies = kept(held)
        clients = [reply.client for reply in replies]
        prior = [_prior(state["share"], client) if state["share"] else 1 / len(clients) for client in clients]
        cosine, rounds = dict(state["cosine"]), dict(state["rounds"])
        for client, now in zip(clients, leave_one_out_cosines(inner_products(replies), torch.tensor(prior, dtype=torch.float64)).tolist(), strict=True):
            rounds[client] = rounds.get(client, 0) + 1
            cosine[client] = cosine.get(client, 0.0) + (now - cosine.get(client, 0.0)) / rounds[client]
        unlike = torch.tensor([1 - cosine[client] for client in clients], dtype=torch.float64)
        errors = torch.stack([reply.extra[_TERM]["error"].double().flatten()[0] for reply in replies])
        share = self.combined(unlike, errors).tolist()
        known = {**state["share"], **dict(zip(clients, share, strict=True))}
        book.notes |= {f"contribution of {client}": part for client, part in zip(clients, share, strict=True)}
        return stepped(weights, mixed(replies, share)), {"share": known, "cosine": cosine, "rounds": rounds}

    def combined(self, unlike: Tensor, errors: Tensor) -> Tensor:
        """c of what was found in the two spaces."""
        first, second = _normal(unlike), _normal(errors)
        return _normal(first + second if self.mode == "plus" else first * second)


def leave_one_out_cosines(gram: Tensor, prior: Tensor) -> Tensor:
    """cos(g_i, sum_{j != i} prior_j g_j) from inner products [n, n]; 0 where one of the two is 0.

    Part of: fed_ce.

    >>> leave_one_out_cosines(torch.tensor([[1.0, 1.0], [1.0, 2.0]]), torch.tensor([0.5, 0.5]))  # of (1, 0) and (1, 1)
    tensor([0.7071, 0.7071])
    """
    rest = prior.repeat(len(prior), 1).fill_diagonal_(0.0)
    inner = (rest * gram).sum(1)
    norms = ((rest @ gram) * rest).sum(1).clamp(min=0).sqrt() * gram.diagonal().sqrt()
    return torch.where(norms > 0, inner / norms.clamp(min=1e-300 if norms.dtype == torch.float64 else 1e-38), torch.zeros_like(norms)).clamp(-1, 1)


def _prior(share: dict[str, float], client: str) -> float:
    return share.get(client, 1 / (len(share) + 1))


def _normal(values: Tensor) -> Tensor:
    at_least = values.clamp(min=_LEAST)
    return at_least / at_least.sum()
