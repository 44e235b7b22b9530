"""How a run makes its environments."""

import pytest

from agents import AgentConfig
from training import Logistics, RunConfig, TrainingConfig
from training.process import logistics


@pytest.mark.parametrize(
    ("env", "workers", "expected"),
    [("robodesk-stack", -1, 3), ("robodesk-stack", 0, 0), ("crafter", -1, 0), ("crafter", 2, 2)],
)
def test_workers_are_those_asked_for_or_one_a_thread_where_a_step_is_slow(
    env, workers, expected, monkeypatch
):
    def make_vector(env_id, num_envs, image_size, workers, captions):
        assert not captions
        return env_id, num_envs, image_size, workers

    monkeypatch.setattr(logistics, "make_vector", make_vector)
    config = RunConfig(env, "finetune", None, "tiny", 100, 0, AgentConfig(), TrainingConfig(image_size=32))
    make = logistics.env_factory(config, Logistics(threads=3, workers=workers))
    assert make(5) == (env, 5, 32, expected)
