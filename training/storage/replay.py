"""What the environments gave, held in rings under a byte cap that is stated before the run."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from expedition.errors import UserError
from training.storage.rings import rings_in_memory, rings_on_disk
from training.storage.shares import Stretch, draw_places
from training.storage.state_tree import disk_errors, written_aside

RowSpec = Mapping[str, tuple[tuple[int, ...], np.dtype]]

_CHUNK_BYTES = 32 * 2**20
_CHUNK_ROWS = 512


class Replay:
    """A ring of rows for each environment, from which sequences are drawn uniformly.

    Rows follow the one rule of time (docs/shapes.md). Row `i` ever added stands at `i % capacity`. Rows are
    saved in chunks that cover fixed ranges of `i`, so a chunk is written once however often the run is saved.

    Args:
        num_envs: environments side by side, `B` of the rows added.
        row_spec: shape and dtype of each name in one row of one environment.
        byte_cap: bytes that the rings may take, held exactly.
        max_rows: rows of each environment that the run will ever add, where known: no more are allocated.
        sequence_length: rows that the shortest useful replay holds for each environment.
        chunk_rows: rows of each environment in a chunk on disk; by default at most 512 and 32 MiB.
        folder: where the rings lie as files without a name, mapped into memory; None keeps them in memory.

    Raises:
        UserError: the cap is too small for one sequence, or the disk has no room for the rings.
        ValueError: an argument that is not positive, or an empty `row_spec`.
    """

    def __init__(
        self,
        num_envs: int,
        row_spec: RowSpec,
        byte_cap: int,
        max_rows: int | None = None,
        *,
        sequence_length: int = 1,
        chunk_rows: int | None = None,
        folder: Path | None = None,
    ) -> None:
        if min(num_envs, sequence_length, chunk_rows or 1, max_rows if max_rows is not None else 1) < 1:
            raise ValueError("num_envs, max_rows, sequence_length and chunk_rows must be positive.")
        if not row_spec:
            raise ValueError("row_spec must name what a row holds.")
        self.num_envs = num_envs
        self.row_spec = {name: (tuple(shape), np.dtype(dtype)) for name, (shape, dtype) in row_spec.items()}
        step_bytes = num_envs * self.row_bytes
        if byte_cap < sequence_length * step_bytes:
            raise UserError(
                f"A replay of {byte_cap:,} bytes is too small for one sequence of {sequence_length} rows in "
                f"each of {num_envs} environments: allow it at least {sequence_length * step_bytes:,} bytes."
            )
        rows = byte_cap // step_bytes
        self.capacity = rows if max_rows is None else min(rows, max_rows)
        self.chunk_rows = chunk_rows or max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // step_bytes))
        layout = {
            n: ((num_envs, self.capacity, *shape), dtype) for n, (shape, dtype) in self.row_spec.items()
        }
        self._on_disk = folder is not None
        # (B, capacity, ...)
        self._rings = rings_in_memory(layout) if folder is None else rings_on_disk(layout, folder)
        self._added = 0  # rows ever added for each environment
        self._first = 0  # the oldest of them that is held
        self._stretches: tuple[Stretch, ...] = ()
        self._growing: float | None = None  # share of the rows that are added after the stretches
        self._written: dict[int, Path] = {}

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of one environment."""
        return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in self.row_spec.values())

    @property
    def nbytes(self) -> int:
        """Bytes that the rings take when full; never above the cap."""
        return sum(ring.nbytes for ring in self._rings.values())

    @property
    def rows(self) -> int:
        """Rows held, all environments together."""
        return self.num_envs * (self._added - self._first)

    def __len__(self) -> int:
        return self.rows

    def describe(self) -> str:
        """Say in one line what memory, or disk, this replay may take."""
        size = f"{self.nbytes / 2**30:.2f} GiB" if self.nbytes >= 2**30 else f"{self.nbytes / 2**20:.2f} MiB"
        rows = f"{self.num_envs} x {self.capacity:,} rows of {self.row_bytes / 1000:,.1f} kB"
        return f"replay: at most {size}{' on disk' if self._on_disk else ''}, {rows}"

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Append one row for each environment; the oldest goes when the ring is full.

        Args:
            rows: for each name of `row_spec` an array (B, ...) of exactly its dtype.

        Raises:
            ValueError: names, a shape or a dtype differ from `row_spec`; nothing was added.
        """
        self._check(rows, lead=(self.num_envs,))
        at = self._added % self.capacity
        for name, ring in self._rings.items():
            ring[:, at] = rows[name]
        self._added += 1
        self._first = max(self._first, self._added - self.capacity)

    def extend(self, rows: Mapping[str, np.ndarray]) -> None:
        """Append consecutive rows (B, n, ...) for each environment, as `add` does one by one.

        Raises:
            ValueError: as `add`; nothing was added.
        """
        self._check_saved(rows)
        start = self._added
        self._added += next(iter(rows.values())).shape[1]
        self._first = max(self._first, self._added - self.capacity)
        self._put(start, rows)

    def lay(self, count: int, share: float) -> Stretch:
        """Append `count` rows for each environment that `fill` is to write, all of which must be held.

        From then on sequences are drawn within such stretches alone, in proportion to their shares.
        """
        stretch = Stretch(self._added, self._added + count, share)
        self._added += count
        if self._added - self._first > self.capacity:
            raise ValueError(f"A replay of {self.capacity} rows cannot hold {self._added - self._first}.")
        self._stretches = (*self._stretches, stretch)
        return stretch

    def grow(self, share: float) -> None:
        """Let the rows that are added from here on be a stretch of their own, which the ring must hold too.

        Until it holds a sequence, all are drawn from the stretches that were laid before.
        """
        self._growing = share

    def fill(self, env: int, start: int, rows: Mapping[str, np.ndarray]) -> None:
        """Write laid rows (n, ...) of one environment, of which the first has the number `start`."""
        at = start % self.capacity
        for name, ring in self._rings.items():
            ring[env, at : at + len(rows[name])] = rows[name]

    def can_sample(self, length: int) -> bool:
        """Say whether each environment holds a sequence of `length` rows."""
        return length >= 1 and any(span.starts(self._first, length) for span in self._spans())

    def _spans(self) -> tuple[Stretch, ...]:
        if not self._stretches:
            return (Stretch(self._first, self._added, 1.0),)
        if self._growing is None:
            return self._stretches
        return (*self._stretches, Stretch(self._stretches[-1].end, self._added, self._growing))

    def sample(
        self, batch: int, length: int, rng: np.random.Generator, out: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Draw sequences uniformly over every (environment, start) whose rows are all held.

        Where rows were laid as stretches, each sequence first draws its stretch, by their shares. Sequences
        may cross from one episode into the next, which `is_first` marks.

        Args:
            batch: `B`, sequences to draw.
            length: `T`, consecutive rows in each.
            rng: draws one integer for each sequence, and nothing else; with stretches their numbers before.
            out: arrays (B, T, ...) to fill and return instead of new ones.

        Returns:
            For each name of `row_spec` an array (B, T, ...).

        Raises:
            ValueError: too few rows are held, or `out` does not fit.
        """
        if not self.can_sample(length):
            held = self._added - self._first
            raise ValueError(f"Cannot draw sequences of {length} rows: {held} are held for each environment.")
        if out is None:
            out = {n: np.empty((batch, length, *shape), dtype) for n, (shape, dtype) in self.row_spec.items()}
        else:
            self._check(out, lead=(batch, length))
        places = draw_places(self._spans(), self._first, self.num_envs, batch, length, rng)
        for name, ring in self._rings.items():
            target = out[name]
            for b, (env, start) in enumerate(places):
                self._copy(ring[env], start, target[b])
        return dict(out)

    def sequences(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield for each environment in turn copies (rows, ...) of all that it holds, the oldest first."""
        held = self._added - self._first
        for env in range(self.num_envs):
            rows = {n: np.empty((held, *shape), dtype) for n, (shape, dtype) in self.row_spec.items()}
            for name, target in rows.items():
                self._copy(self._rings[name][env], self._first, target)
            yield rows

    def write_chunks(self, directory: Path) -> list[Path]:
        """Write the complete chunks that `directory` lacks; return all that the state as it is now needs.

        Call it beside `state_dict`, with no `add` between.

        Raises:
            UserError: the disk refuses.
        """
        needed: dict[int, Path] = {}
        low, high = self._chunk_range()
        for index in range(low // self.chunk_rows, high // self.chunk_rows):
            path = directory / f"chunk-{index:08d}.safetensors"
            # Only what this replay wrote or read counts: such a file may stem from steps since undone.
            if self._written.get(index) != path or not path.exists():
                self._write_chunk(index, path)
            needed[index] = path
        self._written = needed
        return list(needed.values())

    def state_dict(self) -> dict[str, Any]:
        """Return counters and the rows that are in no complete chunk (copies, (B, rows, ...))."""
        low, high = self._chunk_range()
        stretches = {"stretches": [[*stretch] for stretch in self._stretches]} if self._stretches else {}
        growing = {} if self._growing is None else {"growing": self._growing}
        return {
            **stretches,
            **growing,
            "num_envs": self.num_envs,
            "added": self._added,
            "first": self._first,
            "chunk_rows": self.chunk_rows,
            "head": self._take(self._first, low),
            "tail": self._take(high, self._added),
        }

    def load_state_dict(self, state: Mapping[str, Any], chunk_files: Sequence[Path] = ()) -> None:
        """Hold again what `state_dict` and `write_chunks` saved; the oldest rows go if this ring is smaller.

        Raises:
            ValueError: another number of environments or another `row_spec`, or chunk files are missing.
            UserError: a chunk file cannot be read.
        """
        if state["num_envs"] != self.num_envs:
            raise ValueError(
                f"The saved replay holds {state['num_envs']} environments, this one {self.num_envs}."
            )
        saved, added = saved_rows(state, chunk_files), int(state["added"])
        self._added, self._first = added, max(int(state["first"]), added - self.capacity)
        self._stretches = tuple(Stretch(*stretch) for stretch in state.get("stretches", ()))
        self._growing = state.get("growing")
        for start, rows in saved:
            self._check_saved(rows)
            self._put(start, rows)
        files = _chunk_files(chunk_files)
        self._written = files if int(state["chunk_rows"]) == self.chunk_rows else {}

    def _check(self, rows: Mapping[str, np.ndarray], lead: tuple[int, ...]) -> None:
        if rows.keys() != self.row_spec.keys():
            odd = sorted(rows.keys() ^ self.row_spec.keys())
            raise ValueError(f"Rows must hold exactly {sorted(self.row_spec)}; missing or unknown: {odd}.")
        for name, (shape, dtype) in self.row_spec.items():
            array = rows[name]
            if array.shape != (*lead, *shape) or array.dtype != dtype:
                raise ValueError(
                    f"'{name}' must be {dtype} {(*lead, *shape)}, not {array.dtype} {tuple(array.shape)}."
                )

    def _check_saved(self, rows: Mapping[str, np.ndarray]) -> None:
        length = next(iter(rows.values())).shape[1] if rows else 0
        self._check(rows, lead=(self.num_envs, length))

    def _copy(self, ring: np.ndarray, start: int, target: np.ndarray) -> None:
        """Copy rows of one environment's ring (capacity, ...), from number `start` on, to target (T, ...)."""
        at, length = start % self.capacity, len(target)
        before_end = min(length, self.capacity - at)
        target[:before_end] = ring[at : at + before_end]
        if before_end < length:
            target[before_end:] = ring[: length - before_end]

    def _take(self, start: int, end: int) -> dict[str, np.ndarray]:
        """Copy the rows `start` to `end` of every environment: (B, end - start, ...)."""
        rows = {}
        for name, ring in self._rings.items():
            rows[name] = np.empty((self.num_envs, end - start, *ring.shape[2:]), ring.dtype)
            for env in range(self.num_envs):
                self._copy(ring[env], start, rows[name][env])
        return rows

    def _put(self, start: int, rows: Mapping[str, np.ndarray]) -> None:
        """Write saved rows (B, n, ...), of which the first has the number `start`; skip those not held."""
        for name, ring in self._rings.items():
            held = rows[name][:, max(0, self._first - start) :]
            at = max(start, self._first) % self.capacity
            before_end = min(held.shape[1], self.capacity - at)
            ring[:, at : at + before_end] = held[:, :before_end]
            ring[:, : held.shape[1] - before_end] = held[:, before_end:]

    def _chunk_range(self) -> tuple[int, int]:
        return _whole_chunks(self._first, self._added, self.chunk_rows)

    def _write_chunk(self, index: int, path: Path) -> None:
        start = index * self.chunk_rows
        kept = "the checkpoints already there are intact"
        with disk_errors("a chunk of the replay", path.parent, kept), written_aside(path) as aside:
            save_file(self._take(start, start + self.chunk_rows), str(aside))


def saved_rows(
    state: Mapping[str, Any], chunk_files: Sequence[Path]
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Read what `Replay.state_dict` and `write_chunks` saved, a chunk at a time, the oldest first.

    Returns:
        Pairs of the number of the first row, and rows (B, n, ...). A chunk file that cannot be read is a
        `UserError` when its turn comes.

    Raises:
        ValueError: chunk files are missing.
    """
    first, size = int(state["first"]), int(state["chunk_rows"])
    low, high = _whole_chunks(first, int(state["added"]), size)
    files = _chunk_files(chunk_files)
    missing = set(range(low // size, high // size)) - set(files)
    if missing:
        raise ValueError(f"The saved replay lacks its chunks {sorted(missing)}.")
    chunks = ((index * size, _read_chunk(files[index])) for index in range(low // size, high // size))
    return itertools.chain([(first, dict(state["head"]))], chunks, [(high, dict(state["tail"]))])


def undamaged(state: Mapping[str, Any], chunk_files: Sequence[Path]) -> tuple[dict[str, Any], int]:
    """What `Replay.state_dict` saved, without the rows of chunks that are missing and those before them.

    Returns:
        The state, and how many rows of all environments it no longer holds.
    """
    first, size = int(state["first"]), int(state["chunk_rows"])
    low, high = _whole_chunks(first, int(state["added"]), size)
    missing = set(range(low // size, high // size)) - set(_chunk_files(chunk_files))
    if not missing:
        return dict(state), 0
    after = (max(missing) + 1) * size
    head = {name: rows[:, :0] for name, rows in state["head"].items()}
    return {**state, "first": after, "head": head}, (after - first) * int(state["num_envs"])


def _chunk_files(paths: Sequence[Path]) -> dict[int, Path]:
    return {int(path.stem.removeprefix("chunk-")): path for path in paths}


def _read_chunk(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"Cannot read the replay's chunk '{path}' ({error}): restore it from a copy."
        ) from error


def _whole_chunks(first: int, added: int, size: int) -> tuple[int, int]:
    """Return the range of rows in complete chunks, as part of those from `first` to `added`."""
    low, high = -(-first // size) * size, added // size * size
    return (low, high) if low <= high else (added, added)
