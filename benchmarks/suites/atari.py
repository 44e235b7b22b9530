"""Atari: ours and ale-py's own environment, preprocessed to the same picture as by gymnasium's wrapper.

That wrapper (`AtariPreprocessing`) needs OpenCV, so its steps stand here: four frames of one step each, the
greater of the last two, resized.
"""

from collections.abc import Callable

import numpy as np

from benchmarks.cases import Case


def _plain(game: str) -> Callable[[], Callable[[], None]]:
    def build() -> Callable[[], None]:
        import ale_py
        import gymnasium
        from PIL import Image

        gymnasium.register_envs(ale_py)
        env = gymnasium.make(f"ALE/{game}-v5", frameskip=1, full_action_space=True)
        env.reset(seed=0)
        random = np.random.default_rng(0)

        def step() -> None:
            action, screens = int(random.integers(18)), []
            for _ in range(4):
                screen, _, terminated, truncated, _ = env.step(action)
                screens.append(screen)
                if terminated or truncated:
                    env.reset()
                    break
            picture = Image.fromarray(np.maximum(screens[-1], screens[max(-2, -len(screens))]))
            np.asarray(picture.resize((64, 64), Image.Resampling.BOX))

        return step

    return build


CASES = (
    Case("Atari, Ms. Pacman", "atari-ms_pacman", _plain("MsPacman"), ratio=1.0),
    Case("Atari, Hero", "atari-hero", _plain("Hero"), ratio=1.0),
)
