"""Carrying a study out: several runs at a time, each in a process of its own, here or on a cluster."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from expedition import UserError, __version__
from experiments.launchers.compiling import compile_wishes
from experiments.launchers.graph import Graph, Group
from experiments.launchers.keeping import Here, Keeper
from experiments.launchers.places.base import LOST, JobFile, Work
from experiments.launchers.places.registry import make_place
from experiments.launchers.preflight import preflight
from experiments.launchers.progress import Bar
from experiments.launchers.sharing import is_done, take_over
from experiments.launchers.worker import Job, Task
from experiments.studies.runs import PlannedRun, planned_runs
from experiments.studies.study import Study
from experiments.studies.telling import told_phase_2, told_runs
from training import Logistics, fingerprint, to_dict
from training.logging.wandb_login import resolve_wandb_mode
from training.process.runtime import TAKEN_AWAY, StopSignal, choose_device
from training.storage.folder import only_process, read_json
from training.storage.state_tree import disk_errors, publish_json
from transfer.plan import COMPONENTS, TAUGHT, parse_plan

POLL_SECONDS = 0.05
GRACE_SECONDS = 120.0
TOLD = 2
"""Exit code of a worker that says itself what a user can mend."""
PREEMPTED = tuple(128 + number for number in (signal.SIGTERM, *TAKEN_AWAY))
"""Exit codes of a worker that saved its state because it was told to leave."""


@dataclasses.dataclass
class _Active:
    runs: Group
    work: Work
    taken: bool = False
    """Whether another machine has taken it over, so that it was asked to leave."""


class Launcher:
    """Runs the graph of a study: a run starts when the run that it needs is finished and a place is free.

    Args:
        study: what to run.
        folder: the study's folder; what is finished in it is not run again. Or what keeps it elsewhere too.
        jobs: runs at a time; 0 for as many as the place has room for.
        logistics: device, W&B and so on; the threads are those of a run.
        command: the command line, for the record.
        say: told one line at a time what a person wants to know.
        fused: whether the seeds of a condition learn as one program, in one process.
        retries: how often a run that crashed is begun again.
        shared: a folder of studies whose finished runs are taken over; None to run everything here.
        place: where runs are carried out, with options, as in `make_place`.
    """

    def __init__(
        self,
        study: Study,
        folder: Path | Keeper,
        jobs: int,
        logistics: Logistics,
        command: str,
        say: Callable[[str], None],
        fused: bool = False,
        retries: int = 1,
        shared: Path | None = None,
        place: str = "local",
    ) -> None:
        if jobs < 0:
            raise UserError(f"The number of jobs must be 0 (automatic) or more, not {jobs}.")
        if retries < 0:
            raise UserError(f"The number of retries must be 0 or more, not {retries}.")
        self.keeper = Here(folder) if isinstance(folder, Path) else folder
        folder = self.keeper.folder
        self.study, self.folder, self.say = study, folder, say
        self.runs = planned_runs(study)
        self.groups = in_groups(self.runs, fused)
        exploring = sum(group[0].plan is None for group in self.groups)
        self.place = make_place(
            place,
            folder,
            jobs,
            logistics.threads,
            exploring,
            len(self.groups),
            choose_device(logistics.device).type == "cuda",
        )
        self.logistics = dataclasses.replace(
            logistics,
            wandb=resolve_wandb_mode(logistics.wandb),
            group=folder.name,
            progress=False,
        )
        alone = [group[0] for group in self.groups if len(group) == 1]  # fused updates are not compiled
        self.compiled = compile_wishes(alone, logistics.compile)
        self.command = command
        self.wall_seconds = _earlier_seconds(folder, study.name)
        self.retries, self.shared = retries, shared
        self._active: list[_Active] = []
        self._failed: dict[str, str] = {}

    def announce(self) -> None:
        """Say what will be run, and how much memory its replays may take."""
        study = self.study
        room = max(run.config.training.replay_gib for run in self.runs if run.config.agent.kind != "random")
        self.say(f"Study {study.name}: {study.description}")
        explored = any(run.needs for run in self.runs)
        own = told_phase_2(study.agent, study.finetuning_agent) if explored else ""
        if own:
            self.say(f"  {own}")
        for line in told_runs(self.runs):
            self.say(f"  {line}")
        at_once = f"{self.place.jobs} at a time{self.place.where}"
        self.say(
            f"{len(self.runs)} runs{self._fusion()}, {sum(run.config.steps for run in self.runs):,} steps, "
            f"{at_once} with {self.place.threads['finetune']} thread(s) each; a replay takes at most "
            f"{room:g} GiB a run; W&B {self.logistics.wandb}; folder {self.folder}"
            f"{self.keeper.where}"
        )

    def preflight(self) -> None:
        """Refuse what the runs that are not done would refuse as they begin.

        On a cluster each tells by itself: who sends it may not be able to make its environment.

        Raises:
            UserError: as `preflight`.
        """
        if not self.place.where:
            left = [run for run in self.runs if not is_done(run, self.folder / run.id)]
            preflight(left, self.runs, self.logistics, self.say)

    def _fusion(self) -> str:
        return f" in {len(self.groups)} processes" if len(self.groups) < len(self.runs) else ""

    def run(self) -> int:
        """Run what is not finished yet; returns the exit code.

        A run that fails takes with it only those that need it.

        Raises:
            UserError: runs failed, with the first one's own sentence, or the folder cannot be written.
        """
        with disk_errors("the study", self.folder, "nothing was started"):
            self.folder.mkdir(parents=True, exist_ok=True)
        with only_process(self.folder), StopSignal() as stop:
            return self._run(stop)

    def _run(self, stop: StopSignal) -> int:
        self._write_study()
        began = time.monotonic()
        self._take_over()
        self.keeper.begin(self.runs)
        bar = Bar(self.runs, self.folder, self.say)
        try:
            self._loop(stop, bar)
        except BaseException:
            self._stop_all()
            raise
        finally:
            bar.close()
            self.place.close()
            self.wall_seconds += time.monotonic() - began
            self._write_study()
            self.keeper.close()
        return stop.exit_code

    def _take_over(self) -> None:
        """Bring in what other studies have done already."""
        if self.shared is None:
            return
        found = take_over(self.shared, self.folder, self.runs)
        if found:
            there = ", ".join(dict.fromkeys(str(source.parent) for source in found.values()))
            self.say(f"{len(found)} runs are done already in {there}, and are taken over from there.")

    def _loop(self, stop: StopSignal, bar: Bar) -> None:
        done = {run.id for run in self.runs if is_done(run, self.folder / run.id)}
        graph = Graph(self.groups, done, self.retries)
        self._failed = graph.failed
        while self._active or graph.ready():
            if stop:
                self.say("Stopping: the runs save their state.")
                self._stop_all()
                self.say("Saved; run the same command again to go on.")
                return
            room = self.place.jobs - len(self._active)
            self._start(graph, self.keeper.may_begin(graph.ready(), room))
            for group in self.keeper.done_elsewhere():
                graph.begin(group)
                graph.succeed(group)
            time.sleep(POLL_SECONDS)
            for active in list(self._active):
                self._look_at(active, graph)
            bar.update([run for active in self._active for run in active.runs])
        if graph.failed:
            raise UserError(self._failure(graph))

    def _start(self, graph: Graph, groups: Sequence[Group]) -> None:
        """Begin groups of runs, all at once."""
        if not groups:
            return
        files = [self._file(group) for group in groups]
        for group, work in zip(groups, self.place.begin(files), strict=True):
            graph.begin(group)
            self._active.append(_Active(group, work))

    def _file(self, runs: Group) -> JobFile:
        """Write the job of a group."""
        first = runs[0]
        tasks = [
            Task(
                str(self.folder / run.id),
                run.config,
                run.plan,
                None if run.needs is None else str(self.folder / run.needs),
                tuple(f"{self.folder / source}={weight}" for source, weight in run.data.items()),
            )
            for run in runs
        ]
        file = JobFile(self.folder / "logs" / f"{first.id}.json", self._log(first.id))
        with disk_errors("the study's logs", file.job.parent, "finished runs are intact"):
            file.job.parent.mkdir(parents=True, exist_ok=True)
            threads = self.place.threads[first.config.phase]
            wish = self.compiled.get(first.id, self.logistics.compile)
            its = dataclasses.replace(self.logistics, threads=threads, compile=wish)
            Job(tuple(tasks), its).save(file.job)
            file.log.touch()
        return file

    def _look_at(self, active: _Active, graph: Graph) -> None:
        """Note that a job has ended, or that another machine has taken it over."""
        if (code := active.work.poll()) is not None:
            self._active.remove(active)
            self.keeper.ended(active.runs)
            self._ended(active, code, graph)
        elif not active.taken and self.keeper.is_taken(active.runs):
            active.taken = True
            active.work.stop()

    def _ended(self, active: _Active, code: int, graph: Graph) -> None:
        """Note how a job ended; one that crashed may be begun again, and one that others displaced is."""
        first = active.runs[0].id
        if code == 0:
            graph.succeed(active.runs)
            return
        if active.taken:
            graph.displaced(active.runs)
            return
        if self.place.preempts and code in PREEMPTED:
            graph.displaced(active.runs)
            self.say(f"Run {first} saved its state and made room for others: it is begun again.")
            return
        why = _reason(code, self._log(first))
        again = graph.fail(active.runs, why, crashed=code != TOLD)
        then = "it is begun again" if again else "runs that do not need it go on"
        self.say(f"Run {first} failed ({why}): {then}.")
        self._write_study()

    def _failure(self, graph: Graph) -> str:
        """The sentence of a study in which runs failed: the first one's reason, and how many there are."""
        (first, why), *others = graph.failed.items()
        told = f"Run {first} failed ({why}); its log is {self._log(first)}"
        if others:
            told += f"; {len(others)} more failed"
        if count := graph.not_begun():
            were = "was not begun, which needs" if count == 1 else "were not begun, which need"
            told += f"; {count} {were} one that failed, or too many failed before"
        return f"{told}; what is finished is kept, and the same command goes on from there."

    def _log(self, run_id: str) -> Path:
        return self.folder / "logs" / f"{run_id}.txt"

    def _stop_all(self) -> None:
        """Ask every run to save and leave, and wait for it."""
        for active in self._active:
            active.work.stop()
        deadline = time.monotonic() + GRACE_SECONDS
        while (left := [a for a in self._active if a.work.poll() is None]) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for active in left:
            active.work.kill()
        for active in self._active:
            self.keeper.ended(active.runs)
        self._active = []

    def _write_study(self) -> None:
        environments = self.study.finetune_envs
        crafter = set(environments) == {"crafter"}
        factorial, curve = self.study.crossed(), self.study.curved()
        record: dict[str, Any] = {
            "name": self.study.name,
            "command": self.command,
            "version": __version__,
            "seeds": list(self.study.seed_numbers),
            "environment": ", ".join(environments),
            "suite_metrics": ["crafter_score", "achievements"] if crafter else [],
            "factorial": None if factorial is None else factorial.as_dict(),
            "curve": None if curve is None else curve.as_dict(),
            "contrasts": [dataclasses.asdict(contrast) for contrast in self.study.contrasts] or None,
            "question": None if self.study.question is None else dataclasses.asdict(self.study.question),
            "wall_seconds": self.wall_seconds,
            "failed": self._failed,
            "runs": [
                {
                    "id": run.id,
                    "phase": run.config.phase,
                    "condition": run.condition,
                    "seed": run.seed,
                    "plan": run.plan,
                    "env": run.task or run.config.env,
                    "intrinsic": run.reward,
                    "kind": run.config.agent.kind,
                    "predicts": run.config.agent.model.predicts,
                    "needs": run.needs,
                    "data": dict(run.data),
                    "steps": run.config.steps,
                    "own_seed": run.config.seed,
                }
                for run in self.runs
            ],
        }
        publish_json(self.folder / "study.json", record)


def in_groups(runs: Sequence[PlannedRun], fused: bool) -> list[list[PlannedRun]]:
    """Runs by the process that carries them out: each by itself, or with `fused` the seeds of a condition.

    What goes by each run's own step keeps a run by itself: a policy prior or a clone, a component frozen for
    a while. So do plans that teach the actor, and learning from replays alone, which are not batched over
    seeds.
    """
    groups: dict[str, list[PlannedRun]] = {}
    for run in runs:
        agent = run.config.agent
        alone = not fused or bool(run.data) or agent.kind in ("ppo", "random") or run.config.training.overlap
        alone |= agent.search.update != "imagination"
        if run.plan is not None:
            plan = parse_plan(run.plan)
            alone |= plan["actor"] in TAUGHT or any(plan.thaw_step(name) is not None for name in COMPONENTS)
        alike = dataclasses.replace(run.config, seed=0)
        key = run.id if alone else fingerprint({"run": to_dict(alike), "condition": run.condition})
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _reason(code: int, log: Path) -> str:
    """Why a worker ended with this code: its own last words, or the signal that ended it."""
    if code == LOST:
        return "the machine that it was on is lost, or the cluster ended it"
    if code < 0:
        name = signal.Signals(-code).name
        memory = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
        return f"it was ended by {name}{memory}"
    if code > 128:
        return f"it was stopped by {signal.Signals(code - 128).name}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    # The log may hold earlier tries: only what this one told itself is looked for among them.
    told = [line.removeprefix("ERROR ") for line in lines if line.startswith("ERROR ") and code == TOLD]
    last = (told or lines or [f"it ended with code {code}"])[-1]
    return last.rstrip(".")


def _earlier_seconds(folder: Path, study: str) -> float:
    """Seconds that earlier sittings of the study took.

    Raises:
        UserError: the folder holds something else, or its study.json is broken.
    """
    path = folder / "study.json"
    if path.exists():
        found = read_json(path, "delete it and run the same command again")
        if found.get("name", study) != study:
            raise UserError(f"{folder} holds the study '{found['name']}': choose another --out.")
        seconds = found.get("wall_seconds")
        return float(seconds) if isinstance(seconds, int | float) else 0.0
    if folder.is_dir() and any(item.name != "logs" and item.name != ".lock" for item in folder.iterdir()):
        raise UserError(f"{folder} is not empty and holds no study: choose another --out.")
    return 0.0
