"""Construction (Bapst et al. 2019, arXiv:1904.03177): build with blocks under gravity, with glue at a price.

A step picks a block at hand, says where it is put and whether it is sticky, and lets all blocks come to rest.
What the paper leaves open, and where we do otherwise, is told in docs/environments.md.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.adapter import shown_observations
from envs.suite import Draw, Option, Suite, Task
from envs.suites.construction.actions import OBJECT, OFFSETS, ROWS, absolute, placed, relative
from envs.suites.construction.blocks import Block
from envs.suites.construction.scenes import COLUMNS, Scene
from envs.suites.construction.seen import FEATURES, LARGEST, Objects, draw
from envs.suites.construction.shapes import overlap
from envs.suites.construction.tasks import RULES, Room
from envs.suites.levels import DRAWN, END, Dice, Levelled, means
from expedition import UserError

METRICS = ("progress", "success", "placed", "sticky", "hit_obstacle", "overlapped")
TOUCHING = 0.02
"""Area that a block may share with another where it is put, in units^2; a small block has 0.49."""
LARGE = 256
"""Height and width of what `render` returns, in pixels."""
COMMON, GREATEST = 1.5, 2.0
"""Up to the first size all scenes of a difficulty have the same spaces; the second is the largest."""
HIT, OVERLAPPED = "hit_obstacle", "overlapped"
"""How a placement can fail."""
Observation = dict[str, np.ndarray]


class State(NamedTuple):
    """All that the future depends on.

    Attributes:
        level: its number. luck: state of the dice that draw the next level. steps: steps taken.
        over: whether the episode has ended. used: bit i is set once block i of the supply is gone.
        blocks: those that were placed, in order. score: what they are worth.
    """

    level: int
    luck: int
    steps: int
    over: bool
    used: int
    blocks: tuple[Block, ...]
    score: float


class Construction(Levelled):
    """One of the four tasks, whose true simulator a planner can branch: `clone`, `restore`.

    Observation: `objects` float32 (N, 12), the rows of `seen.Objects` by `seen.FEATURES`, with
    `objects_mask` int8 (N,), 1 where a row holds an object; or `image` uint8 (image_size, image_size, 3); or
    all three; or `vector` float32 (N * 12,), the rows one after the other.

    Actions: MultiDiscrete, (block at hand, column, row, sticky) or (block at hand, object, offset, sticky),
    as `actions.absolute` and `actions.relative` read them. A choice that cannot be made costs a step and
    changes nothing. Where rows of objects are seen, the object is a pointer at them (`pointers`).

    On the last step `info["episode_metrics"]` holds `progress` (share of the best score), `success`, how many
    blocks were `placed`, how many of them `sticky`, and whether the episode ended because a block
    `hit_obstacle` or `overlapped` another where it was put.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 3}

    def __init__(
        self,
        task: str,
        observe: str = "objects",
        actions: str = "absolute",
        image_size: int = 64,
        num_levels: int = 0,
        start_level: int = 0,
        difficulty: int = -1,
        size: float = 1.0,
        steps: int = 0,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Choose the task, what is seen, how to act, and which levels are played.

        Args:
            task: one of RULES.
            observe: "objects", "pixels", "both" or "flat".
            actions: "absolute" or "relative".
            image_size: height and width of the picture, in pixels.
            num_levels: how many levels are played; 0 for all from `start_level` on.
            start_level: the first of them.
            difficulty: from 0; -1 for the task's hardest.
            size: how many times as much there is in a scene, and as high, as in the paper's.
            steps: steps of an episode at most; 0 for the task's own.
            render_mode: "rgb_array" or None.

        Raises:
            UserError: there is no such difficulty, size or set of levels.
        """
        self._rules = RULES[task]
        _check(task, difficulty, size, start_level + max(num_levels, 1))
        from envs.suites.construction.physics import settle  # needs the package

        self._settle = settle
        self.render_mode = render_mode
        self._key = (task, self._rules.hardest if difficulty < 0 else difficulty, size)
        self._steps, self._image_size = steps, image_size
        self._levels = (start_level, num_levels or END - start_level)
        self._objects = Objects(_room(*self._key, steps))
        self._shown, self._relative = observe, actions == "relative"
        self.observation_space = spaces.Dict(_entries(observe, self._objects.count, image_size))
        self.action_space = _choices(self._objects, self._relative)
        shows = self._relative and observe in ("objects", "both")
        self.pointers = {OBJECT: "objects"} if shows else {}

    def level(self, number: int) -> Scene:
        """Return what a level's number stands for."""
        return _level(number, *self._key)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Put one block and let all come to rest. `info["level"]` is the level's number."""
        before = self.clone()
        if before.over:
            raise gymnasium.error.ResetNeeded("Call reset before step: the episode has ended.")
        if not self.action_space.contains(np.asarray(action)):
            raise gymnasium.error.InvalidAction(f"Actions are {self.action_space}, not {action}.")
        scene = self.level(before.level)
        state, failure = self._play(before._replace(steps=before.steps + 1), scene, action)
        success = not failure and state.score >= self._rules.enough * self._rules.best(scene) - 1e-9
        spent = self._rules.few and state.used == 2 ** len(scene.supply) - 1
        terminated = bool(failure) or success or spent
        truncated = not terminated and state.steps >= (self._steps or scene.limit)
        reward = 0.0
        if not failure:
            glued = _glued(state) - _glued(before)
            reward = state.score - before.score - self._rules.sticky * glued
        info: dict[str, Any] = {"level": state.level}
        if terminated or truncated:
            state = state._replace(over=True)
            info["episode_metrics"] = self._metrics(state, scene, success, failure)
        self._state = state
        return self._observe(state), reward, terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """Return a (256, 256, 3) uint8 picture, or None without a render mode."""
        return None if self.render_mode is None else draw(self._table(self.clone())[0], LARGE)

    def _begin(self, level: int, dice: Dice) -> State:
        return State(level, dice.state, 0, False, 0, (), 0.0)

    def _play(self, state: State, scene: Scene, action: np.ndarray) -> tuple[State, str]:
        """Return the state after an action, and how it failed; what cannot be done changes nothing."""
        chosen = [int(number) for number in action]
        number = chosen[0]
        if number >= len(scene.supply) or state.used >> number & 1:
            return state, ""
        width = scene.supply[number]
        put = absolute(chosen)
        if self._relative:
            found = relative(chosen, self._objects.shapes(scene, state.used, state.blocks), width)
            if found is None:
                return state, ""
            put = found
        block = placed(put, width, len(state.blocks) + 1)
        if self._rules.few:
            state = state._replace(used=state.used | 1 << number)
        return self._land(state, scene, block)

    def _land(self, state: State, scene: Scene, block: Block) -> tuple[State, str]:
        """Let a block come to rest, unless there is no room for it where it is put."""
        blocks = (*state.blocks, block)
        if any(overlap(block, obstacle) > 0 for obstacle in scene.obstacles):
            return state._replace(blocks=blocks), HIT
        if any(overlap(block, other) > TOUCHING for other in state.blocks):
            return state._replace(blocks=blocks), OVERLAPPED
        blocks, hit = self._settle(blocks, scene.obstacles)
        score = state.score if hit else self._rules.score(scene, blocks)
        return state._replace(blocks=blocks, score=score), HIT if hit else ""

    def _metrics(self, state: State, scene: Scene, success: bool, failure: str) -> dict[str, float]:
        values = (state.score / self._rules.best(scene), success, len(state.blocks), _glued(state))
        ends = (failure == HIT, failure == OVERLAPPED)
        return {name: float(value) for name, value in zip(METRICS, (*values, *ends), strict=True)}

    def _table(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        shapes = self._objects.shapes(self.level(state.level), state.used, state.blocks)
        return self._objects.table(shapes)

    def _observe(self, state: State) -> Observation:
        table, mask = self._table(state)
        if self._shown == "flat":
            return {"vector": table.ravel()}
        seen = {} if self._shown == "pixels" else {"objects": table, "objects_mask": mask}
        if self._shown != "objects":
            seen["image"] = draw(table, self._image_size)
        return seen


def _check(task: str, difficulty: int, size: float, end: int) -> None:
    hardest = RULES[task].hardest
    if difficulty > hardest:
        raise UserError(f"'{task}' has difficulties 0 to {hardest}, not {difficulty}.")
    if size > GREATEST:
        raise UserError(f"The size of a scene is {GREATEST:g} at most, not {size:g}.")
    if end > END:
        raise UserError(f"There are levels 0 to {END - 1}: lower start_level or num_levels.")


def _glued(state: State) -> int:
    return sum(block.sticky for block in state.blocks)


def _room(task: str, difficulty: int, size: float, steps: int) -> Room:
    """Return the rows that the objects of a difficulty take, in all sizes up to `COMMON`."""
    room = RULES[task].room(difficulty, max(size, COMMON))
    return room._replace(placed=steps) if steps and not RULES[task].few else room


def _entries(observe: str, count: int, image_size: int) -> dict[str, spaces.Space[Any]]:
    entries: dict[str, spaces.Space[Any]] = {}
    if observe == "flat":
        entries["vector"] = spaces.Box(-LARGEST, LARGEST, (count * len(FEATURES),), np.float32)
    if observe in ("objects", "both"):
        entries["objects"] = spaces.Box(-LARGEST, LARGEST, (count, len(FEATURES)), np.float32)
        entries["objects_mask"] = spaces.MultiBinary(count)
    if observe in ("pixels", "both"):
        entries["image"] = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
    return entries


def _choices(objects: Objects, related: bool) -> spaces.MultiDiscrete[Any]:
    where = [objects.count, OFFSETS] if related else [COLUMNS + 1, ROWS]
    return spaces.MultiDiscrete([objects.room.supply, *where, 2])


@functools.lru_cache(1024)
def _level(number: int, task: str, difficulty: int, size: float) -> Scene:
    dice = Dice(~number)  # the complement: episodes' dice begin at their seeds
    return RULES[task].draw(dice, difficulty, size)


def _build(task: str, options: Mapping[str, Any], image_size: int) -> Construction:
    return Construction(task, image_size=image_size, **options)


def _draw(task: str, options: Mapping[str, Any]) -> Draw | None:
    if options["observe"] in ("pixels", "both"):
        return None
    return _drawn


def _drawn(observation: Mapping[str, np.ndarray]) -> np.ndarray:
    """Draw what was observed, or dreamed, in rows."""
    rows = observation["objects" if "objects" in observation else "vector"]
    table = np.asarray(rows, np.float32).reshape(-1, len(FEATURES))
    if "objects_mask" in observation:
        table = table * (np.asarray(observation["objects_mask"]).reshape(-1, 1) >= 0.5)
    return draw(table, DRAWN)


def _tasks() -> dict[str, Task]:
    told = {
        "silhouette": "Fill targets with blocks of their size: 1 for each, -0.5 for a sticky block.",
        "connecting": "Stack blocks up to three targets in the sky: 1 for each; glue is free.",
        "covering": "Shelter the obstacles: 1 for each unit of length covered, -2 for a sticky block.",
        "covering-hard": "The same of few blocks, obstacles closer together, -0.5 for a sticky block.",
    }
    found = {}
    for name, words in told.items():
        objects = Objects(_room(name, RULES[name].hardest, 1.0, 0))
        shown, _ = shown_observations(spaces.Dict(_entries("objects", objects.count, 64)))
        seen = ", ".join(f"{key} {space.dtype} {space.shape}" for key, space in shown.items())
        found[name] = Task(words, seen, str(_choices(objects, related=False)))
    return found


SUITE: Suite = Suite(
    "construction",
    _tasks(),
    _build,
    options={
        "observe": Option(
            "objects",
            "rows of objects, a picture, both, or the rows as one vector",
            ("objects", "pixels", "both", "flat"),
        ),
        "actions": Option("absolute", "where on a grid, or where on which object", ("absolute", "relative")),
        "num_levels": Option(0, "how many levels are played; 0 for all from start_level on", least=0),
        "start_level": Option(0, "the first of these levels", least=0),
        "difficulty": Option(-1, "from 0; -1 for the task's hardest", least=-1),
        "size": Option(1.0, "how many times as much and as high as in the paper, up to 2", least=0.5),
        "steps": Option(0, "steps of an episode at most; 0 for the task's own", least=0),
    },
    packages=("pymunk",),
    extra="construction",
    summarise=functools.partial(means, names=METRICS),
    draw=_draw,
)
