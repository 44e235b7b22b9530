"""DeepMind Control: ours and the package as shipped, which draws with `physics.render`."""

from collections.abc import Callable

import numpy as np

from benchmarks.cases import Case


def _plain(domain: str, task: str, pixels: bool = True) -> Callable[[], Callable[[], None]]:
    def build() -> Callable[[], None]:
        from envs.suites.robotics.mujoco import prepare_rendering

        prepare_rendering()
        from dm_control import suite

        env = suite.load(domain, task, task_kwargs={"random": 0})
        bounds, random = env.action_spec(), np.random.default_rng(0)
        env.reset()

        def step() -> None:
            last = env.step(random.uniform(bounds.minimum, bounds.maximum)).last()
            if pixels:
                env.physics.render(64, 64, camera_id=0)
            if last:
                env.reset()
                if pixels:
                    env.physics.render(64, 64, camera_id=0)

        return step

    return build


# State has no floor: there our bookkeeping shows, and in walker the rewards of URLB's other tasks.
CASES = (
    Case("DM Control, cheetah", "dmc-cheetah-run", _plain("cheetah", "run"), ratio=0.9),
    Case("DM Control, acrobot", "dmc-acrobot-swingup_sparse", _plain("acrobot", "swingup_sparse"), ratio=0.9),
    Case("DM Control, humanoid", "dmc-humanoid-stand", _plain("humanoid", "stand"), ratio=0.9),
    Case("DM Control, walker, fast", "dmc-walker-walk,render=fast", _plain("walker", "walk"), ratio=4.0),
    Case("DM Control, cheetah, state", "dmc-cheetah-run,observe=state", _plain("cheetah", "run", False)),
    Case("DM Control, walker, state", "dmc-walker-walk,observe=state", _plain("walker", "walk", False)),
)
