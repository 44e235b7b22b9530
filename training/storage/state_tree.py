"""Nested state dictionaries as JSON plus tensors, and files that a kill leaves old or new, never torn."""

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from expedition.errors import UserError

_TAGS = ("$array", "$dict", "$float", "$scalar", "$tensor", "$tuple")


def flatten(tree: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Split a nested state dictionary into what JSON can hold and its tensors.

    Args:
        tree: leaves are torch tensors, numpy arrays or scalars, int, float, str, bool or None; inner nodes
            are mappings (str or int keys), lists or tuples.

    Returns:
        A JSON-able skeleton in which each tensor stands as `{"$tensor": name}`, and the tensors by name (the
        path of their keys joined with "/"), on the CPU, contiguous, sharing no memory with each other.

    Raises:
        TypeError: a leaf or a key of another type; the message names its place.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _encode(tree, (), tensors)
    return {"tree": skeleton}, _unshared(tensors)


def unflatten(skeleton: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[Any, Any]:
    """Build again what `flatten` was given: equal values, dtypes, and numpy or torch as they were."""
    return _decode(skeleton["tree"], tensors)


def _encode(node: Any, path: tuple[str, ...], tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(node, torch.Tensor):
        return {"$tensor": _store(node.detach().cpu().contiguous(), path, tensors)}
    if isinstance(node, np.ndarray | np.generic) and not isinstance(node, float):
        tag = "$array" if isinstance(node, np.ndarray) else "$scalar"
        return {tag: _store(_to_torch(node, path), path, tensors)}
    if isinstance(node, Mapping):
        return _encode_mapping(node, path, tensors)
    if isinstance(node, list | tuple):
        items = [_encode(item, (*path, str(i)), tensors) for i, item in enumerate(node)]
        return items if isinstance(node, list) else {"$tuple": items}
    if isinstance(node, float):  # strict JSON knows neither nan nor infinity
        return float(node) if math.isfinite(node) else {"$float": repr(float(node))}
    if node is None or isinstance(node, bool | int | str):
        return node
    raise TypeError(f"A state dictionary cannot hold {type(node).__name__} (at '{'/'.join(path)}').")


def _encode_mapping(node: Mapping[Any, Any], path: tuple[str, ...], tensors: dict[str, torch.Tensor]) -> Any:
    for key in node:
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise TypeError(f"A state dictionary's keys are str or int, not {key!r} (at '{'/'.join(path)}').")
    items = [(key, _encode(value, (*path, str(key)), tensors)) for key, value in node.items()]
    if all(isinstance(key, str) and key not in _TAGS for key in node):
        return dict(items)
    return {"$dict": [[key, value] for key, value in items]}  # JSON's own keys would turn 0 into "0"


def _decode(node: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(node, list):
        return [_decode(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    tag = next(iter(node)) if len(node) == 1 else None
    if tag not in _TAGS:
        return {key: _decode(value, tensors) for key, value in node.items()}
    value = node[tag]
    if tag == "$dict":
        return {key: _decode(item, tensors) for key, item in value}
    if tag == "$tuple":
        return tuple(_decode(item, tensors) for item in value)
    if tag == "$float":
        return float(value)
    tensor = tensors[value]
    return tensor if tag == "$tensor" else tensor.numpy()[() if tag == "$scalar" else ...]


def _store(tensor: torch.Tensor, path: tuple[str, ...], tensors: dict[str, torch.Tensor]) -> str:
    base = name = "/".join(path)
    copies = 1
    while name in tensors:  # {"a": {"b": x}, "a/b": y} give one path twice
        copies += 1
        name = f"{base}~{copies}"
    tensors[name] = tensor
    return name


def _to_torch(array: np.ndarray | np.generic, path: tuple[str, ...]) -> torch.Tensor:
    try:
        # A copy, because torch warns of read-only memory and refuses negative strides.
        return torch.from_numpy(np.array(array, order="C", dtype=array.dtype.newbyteorder("=")))
    except TypeError as error:
        raise TypeError(
            f"A checkpoint cannot hold arrays of {array.dtype} (at '{'/'.join(path)}')."
        ) from error


def _unshared(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy what is a view of a larger storage, or of one seen before: safetensors refuses both."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != tensor.numel() * tensor.element_size():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        seen.add(tensor.untyped_storage().data_ptr())
        result[name] = tensor
    return result


def plain(value: Any) -> Any:
    """Return the value as strict JSON holds it: arrays as numbers and lists, nan and infinities as None."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON and flush it to the disk (not aside: see `written_aside`)."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    sync(path)


def publish_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write strict JSON whole or not at all.

    Raises:
        UserError: the disk refuses.
    """
    text = json.dumps(plain(value), indent=1, allow_nan=False) + "\n"
    publish_bytes(path, text.encode(), durable)


def publish_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a file whole or not at all.

    Raises:
        UserError: the disk refuses.
    """
    errors = disk_errors(f"'{path.name}'", path.parent, "what was there before is intact")
    with errors, written_aside(path, durable) as aside:
        aside.write_bytes(content)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written_aside(path: Path, durable: bool = True) -> Iterator[Path]:
    """Give a hidden name beside `path` to write to, and rename it to `path` when the block ends well.

    Args:
        path: the file; its folder is made.
        durable: flush to the disk, so that a power cut spares it as well as a kill does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        yield aside
        if durable:
            sync(aside)
        os.replace(aside, path)
        if durable:
            sync(path.parent)
    except Exception:
        # Best effort: the folder may be the very thing that is broken, and the first error says more.
        with _ignored_os_errors():
            aside.unlink(missing_ok=True)
        raise


@contextmanager
def disk_errors(what: str, path: Path, kept: str) -> Iterator[None]:
    """Turn a failure of the disk into a `UserError` of one sentence.

    Args:
        what: what was being written ("the checkpoint of step 500").
        path: where.
        kept: what is safe all the same ("the previous checkpoint is intact").
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"Could not write {what} in '{path}' ({_reason(error)}): {kept}, so {_advice(error)} and run the "
            "same command again."
        ) from error


@contextmanager
def _ignored_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        return


def _reason(error: OSError | SafetensorError) -> str:
    """The system's words without the paths, which the sentence already has."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _advice(error: OSError | SafetensorError) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return "free some space on that disk"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make that folder writable or choose another"
    if number in (errno.EEXIST, errno.ENOTDIR):
        return "move the file that stands where a folder is needed, or choose another folder,"
    return "mend that"
