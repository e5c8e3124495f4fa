"""The settings of a project: ``[tool.netaudit]`` in ``pyproject.toml``, or ``netaudit.toml``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from netaudit.errors import ConfigError, did_you_mean
from netaudit.settings import kind_of, nearest, shown
from netaudit.training import Described, Precision

_PREFIX = "tool.netaudit"
_SHOWN = 5  # errors listed of one file


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class _Table(BaseModel):
    """A table of the file: only known keys are taken, with hyphens or underscores, and no value is converted."""

    model_config = ConfigDict(alias_generator=_kebab, populate_by_name=True, extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# TOML knows lists only: Words and Betas are the two places where one is taken for a tuple.
Words = Annotated[tuple[str, ...], Field(strict=False)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Share, Share], Field(strict=False)]


class TargetConfig(_Table):
    """A named target: what to load, its inputs as ``--input`` takes them, arguments of its factory, a checkpoint.

    Paths in the file are relative to the file; here they are relative to the working directory.
    """

    target: str
    inputs: Words = ()
    args: dict[str, object] = Field(default_factory=dict)
    weights: str | None = None


class Override(_Table):
    """Rules that do not count for the modules whose path matches a glob."""

    module: str
    ignore: Words


class TrainingConfig(_Table):
    """How the model is going to be trained, as far as the file says; ``warmup`` and ``steps`` count updates."""

    optimizer: str | None = None
    lr: Positive | None = None
    momentum: NotNegative | None = None
    weight_decay: NotNegative | None = None
    betas: Betas | None = None
    eps: NotNegative | None = None
    schedule: Literal["constant", "linear", "cosine"] | None = None
    warmup: Annotated[int, Field(ge=0)] | None = None
    steps: Count | None = None
    schedule_steps: Count | None = None
    clip: Positive | None = None
    clip_value: Positive | None = None
    accumulation: Count | None = None
    batch_size: Count | None = None
    precision: Precision | None = None
    scaler: bool | None = None
    ema: Share | None = None

    @property
    def described(self) -> Described:
        """The same as a plain value."""
        return Described(**self.model_dump())


class Config(_Table):
    """The settings of a project. ``path`` is the file they come from, None when there is none."""

    select: Words = ()
    ignore: Words = ()
    extend_select: Words = ()
    preview: bool = False
    fail_level: Literal["error", "warning", "info"] = "warning"
    exit_zero: bool = False
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 1.0
    mode: Literal["train", "eval"] = "train"
    output: Words = ()
    baseline: str | None = None
    targets: dict[str, TargetConfig] = Field(default_factory=dict)
    overrides: Annotated[tuple[Override, ...], Field(strict=False)] = ()
    training: TrainingConfig = TrainingConfig()
    _path: Path | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path | None:
        """The file that these settings were read from."""
        return self._path


def load_config(start: Path | None = None) -> Config:
    """The settings nearest to ``start`` (a folder; the working directory if None), going up; the defaults if none.

    A ``pyproject.toml`` without ``[tool.netaudit]`` does not count.

    Raises:
        ConfigError: a file is not TOML, has an unknown key, or a value that is not valid.
    """
    found = nearest(start)
    if found is None:
        return Config()
    path, table = found
    return _validated(table, path)


def _validated(table: Mapping[str, object], path: Path) -> Config:
    try:
        config = Config.model_validate(table)
    except ValidationError as error:
        prefix = () if path.name == "netaudit.toml" else (_PREFIX,)
        lines = [_described(item["type"], item["loc"], item["msg"], item["input"], prefix) for item in error.errors()]
        more = f"\nand {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        text = "\n".join(f"{shown(path)}: {line}" for line, _ in lines[:_SHOWN])
        raise ConfigError(text + more, lines[0][1]) from error
    targets = {name: _anchored(target, path.parent) for name, target in config.targets.items()}
    baseline = None if config.baseline is None else _relative(config.baseline, path.parent)
    config = config.model_copy(update={"targets": targets, "baseline": baseline})
    config._path = path
    return config


def dumped(config: Config) -> dict[str, Any]:
    """Settings as JSON; paths are relative to the working directory."""
    name = None if config.path is None else config.path.name
    return {"path": name, "settings": config.model_dump(mode="json", by_alias=True)}


def restored(data: Mapping[str, Any]) -> Config:
    """The settings that were dumped, as if their file lay in the working directory."""
    config = Config.model_validate(data["settings"])
    config._path = None if data["path"] is None else Path(data["path"]).absolute()
    return config


def said(values: Mapping[str, object], mark: str) -> Described:
    """What is said of training by keys of ``[tool.netaudit.training]`` in another place; None is not said. ``mark`` stands before a key.

    Raises:
        ConfigError: there is no such key, or its value is not possible.
    """
    try:
        return TrainingConfig.model_validate({key: value for key, value in values.items() if value is not None}).described
    except ValidationError as error:
        item = error.errors()[0]
        loc = ("training", *(_kebab(str(part)) for part in item["loc"]))
        text, hint = _described(item["type"], loc, item["msg"], item["input"], ())
        raise ConfigError(text.replace("training.", mark, 1), hint) from error


def _described(kind: str, loc: Sequence[str | int], message: str, value: object, prefix: tuple[str, ...]) -> tuple[str, str]:
    """One of pydantic's errors in our words, and what to do about it."""
    key = ".".join((*prefix, *map(str, loc)))
    known = _keys(loc[:-1])
    if kind == "extra_forbidden":
        close = did_you_mean(_kebab(str(loc[-1])), known)
        return f"unknown key {key}" + (f": {close}" if close else ""), f"known here: {', '.join(known)}"
    if kind == "too_long" or (kind == "missing" and isinstance(loc[-1], int)):
        return (
            f"{'.'.join((*prefix, *map(str, loc[:2])))}: the list has the wrong length",
            "betas are two numbers: [0.9, 0.999]",
        )
    if kind == "missing":
        return f"{key} is missing", f"every table in {loc[0]} needs it"
    expected = _expected(message)
    if isinstance(value, str):
        close = f'write ["{value}"]' if expected == "a list" else did_you_mean(value, re.findall(r"'([^']*)'", expected))
        return f"{key}: expected {expected}, found {kind_of(value)}", close
    return f"{key}: expected {expected}, found {kind_of(value)}", ""


def _expected(message: str) -> str:
    """What pydantic says should be there, in the words of TOML."""
    text = message.removeprefix("Input should be ").replace("a valid tuple", "a list").replace("a valid integer", "an integer")
    text = re.sub(r"valid (dictionary or instance of \w+|dictionary)", "table", text).replace("a valid ", "a ")
    return f"a number {text}" if text.startswith(("greater", "less")) else text


def _keys(loc: Sequence[str | int]) -> tuple[str, ...]:
    """The keys of the table at ``loc``, as they are written."""
    tables: Mapping[str, type[BaseModel]] = {"targets": TargetConfig, "overrides": Override, "training": TrainingConfig}
    table = tables.get(str(loc[0]), Config) if loc else Config
    return tuple(_kebab(name) for name in table.model_fields)


def _anchored(target: TargetConfig, folder: Path) -> TargetConfig:
    """The same target with its paths, which the file gives relative to itself, relative to the working directory."""
    weights = None if target.weights is None else _relative(target.weights, folder)
    path, colon, name = target.target.partition(":")
    if path == "hf":
        return target.model_copy(update={"target": f"hf:{_relative(name, folder)}", "weights": weights})
    is_path = path.endswith((".py", ".pt2")) or (not colon and (folder / path).exists())
    moved = _relative(path, folder) + colon + name if is_path else target.target
    return target.model_copy(update={"target": moved, "weights": weights})


def _relative(path: str, folder: Path) -> str:
    return path if Path(path).is_absolute() else Path(os.path.relpath(folder / path)).as_posix()
