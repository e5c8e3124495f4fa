"""Where a probe runs."""

from __future__ import annotations

import torch

from netaudit.errors import ProbeError, did_you_mean

KINDS = ("auto", "cpu", "cuda", "mps")


def device_of(word: str) -> torch.device:
    """``auto`` (an accelerator if there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises:
        ProbeError: there is no such device.
    """
    kind, _, index = word.partition(":")
    if kind not in KINDS or (index and not index.isdecimal()):
        raise ProbeError(f"--device {word!r} is no device", did_you_mean(word, KINDS) or f"devices: {', '.join(KINDS)}, cuda:0")
    here = available()
    if kind == "auto":
        return torch.device(here[-1])
    if kind not in here:
        raise ProbeError(f"there is no {kind} here", f"this machine has {', '.join(here)}")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ProbeError(f"there is no {word} here", f"this machine has cuda:0 to cuda:{torch.cuda.device_count() - 1}")
    return torch.device(word)


def available() -> tuple[str, ...]:
    """The kinds of devices of this machine, the one to prefer last."""
    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.append("mps")
    if torch.cuda.is_available():
        found.append("cuda")
    return tuple(found)


def title(device: torch.device) -> str:
    """What a report calls a device: ``cpu``, ``cuda:0 (NVIDIA H100 80GB HBM3)``."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
