"""BatchNorm that stays with its client.

Paper: FedBN: Federated Learning on Non-IID Features via Local Batch Normalization (2021, https://arxiv.org/abs/2102.07623), algorithm 1.

Read: med-air/FedBN, federated/fed_digits.py at df4a9f9c, which leaves out all tensors with `bn` in their names; here the layers' type decides.
"""

from torch import nn


def fedbn(model: nn.Module, kinds: tuple[type[nn.Module], ...] = (nn.modules.batchnorm._BatchNorm,)) -> dict[str, str]:
    """`tensors` of a strategy in which the parameters and statistics of BatchNorm are local to each client.

    Args:
        model: of the federation.
        kinds: the layers that stay local; others than BatchNorm too.

    >>> fedbn(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2, affine=False)))
    {'1.running_mean': 'local', '1.running_var': 'local', '1.num_batches_tracked': 'local'}
    """
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
    return {f"{name}.{tensor}" if name else tensor: "local" for name, module in layers for tensor in module.state_dict()}
