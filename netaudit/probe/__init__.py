"""What is measured on the real model: the only room that runs it forward and backward."""

from netaudit.probe.gradients import measured_gradients

__all__ = ["measured_gradients"]
