"""The commands as frozen dataclasses: tyro turns their fields into flags, and their docstrings into help."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, Suppress, arg

from agents import AgentConfig, PPOConfig
from experiments.settings import agent_preset, finetune_preset, training_preset, with_settings
from training import TrainingConfig

DEFAULT_SIZE = "12m"


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where a run is carried out and logged; flags of every command that trains."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda."""
    threads: int = 0
    """CPU threads of a run; 0: by itself."""
    workers: int = -1
    """Processes of environments; -1: if slow."""
    replay_store: str = "memory"
    """Where a replay lies: memory, or disk."""
    wandb: str = "auto"
    """W&B: auto (online or offline), off, ..."""
    project: str = "expedition"
    """W&B project."""
    artifact: str = "manifest"
    """W&B gets the manifest, or weights."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile updates; auto: where it pays."""
    drop_damaged: bool = False
    """Go on without damaged replayed rows."""


@dataclasses.dataclass(frozen=True)
class Pretrain:
    """Phase 1: explore an environment on an intrinsic reward alone.

    The same command run again goes on where it stopped, or with more steps from its end. More flags:
    --help-all.
    """

    env: str = "crafter"
    """Environment id: one of `expedition list environments`, or any Gymnasium id (CartPole-v1)."""
    intrinsic: str = "disagreement"
    """Intrinsic reward: one of `expedition list intrinsic`."""
    size: str = DEFAULT_SIZE
    """Size of the world model: tiny, 1m, 12m, 25m, 50m, 100m or 200m parameters."""
    steps: int = 1_000_000
    """Environment steps; none with --data."""
    data: tuple[str, ...] = ()
    """Learn from data in place of steps: folders of runs and minari:DATASET-ID, each with =WEIGHT if not 1.
    How long: training.offline-updates (--help-all)."""
    seed: int = 0
    """Seed of weights, samples and environments."""
    out: Path | None = None
    """Folder of the run; by default runs/pretrain/<hash of the settings>."""
    config: Path | None = None
    """YAML or JSON file of settings; flags win over it."""
    machine: Annotated[Machine, arg(name="")] = Machine()
    agent: AgentConfig = dataclasses.field(default_factory=lambda: agent_preset(DEFAULT_SIZE))
    training: TrainingConfig = dataclasses.field(default_factory=lambda: training_preset(DEFAULT_SIZE))


@dataclasses.dataclass(frozen=True)
class Train:
    """Learn a task from scratch on its real reward: phase 2 that carries nothing.

    The same command run again goes on where it stopped, or with more steps from its end. More flags:
    --help-all.
    """

    env: str = "crafter"
    """Environment id: one of `expedition list environments`, or any Gymnasium id (CartPole-v1)."""
    size: str = DEFAULT_SIZE
    """Size of the world model: tiny, 1m, 12m, 25m, 50m, 100m or 200m parameters."""
    steps: int = 1_000_000
    """Environment steps."""
    seed: int = 0
    """Seed of weights, samples and environments."""
    out: Path | None = None
    """Folder of the run; by default runs/train/<hash of the settings>."""
    config: Path | None = None
    """YAML or JSON file of settings; flags win over it."""
    machine: Annotated[Machine, arg(name="")] = Machine()
    agent: AgentConfig = dataclasses.field(
        default_factory=lambda: with_settings(agent_preset(DEFAULT_SIZE), finetune_preset(DEFAULT_SIZE))
    )
    training: TrainingConfig = dataclasses.field(default_factory=lambda: training_preset(DEFAULT_SIZE))


@dataclasses.dataclass(frozen=True)
class Finetune:
    """Phase 2: carry components of a pre-training run into the task with its real reward.

    Size and settings come from the pre-training run, but for the actor's entropy, which is phase 2's own,
    and what file or flags say. The same command run again goes on where it stopped, or with more steps from
    its end. More flags: --help-all.
    """

    source: Annotated[str | None, arg(name="from")] = None
    """Folder of the pre-training run, or of an exported one, its address (s3://...), or hf:OWNER/NAME of the
    Hugging Face hub; not needed for a plan that carries nothing (--plan scratch)."""
    plan: str = "model+policy"
    """What is carried: one of `expedition list plans`, also with changes (model+policy,actor=freeze:9000), or
    by component (encoder=copy,dynamics=copy)."""
    env: str | None = None
    """Environment id; by default the one that was explored."""
    size: str | None = None
    """Size of the world model, where no --from decides it."""
    steps: int = 1_000_000
    """Environment steps."""
    seed: int = 0
    """Seed of fresh weights, samples and environments."""
    out: Path | None = None
    """Folder of the run; by default runs/finetune/<plan>-<hash of the settings>."""
    config: Path | None = None
    """YAML or JSON file of settings; flags win over it."""
    machine: Annotated[Machine, arg(name="")] = Machine()
    agent: AgentConfig = dataclasses.field(default_factory=AgentConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Learn a task without a world model, by an algorithm that others have tuned.

    Stable-Baselines3's PPO, on the same episodes as every other run. The same command run again goes on where
    it stopped. PPO's settings follow from environment and budget; flags win (--help-all).
    """

    name: Positional[str] = "ppo"
    """ppo, which needs the extra `baselines`."""
    env: str = "crafter"
    """Environment id: one of `expedition list environments`, or any Gymnasium id (CartPole-v1)."""
    steps: int = 1_000_000
    """Environment steps."""
    seed: int = 0
    """Seed of weights, samples and environments."""
    out: Path | None = None
    """Folder of the run; by default runs/baseline/<name>-<hash of the settings>."""
    machine: Annotated[Machine, arg(name="")] = Machine()
    num_envs: int = 8
    """Environments side by side."""
    episodes: int = 32
    """Episodes that judge the final policy."""
    image_size: int = 64
    """Height and width of images in pixels."""
    ppo: PPOConfig = PPOConfig()


@dataclasses.dataclass(frozen=True)
class StudyCommand:
    """Run a whole study: pre-train, fine-tune, and report what each part was worth.

    Run again, it goes on where it stopped. Its file's settings are flags: --finetune-agent.optimizer.lr 1e-3.
    """

    name: Positional[str]
    """A study of `list studies`, or a YAML file."""
    budget: Annotated[str | None, arg(metavar="STR")] = None
    """laptop (default), gpu or paper."""
    seeds: Annotated[int | None, arg(metavar="INT")] = None
    """Seeds."""
    first_seed: Annotated[int | None, arg(metavar="INT")] = None
    """Number of the first seed."""
    out: Annotated[str | None, arg(metavar="STR")] = None
    """Folder (runs/<name>) or address (s3://...)."""
    jobs: int = 0
    """Runs at a time; 0: one a core, one on a GPU."""
    fused: bool = False
    """Seeds as one program, for a GPU."""
    retries: int = 1
    """New tries of a run that crashed."""
    launcher: str = "local"
    """local; ray or slurm, with ,option=value."""
    env: Annotated[str | None, arg(metavar="STR")] = None
    """Environment id."""
    intrinsic: Annotated[str | None, arg(metavar="STR")] = None
    """Intrinsic reward of phase 1."""
    predict: Annotated[str | None, arg(metavar="STR")] = None
    """Prediction of its models: spr, none, ..."""
    search: Annotated[str | None, arg(metavar="STR")] = None
    """Cross with search: eval, learn+data..."""
    size: Annotated[str | None, arg(metavar="STR")] = None
    """Size of the model."""
    pretrain_steps: Annotated[int | None, arg(metavar="INT")] = None
    """Steps of phase 1."""
    finetune_steps: Annotated[int | None, arg(metavar="INT")] = None
    """Steps of phase 2."""
    plan_only: bool = False
    """Print runs and an estimate."""
    machine: Annotated[Machine, arg(name="")] = Machine()


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Evaluate the policy in a run's newest checkpoint."""

    source: Annotated[str, arg(name="from")]
    """Folder of the run, or of an exported one, its address (s3://...), or hf:OWNER/NAME."""
    episodes: int = 32
    """Episodes."""
    seed: int = 0
    """Seed of episodes and action samples."""
    device: str = "auto"
    """auto, cpu or cuda."""
    json: bool = False
    """Print JSON."""


@dataclasses.dataclass(frozen=True)
class ExportData:
    """Write a run's replay as a Minari dataset, which needs the extra `minari`."""

    folder: Positional[Path]
    """Folder of the run."""
    dataset: Positional[str]
    """Id of the dataset, with its version: expedition/maze-v0. MINARI_DATASETS_PATH says where it lies."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Write what others need of a run into a folder that can be put on the Hugging Face hub.

    Tensors, settings, measures, a model card and a licence: `--from` reads the folder like the run's own.
    """

    run: Positional[Path]
    """Folder of the run, or a checkpoint-<step> in it."""
    out: Positional[Path]
    """New folder."""
    replay: bool = False
    """The replayed rows too, which relabel needs."""


@dataclasses.dataclass(frozen=True)
class Status:
    """Say how far the runs of a study are: waiting, running, stopped, done, or failed and why."""

    folder: Positional[str] = "runs"
    """Folder of a study, or of several, or its address (s3://...)."""
    watch: bool = False
    """Say it again every two seconds, until all runs are done or Ctrl-C."""
    json: bool = False
    """Print JSON."""


@dataclasses.dataclass(frozen=True)
class Sync:
    """Send runs that W&B logged offline: phase 1 first, then phase 2, then reports.

    Exit code 2 if one was not sent; nothing is lost then, and the same command tries again.
    """

    folder: Positional[Path] = Path("runs")
    """Folder of a run, of a study, or of several."""
    dry_run: bool = False
    """Say what would be sent, and send nothing."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Write a study's report again, from its finished runs: report.html, figures, report.txt."""

    folder: Positional[str]
    """Folder of the study, or its address (s3://...), beside which the report is put then."""


@dataclasses.dataclass(frozen=True)
class Compare:
    """Put the findings of several studies side by side, and write compare.html and compare.csv."""

    folders: Positional[tuple[str, ...]]
    """Folders of the studies or their addresses, two or more."""
    out: Path = Path("runs/compare")
    """Folder that is written to."""


@dataclasses.dataclass(frozen=True)
class ListCommand:
    """Say what there is: environments, intrinsic rewards, plans, studies, sizes."""

    kind: Positional[str] = "all"
    """environments, intrinsic, plans, studies, sizes or all."""
    json: bool = False
    """Print JSON."""


@dataclasses.dataclass(frozen=True)
class CheckEnv:
    """Check an environment: spaces, rows, endings, determinism, snapshots, videos, speed.

    Exit code 1 and a reason if a check fails; `-` stands where nothing is promised or nothing was seen.
    """

    env: Positional[str]
    """Environment id, as for pretrain; your own as module:Name-v0."""
    steps: int = 300
    """Random steps of each check, in each of two environments; fewer where they take over 10 seconds."""
    seed: int = 0
    """Seed of episodes and actions."""
    image_size: int = 64
    """Height and width of pictures, in pixels."""
    json: bool = False
    """Print JSON."""


COMMANDS: dict[str, type] = {
    "study": StudyCommand,
    "pretrain": Pretrain,
    "train": Train,
    "finetune": Finetune,
    "baseline": Baseline,
    "evaluate": Evaluate,
    "export-data": ExportData,
    "export": Export,
    "status": Status,
    "sync": Sync,
    "report": Report,
    "compare": Compare,
    "list": ListCommand,
    "check-env": CheckEnv,
}


def shortened(kind: type) -> type:
    """The same command without the groups of settings that most people never touch, for --help."""
    hidden = [field for field in dataclasses.fields(kind) if field.name in ("agent", "training", "ppo")]
    short = dataclasses.make_dataclass(
        kind.__name__,
        [(f.name, Annotated[object, Suppress], dataclasses.field(default=None)) for f in hidden],
        bases=(kind,),
        frozen=True,
    )
    short.__doc__ = kind.__doc__
    return short
