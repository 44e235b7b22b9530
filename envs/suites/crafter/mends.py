"""Upstream's Crafter with its chunks in a fixed order, and sped up; nothing else differs.

Importing this module imports `crafter` (a second or so), so `environment` does it only when one is made.
Worlds, rewards, pictures and random numbers are those of PyPI's crafter 1.8.3; a test compares them.
"""

import collections
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from envs.suites.crafter.symbols import COLUMNS, ROWS, encode
from envs.suites.crafter.upstream import constants, crafter, engine, objects
from envs.suites.crafter.views import CachedItemView, FastLocalView
from envs.suites.crafter.worlds import generate_world

_REACH = 2 * COLUMNS  # objects act while they are less than this many moves from the player


class OrderedSet(dict):
    """A set that is iterated in the order of insertion, with what Crafter's world asks of a set."""

    def add(self, item: Hashable) -> None:
        """Put `item` last unless it is there already."""
        self[item] = None

    def remove(self, item: Hashable) -> None:
        """Take `item` out; KeyError if it is not there."""
        del self[item]


class OrderedWorld(engine.World):
    """The world, whose chunks iterate in one order in every process (upstream's go by memory address)."""

    def reset(self, seed: int | None = None) -> None:
        """Empty the world and seed its generator."""
        super().reset(seed)
        self._chunks: dict[Any, OrderedSet] = collections.defaultdict(OrderedSet)


class Upstream(crafter.Env):
    """Upstream's environment, mended."""

    def __init__(self, image_size: int, length: int, pixels: bool, symbols: bool) -> None:
        """Choose what is observed.

        Args:
            image_size: height and width of the picture.
            length: steps of an episode.
            pixels: whether an observation holds `image`.
            symbols: whether it holds the entries of `encode`.
        """
        super().__init__(size=(image_size, image_size), length=length, seed=0)
        self._pixels, self._symbols = pixels, symbols
        self._world.__class__ = OrderedWorld
        self._local_view = FastLocalView(self._world, self._textures)
        self._item_view = CachedItemView(self._textures)
        self._noise_pixels = int(np.prod(self._size // self._view * (COLUMNS, ROWS)))
        self._space: dict[str, dict[tuple[int, ...], int]] = {}

    def begin(self, seed: int) -> dict[str, np.ndarray]:
        """Begin the first episode of upstream's `Env(seed=seed)`; return its observation."""
        self._step = 0
        self._world.reset(seed=hash((seed, 1)) % (2**31 - 1))
        self._update_time()
        self._player = objects.Player(self._world, (self._area[0] // 2, self._area[1] // 2))
        self._last_health = self._player.health
        self._world.add(self._player)
        self._unlocked: set[str] = set()
        generate_world(self._world, self._player)
        return self._obs()

    def act(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool]:
        """Play one step; return the observation, the reward, and whether the player died or time is up."""
        self._step += 1
        self._update_time()
        self._player.action = constants.actions[action]
        self._update_objects()
        if self._step % 10 == 0:
            self._balance()
        observation = self._obs()
        reward = (self._player.health - self._last_health) / 10
        self._last_health = self._player.health
        counts = self._player.achievements.items()
        unlocked = {name for name, count in counts if count > 0 and name not in self._unlocked}
        if unlocked:
            self._unlocked |= unlocked
            reward += 1.0
        dead = self._player.health <= 0
        return observation, reward, dead, bool(self._length and self._step >= self._length)

    def _obs(self) -> dict[str, np.ndarray]:
        """Show the world. Symbols alone take the random numbers that the night's noise would have taken."""
        observation = {"image": self.render()} if self._pixels else {}
        if not self._pixels and self._world.daylight < 0.5:
            self._world.random.random_sample(self._noise_pixels)
        return {**observation, **encode(self._world, self._player)} if self._symbols else observation

    def _update_objects(self) -> None:
        """Let the player act, then all that are near, in the order in which they came into the world.

        Upstream measures each one's distance at its turn; nobody but the player moves before that.
        """
        world = self._world
        known = len(world._objects)
        self._player.update()
        x, y = self._player.pos.tolist()
        left, top = max(x - _REACH, 0), max(y - _REACH, 0)
        cells = world._obj_map[left : x + _REACH, top : y + _REACH]
        xs, ys = cells.nonzero()
        near = np.abs(xs - (x - left)) + np.abs(ys - (y - top)) < _REACH
        for number in sorted(cells[xs[near], ys[near]].tolist()):
            thing = world._objects[number]
            if number < known and thing is not self._player:
                thing.update()

    def _balance(self) -> None:
        """Let animals come and go, chunk by chunk."""
        self._space = {}
        for chunk, things in self._world.chunks.items():
            self._balance_chunk(chunk, things)

    def _balance_object(
        self,
        chunk: tuple[int, int, int, int],
        things: OrderedSet,
        kind: type,
        material: str,
        span_dist: int,
        despan_dist: int,
        spawn_prob: float,
        despawn_prob: float,
        ctor: Callable[[Any], Any],
        target_fn: Callable[[int, int], tuple[float, float]],
    ) -> None:
        """Do as upstream, which does nothing, without luck, where the animals are as many as they should."""
        count = sum(isinstance(thing, kind) for thing in things)
        least, most = target_fn(count, self._cells(chunk, material))
        if count < int(least) or count > int(most):
            super()._balance_object(
                chunk,
                things,
                kind,
                material,
                span_dist,
                despan_dist,
                spawn_prob,
                despawn_prob,
                ctor,
                target_fn,
            )

    def _cells(self, chunk: tuple[int, int, int, int], material: str) -> int:
        """Return how many cells of a chunk are of a material; all chunks are counted at once."""
        if material not in self._space:
            is_it = (self._world._mat_map == self._world._mat_ids[material]).astype(np.int64)
            (width, height), (across, down) = self._area, self._world._chunk_size
            starts = (np.arange(0, width, across), np.arange(0, height, down))
            counts = np.add.reduceat(np.add.reduceat(is_it, starts[0], 0), starts[1], 1).tolist()
            self._space[material] = {
                (int(x), int(y)): counts[i][j]
                for i, x in enumerate(starts[0])
                for j, y in enumerate(starts[1])
            }
        return self._space[material][chunk[0], chunk[2]]
