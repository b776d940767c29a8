"""scikit-learn's digits, which need no download, and a small network for any table of numbers."""

import torch
from torch import Tensor, nn

from ...errors import MissingExtra

Data = tuple[Tensor, Tensor]


def digits() -> tuple[Data, Data]:
    """1,797 images of 8 x 8: four of five to train on, every fifth to test.

    >>> (x, y), (x_test, y_test) = digits()
    >>> x.shape, x_test.shape
    (torch.Size([1437, 64]), torch.Size([360, 64]))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("the digits are part of scikit-learn; install it with: pip install 'loomweight[demo]'") from error
    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    held = torch.arange(len(x)) % 5 == 0
    return (x[~held], y[~held]), (x[held], y[held])


def perceptron(data: Data, hidden: int = 64) -> nn.Module:
    """Two linear layers with ReLU between them, for rows of numbers and whole numbers as labels.

    >>> perceptron((torch.zeros(2, 3), torch.tensor([0, 1])))[1].in_features
    3
    """
    inputs, labels = data
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs[0].numel(), hidden), nn.ReLU(), nn.Linear(hidden, int(labels.max()) + 1))
