"""An average kept by the real Trainer: trained, evaluated, saved, stopped, resumed, loaded."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import loomweight as lw
from loomweight.errors import BadParameter
from loomweight.rules import Mean
from loomweight.trajectory import EMA, LAWA, SWA, SWAD, Track, load_state
from loomweight.trajectory.transformers_callback import transformers_callback

HALF_LIFE = 20.0
STATE = "average_state.safetensors"
STEPS = [8, 8, 6, 8, 8, 6]  # 22 examples, batches of 4, two of them a step


class Spy(EMA):
    """Keeps what it was told."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, half_life=HALF_LIFE)
        self.told: list[float] = []

    def update(self, samples: float = 1.0) -> bool:
        self.told.append(samples)
        return super().update(samples)


@dataclass
class Run:
    """A run that is over, and the weights after each of its steps."""

    trainer: Any
    callback: Any
    folder: Path
    points: list[dict[str, Tensor]] = field(default_factory=list)

    @property
    def value(self) -> dict[str, Tensor]:
        return dict(self.callback.average.value())


def tiny(dtype: torch.dtype = torch.float32) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 8}
        return BertForSequenceClassification(BertConfig(**sizes, num_labels=2)).to(dtype)


def examples(n: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    return [{"input_ids": torch.randint(0, 20, (6,), generator=generator), "labels": i % 2} for i in range(n)]


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def train(
    folder: Path,
    build: Callable[[nn.Module], Track] = Spy,
    *,
    stop: int = 0,
    resume: bool | str = False,
    dtype: torch.dtype = torch.float32,
    options: dict[str, Any] | None = None,
    end: bool = True,
    evaluate: bool = True,
) -> Run:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module, **rest: Any) -> None:
            run.points.append(copied(model))
            control.should_training_stop = control.should_training_stop or state.global_step == stop

    quiet = {"report_to": [], "disable_tqdm": True, "use_cpu": True}
    steps = {"num_train_epochs": 2, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    rates = {"lr_scheduler_type": "constant", "learning_rate": 0.01}
    given = quiet | steps | rates | (options or {})
    args = TrainingArguments(str(folder), per_device_train_batch_size=4, gradient_accumulation_steps=2, **given)
    callback = transformers_callback(build, end=end, evaluate=evaluate)
    trainer = Trainer(model=tiny(dtype), args=args, train_dataset=examples(22), eval_dataset=examples(4), callbacks=[Watch(), callback])
    run = Run(trainer, callback, folder)
    trainer.train(resume_from_checkpoint=resume)
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("run"))


def same(a: Any, b: Any) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def ema_of(points: list[dict[str, Tensor]], samples: list[float]) -> lw.Weights:
    """The formula itself: every point weighs the mass of its samples, faded by those that came after."""
    after = [sum(samples[i + 1 :]) for i in range(len(samples))]
    return lw.combine(points, Mean(tuple((1 - 2 ** (-n / HALF_LIFE)) * 2 ** (-t / HALF_LIFE) for n, t in zip(samples, after, strict=True))))


def test_every_sample_counts_once(whole: Run) -> None:
    assert whole.callback.average.told == STEPS


def test_it_is_the_average_of_the_points_of_the_run(whole: Run) -> None:
    expected = ema_of(whole.points, STEPS)
    for name, tensor in whole.value.items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name


def test_evaluation_uses_the_average_and_training_does_not(whole: Run) -> None:
    logged = [entry["eval_loss"] for entry in whole.trainer.state.log_history if "eval_loss" in entry]
    batch = {key: torch.stack([torch.as_tensor(example[key]) for example in examples(4)]) for key in ("input_ids", "labels")}
    losses: dict[str, list[float]] = {"average": [], "last": []}
    model = tiny().eval()
    for k in (2, 4, 6):
        for word, weights in (("average", dict(ema_of(whole.points[:k], STEPS[:k]))), ("last", whole.points[k - 1])):
            model.load_state_dict(weights)
            losses[word].append(model(**batch).loss.item())
    assert logged == pytest.approx(losses["average"], abs=1e-6)
    assert logged != pytest.approx(losses["last"], abs=1e-4)


def test_every_checkpoint_holds_both(whole: Run) -> None:
    for k in (2, 4, 6):
        folder = whole.folder / f"checkpoint-{k}"
        same(dict(lw.load(folder / "model.safetensors")), whole.points[k - 1])
        average = dict(lw.load(type(whole.trainer.model).from_pretrained(folder / "average")))
        again = load_state(Spy(tiny()), folder / STATE)
        same(average, dict(again.value()))
        expected = ema_of(whole.points[:k], STEPS[:k])
        assert all(torch.allclose(average[name], expected[name], atol=1e-6) for name in average)


def test_the_model_at_the_end_is_the_average(whole: Run, tmp_path: Path) -> None:
    same(copied(whole.trainer.model), whole.value)
    whole.trainer.save_model(str(tmp_path))
    same(copied(type(whole.trainer.model).from_pretrained(tmp_path)), whole.value)


BUILDS: dict[str, Callable[[nn.Module], Track]] = {"LAWA": lambda model: LAWA(model, k=3), "SWA": lambda model: SWA(model, start=10, every=3)}


def test_a_run_that_is_stopped_and_resumed_gives_the_same_bits(whole: Run, tmp_path: Path) -> None:
    train(tmp_path, stop=4)
    resumed = train(tmp_path, resume=True)
    assert resumed.callback.average.told == STEPS[4:]
    same(resumed.points[-1], whole.points[-1])
    same(resumed.value, whole.value)


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_resumed_in_bfloat16_with_any_average(build: Callable[[nn.Module], Track], tmp_path: Path) -> None:
    once = train(tmp_path / "once", build, dtype=torch.bfloat16, options={"bf16": True})
    train(tmp_path / "twice", build, dtype=torch.bfloat16, options={"bf16": True}, stop=2)
    twice = train(tmp_path / "twice", build, dtype=torch.bfloat16, options={"bf16": True}, resume=str(tmp_path / "twice" / "checkpoint-2"))
    same(once.value, twice.value)
    assert all(tensor.dtype == torch.bfloat16 for tensor in once.value.values() if tensor.is_floating_point())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21 asks transformers 5.23 for it
def test_an_adapter_alone_is_averaged_saved_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    def adapted(dtype: torch.dtype = torch.float32, plain: Callable[..., Any] = tiny) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return get_peft_model(plain(dtype), LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))

    monkeypatch.setattr(sys.modules[__name__], "tiny", adapted)
    options = {"eval_strategy": "no"}
    once = train(tmp_path / "once", options=options)
    train(tmp_path / "twice", options=options, stop=4)
    twice = train(tmp_path / "twice", options=options, resume=True)
    same(once.value, twice.value)
    assert len(once.callback.average.totals) == 4  # two factors, and weight and bias of the classifier
    monkeypatch.undo()
    loaded = PeftModel.from_pretrained(tiny(), tmp_path / "once" / "checkpoint-6" / "average" / "adapter")
    same(copied(loaded), once.value)


def test_swad_is_told_every_validation_loss(tmp_path: Path) -> None:
    """The second is above the first, and so above the threshold: training stops."""
    options = {"learning_rate": 0.2, "eval_steps": 1, "save_strategy": "no"}
    run = train(tmp_path, lambda model: SWAD(model, patience=1, tolerance=1, ratio=1.0), evaluate=False, options=options)
    losses = [entry["eval_loss"] for entry in run.trainer.state.log_history if "eval_loss" in entry]
    assert losses[1] > losses[0]
    assert len(losses) == len(run.points) == 2
    model = tiny()
    by_hand = SWAD(model, patience=1, tolerance=1, ratio=1.0)
    for samples, point, loss in zip(STEPS, run.points, losses, strict=False):
        model.load_state_dict(point)
        by_hand.update(samples)
        by_hand.validated(loss)
    same(run.value, dict(by_hand.value()))
    same(copied(run.trainer.model), run.value)
    with pytest.raises(BadParameter, match="SWAD asks for the validation loss of the model itself: give the callback evaluate=False"):
        train(tmp_path / "other", SWAD)


def test_the_best_average_is_there_at_the_end(tmp_path: Path) -> None:
    """Where the largest loss is asked for, a checkpoint before the last is the best."""
    run = train(tmp_path, options={"load_best_model_at_end": True, "greater_is_better": True, "learning_rate": 1.0})
    losses = [entry["eval_loss"] for entry in run.trainer.state.log_history if "eval_loss" in entry]
    best = (2, 4, 6)[losses.index(max(losses))]
    assert best != 6
    assert run.trainer.state.best_model_checkpoint == str(tmp_path / f"checkpoint-{best}")
    same(copied(run.trainer.model), copied(type(run.trainer.model).from_pretrained(tmp_path / f"checkpoint-{best}" / "average")))


def test_what_is_left_as_it_is(tmp_path: Path) -> None:
    """Without `end` the model keeps its last weights, without `evaluate` it is evaluated with them; before its start an average is nowhere."""
    run = train(tmp_path, lambda model: SWA(model, start=1000), options={"num_train_epochs": 1, "save_steps": 3})
    same(copied(run.trainer.model), run.points[-1])
    assert not (tmp_path / "checkpoint-3" / "average").exists()
    assert load_state(SWA(tiny(), start=1000), tmp_path / "checkpoint-3" / STATE).clock.run == 22
    last = train(tmp_path / "last", options={"num_train_epochs": 1, "save_strategy": "no", "eval_steps": 3}, end=False, evaluate=False)
    same(copied(last.trainer.model), last.points[-1])
    logged = last.trainer.state.log_history
    assert [entry["eval_loss"] for entry in logged if "eval_loss" in entry] == pytest.approx([last.trainer.evaluate()["eval_loss"]], abs=1e-6)


def test_resuming_from_a_checkpoint_without_an_average_is_an_error(whole: Run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(whole.folder / "checkpoint-2", tmp_path / "checkpoint-2")
    (tmp_path / "checkpoint-2" / STATE).unlink()
    with pytest.raises(BadParameter, match=r"goes on from step 2, but no checkpoint of it with an average .* is in .*checkpoint-2; name it"):
        train(tmp_path, resume=str(tmp_path / "checkpoint-2"))
    (tmp_path / "checkpoint-2").rename(tmp_path / "other")
    shutil.copytree(whole.folder / "checkpoint-4", tmp_path / "checkpoint-2")  # of another step: not taken for it
    with pytest.raises(BadParameter, match="goes on from step 2"):
        train(tmp_path, resume=str(tmp_path / "other"))


def test_two_averages_of_one_run(whole: Run, tmp_path: Path) -> None:
    """Each has files of its own; only one may be in the model."""
    from transformers import Trainer, TrainingArguments

    args = TrainingArguments(str(tmp_path), max_steps=1, save_steps=1, report_to=[], disable_tqdm=True, use_cpu=True)
    follow = {"first": transformers_callback(Spy), "long": transformers_callback(Spy, name="long", evaluate=False, end=False)}
    Trainer(model=tiny(), args=args, train_dataset=examples(8), callbacks=list(follow.values())).train()
    files = {path.name for path in (tmp_path / "checkpoint-1").iterdir()}
    assert files >= {"average", STATE, "long", "long_state.safetensors"}
    trainer = Trainer(model=tiny(), args=args, train_dataset=examples(8), callbacks=[transformers_callback(Spy), transformers_callback(Spy, name="long")])
    with pytest.raises(BadParameter, match="give all but one evaluate=False, end=False"):
        trainer.train()
    broken_off = trainer.model
    again = Trainer(model=broken_off, args=args, train_dataset=examples(8), callbacks=[callback := transformers_callback(Spy)])
    again.train()
    assert callback.average.told == [8]
    assert not broken_off._forward_pre_hooks


TWO = """
import sys
from pathlib import Path
from tests.trajectory.test_transformers_callback import train
run = train(Path(sys.argv[1]), options={"eval_strategy": "no", "num_train_epochs": 1})
print("told", run.callback.average.told, flush=True)
"""


@pytest.mark.slow
def test_samples_of_all_processes_count(tmp_path: Path) -> None:
    """22 examples over two processes: 11 each, in batches of 4, 4, 3 (the Trainer fills up to 24 so that both have the same), two a step."""
    script = tmp_path / "two.py"
    script.write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29531", str(script), str(tmp_path / "out")]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, cwd=root, env=_env(root), capture_output=True, text=True, check=False, timeout=110)
    told = [line for line in ran.stdout.splitlines() if line.startswith("told")]
    assert told == ["told [16.0, 8.0]"] * 2, ran.stderr[-2000:]


def _env(root: Path) -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": f"{root / 'src'}:{root}", "ACCELERATE_USE_CPU": "true"}
