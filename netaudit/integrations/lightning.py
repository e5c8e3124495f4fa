"""A callback for Lightning, under either of its names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netaudit.finding import Severity
from netaudit.integrations.watch import Watch, scalars

try:
    from lightning.pytorch import Callback  # type: ignore[import-not-found,unused-ignore]  # an integration, no dependency
except ImportError:  # the package under its old name
    from pytorch_lightning import Callback  # type: ignore[assignment,import-not-found,no-redef,unused-ignore]

if TYPE_CHECKING:
    from netaudit.intake.subject import Loss
    from netaudit.results import Report


class NetauditCallback(Callback):  # type: ignore[misc,unused-ignore]  # see above
    """Audits the module before the first step, and every so many steps from the live weights.

    ``inputs``: what ``forward`` takes; without it the module's ``example_input_array``, else a guess. ``loss(model, inputs)`` is the
    scalar that is minimised. Findings and sizes of S go to every logger of the trainer. ``reports`` are all reports so far. For the rest
    see ``netaudit.integrations.watch.Watch``.
    """

    def __init__(
        self,
        inputs: object = None,
        *,
        loss: Loss | None = None,
        every: int = 0,
        fail_level: Severity | None = "error",
        **options: Any,
    ) -> None:
        super().__init__()
        self.inputs, self.loss = inputs, loss
        self.watch = Watch(every, fail_level, options)
        self.reports: list[Report] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Before the first step."""
        self._look(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After every step; not often is it time."""
        del outputs, batch, batch_idx
        if self.watch.is_due(trainer.global_step):
            self._look(trainer, pl_module)

    def _look(self, trainer: Any, module: Any) -> None:
        report = self.watch.look(module, inputs=self.inputs, loss=self.loss, optimizer=list(trainer.optimizers), apart=(trainer,))
        self.reports.append(report)
        for logger in trainer.loggers:
            logger.log_metrics(scalars(report), step=trainer.global_step)
