"""The command line `expedition`."""

from __future__ import annotations

import dataclasses
import json
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expedition import UserError, __version__, unknown_name

# What needs torch is imported where it is used, so that help and a mistyped command answer at once.
if TYPE_CHECKING:
    from experiments.commands import (
        Baseline,
        CheckEnv,
        Evaluate,
        Finetune,
        ListCommand,
        Pretrain,
        Report,
        StudyCommand,
        Train,
    )
    from experiments.launchers.local import Launcher
    from training import Logistics, Outcome
    from transfer.loader import Source
    from transfer.plan import TransferPlan

USAGE = """usage: expedition COMMAND [flags]

What did an agent learn while it explored without reward, and what is each part of it worth on a new task?

  study NAME   run a whole study and report what each carried part was worth (start here: study quickstart)
  pretrain     phase 1: explore an environment on an intrinsic reward alone
  finetune     phase 2: carry components into the task with its real reward
  train        learn the task from scratch on its real reward, carrying nothing
  baseline ppo learn the task by Stable-Baselines3's PPO, to compare with
  evaluate     evaluate the policy in a run's newest checkpoint
  report       write a study's summary and figure again
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
    if name == "study":
        from experiments.flags import grouped_flags

        groups, rest = grouped_flags(rest)
        return _study(parse(name, rest), groups, shlex.join(["expedition", *arguments]))
    return _HANDLERS[name](parse(name, rest))


def parse(name: str, arguments: list[str]) -> Any:
    """Build a command from its presets, then its file, then its flags.

    Raises:
        UserError: a bad file or preset.
        SystemExit: tyro's own, with code 2, for flags that it does not know; code 0 after help.
    """
    import tyro

    from experiments.commands import COMMANDS, shortened

    kind = COMMANDS[name]
    short = "--help" in arguments or "-h" in arguments
    try:
        default = _default(kind, arguments)
    except UserError:
        if not short and "--help-all" not in arguments:
            raise
        default = None  # whoever asks for help gets it
    if short:
        kind = shortened(kind)
        default = None if default is None else kind(**_shallow(default))
    arguments = ["--help" if argument == "--help-all" else argument for argument in arguments]
    options = {} if default is None else {"default": default}
    return tyro.cli(kind, prog=f"expedition {name}", args=arguments, **options)


def _shallow(command: Any) -> dict[str, Any]:
    return {field.name: getattr(command, field.name) for field in dataclasses.fields(command)}


def _default(kind: type, arguments: list[str]) -> Any:
    """The command before its flags: presets of the size asked for, or the source run's settings."""
    from experiments.commands import Baseline, Finetune, Pretrain, Train
    from experiments.settings import overlay, ppo_preset, read_settings

    file = _peek(arguments, "--config")
    values = _grouped(read_settings(Path(file))) if file is not None else {}
    if kind in (Pretrain, Train):
        return overlay(_preset(kind, arguments, values), values)
    if kind is Baseline:
        steps = _peek(arguments, "--steps") or ""
        budget = int(steps) if steps.isdecimal() else Baseline.steps
        return Baseline(ppo=ppo_preset(_peek(arguments, "--env") or Baseline.env, budget))
    if kind is Finetune:
        return overlay(_carrying(arguments, values), values)
    return None


def _preset(kind: type, arguments: list[str], values: dict[str, Any]) -> Any:
    """A command with the presets of its phase and size, which a flag, a file or the command itself names."""
    from experiments.commands import DEFAULT_SIZE, Pretrain
    from experiments.settings import agent_preset, finetune_preset, training_preset, with_settings

    size = _peek(arguments, "--size")
    size = str(values.get("size", DEFAULT_SIZE)) if size is None else size
    own = () if kind is Pretrain else finetune_preset(size)
    return kind(size=size, agent=with_settings(agent_preset(size), own), training=training_preset(size))


def _carrying(arguments: list[str], values: dict[str, Any]) -> Finetune:
    """Fine-tuning with its source's settings, but for phase 2's own; without a source, with its size's."""
    from experiments.commands import Finetune
    from experiments.settings import finetune_preset, with_settings
    from transfer.loader import open_source

    source = _peek(arguments, "--from")
    source = values.pop("from", None) if source is None else source
    if source is None:
        return _preset(Finetune, arguments, values)
    found = open_source(Path(source)).config
    agent = with_settings(found.agent, finetune_preset(found.size))
    return Finetune(Path(source), size=found.size, agent=agent, training=found.training)


def _grouped(values: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file, whose `device` and the like stand at the top as their flags do."""
    from experiments.commands import Machine

    names = {field.name for field in dataclasses.fields(Machine)}
    machine = {key: values.pop(key) for key in list(values) if key in names}
    return {**values, "machine": machine} if machine else values


def _peek(arguments: list[str], flag: str) -> str | None:
    """The value of a flag, read before the others because they depend on it."""
    found = None
    for index, argument in enumerate(arguments):
        if argument == flag and index + 1 < len(arguments):
            found = arguments[index + 1]
        elif argument.startswith(f"{flag}="):
            found = argument.partition("=")[2]
    return found


def _say(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)  # above a progress bar, not into it
    sys.stderr.flush()


def _logistics(command: Pretrain | Train | Finetune | Baseline | StudyCommand) -> Logistics:
    from training import Logistics

    machine = command.machine
    return Logistics(
        device=machine.device,
        threads=machine.threads,
        workers=machine.workers,
        replay_store=machine.replay_store,
        wandb=machine.wandb,
        project=machine.project,
        compile=machine.compile,
    )


def _pretrain(command: Pretrain) -> int:
    from experiments.launchers.worker import carry_out
    from training import RunConfig, fingerprint, to_dict

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
    out = command.out or Path("runs") / "pretrain" / fingerprint(to_dict(config))
    return _told(carry_out(config, out, _logistics(command), None, None, _say), out)


def _finetune(command: Finetune) -> int:
    from experiments.telling import told_phase_2
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
    from experiments.commands import Train
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
    folder = None if source is None else source.run_dir
    return _told(carry_out(config, out, _logistics(command), plan.name, folder, _say), out)


def _baseline(command: Baseline) -> int:
    from agents import AgentConfig
    from experiments.commands import DEFAULT_SIZE
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
    from experiments.telling import told_result

    if outcome.result is not None:
        print(told_result(outcome.result, out))
    return outcome.exit_code


def _study(command: StudyCommand, groups: dict[str, Any], typed: str) -> int:
    from experiments.crossing import with_search
    from experiments.launchers.local import Launcher
    from experiments.presets import find_study
    from experiments.reporting.publish import publish
    from experiments.settings import merged, nested

    names = ("env", "intrinsic", "size", "pretrain_steps", "finetune_steps", "seeds", "first_seed")
    overrides = {name: getattr(command, name) for name in names}
    told = {} if command.predict is None else nested("agent.model.predicts", command.predict)
    study = find_study(command.name, command.budget, overrides | merged(groups, told))
    study = study if command.search is None else with_search(study, command.search)
    folder = command.out or Path("runs") / study.name
    logistics = _logistics(command)
    launcher = Launcher(study, folder, command.jobs, logistics, typed, _say, command.fused, command.retries)
    launcher.announce()
    if command.plan_only:
        return _estimate(launcher)
    code = launcher.run()
    if code == 0:
        print(publish(folder, launcher.logistics))
    return code


def _estimate(launcher: Launcher) -> int:
    """Print what a study will take, by short trials of its kinds of runs on this machine."""
    from experiments.estimate import estimate_study

    print(estimate_study(launcher.runs, launcher.jobs, launcher.threads, launcher.logistics, _say))
    return 0


def _evaluate(command: Evaluate) -> int:
    from experiments.telling import told_evaluation
    from training import evaluate_run, prepare_process

    if command.episodes < 1:
        raise UserError(f"--episodes is {command.episodes}: ask for at least 1.")
    prepare_process(0)
    summary = evaluate_run(command.source, command.episodes, command.seed, command.device)
    print(json.dumps(summary) if command.json else told_evaluation(summary))
    return 0


def _report(command: Report) -> int:
    from experiments.reporting.publish import publish

    print(publish(command.folder, None))
    return 0


def _list(command: ListCommand) -> int:
    from experiments.catalogue import catalogue, format_catalogue

    found = catalogue()
    if command.kind != "all":
        if command.kind not in found:
            raise unknown_name("kind", command.kind, [*found, "all"])
        found = {command.kind: found[command.kind]}
    print(json.dumps(found, indent=1) if command.json else format_catalogue(found))
    return 0


def _check_env(command: CheckEnv) -> int:
    from envs.conformance import check

    words = {True: "ok", False: "FAILED", None: "-"}
    findings = []
    for finding in check(command.env, steps=command.steps, seed=command.seed, image_size=command.image_size):
        findings.append(finding)
        if not command.json:
            print(f"{finding.name:<22} {words[finding.passed]:<7} {finding.detail}", flush=True)
    failed = [finding.name for finding in findings if finding.passed is False]
    if command.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    if failed:
        print(f"expedition: '{command.env}' failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


_HANDLERS: dict[str, Callable[..., int]] = {
    "study": _study,
    "pretrain": _pretrain,
    "train": _train,
    "finetune": _finetune,
    "baseline": _baseline,
    "evaluate": _evaluate,
    "report": _report,
    "list": _list,
    "check-env": _check_env,
}


if __name__ == "__main__":
    sys.exit(main())
