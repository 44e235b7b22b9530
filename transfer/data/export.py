"""The replay of a run, written as a Minari dataset."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from envs import make
from expedition import UserError, __version__
from training.storage.state_tree import disk_errors
from transfer.data.datasets import OWN, minari_package
from transfer.data.episodes import episode_parts, nested, split_episodes
from transfer.data.sources import RunData


@dataclasses.dataclass
class Exported:
    """What a dataset holds; counted while it is written."""

    episodes: int = 0
    steps: int = 0
    begun_amid: int = 0
    """Episodes whose beginning the replay no longer held: their first row is not a reset."""
    cut: int = 0
    """Episodes that were still running, or broke off: their last step is a truncation."""
    left_out: int = 0
    """Single rows, from which no step was made."""


def export_data(run_dir: Path, dataset_id: str) -> Exported:
    """Write the replay in a run's newest checkpoint as a Minari dataset, environment by environment.

    Observations and actions are as the agent has them (`envs.Adapter`); a slash in a name is a Dict within
    the Dict. Images are stored without loss. Where the environment can be recovered from a specification
    with these very spaces, the dataset has it.

    Raises:
        UserError: no run with a replay there, Minari is missing, the id is malformed or taken, or the disk
            refuses.
    """
    minari = minari_package()
    data = RunData(run_dir)
    folder = _free_folder(minari, dataset_id)
    env = make(data.config.env, image_size=data.config.training.image_size)
    try:
        with disk_errors("the dataset", folder, "nothing was changed"):
            return _write(minari, data, dataset_id, env)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        env.close()


def _free_folder(minari: Any, dataset_id: str) -> Path:
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage.datasets_root_dir import get_dataset_path

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"'{dataset_id}' is no id of a Minari dataset: write a name with its version, "
            "as expedition/maze-v0."
        ) from error
    folder = Path(get_dataset_path(dataset_id))
    if folder.exists():
        raise UserError(f"There is a Minari dataset '{dataset_id}' already: raise the version in the id.")
    return folder


def _write(minari: Any, data: RunData, dataset_id: str, env: gymnasium.Env[Any, Any]) -> Exported:
    assert isinstance(env.observation_space, gymnasium.spaces.Dict)
    counted = Exported()
    amid: list[int] = []
    observed = _nested_space(env.observation_space)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it has no author and no link to show
        dataset = minari.create_dataset_from_buffers(
            dataset_id,
            [],
            env=_recoverable(env),
            observation_space=observed,
            action_space=env.action_space,
            algorithm_name=f"Expedition {__version__}, {data.config.agent.kind}, {_reward(data)}",
            description=f"Replay of a run in '{data.config.env}' at step {data.checkpoint.step:,}.",
            jpeg_encoding=False,
        )
    dataset.storage.update_episodes(_buffers(data, env, counted, amid))
    if amid:
        dataset.storage.update_episode_metadata([{"begins_amid": True}] * len(amid), amid)
    own = {"env": data.config.env, **data.identity, **dataclasses.asdict(counted)}
    dataset.storage.update_metadata({OWN: own})
    return counted


def _reward(data: RunData) -> str:
    return (
        "the task's reward" if data.config.intrinsic is None else f"intrinsic reward {data.config.intrinsic}"
    )


def _buffers(
    data: RunData, env: gymnasium.Env[Any, Any], counted: Exported, amid: list[int]
) -> Iterator[Any]:
    """Minari's episodes, one after another; fills what is counted, and the numbers of those begun amid."""
    from minari.data_collector import EpisodeBuffer

    assert isinstance(env.observation_space, gymnasium.spaces.Dict)
    names = list(env.observation_space.spaces)
    for lane in range(data.num_envs):
        for rows in split_episodes(data.lane(lane)):
            steps = len(rows["is_first"]) - 1
            if steps == 0:
                counted.left_out += 1
                continue
            if not rows["is_first"][0]:
                amid.append(counted.episodes)
            counted.begun_amid = len(amid)
            counted.cut += int(not rows["is_last"][-1])
            counted.episodes += 1
            counted.steps += steps
            yield EpisodeBuffer(**episode_parts(rows, names, env.action_space))


def _nested_space(space: gymnasium.spaces.Dict) -> gymnasium.spaces.Dict:
    def built(tree: dict[str, Any]) -> gymnasium.spaces.Dict:
        return gymnasium.spaces.Dict(
            {name: built(part) if isinstance(part, dict) else part for name, part in tree.items()}
        )

    return built(nested(space.spaces))


def _recoverable(env: gymnasium.Env[Any, Any]) -> EnvSpec | None:
    """The environment's specification, if it makes an environment of the same spaces wherever it is read."""
    try:
        assert env.spec is not None
        spec = EnvSpec.from_json(env.spec.to_json())
        again = gymnasium.make(spec)
        spaces = again.observation_space, again.action_space
        again.close()
    except Exception:  # noqa: BLE001  # whatever a user's class raises: the dataset does without
        return None
    return spec if spaces == (env.observation_space, env.action_space) else None
