"""The command line `expedition`."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expedition import __version__
from expedition.errors import UserError, unknown_name
from experiments.command_line import looking

# What needs torch is imported where it is used, so that help and a mistyped command answer at once.
if TYPE_CHECKING:
    from experiments.command_line.commands import (
        Baseline,
        Finetune,
        Pretrain,
        StudyCommand,
        Train,
    )
    from experiments.launchers.launcher import Launcher
    from training import Logistics, Outcome
    from transfer.loader import Source
    from transfer.plan import TransferPlan

LONGEST_NAME = 200
"""Characters of a file's name that are told."""

USAGE = """usage: expedition COMMAND [flags]

What did an agent learn while it explored without reward, and what is each part of it worth on a new task?

  study NAME   run a whole study and report what each carried part was worth (start here: study quickstart)
  pretrain     phase 1: explore an environment on an intrinsic reward alone
  finetune     phase 2: carry components into the task with its real reward
  train        learn the task from scratch on its real reward, carrying nothing
  baseline ppo learn the task by Stable-Baselines3's PPO, to compare with
  evaluate     evaluate the policy in a run's newest checkpoint
  export-data  write a run's replay as a Minari dataset
  export       write a run into a folder to share on the Hugging Face hub
  status       say how far the runs of a study are
  sync         send runs to W&B that were logged offline
  report       write a study's report again: a web page, figures, tables
  compare      put the findings of several studies side by side
  list         environments, intrinsic rewards, plans, studies, sizes
  check-env ID whether an environment keeps the promises that learning relies on

`expedition COMMAND --help` explains its flags; `expedition --version` prints the version."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 2 bad input, 130 or 143 stopped and saved."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except UserError as error:
        print(f"expedition: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("expedition: interrupted; what was saved is intact.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has left
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        reason = error.strerror or type(error).__name__
        name = str(error.filename)
        told = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
        print(f"expedition: The system refuses '{told}' ({reason}): give another path.", file=sys.stderr)
        return 2


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if arguments[0] == "--version":
        print(f"expedition {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in _HANDLERS:
        raise unknown_name("command", name, _HANDLERS)
    from experiments.command_line.parsing import parse

    if name == "study":
        from experiments.command_line.flags import grouped_flags

        groups, rest = grouped_flags(rest)
        return _study(parse(name, rest), groups, shlex.join(["expedition", *arguments]))
    return _HANDLERS[name](parse(name, rest))


def _say(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)  # above a progress bar, not into it
    sys.stderr.flush()


def _logistics(command: Pretrain | Train | Finetune | Baseline | StudyCommand) -> Logistics:
    from training import Logistics

    if isinstance(command.out, Path) and command.out.parts and command.out.parts[0].endswith(":"):
        raise UserError("Only a study is written to an address: give --out a folder of this machine.")
    machine = command.machine
    return Logistics(
        device=machine.device,
        threads=machine.threads,
        workers=machine.workers,
        replay_store=machine.replay_store,
        wandb=machine.wandb,
        project=machine.project,
        artifact=machine.artifact,
        compile=machine.compile,
        drop_damaged=machine.drop_damaged,
    )


def _pretrain(command: Pretrain) -> int:
    from experiments.launchers.worker import carry_out
    from training import RunConfig, fingerprint, to_dict
    from transfer.data.pretraining import data_record
    from transfer.data.sources import open_sources

    if command.data and not command.env:
        raise UserError("The data name no environment: say with --env in which they were collected.")
    if command.data and not command.training.offline_updates:
        raise UserError("Say with --training.offline-updates how many updates are made on the data.")
    config = RunConfig(
        command.env,
        "pretrain",
        command.intrinsic,
        command.size,
        command.steps,
        command.seed,
        command.agent,
        command.training,
    )
    data = open_sources(command.data, command.training.image_size)
    settings = {**to_dict(config), **data_record(data)}
    out = command.out or Path("runs") / "pretrain" / fingerprint(settings)
    return _told(carry_out(config, out, _logistics(command), None, None, _say, data), out)


def _finetune(command: Finetune) -> int:
    from experiments.studies.telling import told_phase_2
    from transfer.loader import open_source
    from transfer.plan import parse_plan

    plan = parse_plan(command.plan)
    if command.source is None:
        if plan.carries:
            raise UserError(f"Plan '{plan.name}' carries components: say from which run with --from.")
        if command.env is None:
            raise UserError("Nothing says on which environment to learn: name it with --env.")
        return _phase_2(command, command.env, str(command.size), plan, None)
    source = open_source(command.source)
    if command.size != source.config.size:
        raise UserError(f"The size is that of {command.source}, '{source.config.size}': leave --size out.")
    own = told_phase_2(source.config.agent, command.agent)
    if own:
        _say(own)
    return _phase_2(command, command.env or source.config.env, source.config.size, plan, source)


def _train(command: Train) -> int:
    from transfer.plan import parse_plan

    return _phase_2(command, command.env, command.size, parse_plan("scratch"), None)


def _phase_2(
    command: Finetune | Train, env: str, size: str, plan: TransferPlan, source: Source | None
) -> int:
    """Carry a plan out; training from scratch is the one that carries nothing."""
    from experiments.command_line.commands import Train
    from experiments.launchers.worker import carry_out
    from training import RunConfig, fingerprint, to_dict
    from transfer.loader import transfer_record

    if command.agent.kind == "ppo":
        raise UserError("PPO has settings of its own: run `expedition baseline ppo`.")
    if command.agent.kind == "random":
        raise UserError("The random policy learns nothing: every study measures it as `random policy`.")
    config = RunConfig(
        env, "finetune", None, size, command.steps, command.seed, command.agent, command.training
    )
    name = fingerprint({**to_dict(config), **transfer_record(plan, source)})
    label = plan.name if "=" not in plan.name else "custom"
    default = Path("train", name) if isinstance(command, Train) else Path("finetune", f"{label}-{name}")
    out = command.out or "runs" / default
    return _told(carry_out(config, out, _logistics(command), plan.name, source, _say), out)


def _baseline(command: Baseline) -> int:
    from agents import AgentConfig
    from experiments.command_line.commands import DEFAULT_SIZE
    from experiments.launchers.worker import carry_out
    from training import RunConfig, TrainingConfig, fingerprint, to_dict

    if command.name != "ppo":
        raise unknown_name("baseline", command.name, ["ppo"])
    config = RunConfig(
        command.env,
        "finetune",
        None,
        DEFAULT_SIZE,
        command.steps,
        command.seed,
        AgentConfig(kind="ppo", ppo=command.ppo),
        TrainingConfig(
            num_envs=command.num_envs,
            evaluation_episodes=command.episodes,
            image_size=command.image_size,
        ),
    )
    out = command.out or Path("runs") / "baseline" / f"ppo-{fingerprint(to_dict(config))}"
    return _told(carry_out(config, out, _logistics(command), "scratch", None, _say), out)


def _told(outcome: Outcome, out: Path) -> int:
    """Print a finished run's result."""
    from experiments.command_line.telling import told_result

    if outcome.result is not None:
        print(told_result(outcome.result, out))
    return outcome.exit_code


def _study(command: StudyCommand, groups: dict[str, Any], typed: str) -> int:
    from experiments.launchers.keeping import keeper_of
    from experiments.launchers.launcher import Launcher
    from experiments.reporting.publish import FILES, publish
    from experiments.settings import merged, nested
    from experiments.studies.crossing import with_search
    from experiments.studies.presets import find_study

    names = ("env", "intrinsic", "size", "pretrain_steps", "finetune_steps", "seeds", "first_seed")
    overrides = {name: getattr(command, name) for name in names}
    told = {} if command.predict is None else nested("agent.model.predicts", command.predict)
    study = find_study(command.name, command.budget, overrides | merged(groups, told))
    study = study if command.search is None else with_search(study, command.search)
    shared = Path("runs") if command.out is None else None  # a folder of one's own begins anew
    launcher = Launcher(
        study,
        keeper_of(command.out or f"runs/{study.name}", _say),
        command.jobs,
        _logistics(command),
        typed,
        _say,
        command.fused,
        command.retries,
        shared,
        command.launcher,
    )
    launcher.announce()
    launcher.preflight()
    if command.plan_only:
        return _estimate(launcher)
    code = launcher.run()
    if code == 0:
        print(publish(launcher.folder, launcher.logistics))
        launcher.keeper.check_sent(FILES)
    return code


def _estimate(launcher: Launcher) -> int:
    """Print what a study will take, by short trials of its kinds of runs on this machine."""
    from experiments.estimate import estimate_study

    place, its = launcher.place, launcher.logistics
    print(estimate_study(launcher.runs, place.jobs, place.threads, its, launcher.compiled, _say))
    return 0


_HANDLERS: dict[str, Callable[..., int]] = {
    "study": _study,
    "pretrain": _pretrain,
    "train": _train,
    "finetune": _finetune,
    "baseline": _baseline,
    "evaluate": looking.evaluate,
    "export-data": looking.export_data,
    "export": looking.export,
    "status": looking.status,
    "sync": looking.sync,
    "report": looking.report,
    "compare": looking.compare,
    "list": looking.list_known,
    "check-env": looking.check_env,
}


if __name__ == "__main__":
    sys.exit(main())
