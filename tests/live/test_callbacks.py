"""The callbacks, with the real frameworks: they audit when it is time, log, stop, and change nothing of the training."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netaudit
from netaudit.intake.libraries import library
from netaudit.integrations.watch import Watch, scalars

SIGMOIDS = [layer for _ in range(14) for layer in (nn.Linear(16, 16), nn.Sigmoid())]


def _vanishing() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*SIGMOIDS, nn.Linear(16, 2))


def _loss(model: nn.Module, x: object) -> Tensor:
    out: Tensor = model(x).square().mean()
    return out


@pytest.mark.parametrize(("every", "due"), [(0, []), (2, [2, 4]), (5, [5])])
def test_it_is_time_every_so_many_steps(every: int, due: list[int]) -> None:
    assert [step for step in range(6) if Watch(every).is_due(step)] == due


def test_findings_end_the_training_or_warn() -> None:
    x = torch.randn(8, 16)
    with pytest.raises(netaudit.FindingsError, match="NA201"):
        Watch().look(_vanishing(), inputs=x, loss=_loss)
    with pytest.warns(UserWarning, match="NA201"):
        report = Watch(fail_level=None).look(_vanishing(), inputs=x, loss=_loss)
    numbers = scalars(report)
    assert numbers["netaudit/error"] == 1.0
    assert numbers["netaudit/log10_least_S"] < -5.0 < numbers["netaudit/log10_largest_S"]


@pytest.mark.zoo
def test_the_trainer_of_transformers(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    transformers = library("transformers") if find_spec("transformers") else pytest.skip("transformers is not installed")
    from netaudit.integrations.transformers import NetauditCallback

    config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=32, vocab_size=64, n_positions=16, use_cache=False)
    data = [{"input_ids": ids, "labels": ids} for ids in torch.randint(64, (8, 16))]

    def losses(callbacks: list[Any]) -> list[Any]:
        torch.manual_seed(0)
        arguments = transformers.TrainingArguments(
            str(tmp_path), max_steps=3, per_device_train_batch_size=2, report_to=[], use_cpu=True, logging_steps=1, save_strategy="no"
        )
        trainer = transformers.Trainer(transformers.GPT2LMHeadModel(config), arguments, train_dataset=data, callbacks=callbacks)
        trainer.train()
        return [row["loss"] for row in trainer.state.log_history if "loss" in row]

    callback = NetauditCallback(every=2, fail_level=None)
    assert losses([callback]) == losses([])
    assert len(callback.reports) == 2
    assert all(report.targets[0].cotangent == "traced loss" for report in callback.reports)
    assert callback.reports[0].targets[0].training.optimizers[0].kind == "AdamW"


def test_lightning(tmp_path: Path) -> None:
    lightning = library("lightning.pytorch") if find_spec("lightning") else pytest.skip("lightning is not installed")
    from netaudit.integrations.lightning import NetauditCallback

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]  # a module that may be missing
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))

        def forward(self, x: Tensor) -> Any:
            return self.net(x)

        def training_step(self, batch: Tensor, _index: int) -> Tensor:
            return _loss(self, batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def weights(callbacks: list[Any]) -> list[Tensor]:
        torch.manual_seed(0)
        module = Module()
        data: Any = torch.utils.data.DataLoader(list(torch.randn(6, 16)), batch_size=2)  # type: ignore[arg-type]  # a list is a data set
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False, "logger": False}
        trainer = lightning.Trainer(max_steps=3, accelerator="cpu", default_root_dir=tmp_path, callbacks=callbacks, **quiet)
        trainer.fit(module, data)
        return [parameter.detach().clone() for parameter in module.parameters()]

    callback = NetauditCallback(torch.randn(4, 16), loss=_loss, every=2, fail_level=None)
    assert all(map(torch.equal, weights([callback]), weights([])))
    assert len(callback.reports) == 2
    assert callback.reports[0].targets[0].training.optimizers[0].kind == "AdamW"
