"""Python files: importing them afresh, and finding what in them is a model."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from torch import nn

from netaudit.errors import TargetError, did_you_mean
from netaudit.intake.signatures import misfit, shown_signature, signature_of
from netaudit.intake.sites import recording
from netaudit.intake.usercode import is_installed, shown, user_code

PROTOCOL = ("build", "example_inputs", "loss", "optimizer", "scheduler", "training_setup")
# A function is called only when it says that it makes a model: calling main() or train() to see what it returns would
# not do.
_FACTORY = re.compile(r"(build|make|create|get|new)_(\w+_)?(model|net|network|module)")

_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A name of a file that stands for a model."""

    name: str
    kind: Literal["instance", "class", "function"]
    value: object


def load_file(path: Path) -> ModuleType:
    """Import a python file afresh: its folder on ``sys.path``, as for ``python FILE``, or as part of its package.

    The caller restores ``sys.path``. Neighbours that the file imports stay in ``sys.modules``, unless a module of
    that name was there before.

    Raises:
        TargetError: the file has a syntax error, raises, or exits.
    """
    folders, name = _import_name(path)
    sys.path[:0] = folders
    sys.argv[:] = [str(path)]  # a file that parses arguments at import gets its defaults, not ours
    what = f"importing {shown(path)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path
    module = importlib.util.module_from_spec(spec)
    with _neighbours(Path(folders[0])), recording(), user_code(what):
        if "." in name:
            importlib.import_module(name.rpartition(".")[0])
        sys.modules[name] = module
        try:
            # Not loader.exec_module: it keeps bytecode, which outlives an edit within the same second.
            exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102  # running the file is what was asked for
        except BaseException:
            sys.modules.pop(name, None)
            raise
    return module


def load_module(name: str) -> ModuleType:
    """Import ``pkg.mod``, with the working directory on the path.

    Raises:
        TargetError: there is no such module, or importing it fails.
    """
    sys.path.insert(0, str(Path.cwd()))
    parent = name.rpartition(".")[0]
    if parent:
        load_module(parent)
    with user_code(f"importing {name}"):
        found = name in sys.modules or importlib.util.find_spec(name) is not None
    if not found:
        folders = getattr(sys.modules.get(parent), "__path__", [str(Path.cwd())])
        neighbours = [path.stem for folder in folders for path in Path(folder).glob("*") if path.suffix in ("", ".py")]
        close = did_you_mean(name.rpartition(".")[2], neighbours)
        raise TargetError(f"there is no module {name!r}", close or "is it installed, or under the working directory?")
    with recording(), user_code(f"importing {name}"):
        return importlib.import_module(name)


def find(module: ModuleType, dotted: str, where: str) -> object:
    """What ``dotted`` names in ``module``.

    Raises:
        TargetError: nothing has that name.
    """
    value: object = module
    for name in dotted.split("."):
        with user_code(f"looking up {dotted!r} in {where}"):
            found = getattr(value, name, _NOTHING)  # not dir(): a package may load its parts when they are asked for
        if found is _NOTHING:
            close = did_you_mean(name, (known for known in dir(value) if not known.startswith("__")))
            classes = [known for known, one in vars(module).items() if _is_module_class(one)]
            raise TargetError(f"{where} has no {dotted!r}", close or f"it defines {', '.join(sorted(classes)) or 'no module'}")
        value = found
    return value


def survey(module: ModuleType, args: Mapping[str, object]) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """The candidates among the public names of a file, in order, and for the near misses why they are none.

    A candidate is an instance of ``nn.Module``, a class of modules defined here, or a function defined here that says
    it makes one (its annotation, or a name like ``make_model``); classes and functions must be callable with ``args``
    alone.
    """
    found, refused = [], []
    for name, value in vars(module).items():
        kind = None if name.startswith("_") or name in PROTOCOL else _kind(value, module)
        if kind is None:
            continue
        reason = _refusal(kind, value, args)
        if reason:
            refused.append(f"{kind} {name} {reason}")
        else:
            found.append(Candidate(name, kind, value))
    return tuple(found), tuple(refused)


def hook(module: ModuleType, name: str) -> Callable[..., object] | None:
    """The protocol's function of that name, if the file has one: ``loss = nn.MSELoss()`` is none."""
    value: object = vars(module).get(name)
    return value if callable(value) and not isinstance(value, nn.Module) and not inspect.isclass(value) else None


def origin_file(module: ModuleType) -> str:
    """The file of a module, as it is printed; the module's name when it has none."""
    file = module.__file__
    return shown(file) if file is not None else module.__name__


def _kind(value: object, module: ModuleType) -> Literal["instance", "class", "function"] | None:
    if isinstance(value, nn.Module):
        return "instance"
    if getattr(value, "__module__", None) != module.__name__:
        return None
    if _is_module_class(value):
        return "class"
    return "function" if inspect.isfunction(value) else None


def _is_module_class(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, nn.Module)


def _refusal(kind: str, value: object, args: Mapping[str, object]) -> str:
    """Why a value cannot be taken for a model, or an empty string."""
    if kind == "instance":
        return "is built already: --arg does not reach it" if args else ""
    assert callable(value)
    if inspect.isclass(value) and (inspect.isabstract(value) or getattr(value, "forward", None) is nn.Module.forward):
        return "has no forward()"
    if kind == "function" and not _makes_module(value):
        return "is not called, since nothing says that it returns a module: annotate it with '-> nn.Module', or name it"
    return unfit(value, args)


def unfit(factory: Callable[..., object], args: Mapping[str, object]) -> str:
    """Why the factory cannot be called with ``args``, with its signature; an empty string when it can."""
    signature = signature_of(factory)
    reason = "" if signature is None else misfit(signature, (), args)
    if not reason or signature is None:
        return ""
    return f"{reason}; its signature is {shown_signature(getattr(factory, '__name__', 'call'), signature)}"


def _makes_module(function: Callable[..., object]) -> bool:
    if _FACTORY.fullmatch(getattr(function, "__name__", "")):
        return True
    try:
        return _is_module_class(typing.get_type_hints(function).get("return"))
    except (NameError, TypeError, AttributeError):  # an annotation that cannot be evaluated says nothing
        return False


def _import_name(path: Path) -> tuple[tuple[str, ...], str]:
    """What goes on ``sys.path``, and the name to import the file by: dotted inside a package, else its stem.

    A stem that means something else in this process (``random.py``, or ``model.py`` of another folder) gets a suffix.
    """
    root = path.parent
    while (root / "__init__.py").exists() and root != root.parent:
        root = root.parent
    if root != path.parent:
        relative = path.relative_to(root).with_suffix("")
        return (str(root), str(path.parent)), ".".join(p for p in relative.parts if p != "__init__")
    loaded = getattr(sys.modules.get(path.stem), "__file__", None)
    taken = path.stem in sys.modules and loaded != str(path)
    if not taken and path.stem.isidentifier() and path.stem not in sys.stdlib_module_names:
        return (str(root),), path.stem
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    return (str(root),), re.sub(r"\W", "_", f"{path.stem}_{digest}")


@contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """Let the folder's own modules win over loaded ones of the same name: two projects may each have a ``utils.py``.

    Installed modules win as they do under ``python FILE`` once they are imported.
    """
    names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    names -= {"__main__"}
    loaded = {name: module for name, module in sys.modules.items() if name.split(".")[0] in names}
    foreign = {name: module for name, module in loaded.items() if _is_foreign(module, folder)}
    for name in foreign:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.modules.update(foreign)


def _is_foreign(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return bool(file) and not is_installed(str(file)) and not Path(str(file)).is_relative_to(folder)
