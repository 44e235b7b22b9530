"""Where settings come from: presets, then a file, then flags; the last one wins."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from agents import ActorCriticConfig, AgentConfig, OptimizerConfig, PPOConfig
from expedition.errors import UserError, unknown_name
from exploration import DisagreementConfig, IntrinsicConfig
from training import TrainingConfig, from_dict, to_dict
from transfer.plan import TransferPlan
from world_model import SIZES, for_size

T = TypeVar("T")

Value = bool | int | float | str | tuple[int, ...]

SHORT_PPO, LONG_PPO = 20_000, 500_000
"""Environment steps below and above which PPO is tuned otherwise."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting by its place among others', to be laid over them."""

    name: str
    """Names of its groups and its own, as `behaviour.entropy`."""
    value: Value


def agent_preset(size: str) -> AgentConfig:
    """Settings of an agent whose world model has a named size.

    Raises:
        UserError: the size is not known.
    """
    model = for_size(size)
    if size != "tiny":
        return AgentConfig(model=model)
    # A tiny model sees few updates: it takes larger steps, imagines from fewer rows, and values what is near,
    # for a value that looks 333 steps ahead is not learned in a thousand updates. Such steps would make the
    # policy certain of noise: the actor's are smaller, advantages are centred, and entropy weighs more.
    return AgentConfig(
        model=dataclasses.replace(model, horizon=33),
        behaviour=ActorCriticConfig(layers=2, starts=4, entropy=0.01, center=True),
        intrinsic=IntrinsicConfig(disagreement=DisagreementConfig(networks=5, layers=1)),
        optimizer=OptimizerConfig(lr=3e-3, beta2=0.95, warmup=100, actor_scale=0.1),
    )


def finetune_preset(size: str) -> tuple[Setting, ...]:
    """Settings of an agent that phase 2 has for itself at a named size, whatever phase 1 explored with.

    An explorer needs entropy to outlast a reward that fades; who works for a task's reward does not.
    """
    entropy = 3e-3 if size == "tiny" else ActorCriticConfig().entropy
    return as_settings({"behaviour": {"entropy": entropy}})


def ppo_preset(env: str, steps: int) -> PPOConfig:
    """Settings of PPO tuned for an environment and a budget of environment steps.

    Below 20,000 steps, after rl-baselines3-zoo's for CartPole: short rollouts, large steps that shrink to
    none. Above 500,000, Crafter's network and rollouts of Moon et al. 2023 (arXiv 2307.03486). Between them
    the defaults. Crafter's near-sighted advantages (discount 0.95, lambda 0.65) and its unscaled rewards are
    Moon et al.'s at every budget. Our own choice: the bounds, and the minibatches of short runs and their
    advantages as they are, without which the policy of a maze was certain before it had seen a goal.
    """
    crafter = env.partition(",")[0].startswith("crafter")
    config = PPOConfig()
    if crafter:
        config = dataclasses.replace(config, discount=0.95, gae_lambda=0.65, normalise_reward=False)
    if steps < SHORT_PPO:
        return dataclasses.replace(config, rollout=256, lr=1e-3, anneal=True, normalise_advantage=crafter)
    if crafter and steps > LONG_PPO:
        return dataclasses.replace(
            config,
            rollout=4096,
            batch=512,
            epochs=3,
            lr=3e-4,
            channels=(64, 128, 128),
            units=(1024,),
        )
    return config


def training_preset(size: str) -> TrainingConfig:
    """Settings of training for a named size."""
    if size not in SIZES:
        raise unknown_name("size", size, SIZES)
    if size != "tiny":
        return TrainingConfig()
    return TrainingConfig(num_envs=4, batch=16, length=16, train_ratio=32, learning_starts=512, log_every=250)


def read_settings(path: Path) -> dict[str, Any]:
    """Settings from a YAML or JSON file.

    Raises:
        UserError: the file is missing or does not hold a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"Cannot read {path} ({error.strerror}): give a YAML or JSON file of settings."
        ) from error
    except RecursionError as error:
        raise UserError(f"{path} nests its settings too deeply to be read: mend it.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML ({' '.join(str(error).split())}): mend it.") from error
    if not isinstance(values, Mapping):
        raise UserError(f"{path} holds no settings: write lines such as 'steps: 10000'.")
    return dict(values)


def overlay(base: T, values: Mapping[str, Any], where: str = "") -> T:
    """Return `base` with the settings in `values`, nested by name.

    Raises:
        UserError: a setting is not known, with the nearest known ones, or has the wrong form.
    """
    known = {field.name for field in dataclasses.fields(base)}  # type: ignore[arg-type]
    plain = to_dict(base)
    given: dict[str, Any] = {}
    for raw, value in values.items():
        name = str(raw).replace("-", "_")
        if name in given:
            raise UserError(f"The setting '{name}'{where} stands twice: keep one.")
        given[name] = value
        if name not in known:
            raise unknown_name(f"setting{where}", str(raw), known)
        current = getattr(base, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise UserError(f"The setting '{name}'{where} is a group: indent its settings below it.")
            plain[name] = to_dict(overlay(current, value, f" in {name}"))
        else:
            plain[name] = value
    return from_dict(type(base), plain)


def as_settings(values: Mapping[str, Any]) -> tuple[Setting, ...]:
    """Nested settings one by one, in the order of their names."""
    return tuple(
        Setting(name, tuple(value) if isinstance(value, list) else value)
        for name, value in sorted(flattened(values).items())
    )


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their whole names, as `behaviour.entropy`."""
    flat: dict[str, Any] = {}
    for raw, value in values.items():
        name = prefix + str(raw).replace("-", "_")
        flat |= flattened(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def with_settings(base: T, settings: Iterable[Setting]) -> T:
    """Return `base` with these settings laid over it.

    Raises:
        UserError: as `overlay`.
    """
    for setting in settings:
        value = list(setting.value) if isinstance(setting.value, tuple) else setting.value
        base = overlay(base, nested(setting.name, value))
    return base


def nested(name: str, value: Any) -> dict[str, Any]:
    """A setting of a whole name such as `behaviour.entropy`, within its groups."""
    first, _, rest = name.partition(".")
    return {first: nested(rest, value) if rest else value}


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings of which the second win, dashes and underscores in names being one."""
    result = dict(under)
    for name, value in over.items():
        key = next((key for key in under if str(key).replace("-", "_") == name), name)
        below = under.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def possible(training: TrainingConfig, plan: TransferPlan, agent: AgentConfig) -> TrainingConfig:
    """Settings of phase 2: no updates offline without rewarded rows, no search without a model."""
    if plan["replay"] != "relabel":
        training = dataclasses.replace(training, offline_updates=0)
    if agent.kind == "model-based":
        return training
    return dataclasses.replace(training, searches=(), depths=(), simulator=False)
