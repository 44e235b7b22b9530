import numpy as np
import pytest
from PIL import Image

from expedition.errors import UserError
from training.logging.media import film_strip, write_gif, write_png


def frames(count=5):
    return np.stack([np.full((8, 6, 3), 40 * i, np.uint8) for i in range(count)])


def test_gif_holds_every_frame_at_its_pace(tmp_path):
    path = tmp_path / "media" / "a.gif"
    write_gif(path, frames(), fps=20)
    with Image.open(path) as gif:
        assert gif.n_frames == 5
        for i in range(5):
            gif.seek(i)
            assert gif.info["duration"] == 50
            np.testing.assert_array_equal(np.asarray(gif.convert("RGB")), frames()[i])
    assert [p.name for p in path.parent.iterdir()] == ["a.gif"]


def test_png_is_exact(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as png:
        np.testing.assert_array_equal(np.asarray(png), image)


def test_film_strip_lays_frames_side_by_side():
    strip = film_strip(frames(), every=2, pad=3)
    assert strip.shape == (8, 3 * 6 + 2 * 3, 3)
    assert strip[0, :, 0].tolist() == [0] * 6 + [255] * 3 + [80] * 6 + [255] * 3 + [160] * 6


@pytest.mark.parametrize(
    "call",
    [
        lambda path: write_gif(path, frames().astype(np.float32), 10),
        lambda path: write_gif(path, frames()[0], 10),
        lambda path: write_gif(path, frames(), 0),
        lambda path: write_gif(path, frames()[:0], 10),
        lambda path: write_png(path, frames()[0, ..., :1]),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, call):
    with pytest.raises(ValueError, match="uint8|needs frames"):
        call(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_one_sentence(tmp_path):
    (tmp_path / "media").write_text("")
    with pytest.raises(UserError, match="move the file"):
        write_png(tmp_path / "media" / "a.png", frames()[0])
