"""How sheeprl's DreamerV3 is told to learn what our run learns."""

from __future__ import annotations

from envs import make
from training import RunConfig

NAME = "sheeprl 0.8.4"
PROGRAM = "from sheeprl.cli import run; run()"


def command(python: str, config: RunConfig, task: str, extra: list[str]) -> list[str]:
    """The process that learns `task` of `recorded.TASKS` beside our run; `extra` settings win."""
    return [python, "-c", PROGRAM, *settings(config, task), *extra]


def settings(config: RunConfig, task: str) -> list[str]:
    """The peer's settings that make its run like ours."""
    training = config.training
    return [
        "exp=dreamer_v3",
        "env=gym",
        "env.id=benchmarks.peers.recorded:Recorded-v0",
        f"+env.wrapper.task={task}",
        f"env.num_envs={training.num_envs}",
        f"env.screen_size={training.image_size}",
        "env.sync_env=True",
        "env.capture_video=False",
        *_observations(config),
        f"seed={config.seed}",
        "num_threads=1",
        f"algo.total_steps={config.steps}",
        f"algo.learning_starts={training.learning_starts}",
        f"algo.replay_ratio={training.train_ratio / (training.batch * training.length)}",
        f"algo.per_rank_batch_size={training.batch}",
        f"algo.per_rank_sequence_length={training.length}",
        *_widths(config),
        f"buffer.size={max(config.steps, 1000)}",
        "buffer.memmap=False",
        "buffer.checkpoint=False",
        f"checkpoint.every={10**9}",
        "checkpoint.save_last=False",
        "algo.run_test=False",
        "metric.log_level=0",
        "metric.disable_timer=True",
    ]


def _observations(config: RunConfig) -> list[str]:
    """Which entries are pictures and which are vectors, in encoder and decoder alike."""
    env = make(config.env, image_size=config.training.image_size)
    shapes = {name: space.shape for name, space in env.observation_space.items()}  # type: ignore[attr-defined]
    env.close()
    kinds = {"cnn_keys": True, "mlp_keys": False}
    return [
        f"algo.{keys}.{side}=[{','.join(name for name, s in shapes.items() if (len(s) == 3) == picture)}]"
        for keys, picture in kinds.items()
        for side in ("encoder", "decoder")
    ]


def _widths(config: RunConfig) -> list[str]:
    model, behaviour, world = config.agent.model, config.agent.behaviour, "algo.world_model"
    return [
        f"algo.horizon={behaviour.imagination}",
        f"algo.dense_units={model.units}",
        f"algo.mlp_layers={behaviour.layers}",
        f"{world}.encoder.cnn_channels_multiplier={model.depth}",
        f"{world}.recurrent_model.recurrent_state_size={model.deter}",
        f"{world}.transition_model.hidden_size={model.hidden}",
        f"{world}.representation_model.hidden_size={model.hidden}",
        f"{world}.stochastic_size={model.stoch}",
        f"{world}.discrete_size={model.classes}",
    ]
