"""Finds the weights of a network in a training state: the moving average if there is one.

A file contains one set of tensors or several: the weights as trained (``model``, ``state_dict``),
their moving average (``ema``, ``model_ema``, ``ema_model``), and an optimiser. The choice of the
set changes every picture, so it is reported. A network is found by one tensor that it must have,
its anchor, under any prefix of a trainer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ..errors import ModelError, UsageError

EMA, RAW = "ema", "raw"
"""The values of ``--weights``: the moving average of the weights, or the weights as trained."""

_AVERAGED = re.compile(r"(^|[^a-z])(ema|shadow|swa)([^a-z]|$)")
_COUNTERS = re.compile(r"(^|[._])(decay|num_updates|initted|step|n_averaged)$")
_WRAPPERS = re.compile(r"^((_orig_mod|model|module)\.)+")
_DEPTH = 4


@dataclass(frozen=True, kw_only=True)
class State:
    """The weights of a network.

    ``tensors``: those by the network's own names. ``told``: which of a file's sets they are, in
    words.
    """

    tensors: dict[str, torch.Tensor]
    told: str


@dataclass(frozen=True, kw_only=True)
class _Set:
    """One set of weights in a file. ``label`` is its place."""

    label: str
    averaged: bool
    tensors: dict[str, torch.Tensor]


def read_tensors(path: Path) -> Any:
    """Reads the tensors and containers of a checkpoint file.

    The file is ``.pt``, ``.pth``, ``.ckpt`` or ``.safetensors``. Nothing in it is executed.

    Raises:
        UsageError: there is no such file.
        ModelError: it contains anything else.
    """
    try:
        return (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, "cpu", weights_only=True)
        )
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except Exception as error:  # noqa: BLE001 - pickle, zip and safetensors raise various errors
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{path} cannot be read as tensors alone ({first}); nothing in it was run. If you trust"
            " it, save its state dict anew with torch.save, or as safetensors"
        ) from error


def read_state(path: Path, anchor: str, wanted: str | None = None) -> State:
    """Reads the weights of a network from a checkpoint.

    The checkpoint may be a whole training state.

    Args:
        path: The file; see :func:`read_tensors`.
        anchor: The name of a tensor that the network must have.
        wanted: ``ema``, ``raw``, or the place of the set in the file. None means the moving average
            if there is one.

    Raises:
        ModelError: the file contains no state dict, several moving averages, or one whose names
            cannot be found.
        UsageError: it does not contain the wanted set.
    """
    data = read_tensors(path)
    sets = list(_sets(data, anchor, ""))
    sets += _by_order(data, sets)
    if not sets:
        return State(tensors=_plain(data, path), told="")
    averaged, raw = [s for s in sets if s.averaged], [s for s in sets if not s.averaged]
    has = " and ".join(f"{s.label or 'the state dict'} ({_kind(s)})" for s in sets)
    if wanted in (None, EMA) and not averaged and _unnamed_average(data):
        raise ModelError(
            f"{path} has a moving average of the weights as a list without names, which cannot be"
            " put to the network's; save it as a state dict, or take the weights as trained with"
            " --weights raw"
        )
    chosen = {None: averaged or raw[:1], EMA: averaged, RAW: raw[:1]}.get(
        wanted, [s for s in sets if s.label == wanted]
    )
    if not chosen:
        raise UsageError(f"{path} holds no {wanted!r} weights; it holds {has}")
    if len(chosen) > 1:
        names = " or ".join(repr(s.label) for s in chosen)
        raise ModelError(f"{path} holds several moving averages; choose one with --weights {names}")
    found = chosen[0]
    told = f"took {found.label or 'the state dict'}: {_kind(found)}"
    others = [s.label or "the state dict" for s in sets if s is not found]
    return State(
        tensors=found.tensors, told=told + (f" (also there: {', '.join(others)})" if others else "")
    )


def _kind(found: _Set) -> str:
    return "the moving average of the weights" if found.averaged else "the weights as trained"


def _sets(data: Any, anchor: str, label: str, depth: int = 0) -> Iterator[_Set]:
    """Returns every set of weights that contains the anchor."""
    if depth > _DEPTH:
        return
    if isinstance(data, (list, tuple)):
        yield from _of_list(data, anchor, label, depth)
    if not isinstance(data, Mapping):
        return
    flat = {str(name): value for name, value in data.items() if isinstance(value, torch.Tensor)}
    prefixes = sorted(
        name.removesuffix(anchor) for name in flat if name == anchor or name.endswith("." + anchor)
    )
    for prefix in prefixes:
        place = ".".join(
            filter(None, [label, prefix.strip(".") if _says_something(prefix) else ""])
        )
        own = prefix.lower()
        averaged = bool(_AVERAGED.search(own if _says_something(prefix) else label.lower()))
        yield _Set(label=place, averaged=averaged, tensors=_under(flat, prefix, prefixes))
        yield from _without_dots(flat, prefix)
    for key, value in data.items():
        if isinstance(value, (Mapping, list, tuple)):
            yield from _sets(value, anchor, ".".join(filter(None, [label, str(key)])), depth + 1)


def _says_something(prefix: str) -> bool:
    """Returns whether a prefix distinguishes sets of weights. A wrapper's prefix such as
    ``module.`` does not.
    """
    return bool(_WRAPPERS.sub("", prefix))


def _of_list(data: Sequence[Any], anchor: str, label: str, depth: int) -> Iterator[_Set]:
    """Reads the list that ermongroup's trainer saves: weights, optimiser, epoch, step and, last,
    the moving average.
    """
    found = [
        s for i, part in enumerate(data) for s in _sets(part, anchor, f"{label}[{i}]", depth + 1)
    ]
    for number, one in enumerate(found):
        last = number == len(found) - 1 and len(found) > 1
        yield _Set(label=one.label, averaged=one.averaged or last, tensors=one.tensors)


def _under(
    flat: Mapping[str, torch.Tensor], prefix: str, prefixes: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Returns the tensors of one set without its prefix. Tensors of other sets and counters are
    left out.
    """
    others = [p for p in prefixes if p != prefix and p and not prefix.startswith(p)]
    result = {}
    for name, tensor in flat.items():
        if tensor.ndim == 0 and _COUNTERS.search(name):
            continue
        if name.startswith(prefix) and not (
            not prefix and any(name.startswith(other) for other in others)
        ):
            result[name.removeprefix(prefix)] = tensor
        elif not any(name.startswith(other) for other in others) and not name.startswith(
            "model_ema."
        ):
            result[name] = tensor  # of no set: kept, so that strict loading finds it
    return result


def _without_dots(flat: Mapping[str, torch.Tensor], prefix: str) -> Iterator[_Set]:
    """Restores the names of latent diffusion's ``LitEma``, which keeps a moving average under
    ``model_ema.`` with names without dots.
    """
    names = [name for name in flat if name.startswith(prefix)]
    dotless = {name: "model_ema." + name.removeprefix("model.").replace(".", "") for name in names}
    if names and all(
        other in flat and flat[other].shape == flat[name].shape for name, other in dotless.items()
    ):
        tensors = {name.removeprefix(prefix): flat[other] for name, other in dotless.items()}
        yield _Set(label="model_ema", averaged=True, tensors=tensors)


def _by_order(data: Any, sets: Sequence[_Set]) -> list[_Set]:
    """Restores the names of a moving average that is a list, ``shadow_params``, in the order of the
    weights as trained, if all shapes match.
    """
    if not isinstance(data, Mapping) or any(s.averaged for s in sets):
        return []
    for key, value in data.items():
        shadow = value.get("shadow_params") if isinstance(value, Mapping) else None
        if not isinstance(shadow, (list, tuple)):
            continue
        for raw in sets:
            if [t.shape for t in shadow] == [t.shape for t in raw.tensors.values()]:
                tensors = dict(zip(raw.tensors, shadow, strict=True))
                return [_Set(label=str(key), averaged=True, tensors=tensors)]
    return []


def _unnamed_average(data: Any, depth: int = 0) -> bool:
    """Returns something that is called a moving average but is not a known set of weights."""
    if depth > _DEPTH:
        return False
    parts = (
        data.items()
        if isinstance(data, Mapping)
        else enumerate(data)
        if isinstance(data, (list, tuple))
        else ()
    )
    return any(
        (
            _AVERAGED.search(str(key).lower()) is not None
            and isinstance(value, (Mapping, list, tuple))
            and len(value) > 0
        )
        or (isinstance(value, (Mapping, list, tuple)) and _unnamed_average(value, depth + 1))
        for key, value in parts
    )


def _plain(data: Any, path: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of a file without the anchor, so that the missing ones can be named."""
    for nested in ("state_dict", "model", "ema"):
        if isinstance(data, Mapping) and isinstance(data.get(nested), Mapping):
            data = data[nested]
    if (
        not isinstance(data, Mapping)
        or not data
        or not all(isinstance(v, torch.Tensor) for v in data.values())
    ):
        raise ModelError(f"{path} holds no state dict; expected a mapping from names to tensors")
    return {_WRAPPERS.sub("", str(name)): tensor for name, tensor in data.items()}
