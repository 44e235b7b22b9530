"""What a study will take, from short trials of each kind of run on this machine."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agents import AgentConfig
from agents.programs.program import Wish
from expedition import UserError
from experiments.launchers.worker import Job, Task
from experiments.reporting.report import duration
from experiments.studies.runs import PlannedRun
from experiments.trial import Trial
from training import Logistics
from training.budget import evaluations, most_rows, planned_updates
from training.config import RunConfig
from transfer.plan import parse_plan

MOMENTS = 3
"""Numbers that a checkpoint holds for each parameter: its value and two moments."""
COMPILED_SECONDS = 15.0
"""What takes longer was compiled anew; a run that finds it in the cache needs a few seconds."""

Kind = tuple[str, str, str, str]
"""Phase, intrinsic reward, learner as `_learner` tells it, environment: a step of one kind takes the same."""


def estimate_study(
    runs: Sequence[PlannedRun],
    jobs: int,
    threads: Mapping[str, int],
    logistics: Logistics,
    compiled: Mapping[str, Wish],
    say: Callable[[str], None],
) -> str:
    """Try each kind of run once, in a process of its own, and return a table of what the study will take.

    As many trials run at once as runs of the kind will, so that they are in each other's way as the runs
    will be. Evaluations are counted, with episodes as long as a new policy's (`experiments.trial`). The
    random policy is reckoned as acting as fast as the learner that was tried in its environment first.

    Args:
        runs: what the study consists of, those first that others wait for.
        jobs: runs at a time.
        threads: of a run, by its phase, as the launcher gives them.
        logistics: how the runs are carried out.
        compiled: of a run by itself, whether its updates are; those that are fused are not, and are reckoned
            one by one.
        say: told one line at a time what a person wants to know.

    Raises:
        UserError: a trial failed, with its own sentence.
    """
    seconds: dict[str, float] = {}
    tried: dict[str, Trial] = {}
    lines, memory, disk = [], 0, 0
    kept = _kept_rows(runs)
    for kind, members in _kinds(runs).items():
        say(f"  trying {', '.join(kind)} ...")
        wish = compiled.get(members[0].id, "off")
        its = dataclasses.replace(logistics, threads=threads[kind[0]], compile=wish)
        trial = _warm_trial(members[0].config, its, min(jobs, len(members)))
        tried |= {task: trial for run in members if (task := _task(run)) not in tried}
        seconds |= {run.id: run_seconds(run.config, trial) for run in members}
        memory = max(memory, trial.peak + max(_replay_bytes(run, kept, trial) for run in members))
        disk += sum(_replay_bytes(run, kept, trial) + 2 * MOMENTS * 4 * trial.parameters for run in members)
        spent = sum(seconds[run.id] for run in members)
        lines.append(f"{len(members):>4} x {', '.join(kind[:3])}: {_told(members, trial)}: {duration(spent)}")
    seconds |= {run.id: run_seconds(run.config, tried[_task(run)]) for run in runs if _is_random(run)}
    whole = duration(until_all_end(runs, seconds, jobs))
    fused = "" if len(compiled) == len(runs) else " What --fused joins is reckoned one by one."
    total = (
        f"About {whole} with {jobs} at a time (evaluation counted, with episodes as long as a new policy's; "
        f"W&B not), {memory * jobs / 2**30:.1f} GiB of memory, {disk / 2**30:.1f} GiB of disk.{fused}"
    )
    return "\n".join([*lines, total])


def _task(run: PlannedRun) -> str:
    """The study's environment, whose own options a condition may have laid over it."""
    return run.task or run.config.env


def _is_random(run: PlannedRun) -> bool:
    return run.config.agent.kind == "random"


def _learner(agent: AgentConfig) -> str:
    """What decides how long its steps take: the kind of agent, what it reads and predicts, where it plans."""
    search = agent.search
    told: list[str] = [] if agent.model.predicts == "reconstruction" else [agent.model.predicts]
    told += [] if agent.model.objects.kind == "graph" else [agent.model.objects.kind]
    told += [] if search.update == "imagination" else [search.update]
    told += ["search to act"] if search.act else []
    told += ["search when judged"] if search.evaluate else []
    return agent.kind + (f" ({', '.join(told)})" if told else "")


def _kinds(runs: Sequence[PlannedRun]) -> dict[Kind, list[PlannedRun]]:
    """Runs by kind; those of the random policy are none, for each environment has runs of a learner."""
    kinds: dict[Kind, list[PlannedRun]] = {}
    for run in runs:
        config = run.config
        if not _is_random(run):
            kind = (config.phase, config.intrinsic or "task", _learner(config.agent), config.env)
            kinds.setdefault(kind, []).append(run)
    return kinds


def _told(members: Sequence[PlannedRun], trial: Trial) -> str:
    """What runs of one kind consist of, and what each part takes."""
    steps = sum(run.config.steps for run in members)
    updates = sum(planned_updates(run.config) for run in members)
    judged = sum(evaluations(run.config) for run in members)
    return (
        f"{steps:,} steps at {trial.step * 1000:.2f} ms, "
        f"{updates:,} updates at {trial.update * 1000:.0f} ms, "
        f"{judged:,} evaluations at {trial.evaluation:.1f} s, {_besides(trial):.0f} s a run besides"
    )


def run_seconds(config: RunConfig, trial: Trial) -> float:
    """What a run will take, from the start of its process to its result."""
    judged = evaluations(config) * trial.evaluation
    if config.agent.kind == "random":
        unseen = trial.evaluation if config.training.unseen else 0.0
        return trial.begin + judged + unseen
    learning = config.steps * trial.step + planned_updates(config) * trial.update
    return _besides(trial) + learning + judged


def _besides(trial: Trial) -> float:
    """What each run takes once: its start, and judging its model twice and its final policy in all ways."""
    return trial.begin + trial.compiling + trial.heldout + 2 * trial.open_loop + trial.beyond


def until_all_end(runs: Sequence[PlannedRun], seconds: Mapping[str, float], jobs: int) -> float:
    """Return when the last run ends, where each waits for the runs that it needs and for a place."""
    places = [0.0] * jobs
    ends: dict[str, float] = {}
    waiting = {run.id: run for run in runs}

    def may_begin(run: PlannedRun) -> float:
        return max((ends[source] for source in run.waits_for), default=0.0)

    while waiting:
        run = min((r for r in waiting.values() if ends.keys() >= set(r.waits_for)), key=may_begin)
        place = places.index(min(places))
        ends[run.id] = places[place] = max(places[place], may_begin(run)) + seconds[run.id]
        del waiting[run.id]
    return max(places)


def _kept_rows(runs: Sequence[PlannedRun]) -> dict[str, int]:
    """Most rows in the replay of each run: its own or all that it learns from, and those that it carries."""
    own = {
        run.id: most_rows(run.config.steps, run.config.training.num_envs) * run.config.training.num_envs
        for run in runs
    }
    learned = {run.id: sum(own[source] for source in run.data) or own[run.id] for run in runs}
    carried = {
        run.id: learned[run.needs]
        for run in runs
        if run.needs is not None and parse_plan(run.plan or "scratch")["replay"] != "fresh"
    }
    return {run: rows + carried.get(run, 0) for run, rows in learned.items()}


def _replay_bytes(run: PlannedRun, rows: Mapping[str, int], trial: Trial) -> int:
    return min(int(run.config.training.replay_gib * 2**30), rows[run.id] * trial.row)


def _warm_trial(config: RunConfig, logistics: Logistics, at_once: int) -> Trial:
    """A trial that finds in the cache what is compiled, as the runs will."""
    trial = _tried(config, logistics, at_once)
    return _tried(config, logistics, at_once) if trial.compiling > COMPILED_SECONDS else trial


def _tried(config: RunConfig, logistics: Logistics, at_once: int) -> Trial:
    """Measure in a process of its own, whose memory is then the run's alone; others like it run beside it."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        Job((Task("", config),), logistics).save(job)
        outs = [Path(folder) / f"trial-{number}.json" for number in range(at_once)]
        processes = [_start(job, out) for out in outs]
        first = processes[0]
        try:
            first.wait()
        finally:
            for process in processes:
                process.kill()
                process.wait()
        if first.returncode != 0:
            errors = _errors(outs[0]).read_text(errors="replace")
            last = (errors.strip().splitlines() or [f"it ended with code {first.returncode}"])[-1]
            raise UserError(f"A trial of {config.env} failed: {last}")
        return Trial(**json.loads(outs[0].read_text()))


def _start(job: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "experiments.trial", str(job), str(out), str(time.time())]
    with _errors(out).open("wb") as errors:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)


def _errors(out: Path) -> Path:
    """Where a trial's errors go."""
    return out.with_suffix(".txt")
