"""An average kept by the real Trainer of Lightning: trained, validated, saved, stopped, resumed, loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import loomweight as lw
from loomweight.errors import BadParameter
from loomweight.rules import Mean
from loomweight.trajectory import EMA, LAWA, SWA, SWAD, SWAG, SwitchEMA, Track, lightning_callback

HALF_LIFE = 20.0
STEPS = [8, 8, 6, 8, 8, 6]  # 22 examples, batches of 4, two of them a step


class Spy(EMA):
    """Keeps what it was told."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, half_life=HALF_LIFE)
        self.told: list[float] = []

    def update(self, samples: float = 1.0) -> bool:
        self.told.append(samples)
        return super().update(samples)


def module(manual: bool = False) -> Any:
    from lightning.pytorch import LightningModule

    class Tiny(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 2))
            self.automatic_optimization = not manual

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            if not manual:
                return loss
            self.manual_backward(loss)
            if batch_idx % 2 or self.trainer.is_last_batch:  # every second batch, and the last
                self.optimizers().step()
                self.optimizers().zero_grad()
            return None

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny()


def examples(n: int) -> torch.utils.data.TensorDataset:
    generator = torch.Generator().manual_seed(1)
    return torch.utils.data.TensorDataset(torch.randn(n, 4, generator=generator), torch.randint(0, 2, (n,), generator=generator))


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


class Run:
    """A run that is over: what was in the model after each step, and what was validated."""

    def __init__(self, folder: Path, build: Callable[[nn.Module], Track] = Spy, *, manual: bool = False, epochs: int = 2, **options: Any) -> None:
        from lightning.pytorch import Callback, Trainer
        from lightning.pytorch.callbacks import ModelCheckpoint

        points: list[dict[str, Tensor]] = []
        losses: list[float] = []

        class Watch(Callback):
            seen = 0

            def on_train_batch_end(self, trainer: Any, pl_module: nn.Module, *rest: Any) -> None:
                if trainer.global_step > self.seen:
                    points.append(copied(pl_module))
                self.seen = trainer.global_step

            def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
                self.seen = trainer.global_step

            def on_train_batch_start(self, trainer: Any, pl_module: nn.Module, batch: Any, batch_idx: int) -> None:
                torch.manual_seed(100 * trainer.current_epoch + batch_idx)  # Lightning leaves the state of dropout to the user

            def on_validation_epoch_end(self, trainer: Any, pl_module: nn.Module) -> None:
                losses.append(trainer.callback_metrics["val_loss"].item()) if not trainer.sanity_checking else None

        given = {key: options.pop(key) for key in ("end", "evaluate") if key in options}
        self.callback = lightning_callback(build, **given)
        self.saver = ModelCheckpoint(folder, monitor="val_loss", mode=options.pop("mode", "min"), save_top_k=-1, filename="{epoch}", save_last=True)
        resume = options.pop("resume", None)
        quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
        accumulated = {} if manual else {"accumulate_grad_batches": 2}
        self.trainer = Trainer(max_epochs=epochs, callbacks=[Watch(), self.saver, self.callback], **quiet, **accumulated, **options)
        self.model, self.points, self.losses, self.folder = module(manual), points, losses, folder
        train, held = (torch.utils.data.DataLoader(examples(22), 4), torch.utils.data.DataLoader(examples(6), 6))
        self.trainer.fit(self.model, train, held, ckpt_path=resume, weights_only=True)

    @property
    def value(self) -> dict[str, Tensor]:
        return dict(self.callback.average.value())  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"))


def same(a: Any, b: Any) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def ema_of(points: list[dict[str, Tensor]], samples: list[float]) -> lw.Weights:
    """The formula itself: every point weighs the mass of its samples, faded by those that came after."""
    after = [sum(samples[i + 1 :]) for i in range(len(samples))]
    return lw.combine(points, Mean(tuple((1 - 2 ** (-n / HALF_LIFE)) * 2 ** (-t / HALF_LIFE) for n, t in zip(samples, after, strict=True))))


def test_every_sample_counts_once(whole: Run) -> None:
    assert whole.callback.average.told == STEPS  # type: ignore[attr-defined]
    expected = ema_of(whole.points, STEPS)
    assert all(torch.allclose(tensor, expected[name], atol=1e-6) for name, tensor in whole.value.items())


def test_manual_optimization_counts_alike(whole: Run, tmp_path: Path) -> None:
    manual = Run(tmp_path, manual=True)
    assert manual.callback.average.told == STEPS  # type: ignore[attr-defined]


def test_validation_uses_the_average_and_training_does_not(whole: Run) -> None:
    inputs, labels = examples(6).tensors
    losses: dict[str, list[float]] = {"average": [], "last": []}
    model = module().eval()
    for k in (3, 6):
        for word, weights in (("average", dict(ema_of(whole.points[:k], STEPS[:k]))), ("last", whole.points[k - 1])):
            model.load_state_dict(weights)
            losses[word].append(nn.functional.cross_entropy(model.net(inputs), labels).item())
    assert whole.losses == pytest.approx(losses["average"], abs=1e-6)
    assert whole.losses != pytest.approx(losses["last"], abs=1e-3)


def test_every_checkpoint_holds_both_and_no_code(whole: Run) -> None:
    for epoch, k in ((0, 3), (1, 6)):
        held = torch.load(whole.folder / f"epoch={epoch}.ckpt", weights_only=True)
        same(held["trained_state_dict"], whole.points[k - 1])
        expected = ema_of(whole.points[:k], STEPS[:k])
        assert all(torch.allclose(tensor, expected[name], atol=1e-6) for name, tensor in held["state_dict"].items())
    same(dict(lw.load(whole.folder / "epoch=1.ckpt")), whole.value)
    loaded = type(whole.model).load_from_checkpoint(whole.folder / "epoch=1.ckpt", weights_only=True)
    same(copied(loaded), whole.value)


def test_the_module_at_the_end_is_the_average(whole: Run) -> None:
    same(copied(whole.model), whole.value)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning")  # it is the run's own
def test_a_run_that_is_stopped_and_resumed_gives_the_same_bits(whole: Run, tmp_path: Path) -> None:
    Run(tmp_path, epochs=1)
    resumed = Run(tmp_path, resume=tmp_path / "last.ckpt")
    assert resumed.callback.average.told == STEPS[3:]  # type: ignore[attr-defined]
    assert len(resumed.points) == 3
    same(resumed.points[-1], whole.points[-1])
    same(resumed.value, whole.value)


BUILDS: dict[str, Callable[[nn.Module], Track]] = {
    "LAWA": lambda model: LAWA(model, k=3),
    "SWA": lambda model: SWA(model, start=10, every=3),
    "SwitchEMA": lambda model: SwitchEMA(model, half_life=20, switch_every=16),
    "SWAG": lambda model: SWAG(model, k=2),
}


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning")
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_resumed_in_bfloat16_with_any_average(build: Callable[[nn.Module], Track], tmp_path: Path) -> None:
    once = Run(tmp_path / "once", build, precision="bf16-true")
    Run(tmp_path / "twice", build, precision="bf16-true", epochs=1)
    twice = Run(tmp_path / "twice", build, precision="bf16-true", resume=tmp_path / "twice" / "last.ckpt")
    same(once.value, twice.value)
    assert {tensor.dtype for tensor in once.value.values()} == {torch.bfloat16}


def test_swad_is_told_every_validation_loss(tmp_path: Path) -> None:
    run = Run(tmp_path, lambda model: SWAD(model, patience=1, tolerance=1, ratio=1.0), evaluate=False, epochs=6)
    model = module()
    by_hand = SWAD(model, patience=1, tolerance=1, ratio=1.0)
    for k, point in enumerate(run.points):
        model.load_state_dict(point)
        by_hand.update(STEPS[k % 3])
        over = k % 3 == 2 and by_hand.validated(run.losses[k // 3])
    same(run.value, dict(by_hand.value()))
    assert over == (len(run.points) < 18)
    with pytest.raises(BadParameter, match="SWAD asks for the validation loss of the model itself"):
        Run(tmp_path / "other", SWAD)


def test_how_a_run_may_end(tmp_path: Path) -> None:
    best = Run(tmp_path / "best", end="best", mode="max")
    first = int(best.losses[1] > best.losses[0])
    assert first == 0  # the first is the best where a large loss is asked for
    same(copied(best.model), torch.load(tmp_path / "best" / "epoch=0.ckpt", weights_only=True)["state_dict"])
    last = Run(tmp_path / "last", end="last", evaluate=False)
    same(copied(last.model), last.points[-1])
    same(torch.load(tmp_path / "last" / "last.ckpt", weights_only=True)["state_dict"], last.points[-1])


def test_before_its_start_an_average_is_nowhere(tmp_path: Path) -> None:
    run = Run(tmp_path, lambda model: SWA(model, start=1000), epochs=1)
    same(copied(run.model), run.points[-1])
    assert "trained_state_dict" not in torch.load(tmp_path / "last.ckpt", weights_only=True)


def test_what_it_refuses(whole: Run, tmp_path: Path) -> None:
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 1, "num_sanity_val_steps": 0}
    data = torch.utils.data.DataLoader(examples(4), 4)
    with pytest.raises(BadParameter, match="end is 'average', 'best' or 'last', found 'first'"):
        lightning_callback(Spy, end="first")
    thin = ModelCheckpoint(tmp_path, save_weights_only=True)
    with pytest.raises(BadParameter, match="save_weights_only=True asks no callback"):
        Trainer(callbacks=[thin, lightning_callback(Spy)], **quiet).fit(module(), data, data)
    with pytest.raises(BadParameter, match="give all but one evaluate=False, end='last'"):
        Trainer(callbacks=[lightning_callback(Spy), lightning_callback(Spy, name="long")], **quiet, enable_checkpointing=False).fit(module(), data, data)
    with pytest.raises(BadParameter, match="end='best' needs a ModelCheckpoint"):
        Trainer(callbacks=[lightning_callback(Spy, end="best")], **quiet, enable_checkpointing=False).fit(module(), data, data)
    pair = [lightning_callback(Spy), lightning_callback(Spy, name="long", evaluate=False, end="last")]
    Trainer(callbacks=pair, **quiet, enable_checkpointing=False).fit(module(), data, data)
    assert [len(callback.average.told) for callback in pair] == [1, 1]  # type: ignore[attr-defined]
