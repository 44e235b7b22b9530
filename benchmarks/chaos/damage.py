"""Damaged checkpoints: what is loaded is what was saved, and all else is refused in one sentence."""

from __future__ import annotations

import functools
import json
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.chaos.record import Section, Short, counted
from benchmarks.chaos.tiny import MACHINE, carried_out, forked, preload, settings_file
from expedition import UserError
from training import RunConfig, read_config
from training.storage.checkpoint import Checkpoint, checkpoint_folders
from training.storage.replay import saved_rows
from training.storage.state_tree import flatten
from transfer.loader import open_source

STEPS = 2_800
"""Two environments fill two chunks of the replay of 512 rows each, and what is in none."""
REPLAY = ("replay.json", "replay.safetensors")


def damage(count: int, seed: int, folder: Path, say: Callable[[str], None]) -> Section:
    """Damage `count` copies of a run; every third has its replay alone damaged."""
    preload()
    run = _made(folder)
    saved = {path.name: _contents(Checkpoint(path)) for path in checkpoint_folders(run)}
    config = read_config(run)
    words, short = [], []
    for index in range(count):
        copy, rng = folder / "copy", random.Random(f"{seed} {index}")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy)
        replay_alone = index % 3 == 0
        done = _break(rng, copy, replay_alone)
        found, why = _opened(copy, saved, config)
        why += _without_replay(copy, folder) if replay_alone else _used(copy, folder)
        words.append("with the replay alone damaged" if replay_alone else found)
        short += [Short(f"--seed {seed}, damage {index} ({done})", each) for each in why]
        for each in why:
            say(f"  damage {index} ({done}): {each}")
    return Section("damage", count, f"damaged copies of a run, seed {seed}", tuple(short), counted(words))


def _made(folder: Path) -> Path:
    """A finished run with two checkpoints and a replay in chunks."""
    run = folder / "run"
    settings = settings_file(folder, train_ratio=0.2, log_every=500, checkpoint_seconds=0.1)
    said = carried_out(
        ["pretrain", "--config", str(settings), "--steps", str(STEPS), *MACHINE, "--out", str(run)]
    )
    if said.code != 0 or len(checkpoint_folders(run)) < 2 or len(list((run / "replay").iterdir())) < 2:
        raise SystemExit(f"The run to damage did not end well: {said.err}")
    return run


def _break(rng: random.Random, copy: Path, replay_alone: bool) -> str:
    """Damage a copy, which has an older checkpoint to go back to in half of the cases."""
    older, newest = checkpoint_folders(copy)
    if rng.random() < 0.5:
        shutil.rmtree(older)
    rows = [*sorted((copy / "replay").iterdir()), *(newest / name for name in REPLAY)]
    if replay_alone:
        return damaged(rng, rows)
    config = copy / "config.json"
    files = [*sorted(newest.iterdir()), *rows, newest / "manifest.json", config]
    return damaged(rng, files)


def _contents(checkpoint: Checkpoint) -> dict[str, Any]:
    """All that a checkpoint holds, in a form to compare."""
    held: dict[str, Any] = {name: _section(checkpoint, name) for name in checkpoint.sections}
    held["rows"] = _rows(checkpoint)
    held["step"], held["metadata"] = checkpoint.step, checkpoint.metadata
    return held


def _section(checkpoint: Checkpoint, name: str) -> Any:
    return _plain(checkpoint.load(name))


def _rows(checkpoint: Checkpoint) -> list[tuple[int, Any]]:
    rows = saved_rows(checkpoint.load("replay"), checkpoint.whole_files())
    return [(first, _plain(each)) for first, each in rows]


def _plain(tree: Mapping[Any, Any]) -> tuple[str, dict[str, tuple[str, bytes]]]:
    """A state as text and bytes: NaN equals NaN, and 0 is not -0."""
    skeleton, tensors = flatten(tree)
    return json.dumps(skeleton), {
        name: (str(tensor.dtype), tensor.numpy().tobytes()) for name, tensor in tensors.items()
    }


def _opened(copy: Path, saved: Mapping[str, Any], config: RunConfig) -> tuple[str, list[str]]:
    """How a copy opens, in words, and what fell short: what was loaded and was never saved, a traceback."""
    newest = checkpoint_folders(copy)[-1].name

    def load() -> int:
        print(json.dumps(_loaded(copy, saved, config)))
        return 0

    said = forked(load)
    if said.why is not None:
        return "broken", [said.why]
    told = json.loads(said.out)
    silent = [f"'{name}' was loaded though it is another" for name in told["other"]]
    if told["checkpoint"] not in (None, newest) and newest not in said.err:
        silent.append("an older checkpoint was taken without a word")
    refused = told["checkpoint"] is None or told["refused"]
    older = told["checkpoint"] not in (None, newest)
    return ("refused" if refused else "opened as the one before" if older else "harmless"), silent


def _loaded(copy: Path, saved: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """Load each part of a copy: the checkpoint's name, parts that were refused, and those that are others."""
    try:
        source = open_source(copy)
        checkpoint = source.checkpoint
    except UserError as error:
        return {"checkpoint": None, "refused": [_clear(error)], "other": []}
    held, refused = saved[checkpoint.path.name], []
    other = [] if source.config == config else ["config"]
    readers: dict[str, Callable[[], Any]] = {
        name: functools.partial(_section, checkpoint, name) for name in checkpoint.sections
    }
    readers |= {"rows": lambda: _rows(checkpoint), "step": lambda: checkpoint.step}
    readers |= {"metadata": lambda: checkpoint.metadata}
    for name, read in readers.items():
        try:
            found = read()
        except UserError as error:
            refused.append(_clear(error))
            continue
        other += [name] if found != held[name] else []
    return {"checkpoint": checkpoint.path.name, "refused": refused, "other": other}


def _clear(error: UserError) -> str:
    """The sentence of a refusal.

    Raises:
        ValueError: it is none.
    """
    if "\n" in str(error) or not str(error).endswith((".", "?")):
        raise ValueError(f"no sentence: {error}")
    return str(error)


def _used(copy: Path, folder: Path) -> list[str]:
    """Why the commands that read a damaged run, or go on with it, come to no clear end."""
    again = ["pretrain", "--config", str(folder / "tiny.json"), "--steps", str(STEPS + 40), *MACHINE]
    commands = {
        "evaluate": ["evaluate", "--from", str(copy), "--episodes", "1"],
        "going on": [*again, "--out", str(copy)],
    }
    ended = {name: carried_out(arguments) for name, arguments in commands.items()}
    return [f"{name}: {said.why}" for name, said in ended.items() if said.why is not None]


def _without_replay(copy: Path, folder: Path) -> list[str]:
    """Why a run whose replay alone is damaged is not evaluated, or not carried from."""
    tuned = folder / "tuned"
    shutil.rmtree(tuned, ignore_errors=True)
    plan = ["finetune", "--from", str(copy), "--plan", "model+policy", "--steps", "40", *MACHINE]
    commands = {
        "evaluate": ["evaluate", "--from", str(copy), "--episodes", "1"],
        "fine-tuning": [*plan, "--out", str(tuned)],
    }
    ended = {name: carried_out(arguments) for name, arguments in commands.items()}
    return [f"{name}: {said.why or said.sentence}" for name, said in ended.items() if said.code != 0]


def flip(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """Another bit somewhere."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def blank(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """A stretch of zeros, as after a power cut."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    data[at : at + 512] = bytes(len(data[at : at + 512]))
    path.write_bytes(data)


def cut(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """The end is missing, or all of it."""
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def append(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """Something behind the end."""
    with path.open("ab") as file:
        file.write(rng.randbytes(rng.randint(1, 64)))


def delete(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """It is gone."""
    path.unlink()


def swap(path: Path, rng: random.Random, others: Sequence[Path]) -> None:
    """It and another have each other's content."""
    other = rng.choice([each for each in others if each != path])
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


WAYS = (flip, flip, blank, cut, append, delete, swap)
"""A flipped bit is the hardest to see: it comes twice as often."""


def damaged(rng: random.Random, files: Sequence[Path]) -> str:
    """Damage one to three of `files`; returns what was done, in words."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        there = [path for path in files if path.exists() and path.stat().st_size]
        if len(there) < 2:
            break
        way, path = rng.choice(WAYS), rng.choice(there)
        way(path, rng, there)
        done.append(f"{way.__name__} {path.parent.name}/{path.name}")
    return ", ".join(done)
