"""The grammar of targets: ``model.py:Net``, ``pkg.mod:factory``, ``timm:NAME`` and the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from netaudit.errors import TargetError, did_you_mean
from netaudit.intake.checkpoint import PICKLED
from netaudit.intake.usercode import shown

Kind: TypeAlias = Literal["file", "folder", "program", "module", "torchvision", "timm", "hf"]

GRAMMAR = "a target is model.py, model.py:Net, a folder, pkg.mod:factory, x.pt2, torchvision:NAME, timm:NAME or hf:FOLDER"
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_NAMED = re.compile(rf"(?P<place>.{{2,}}):(?P<name>{_DOTTED.pattern})")  # one letter before the colon is a drive
_FOREIGN = {
    **dict.fromkeys((".safetensors", *PICKLED), "weights have no architecture: netaudit check model.py --weights {}"),
    ".ipynb": "export the notebook: jupyter nbconvert --to script {}",
    ".onnx": "an exported graph is not trained: audit the model it was made from",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A target read: its kind, where it is, and the name after the colon."""

    kind: Kind
    place: str
    name: str = ""


def parse(text: str, names: Iterable[str] = ()) -> Target:
    """Read a target; ``names`` are the targets of the configuration, for the suggestion.

    Raises:
        TargetError: nothing is there, or nothing that can be audited.
    """
    match text.partition(":"):
        case ("torchvision" | "timm" | "hf") as zoo, ":", rest:
            return Target(zoo, rest)
    place, name = split(text)
    path = Path(place)
    if path.is_file() and path.suffix.lower() == ".py":
        return Target("file", place, name)
    if name and _DOTTED.fullmatch(place) and path.suffix != ".py":
        return Target("module", place, name)
    if path.is_dir() and not name:
        return Target("folder", place)
    if path.is_file() and path.suffix == ".pt2" and not name:
        return Target("program", place)
    if path.is_file():
        raise TargetError(f"{shown(place)} is not a python file", _FOREIGN.get(path.suffix.lower(), GRAMMAR).format(shown(place)))
    if path.is_symlink() or path.exists():
        raise TargetError(
            f"{shown(place)} is neither a file nor a folder", "a link to nothing, or a device" if path.is_symlink() else GRAMMAR
        )
    raise TargetError(f"there is no file or folder {place}", _nearest(text, path, names))


def split(text: str) -> tuple[str, str]:
    """The part before the last colon and the name behind it, which is empty when there is none."""
    match = _NAMED.fullmatch(text)
    return (match["place"], match["name"]) if match else (text, "")


def location(text: str) -> tuple[str, str]:
    """A target in a form that is equal for equal places, however the path is written."""
    place, name = split(text)
    return str(Path(place).resolve()), name


def _nearest(text: str, path: Path, names: Iterable[str]) -> str:
    """What to do about a target that is not there: the near name first."""
    close = did_you_mean(text, names)
    if close:
        return close
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {shown(folder)} either"
    known = [entry.name for entry in folder.iterdir() if entry.is_dir() or entry.suffix in (".py", ".pt2")]
    close = did_you_mean(path.name, known)
    if close:
        return close
    if _DOTTED.fullmatch(text) and "." in text and path.suffix != ".py":
        return f"for a module, name what makes the model: {text}:build"
    return GRAMMAR
