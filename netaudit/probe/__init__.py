"""What is measured on the real model: the only room that runs it forward and backward."""

from netaudit.probe.gradients import measured_gradients
from netaudit.probe.run import Plan
from netaudit.probe.target import Known, Probing, probed

__all__ = ["Known", "Plan", "Probing", "measured_gradients", "probed"]
