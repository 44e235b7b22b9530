"""Parts of a replay with shares of their own: how often each is drawn, and that nothing crosses."""

import numpy as np
import pytest

from training.storage.checkpointer import Checkpointer
from training.storage.replay import Replay
from training.storage.shares import Stretch, draw_places

SPEC = {"number": ((), np.dtype(np.float32))}


def laid(*stretches, num_envs=2):
    """A replay of stretches (rows of each environment, share); row i of environment e holds 1000 e + i."""
    total = sum(rows for rows, _ in stretches)
    replay = Replay(num_envs, SPEC, byte_cap=4 * num_envs * total)
    for rows, share in stretches:
        stretch = replay.lay(rows, share)
        for env in range(num_envs):
            numbers = np.arange(stretch.start, stretch.end, dtype=np.float32)
            replay.fill(env, stretch.start, {"number": 1000 * env + numbers})
    return replay


def test_how_often_a_stretch_is_drawn_is_its_share_and_not_its_size():
    replay = laid((10, 3.0), (50, 1.0), (20, 2.0))
    drawn = replay.sample(60_000, 4, np.random.default_rng(0))["number"]
    assert np.array_equal(np.diff(drawn, axis=1), np.ones((60_000, 3)))  # rows that follow one another
    start = drawn[:, 0] % 1000
    within = [(start <= 6), (start >= 10) & (start <= 56), (start >= 60) & (start <= 76)]
    assert np.logical_or.reduce(within).all()  # none crosses from one into the next
    counted = [int(chosen.sum()) for chosen in within]
    # 60,000 draws of 3 : 1 : 2, within four deviations of a binomial count
    for count, share in zip(counted, (3 / 6, 1 / 6, 2 / 6), strict=True):
        assert abs(count - 60_000 * share) < 4 * np.sqrt(60_000 * share * (1 - share))


def test_within_a_stretch_every_place_is_as_likely():
    drawn = laid((10, 1.0), (6, 1.0)).sample(56_000, 4, np.random.default_rng(1))["number"][:, 0]
    of_first = drawn[drawn % 1000 < 10]
    places, counts = np.unique(of_first, return_counts=True)
    assert places.tolist() == [*range(7), *range(1000, 1007)]
    expected = len(of_first) / 14
    assert (np.abs(counts - expected) < 4.5 * np.sqrt(expected)).all()


def test_a_stretch_that_holds_no_sequence_counts_for_nothing():
    replay = laid((3, 100.0), (8, 1.0))
    assert (replay.sample(200, 4, np.random.default_rng(0))["number"] % 1000 >= 3).all()
    assert replay.can_sample(8)
    assert not replay.can_sample(9)
    with pytest.raises(ValueError, match="Cannot draw sequences of 9 rows"):
        replay.sample(1, 9, np.random.default_rng(0))


def test_one_stretch_is_drawn_from_as_a_replay_without_any():
    plain = Replay(2, SPEC, byte_cap=4 * 2 * 30)
    plain.extend({"number": np.stack([np.arange(30), 1000 + np.arange(30)]).astype(np.float32)})
    one, two = np.random.default_rng(5), np.random.default_rng(5)
    left, right = plain.sample(50, 4, one)["number"], laid((30, 2.5)).sample(50, 4, two)["number"]
    assert np.array_equal(left, right)
    # and a replay without any draws one integer for each sequence, as it always did
    reference = np.random.default_rng(5).integers(2 * 27, size=50)
    assert np.array_equal(left[:, 0], reference // 27 * 1000 + reference % 27)


def test_rows_that_are_gone_are_not_drawn():
    places = draw_places([Stretch(0, 10, 1.0), Stretch(10, 20, 1.0)], 7, 1, 500, 3, np.random.default_rng(0))
    starts = {start for _, start in places}
    assert starts == {7, *range(10, 18)}


def test_shares_are_saved_and_loaded(tmp_path):
    replay = laid((10, 0.1), (7, 0.7))
    path = Checkpointer(tmp_path).save(
        0, {"replay": replay.state_dict()}, replay.write_chunks(tmp_path / "replay")
    )
    checkpoint = Checkpointer(tmp_path).latest()
    assert checkpoint.path == path
    again = Replay(2, SPEC, byte_cap=4 * 2 * 17)
    again.load_state_dict(checkpoint.load("replay"), checkpoint.whole_files())
    draws = [r.sample(40, 3, np.random.default_rng(2))["number"] for r in (replay, again)]
    assert np.array_equal(*draws)


def test_more_than_it_can_hold_is_not_laid():
    replay = Replay(2, SPEC, byte_cap=4 * 2 * 5)
    with pytest.raises(ValueError, match="5 rows cannot hold 6"):
        replay.lay(6, 1.0)
