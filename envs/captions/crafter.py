"""Crafter in words: its achievements and what else an action does, and what its picture shows."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from envs.captions.base import Captioner, Words
from envs.suites.crafter.symbols import ITEMS, MATERIALS, OBJECTS, encode

_PHRASES = {"collect_drink": "drink water"}
"""Achievements that are not called as their words are read."""
ACHIEVEMENTS = (
    "collect_coal",
    "collect_diamond",
    "collect_drink",
    "collect_iron",
    "collect_sapling",
    "collect_stone",
    "collect_wood",
    "defeat_skeleton",
    "defeat_zombie",
    "eat_cow",
    "eat_plant",
    "make_iron_pickaxe",
    "make_iron_sword",
    "make_stone_pickaxe",
    "make_stone_sword",
    "make_wood_pickaxe",
    "make_wood_sword",
    "place_furnace",
    "place_plant",
    "place_stone",
    "place_table",
    "wake_up",
)
"""Upstream's names."""
CREATURES = ("cow", "zombie", "skeleton")
LOW = 5
"""Needs below this many of nine are felt."""
_NEEDS = {"health": "hurt", "food": "hungry", "drink": "thirsty", "energy": "tired"}
_HELD = ITEMS[len(_NEEDS) :]
_SEEN = {"arrow-left": "arrow", "arrow-right": "arrow", "arrow-up": "arrow", "arrow-down": "arrow"}
_TOOLS = tuple(item.replace("_", " ") for item in _HELD if "_" in item)
_OBJECTS = (*MATERIALS[1:], *CREATURES, "arrow", "plant", "sapling", "wood", *_TOOLS)


def phrase(achievement: str) -> str:
    """Return an achievement as a phrase: "collect wood"."""
    return _PHRASES.get(achievement, achievement.replace("_", " "))


def _thing(texture: str) -> str:
    return _SEEN.get(texture, texture.replace("plant-ripe", "ripe plant"))


class Before(NamedTuple):
    """A moment: counts of the achievements, the creature ahead with its health, whether the player sleeps."""

    counts: dict[str, int]
    ahead: Any
    health: float
    sleeping: bool


class CrafterCaptions(Captioner):
    """Of `envs.suites.crafter.environment.Crafter`."""

    words = Words(
        did=(*map(phrase, ACHIEVEMENTS), *(f"attack {name}" for name in CREATURES), "sleep"),
        scene=(
            *(f"see {name}" for name in MATERIALS[1:]),
            *(f"see {name}" for name in dict.fromkeys(map(_thing, OBJECTS[1:]))),
            *(f"have {item.replace('_', ' ')}" for item in _HELD),
            *(f"feel {need}" for need in _NEEDS.values()),
            "feel asleep",
        ),
        verbs=("collect", "drink", "eat", "attack", "defeat", "place", "make"),
        objects=_OBJECTS,
        alone=("sleep",),
        achievements=tuple(map(phrase, ACHIEVEMENTS)),
    )

    def look(self, env: Any) -> Before:
        """Note what counts so far, and who stands ahead."""
        player = env._upstream._player
        ahead = env._upstream._world[player.pos + player.facing][1]
        creature = ahead if type(ahead).__name__.lower() in CREATURES else None
        return Before(dict(player.achievements), creature, getattr(creature, "health", 0), player.sleeping)

    def did(self, env: Any, before: Before, action: Any) -> Iterable[str]:
        """Return achievements that were counted once more, whom the player struck, and falling asleep."""
        player = env._upstream._player
        for name, count in player.achievements.items():
            if count > before.counts[name]:
                yield phrase(name)
        if before.ahead is not None and before.ahead.health < before.health:
            yield f"attack {type(before.ahead).__name__.lower()}"
        if player.sleeping and not before.sleeping:
            yield "sleep"

    def scene(self, env: Any) -> Iterable[str]:
        """Return what the picture shows of materials, things, inventory and needs."""
        shown = encode(env._upstream._world, env._upstream._player)
        yield from (f"see {MATERIALS[i]}" for i in set(shown["materials"].tolist()) if i)
        yield from (f"see {_thing(OBJECTS[i])}" for i in set(shown["objects"].tolist()) if i)
        held = dict(zip(ITEMS, shown["inventory"].tolist(), strict=True))
        yield from (f"have {item.replace('_', ' ')}" for item in _HELD if held[item])
        yield from (f"feel {told}" for need, told in _NEEDS.items() if held[need] < LOW)
        if env._upstream._player.sleeping:
            yield "feel asleep"
