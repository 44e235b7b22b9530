"""Atari 2600 games (Bellemare et al. 2013, arXiv:1207.4708) on the emulator of PyPI's ale-py, with its ROMs.

Defaults are those of Machado et al. 2018 (arXiv:1709.06009) and DreamerV3 (Hafner et al. 2023,
arXiv:2301.04104): sticky actions, all 18 actions, only the end of the game ends an episode, raw rewards.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image

from envs.suite import Option, Suite, Task
from expedition import UserError

NUM_ACTIONS = 18
FRAME_LIMIT = 108_000
"""Frames after which an episode is cut off: half an hour of play."""

_NAMES = """
alien amidar assault asterix asteroids atlantis bank_heist battle_zone beam_rider berzerk bowling boxing
breakout centipede chopper_command crazy_climber defender demon_attack double_dunk enduro fishing_derby
freeway frostbite gopher gravitar hero ice_hockey jamesbond kangaroo krull kung_fu_master montezuma_revenge
ms_pacman name_this_game phoenix pitfall pong private_eye qbert riverraid road_runner robotank seaquest
skiing solaris space_invaders star_gunner surround tennis time_pilot tutankham up_n_down venture
video_pinball wizard_of_wor yars_revenge zaxxon
"""
GAMES = tuple(_NAMES.split())
"""The 57 games that agents are compared on, as ale-py names them."""


class Atari(gymnasium.Env[Any, Any]):
    """One game with gymnasium's reset, step and render.

    Observation: `image` uint8 (image_size, image_size, 3): the greater of the last two frames (games draw
    some things in every other frame), each pixel the mean of its area. Action: Discrete(18), the joystick's,
    or fewer. Reward: points won in the step. The end of the game terminates, 108,000 frames truncate.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(
        self,
        game: str,
        frame_skip: int = 4,
        sticky: float = 0.25,
        noop_max: int = 30,
        actions: str = "full",
        grey: bool = False,
        life_loss: bool = False,
        image_size: int = 64,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Load the game.

        Args:
            game: the name of one of ale-py's ROMs, in snake case.
            frame_skip: frames that an action lasts.
            sticky: probability of each frame that the action before is repeated instead.
            noop_max: an episode begins after 0 to this many frames without action.
            actions: "full" for all 18, "minimal" for those that do something in the game.
            grey: show the luminance, three times.
            life_loss: whether a lost life terminates; the next episode is a new game all the same.
            image_size: height and width of the observation, in pixels.
            render_mode: "rgb_array" or None.

        Raises:
            UserError: `sticky` is no probability.
        """
        if not 0 <= sticky <= 1:
            raise UserError(f"The option 'sticky' is a probability: give 0 to 1, not {sticky:g}.")
        self.render_mode = render_mode
        self._ale = _load(game)
        self._fresh = self._ale.cloneState(include_rng=True)
        self._frame_skip, self._sticky, self._noop_max = frame_skip, sticky, noop_max
        self._life_loss = life_loss
        useful = [action.value for action in self._ale.getMinimalActionSet()]
        # Skiing allows 9 actions only; the emulator takes the others for none.
        self._actions = list(range(NUM_ACTIONS)) if actions == "full" else useful
        self._held = 0
        self._lives = 0
        self._begun = False
        self._grab = self._ale.getScreenGrayscale if grey else self._ale.getScreenRGB
        screen = (*self._ale.getScreenDims(), *(() if grey else (3,)))
        self._frames = np.zeros((2, *screen), np.uint8)
        self._size = image_size
        image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = spaces.Dict({"image": image})
        self.action_space = spaces.Discrete(len(self._actions))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin a game; the seed settles how many frames pass first and which actions stick."""
        super().reset(seed=seed)
        self._ale.restoreState(self._fresh)  # the console's own random numbers: a reset draws on from them
        self._ale.reset_game()
        for _ in range(int(self.np_random.integers(self._noop_max + 1))):
            self._ale.act(0)
            if self._ale.game_over():
                self._ale.reset_game()
        self._held, self._lives, self._begun = 0, self._ale.lives(), True
        self._grab(self._frames[0])
        self._frames[1] = self._frames[0]
        return self._observe(), self._info()

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act for `frame_skip` frames. `info`: `lives`, and `frames` of the episode so far."""
        if not 0 <= action < len(self._actions):
            raise gymnasium.error.InvalidAction(
                f"The game has actions 0 to {len(self._actions) - 1}, not {action}."
            )
        if not self._begun:
            raise gymnasium.error.ResetNeeded("Call reset before step: no game is under way.")
        wanted, reward = self._actions[action], 0
        sticks = (self.np_random.random(self._frame_skip) < self._sticky).tolist()
        for left, stick in zip(range(self._frame_skip - 1, -1, -1), sticks, strict=True):
            if not stick:
                self._held = wanted
            reward += self._ale.act(self._held)  # past the game's end the emulator stands still
            if left < 2:
                self._grab(self._frames[left])
        if self._frame_skip == 1:
            self._frames[1] = self._frames[0]
        terminated = self._ale.game_over(with_truncation=False)
        lives, self._lives = self._lives, self._ale.lives()
        terminated = terminated or (self._life_loss and self._lives < lives)
        truncated = not terminated and self._ale.game_truncated()
        self._begun = not (terminated or truncated)
        return self._observe(), float(reward), terminated, truncated, self._info()

    def render(self) -> np.ndarray | None:
        """Return the screen as it is, uint8 (210, 160, 3)."""
        return self._ale.getScreenRGB() if self.render_mode else None

    def _observe(self) -> dict[str, np.ndarray]:
        picture = Image.fromarray(np.maximum(*self._frames))
        small = np.asarray(picture.resize((self._size, self._size), Image.Resampling.BOX))
        return {"image": np.repeat(small[..., None], 3, axis=2) if small.ndim == 2 else small}

    def _info(self) -> dict[str, Any]:
        return {"lives": self._ale.lives(), "frames": self._ale.getEpisodeFrameNumber()}


def _load(game: str) -> Any:
    """Return an emulator with the game in it, whose own sticky actions are off: they have no seed of ours."""
    import ale_py
    from ale_py import roms

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # it greets otherwise
    ale = ale_py.ALEInterface()
    ale.setInt("random_seed", 0)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("max_num_frames_per_episode", FRAME_LIMIT)
    path = roms.get_rom_path(game)
    assert path is not None  # a test finds every game of the list
    ale.loadROM(path)
    return ale


def _build(task: str, options: Mapping[str, Any], image_size: int) -> Atari:
    return Atari(task, image_size=image_size, **options)


SUITE: Suite = Suite(
    "atari",
    {
        name: Task(
            f"The Atari 2600 game {name.replace('_', ' ').title()}.",
            "image uint8 (64, 64, 3)",
            "Discrete(18)",
        )
        for name in GAMES
    },
    _build,
    options={
        "frame_skip": Option(4, "frames that an action lasts", least=1),
        "sticky": Option(0.25, "probability of each frame that the action before is repeated", least=0),
        "noop_max": Option(30, "an episode begins after 0 to this many frames without action", least=0),
        "actions": Option("full", "all 18, or those that do something in the game", ("full", "minimal")),
        "grey": Option(False, "show luminance instead of colours"),
        "life_loss": Option(False, "whether a lost life ends the episode; the next is a new game"),
    },
    packages=("ale_py",),
    extra="atari",
    slow=True,
)
