import numpy as np
import pytest

from expedition.errors import UserError
from training.storage.checkpointer import Checkpointer
from training.storage.replay import Replay, saved_rows, undamaged

SPEC = {
    "image": ((3, 2), np.dtype(np.uint8)),
    "task/reward": ((), np.dtype(np.float32)),
    "is_first": ((), np.dtype(bool)),
}
ROW_BYTES = 6 + 4 + 1


def make(num_envs=2, capacity=10, **options):
    return Replay(num_envs, SPEC, byte_cap=num_envs * ROW_BYTES * capacity, **options)


def row(t, num_envs=2):
    """Row number t of each environment; its reward names environment and number."""
    return {
        "image": np.full((num_envs, 3, 2), t % 256, np.uint8),
        "task/reward": np.array([1000 * env + t for env in range(num_envs)], np.float32),
        "is_first": np.full(num_envs, t % 7 == 0),
    }


def fill(replay, start, end):
    for t in range(start, end):
        replay.add(row(t, replay.num_envs))


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


def test_cap_is_held_and_announced():
    replay = Replay(4, SPEC, byte_cap=1_000_003)
    assert replay.nbytes <= 1_000_003 < replay.nbytes + 4 * ROW_BYTES  # not one row more would fit
    assert replay.nbytes == sum(ring.nbytes for ring in replay._rings.values())
    assert replay.describe() == f"replay: at most 0.95 MiB, 4 x {replay.capacity:,} rows of 0.0 kB"
    image = {"image": ((64, 64, 3), np.dtype(np.uint8))}
    assert Replay(4, image, 3 * 2**29).describe() == "replay: at most 1.50 GiB, 4 x 32,768 rows of 12.3 kB"
    assert make(capacity=50, max_rows=8).capacity == 8


def test_too_small_a_cap_names_the_smallest_that_works():
    with pytest.raises(UserError, match=r"at least 352 bytes") as error:
        Replay(2, SPEC, byte_cap=351, sequence_length=16)
    assert "\n" not in str(error.value)
    assert Replay(2, SPEC, byte_cap=352, sequence_length=16).capacity == 16


def test_ring_holds_what_a_list_would():
    replay, reference = make(capacity=7), []
    rng = np.random.default_rng(0)
    for t in range(40):
        replay.add(row(t))
        reference = [*reference, t][-7:]
        assert replay.rows == len(replay) == 2 * len(reference)
        for env, held in enumerate(replay.sequences()):
            np.testing.assert_array_equal(held["task/reward"], [1000 * env + i for i in reference])
        length = min(len(reference), 4)
        batch = replay.sample(5, length, rng)
        first = batch["task/reward"][:, :1].astype(int)
        expected = first + np.arange(length)  # consecutive, in one environment, never across the write head
        np.testing.assert_array_equal(batch["task/reward"], expected)
        np.testing.assert_array_equal(batch["image"][..., 1, 1], expected % 1000)
        np.testing.assert_array_equal(batch["is_first"], expected % 1000 % 7 == 0)
        assert set((first % 1000).ravel()) <= set(reference[: len(reference) - length + 1])


@pytest.mark.parametrize("added", [6, 10, 23])
def test_sampling_is_uniform_over_environments_and_starts(added):
    replay = make(num_envs=3, capacity=10)
    fill(replay, 0, added)
    held, length, draws = min(added, 10), 4, 20_000
    batch = replay.sample(draws, length, np.random.default_rng(1))
    values, counts = np.unique(batch["task/reward"][:, 0], return_counts=True)
    cells = 3 * (held - length + 1)
    assert len(values) == cells
    expected = draws / cells
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < cells - 1 + 4 * np.sqrt(2 * (cells - 1))  # mean and deviation of chi-square


def test_output_buffers_are_filled_and_checked():
    replay = make()
    fill(replay, 0, 15)
    fresh = replay.sample(4, 3, np.random.default_rng(5))
    out = {name: np.zeros_like(array) for name, array in fresh.items()}
    again = replay.sample(4, 3, np.random.default_rng(5), out=out)
    assert_same(fresh, again)
    assert all(again[name] is out[name] for name in out)
    with pytest.raises(ValueError, match="image"):
        replay.sample(4, 2, np.random.default_rng(5), out=out)


def test_too_few_rows_are_said_so():
    replay = make()
    assert not replay.can_sample(1)
    fill(replay, 0, 3)
    assert replay.can_sample(3)
    assert not replay.can_sample(4)
    assert not replay.can_sample(0)
    with pytest.raises(ValueError, match="sequences of 4 rows: 3 are held"):
        replay.sample(1, 4, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda r: r.pop("is_first"), "is_first"),
        (lambda r: r.update(extra=np.zeros(2)), "extra"),
        (lambda r: r.update(image=r["image"].astype(np.float32)), "'image' must be uint8"),
        (lambda r: r.update(image=r["image"][:1]), "'image' must be uint8"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, match):
    replay, rows = make(), row(0)
    change(rows)
    with pytest.raises(ValueError, match=match):
        replay.add(rows)
    assert replay.rows == 0


@pytest.mark.parametrize("added", [0, 3, 5, 12, 20, 21, 37])
@pytest.mark.parametrize("chunk_rows", [1, 5, 64])
def test_chunks_and_state_restore_exactly(tmp_path, added, chunk_rows):
    replay = make(capacity=20, chunk_rows=chunk_rows)
    fill(replay, 0, added)
    files = replay.write_chunks(tmp_path / "replay")
    other = make(capacity=20, chunk_rows=chunk_rows)
    fill(other, 100, 104)  # what it held before must not shine through
    other.load_state_dict(replay.state_dict(), files)
    for steps in (0, 13):
        fill(replay, added, added + steps)
        fill(other, added, added + steps)
        for a, b in zip(replay.sequences(), other.sequences(), strict=True):
            assert_same(a, b)
        if replay.can_sample(3):
            draws = [r.sample(9, 3, np.random.default_rng(2)) for r in (replay, other)]
            assert_same(*draws)


def test_each_chunk_is_written_once_and_only_while_held(tmp_path):
    replay = make(capacity=20, chunk_rows=5)
    fill(replay, 0, 12)
    first = replay.write_chunks(tmp_path)
    assert [path.name for path in first] == ["chunk-00000000.safetensors", "chunk-00000001.safetensors"]
    times = [path.stat().st_mtime_ns for path in first]
    assert replay.state_dict()["tail"]["image"].shape == (2, 2, 3, 2)
    fill(replay, 12, 27)  # rows 7 to 26 are held: chunk 1 only in part
    second = replay.write_chunks(tmp_path)
    assert [path.name[6:14] for path in second] == ["00000002", "00000003", "00000004"]
    assert [path.stat().st_mtime_ns for path in first] == times
    state = replay.state_dict()
    assert [state[part]["image"].shape[1] for part in ("head", "tail")] == [3, 2]


def test_chunks_of_steps_since_undone_are_written_anew(tmp_path):
    replay = make(capacity=20, chunk_rows=5)
    fill(replay, 0, 7)
    state, files = replay.state_dict(), replay.write_chunks(tmp_path)
    fill(replay, 7, 10)
    replay.write_chunks(tmp_path)
    resumed = make(capacity=20, chunk_rows=5)
    resumed.load_state_dict(state, files)
    fill(resumed, 50, 53)  # another future than the first
    files = resumed.write_chunks(tmp_path)
    other = make(capacity=20, chunk_rows=5)
    other.load_state_dict(resumed.state_dict(), files)
    for a, b in zip(resumed.sequences(), other.sequences(), strict=True):
        assert_same(a, b)


def test_a_smaller_ring_keeps_the_newest_rows(tmp_path):
    replay = make(capacity=20, chunk_rows=3)
    fill(replay, 0, 31)
    for capacity in (4, 11, 40):
        other = make(capacity=capacity, chunk_rows=3)
        other.load_state_dict(replay.state_dict(), replay.write_chunks(tmp_path))
        held = next(other.sequences())["task/reward"]
        np.testing.assert_array_equal(held, np.arange(31 - min(capacity, 20), 31))


@pytest.mark.parametrize("blocks", [(3, 4), (10, 1), (25,), (2, 25, 3)])
def test_rows_added_at_once_stand_where_single_ones_would(blocks):
    one, many = make(capacity=10), make(capacity=10)
    for n in blocks:
        rows = [row(t) for t in range(one._added, one._added + n)]
        fill(one, one._added, one._added + n)
        many.extend({name: np.stack([r[name] for r in rows], 1) for name in SPEC})
        for a, b in zip(one.sequences(), many.sequences(), strict=True):
            assert_same(a, b)
    with pytest.raises(ValueError, match="'image' must be uint8"):
        many.extend({name: np.stack([row(0)[name][:1]] * 2, 1) for name in SPEC})
    assert many.rows == one.rows


def test_saved_rows_come_in_order_and_once(tmp_path):
    replay = make(capacity=20, chunk_rows=3)
    fill(replay, 0, 31)
    saved = list(saved_rows(replay.state_dict(), replay.write_chunks(tmp_path)))
    assert [start for start, _ in saved] == [11, 12, 15, 18, 21, 24, 27, 30]
    joined = np.concatenate([rows["task/reward"] for _, rows in saved], 1)
    np.testing.assert_array_equal(joined, [np.arange(11, 31), 1000 + np.arange(11, 31)])


def test_states_that_do_not_fit_are_refused(tmp_path):
    replay = make(capacity=20, chunk_rows=5)
    fill(replay, 0, 12)
    state, files = replay.state_dict(), replay.write_chunks(tmp_path)
    with pytest.raises(ValueError, match=r"lacks its chunks \[1\]"):
        make(capacity=20, chunk_rows=5).load_state_dict(state, files[:1])
    with pytest.raises(ValueError, match="holds 2 environments, this one 3"):
        make(num_envs=3).load_state_dict(state, files)
    with pytest.raises(ValueError, match="missing or unknown"):
        Replay(2, {"image": SPEC["image"]}, 1000).load_state_dict(state, files)
    files[0].write_bytes(b"short")
    with pytest.raises(UserError, match="chunk-00000000"):
        make(capacity=20, chunk_rows=5).load_state_dict(state, files)


def test_a_replay_survives_the_checkpointer(tmp_path):
    checkpointer, replay = Checkpointer(tmp_path), make(capacity=20, chunk_rows=5)
    for step in range(0, 60, 9):
        fill(replay, step, step + 9)
        files = replay.write_chunks(tmp_path / "replay")
        checkpointer.save(step, {"replay": replay.state_dict()}, files)
    on_disk = {path.name for path in (tmp_path / "replay").iterdir()}
    checkpoint = checkpointer.latest()
    other = make(capacity=20, chunk_rows=5)
    other.load_state_dict(checkpoint.load("replay"), checkpoint.shared_files)
    for a, b in zip(replay.sequences(), other.sequences(), strict=True):
        assert_same(a, b)
    before = set(Checkpointer(tmp_path).latest().shared_files)
    assert {path.name for path in before} <= on_disk
    assert len(on_disk) <= 8, "chunks that no kept checkpoint needs are deleted"


@pytest.mark.parametrize("lost", [0, 2, 3])
def test_damaged_chunks_take_themselves_and_what_came_before(tmp_path, lost):
    replay = make(capacity=40, chunk_rows=5)
    fill(replay, 0, 23)  # chunks 0 to 3, and three rows beside them
    files, state = replay.write_chunks(tmp_path), replay.state_dict()
    whole, none = undamaged(state, files)
    assert (none, whole["first"]) == (0, state["first"])
    left = [file for index, file in enumerate(files) if index != lost]
    rest, dropped = undamaged(state, left)
    assert dropped == (lost + 1) * 5 * state["num_envs"]
    other = make(capacity=40, chunk_rows=5)
    other.load_state_dict(rest, left)
    old, new = list(replay.sequences()), list(other.sequences())
    held = 23 - (lost + 1) * 5
    for a, b in zip(old, new, strict=True):
        assert_same({name: rows[-held:] for name, rows in a.items()}, b)
    fill(other, 23, 60)  # it goes on, and wraps
    fill(replay, 23, 60)
    for a, b in zip(replay.sequences(), other.sequences(), strict=True):
        assert_same(a, b)
