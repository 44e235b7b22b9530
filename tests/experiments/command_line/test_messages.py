"""Every flag that our sentences name is one that a command has."""

import ast
import re
from pathlib import Path

import tyro

from experiments.command_line.commands import COMMANDS
from experiments.command_line.flags import GROUPS

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("expedition", "envs", "world_model", "exploration", "agents", "training", "transfer", "experiments")
OTHERS = {"--head", "--no-deps"}
"""Flags of `ray start` and of pip."""


def flags():
    """All flags of all commands, and those that reach into a study's groups."""
    own = {"--help", "--help-all", "--version"}
    for name, kind in COMMANDS.items():
        for action in tyro.extras.get_parser(kind, prog=name)._actions:
            own.update(action.option_strings)
    found = set(own)
    for group in GROUPS:
        stem = "--agent." if "agent" in group else "--training."
        mine = f"--{group.replace('_', '-')}."
        found |= {mine + flag.removeprefix(stem) for flag in own if flag.startswith(stem)}
    return found


def named(source):
    """The flags that the texts of a file name; one that is put together as it runs cannot be read here."""
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    words = [re.findall(r"(?<![\w-])--[a-z][a-z0-9.-]*", text) for text in texts if isinstance(text, str)]
    return {word.rstrip(".-") for found in words for word in found if not word.endswith("-")}


def test_every_flag_in_a_text_is_a_flag_of_some_command():
    known, unknown = flags() | OTHERS, {}
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        if wrong := named(path.read_text()) - known:
            unknown[path.relative_to(ROOT).as_posix()] = wrong
    assert unknown == {}


def test_a_wrong_flag_is_found():
    text = "raise UserError(f'allow {x} less with --training.storage.replay-gib.')"
    assert named(text) - flags() == {"--training.storage.replay-gib"}
    assert named("'--training.replay-gib, or --env'") <= flags()
