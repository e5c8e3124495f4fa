"""Checkpoints in safetensors, in one file or several: headers are read at once, tensors one by one when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from netaudit.errors import TargetError, did_you_mean
from netaudit.intake.usercode import one_line, shown

INDEX = ".safetensors.index.json"
_SHOWN = 3


class Stored(Mapping[str, Tensor]):
    """Tensors in files, by name. Each look-up reads one tensor and closes its file again, so that none is kept but by the caller.

    ``headers`` has shape and dtype of each, as tensors on the meta device.
    """

    def __init__(self, files: Mapping[str, Path], headers: Mapping[str, Tensor]) -> None:
        self.headers = headers
        self._files = files

    def only(self, names: Collection[str]) -> Stored:
        """Those with these names."""
        files = {name: file for name, file in self._files.items() if name in names}
        return Stored(files, {name: self.headers[name] for name in files})

    def __getitem__(self, name: str) -> Tensor:
        file = self._files[name]
        try:
            with safe_open(file, framework="pt") as opened:
                tensor: Tensor = opened.get_tensor(name)
        except (SafetensorError, OSError, ValueError) as error:
            raise _damaged(file, error) from error
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files  # without reading it


def is_sharded(path: Path) -> bool:
    """Whether a path names several files: an index, or a folder."""
    return path.is_dir() or path.suffix == ".json"


def opened(path: Path) -> Stored:
    """The tensors of a file, of the shards that an index lists, or of a folder: that of its index, else of all its files.

    Raises:
        TargetError: a file is missing or damaged, holds a tensor twice, or lacks one that the index places in it.
    """
    if path.is_dir():
        indices = sorted(path.glob(f"*{INDEX}"))
        if len(indices) > 1:
            raise TargetError(f"{shown(path)} holds several indices: {_listed([one.name for one in indices])}", "name one of them")
        return _indexed(indices[0]) if indices else _joined(_in_folder(path), shown(path))
    return _indexed(path) if path.suffix == ".json" else _joined([path], shown(path))


def _in_folder(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = any(folder.glob("*.bin"))
        hint = (
            "save_pretrained(FOLDER) of transformers writes them" if pickled else "--weights takes a file, an index or a folder of shards"
        )
        raise TargetError(f"{shown(folder)} holds no .safetensors file", hint)
    return files


def _indexed(index: Path) -> Stored:
    """The tensors that an index lists, in the shards beside it."""
    placed = _weight_map(index)
    names = sorted(set(placed.values()))
    absent = [name for name in names if not (index.parent / name).is_file()]
    if absent:
        near = did_you_mean(absent[0], [file.name for file in index.parent.glob("*.safetensors")])
        hint = near or "copy every shard beside the index"
        raise TargetError(f"{shown(index)} lists {_count(absent, 'file')} not there: {_listed(absent)}", hint)
    headers = {name: _headers(index.parent / name) for name in names}
    lost = [name for name, shard in placed.items() if name not in headers[shard]]
    if lost:
        where = f"in {placed[lost[0]]}" if len({placed[name] for name in lost}) == 1 else "in their shards"
        raise TargetError(f"{shown(index)} lists {_count(lost, 'tensor')} not {where}: {_listed(lost)}", _COPIED)
    return Stored({n: index.parent / s for n, s in placed.items()}, {n: headers[s][n] for n, s in placed.items()})


def _weight_map(index: Path) -> dict[str, str]:
    try:
        data: object = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TargetError(f"{shown(index)} is not JSON: {one_line(str(error))}", _COPIED) from error
    placed = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(placed, dict) or not placed or not all(isinstance(value, str) for value in placed.values()):
        raise TargetError(f"{shown(index)} is no index: it has no weight_map from names to files", f"an index is called *{INDEX}")
    foreign = sorted({name for name in placed.values() if Path(name).name != name or not name.endswith(".safetensors")})
    if foreign:
        raise TargetError(
            f"{shown(index)} lists {foreign[0]!r}, which is no .safetensors file beside it", "convert the checkpoint to safetensors"
        )
    return placed


def _joined(files: list[Path], where: str) -> Stored:
    places: dict[str, Path] = {}
    headers: dict[str, Tensor] = {}
    for file in files:
        found = _headers(file)
        twice = next((name for name in found if name in places), None)
        if twice is not None:
            raise TargetError(f"{where} holds {twice} twice: in {places[twice].name} and in {file.name}", "name one file, or an index")
        places |= dict.fromkeys(found, file)
        headers |= found
    return Stored(places, headers)


def _headers(file: Path) -> dict[str, Tensor]:
    """Shape and dtype of every tensor of a file."""
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118  # it is no mapping
            return {name: torch.empty(one.get_shape(), device="meta") for name, one in slices.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(file, error) from error


_COPIED = "was it copied completely?"


def _damaged(file: Path, error: Exception) -> TargetError:
    return TargetError(f"{shown(file)} is damaged: {one_line(str(error))}", _COPIED)


def _count(names: list[str], kind: str) -> str:
    return f"a {kind} that is" if len(names) == 1 else f"{len(names)} {kind}s that are"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
