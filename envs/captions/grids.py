"""Mazes and MiniGrid in words."""

from collections.abc import Iterable
from typing import Any

from envs.captions.base import Captioner, Words

_TAKEN = {3: "reach goal", 4: "collect gold", 5: "collect silver", 6: "collect red tile"}
"""By code of a maze's cell, what stepping on it does."""
_MAZE_TASKS = {"goal": ("reach goal",), "collect": ("collect gold", "collect silver")}


class MazeCaptions(Captioner):
    """Of `envs.suites.grids.mazes.Mazes`; the task decides what counts as an achievement."""

    def __init__(self, task: str) -> None:
        things = ("goal", "gold", "silver", "red tile")
        self.words = Words(
            did=(*_TAKEN.values(), "bump into wall"),
            scene=tuple(f"see {thing}" for thing in things),
            verbs=("reach", "collect", "push", "open", "bump into"),
            objects=(*things, "wall", "floor"),
            alone=(),
            achievements=_MAZE_TASKS[task],
        )

    def look(self, env: Any) -> Any:
        """Note the state, which does not change."""
        return env._state

    def did(self, env: Any, before: Any, action: Any) -> Iterable[str]:
        """Return what was stepped on, or that a wall was in the way."""
        agent = env._state.agent
        if agent == before.agent:
            yield "bump into wall"
        elif before.board[agent] in _TAKEN:
            yield _TAKEN[before.board[agent]]

    def scene(self, env: Any) -> Iterable[str]:
        """Return what is in view."""
        seen = env._seen(env._state)
        return (told for code, told in zip(_TAKEN, self.words.scene, strict=True) if code in seen)


_MOVABLE = ("key", "ball", "box")
_SEEN = (*_MOVABLE, "open door", "closed door", "locked door", "goal", "lava", "wall")
_DOORS = ("open door", "closed door", "locked door")  # by upstream's number of a door's state
_AIMS = {
    "open door": ("door",),
    "pick up key": ("key",),
    "pick up ball": ("pick up the ball", "find the blue ball"),
    "pick up box": ("pick up the box",),
    "reach goal": ("reach the goal",),
}
"""Captions, and of which words in a task's own sentence they are an achievement."""


class MiniGridCaptions(Captioner):
    """Of `envs.suites.grids.minigrid.MiniGrid`; colours are not told. `about` is the task's own sentence."""

    def __init__(self, about: str) -> None:
        aims = {told for told, parts in _AIMS.items() if any(part in about.lower() for part in parts)}
        did = (
            *(f"{verb} {thing}" for verb in ("pick up", "drop") for thing in _MOVABLE),
            *(f"{verb} door" for verb in ("open", "close", "unlock")),
            "open box",
            "reach goal",
            "step into lava",
        )
        self.words = Words(
            did=did,
            scene=(*(f"see {thing}" for thing in _SEEN), *(f"have {thing}" for thing in _MOVABLE)),
            verbs=("pick up", "drop", "open", "close", "unlock", "reach", "step into"),
            objects=(*_MOVABLE, "door", "goal", "lava", "wall"),
            alone=(),
            achievements=tuple(told for told in did if told in aims),
        )

    def look(self, env: Any) -> Any:
        """Note what is ahead and where, whether it is a door that is open or locked, and what is carried."""
        inner = env._upstream
        place = tuple(inner.front_pos)
        ahead = inner.grid.get(*place)
        return (
            ahead,
            place,
            getattr(ahead, "is_open", None),
            getattr(ahead, "is_locked", None),
            inner.carrying,
        )

    def did(self, env: Any, before: Any, action: Any) -> Iterable[str]:
        """Return what was picked up, dropped, opened, closed, unlocked, or stepped on."""
        inner, (ahead, place, was_open, was_locked, carried) = env._upstream, before
        if inner.carrying is not None and carried is None:
            yield f"pick up {inner.carrying.type}"
        if carried is not None and inner.carrying is None:
            yield f"drop {carried.type}"
        if ahead is None:
            return
        if ahead.type == "door" and ahead.is_open != was_open:
            yield "open door" if ahead.is_open else "close door"
            if was_locked and not ahead.is_locked:
                yield "unlock door"
        if ahead.type == "box" and action == inner.actions.toggle:
            yield "open box"
        if ahead.type in ("goal", "lava") and tuple(inner.agent_pos) == place:
            yield "reach goal" if ahead.type == "goal" else "step into lava"

    def scene(self, env: Any) -> Iterable[str]:
        """Return what the agent's view shows, and what it carries."""
        from minigrid.core.constants import IDX_TO_OBJECT

        inner = env._upstream
        for kind, _, state in {tuple(cell) for cell in inner.gen_obs()["image"].reshape(-1, 3).tolist()}:
            thing = _DOORS[state] if IDX_TO_OBJECT[kind] == "door" else IDX_TO_OBJECT[kind]
            if thing in _SEEN:
                yield f"see {thing}"
        if inner.carrying is not None:
            yield f"have {inner.carrying.type}"
