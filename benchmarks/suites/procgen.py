"""Procgen: ours and upstream's gym3 environment, which goes on to the next level by itself."""

from collections.abc import Callable

import numpy as np

from benchmarks.cases import Case


def _plain(game: str) -> Callable[[], Callable[[], None]]:
    def build() -> Callable[[], None]:
        from procgen import ProcgenGym3Env

        env = ProcgenGym3Env(num=1, env_name=game, num_threads=0, rand_seed=0)
        random = np.random.default_rng(0)

        def step() -> None:
            env.act(random.integers(15, size=1))
            env.observe()
            env.get_info()

        return step

    return build


CASES = (
    Case("Procgen, coinrun", "procgen-coinrun", _plain("coinrun"), ratio=0.9),
    Case("Procgen, starpilot (short episodes)", "procgen-starpilot", _plain("starpilot"), ratio=0.9),
)
