"""Where pictures and sounds come from: the pattern, and files that begin again when they end."""

# PyAV's types do not say what is in a packet.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from leeside.media.sources import FilePlayer, Pattern, SourceError
from leeside_protocol.video.formats import AUDIO_HZ

RATE = 10


def film(path: Path, *, pictures: int = 5, sound: bool = True) -> Path:
    """A file of a few grey pictures, each lighter than the one before, and half a second of tone."""
    with av.open(path, "w") as container:
        video = container.add_stream("mpeg4", rate=RATE)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=8_000) if sound else None
        for n in range(pictures):
            planes = np.full((180, 160), 128, np.uint8)
            planes[:120] = 40 * n
            frame = VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            tone = (np.sin(np.arange(4_000) / 3) * 9_000).astype(np.int16).reshape(1, -1)
            heard = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            heard.sample_rate, heard.pts = 8_000, 0
            container.mux(audio.encode(heard))
            container.mux(audio.encode())
    return path


def light(frame: VideoFrame) -> int:
    return round(float(frame.to_ndarray()[: frame.height].mean()))


def test_the_pattern_moves_and_its_tone_goes_on() -> None:
    pattern = Pattern(64, 48, 5)
    one, two = pattern.picture(), pattern.picture()
    assert (one.width, one.height) == (64, 48)
    assert not np.array_equal(one.to_ndarray(), two.to_ndarray())
    sounds = np.concatenate([pattern.sound().to_ndarray()[0] for _ in range(5)])
    # No step where one piece ends: a tone of 440 Hz never changes by more than this from one sample to the next.
    assert np.abs(np.diff(sounds.astype(int))).max() <= 2_000 * 2 * np.pi * 440 / AUDIO_HZ + 1
    assert sounds.max() > 1_900


def test_a_film_is_played_at_its_pace_and_again_from_its_beginning(tmp_path: Path) -> None:
    player = FilePlayer(film(tmp_path / "film.mkv"), 64, 48, RATE)
    seen = [light(player.picture()) for _ in range(12)]
    assert max(seen) > 120
    again = [at for at, (one, two) in enumerate(pairwise(seen)) if two < one]
    assert [two - one for one, two in pairwise(again)] == [5], "five pictures, and it begins again"
    picture = player.picture()
    assert (picture.width, picture.height, picture.format.name) == (64, 48, "yuv420p")


def test_a_film_at_another_rate_shows_each_picture_for_its_time(tmp_path: Path) -> None:
    player = FilePlayer(film(tmp_path / "film.mkv"), 64, 48, 2 * RATE)
    seen = [light(player.picture()) for _ in range(8)]
    assert len(set(seen)) in (4, 5)


def test_sound_comes_in_pieces_of_20_ms_and_is_silence_where_there_is_none(tmp_path: Path) -> None:
    loud = FilePlayer(film(tmp_path / "film.mkv"))
    silent = FilePlayer(film(tmp_path / "silent.mkv", sound=False))
    for _ in range(40):
        for sound in (loud.sound(), silent.sound()):
            assert (sound.samples, sound.sample_rate, sound.layout.name) == (960, AUDIO_HZ, "mono")
    assert np.abs(loud.sound().to_ndarray()).max() > 3_000
    assert np.abs(silent.sound().to_ndarray()).max() == 0


@pytest.mark.parametrize("content", [None, b"", b"this is no film"])
def test_what_is_no_film_is_refused_at_once(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "film.mkv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError):
        FilePlayer(path)
