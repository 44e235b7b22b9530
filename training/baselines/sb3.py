"""Stable-Baselines3's PPO (Raffin et al. 2021) on our environments; imported only where it is used.

Our environments tell the end of an episode in a row of its own and ignore the action that is chosen there:
the row after it is the first of the next episode. Stable-Baselines3 expects an ended environment to be reset
at once. The two meet in `Bridge` and `RealSteps`: the last row stands in for the reset observation, and the
choice made on it, which reached no environment, is left out of what is learned from. So no real step is lost
or counted twice, and advantages are exact.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples
from stable_baselines3.common.vec_env import VecNormalize, VecTransposeImage
from torch import Tensor, nn

from agents import PPOConfig
from envs import Rows, VectorEnv
from training.baselines.bridge import Bridge
from training.config import RunConfig
from world_model import action_factors, to_learner_actions
from world_model.spaces import split_observations

SECTIONS = ("policy", "optimizer", "moments")
"""What a checkpoint holds of a learner."""


class RealSteps(DictRolloutBuffer):
    """A rollout of which only the steps that reached an environment are learned from.

    A row whose `episode_start` is set followed an end: its action was ignored. Advantages never cross it.
    Minibatches differ in size by at most one, so that no remainder makes a step of its own.

    Attributes:
        order: draws the minibatches.
    """

    order: np.random.Generator

    def get(self, batch_size: int | None = None) -> Generator[DictRolloutBufferSamples, None, None]:  # type: ignore[override]
        """Yield minibatches of about `batch_size` steps, each step once."""
        if not self.generator_ready:
            self.real = np.flatnonzero(self.swap_and_flatten(self.episode_starts)[:, 0] == 0)
            next(super().get(1))  # lays the arrays flat
        shuffled = self.order.permutation(self.real)
        parts = 1 if batch_size is None else max(1, round(len(shuffled) / batch_size))
        for indices in np.array_split(shuffled, parts):
            yield self._get_samples(indices)


class Residual(nn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same."""
        return x + self.layers(x)


class Features(BaseFeaturesExtractor):
    """Images through residual sections (Espeholt et al. 2018, fig. 3, right), beside all else as it is.

    Symbols come one-hot from Stable-Baselines3's own preprocessing; objects are flattened, row by row.

    Stable-Baselines3's own network cannot read images of 32 pixels.
    """

    def __init__(
        self, observation_space: gymnasium.spaces.Dict, channels: Sequence[int], image_features: int
    ) -> None:
        images = [key for key, box in observation_space.spaces.items() if len(box.shape or ()) == 3]
        others = [key for key in observation_space.spaces if key not in images]
        widths = [get_flattened_obs_dim(observation_space[key]) for key in others]
        super().__init__(observation_space, image_features * len(images) + sum(widths))
        self.others = others
        self.images = nn.ModuleDict(
            {key: _image_net(observation_space[key].shape, channels, image_features) for key in images}  # type: ignore[arg-type]
        )

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Images (N, c, h, w) in [0, 1], vectors and one-hot symbols (N, d), objects (N, n, d) in one row."""
        seen = [net(observations[key]) for key, net in self.images.items()]
        return torch.cat([*seen, *(observations[key].flatten(1) for key in self.others)], 1)


def _image_net(shape: tuple[int, int, int], channels: Sequence[int], width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs, height, breadth = shape
    for outputs in channels:
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.MaxPool2d(3, 2, 1)]
        layers += [Residual(outputs), Residual(outputs)]
        inputs, height, breadth = outputs, (height + 1) // 2, (breadth + 1) // 2
    return nn.Sequential(
        *layers, nn.ReLU(), nn.Flatten(), nn.Linear(inputs * height * breadth, width), nn.ReLU()
    )


class EachRow(BaseCallback):
    """Calls a function after each row of a rollout; its False gives the rollout up."""

    def __init__(self, after: Callable[[], bool]) -> None:
        super().__init__()
        self._after = after

    def _on_step(self) -> bool:
        return self._after()


def build_ppo(
    bridge: Bridge, config: PPOConfig, seed: int, device: torch.device, left: Callable[[], float]
) -> tuple[PPO, VecNormalize]:
    """Make the learner, and the running moments through which it sees the environments.

    Args:
        bridge: the environments.
        config: settings.
        seed: of the initial weights.
        device: where to compute.
        left: share of the budget that is left, for annealing.
    """
    observed = split_observations(bridge.envs.observation_space)
    moments = VecNormalize(
        bridge,
        norm_obs=config.normalise_vectors,
        norm_reward=config.normalise_reward,
        gamma=config.discount,
        norm_obs_keys=[*observed.vectors, *observed.objects],
    )
    share = left if config.anneal else (lambda: 1.0)
    warnings.filterwarnings("ignore", "You have specified a mini-batch size")  # ours are even: `RealSteps`
    learner = PPO(
        "MultiInputPolicy",
        moments,
        learning_rate=lambda _: config.lr * share(),
        n_steps=max(2, config.rollout // bridge.num_envs),
        batch_size=config.batch,
        n_epochs=config.epochs,
        gamma=config.discount,
        gae_lambda=config.gae_lambda,
        clip_range=lambda _: config.clip * share(),
        normalize_advantage=config.normalise_advantage,
        ent_coef=config.entropy,
        vf_coef=config.value,
        max_grad_norm=config.max_grad_norm,
        rollout_buffer_class=RealSteps,
        policy_kwargs={
            "features_extractor_class": Features,
            "features_extractor_kwargs": {
                "channels": config.channels,
                "image_features": config.image_features,
            },
            "net_arch": list(config.units),
        },
        seed=seed,
        device=device,
    )
    learner.set_logger(Logger(None, []))
    learner.ep_info_buffer = learner.ep_success_buffer = deque(maxlen=1)  # ours are in episodes.jsonl
    return learner, moments


class Learner:
    """PPO, its environments and its moments: what a checkpoint holds of them.

    Args:
        config: the run.
        envs: where it acts.
        device: where to compute.
    """

    def __init__(self, config: RunConfig, envs: VectorEnv, device: torch.device) -> None:
        self.config = config
        self.bridge = Bridge(envs, config.seed)
        self.ppo, self.moments = build_ppo(self.bridge, config.agent.ppo, config.seed, device, self.left)

    def left(self) -> float:
        """Share of the budget that is left."""
        return max(0.0, 1.0 - self.bridge.steps / self.config.steps)

    def start(self) -> None:
        """Begin the first episodes."""
        self._stand_at(self.ppo.env.reset(), np.zeros(self.bridge.num_envs, bool))  # type: ignore[union-attr]

    def go_on(self, rows: Rows) -> None:
        """Stand at rows that arrived earlier; the environments are there already."""
        self.bridge.rows = rows
        seen: Any = self.moments.normalize_obs(self.bridge.observations(rows))
        if isinstance(self.ppo.env, VecTransposeImage):
            seen = self.ppo.env.transpose_observations(seen)
        self._stand_at(seen, rows["is_last"])

    def _stand_at(self, observations: Any, ended: np.ndarray) -> None:
        self.ppo._last_obs = observations
        self.ppo._last_episode_starts = ended

    def learn(
        self, rows: int, number: int, update: bool, after_row: Callable[[], bool]
    ) -> dict[str, float] | None:
        """Make a rollout and learn from it.

        Every source of chance is seeded anew from the run's seed and the rollout's number, so that a
        checkpoint between two rollouts needs to hold none.

        Args:
            rows: rows of each environment.
            number: of the rollout, from 0.
            update: whether to learn from it.
            after_row: called after each row; its False gives the rollout up.

        Returns:
            What Stable-Baselines3 measured while it learned; None where the rollout was given up.
        """
        ppo, buffer = self.ppo, self.ppo.rollout_buffer
        first, second = np.random.SeedSequence([self.config.seed, 3, number]).generate_state(2)
        torch.manual_seed(int(first))
        buffer.order = np.random.default_rng(int(second))  # type: ignore[attr-defined]
        buffer.buffer_size = rows
        callback = EachRow(after_row)
        callback.init_callback(ppo)
        assert ppo.env is not None
        if not ppo.collect_rollouts(ppo.env, callback, buffer, rows):
            return None
        if not update:
            return {}
        ppo.train()
        ppo.logger.name_to_value.pop("train/n_updates")  # of this sitting alone
        measured = {name: float(value) for name, value in ppo.logger.name_to_value.items()}
        ppo.logger.name_to_value.clear()
        return measured

    def actor(self) -> Actor:
        """Its policy, to be judged."""
        return Actor(self)

    @property
    def parameters(self) -> int:
        """How many there are."""
        return sum(p.numel() for p in self.ppo.policy.parameters() if p.requires_grad)

    def state_dict(self) -> dict[str, Any]:
        """Weights, the optimiser's moments, and those of observations and returns, by section."""
        moments = self.moments
        return {
            "policy": dict(self.ppo.policy.state_dict()),
            "optimizer": self.ppo.policy.optimizer.state_dict(),
            "moments": {
                "observations": {key: _told(rms) for key, rms in self._observed().items()},
                "returns": _told(moments.ret_rms),
                "running": np.array(moments.returns),
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.ppo.policy.load_state_dict(state["policy"])
        self.ppo.policy.optimizer.load_state_dict(state["optimizer"])
        saved = state["moments"]
        for key, rms in self._observed().items():
            _tell(rms, saved["observations"][key])
        _tell(self.moments.ret_rms, saved["returns"])
        self.moments.returns = np.array(saved["running"])

    def _observed(self) -> dict[str, RunningMeanStd]:
        return dict(getattr(self.moments, "obs_rms", {}))


def _told(rms: RunningMeanStd) -> dict[str, Any]:
    return {"mean": np.array(rms.mean), "var": np.array(rms.var), "count": float(rms.count)}


def _tell(rms: RunningMeanStd, saved: Mapping[str, Any]) -> None:
    rms.mean, rms.var, rms.count = np.array(saved["mean"]), np.array(saved["var"]), saved["count"]


class Actor:
    """PPO's policy, sampled, as `evaluate_policy` asks for actions."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._space = learner.bridge.action_space

    def initial_state(self, batch: int, seed: int) -> torch.Generator:
        """Every sample follows from `seed`."""
        return torch.Generator(self._learner.ppo.device).manual_seed(seed)

    @torch.no_grad()
    def act(
        self, rows: Rows, state: torch.Generator, mode: str
    ) -> tuple[np.ndarray, torch.Generator, dict[str, np.ndarray]]:
        """Choose actions (N, A) as `Agent.act` does."""
        learner = self._learner
        policy = learner.ppo.policy
        policy.set_training_mode(False)
        seen = learner.moments.normalize_obs(learner.bridge.observations(rows))
        law: Any = policy.get_distribution(policy.obs_to_tensor(seen)[0]).distribution
        if action_factors(self._space):
            laws = law if isinstance(law, list) else [law]  # one for each factor
            chosen = torch.cat([torch.multinomial(each.probs, 1, generator=state) for each in laws], 1)
            return to_learner_actions(chosen.cpu().numpy(), self._space), state, {}
        noise = torch.randn(law.mean.shape, generator=state, device=law.mean.device)
        return (law.mean + law.stddev * noise).clamp(-1, 1).cpu().numpy(), state, {}
