"""`loomweight average` over what the real trainers of Lightning and Transformers leave, with an average kept beside."""

from pathlib import Path

import pytest
import torch
from torch import nn

import loomweight as lw
from loomweight.trajectory import EMA, lightning_callback

from .run import run


def test_a_run_of_lightning_whose_checkpoints_hold_an_average_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The average is what a checkpoint's `state_dict` holds, as for everyone who loads it; `last.ckpt` has no number and is left alone."""
    pl = pytest.importorskip("lightning.pytorch", reason="the extra lightning is not installed")

    class Tiny(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 2)

        def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
            return self.net(batch).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    every = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "run", every_n_train_steps=2, save_top_k=-1, save_last=True)
    callbacks = [every, lightning_callback(lambda module: EMA(module, half_life=8), end="last")]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    data = torch.utils.data.DataLoader(torch.randn(24, 3, generator=torch.Generator().manual_seed(0)), batch_size=4)
    pl.Trainer(max_epochs=2, callbacks=callbacks, **quiet).fit(Tiny(), data)
    capsys.readouterr()
    ran = run(capsys, "average", tmp_path / "run", tmp_path / "out", "--last", 2)
    assert ran.code == 0, ran.err
    held = [torch.load(tmp_path / "run" / f"epoch=1-step={step}.ckpt", weights_only=True)["state_dict"]["net.weight"] for step in (10, 12)]
    assert torch.allclose(lw.load(tmp_path / "out")["net.weight"], (held[0] + held[1]) / 2, atol=1e-7)


def test_a_run_of_transformers_whose_checkpoints_hold_an_average_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("accelerate", reason="the Trainer of Transformers needs it")
    from ..trajectory.test_transformers_callback import train

    train(tmp_path / "run")
    capsys.readouterr()
    steps = sorted(int(path.name.rpartition("-")[2]) for path in (tmp_path / "run").glob("checkpoint-*"))[-2:]
    ran = run(capsys, "average", tmp_path / "run", tmp_path / "out", "--last", 2)
    assert ran.code == 0, ran.err
    parts = [lw.load(tmp_path / f"run/checkpoint-{step}") for step in steps]
    made = lw.load(tmp_path / "out")
    assert len(steps) == 2 and lw.norm(parts[0] - parts[1]) > 0
    assert lw.norm(made - (0.5 * parts[0] + 0.5 * parts[1])) < 1e-5 * lw.norm(made)
    assert (
        transformers.AutoConfig.from_pretrained(tmp_path / "out").model_type
        == transformers.AutoConfig.from_pretrained(tmp_path / f"run/checkpoint-{steps[1]}").model_type
    )
