"""Sound files of all kinds, made by code: bytes, and the samples that are in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from shard_samples import audio_bytes

from flam_train.data.sound import mpeg


def loud_and_quiet(seconds: float, rate: int = 44_100, channels: int = 1, seed: int = 0) -> np.ndarray:
    """float64 [S, C]: noise that changes its level every second, so that frames of a variable bit rate differ much."""
    n = round(seconds * rate)
    noise = np.random.default_rng(seed).normal(size=(n, channels))
    return 0.15 * noise * np.where(np.arange(n) // rate % 3, 0.0005, 1.0)[:, None]


def mp3(
    seconds: float = 8.0,
    rate: int = 44_100,
    channels: int = 1,
    variable: bool = True,
    seed: int = 0,
    level: float = 0.5,
) -> bytes:
    """With a Xing header in its first frame, as LAME writes it. level: 0 for the most bits, 1 for the fewest."""
    mode = "VARIABLE" if variable else "CONSTANT"
    wave = loud_and_quiet(seconds, rate, channels, seed)
    return audio_bytes(wave, rate, "MP3", bitrate_mode=mode, compression_level=level)


def frames_of(data: bytes) -> list[bytes]:
    """The frames of an MPEG file without tags, one by one: what `mpeg.count` does in one go."""
    out, at = [], 0
    while at < len(data):
        size = mpeg._header(data[at + 1], data[at + 2], data[at + 3] >= 0xC0)[0]
        out.append(data[at : at + size])
        at += size
    return out


def without_xing(data: bytes) -> bytes:
    """As streams and old encoders write it."""
    return b"".join(frames_of(data)[1:])


def id3(size: int = 3000, foot: bool = False) -> bytes:
    """A tag before the sound, with what looks like frames in it."""
    about = b"\x04\x00" + bytes([0x10 * foot, 0, 0, size >> 7, size & 127])
    return b"ID3" + about + b"\xff\xfb\x90\x64" * (size // 4) + (b"3DI" + about) * foot


ID3V1 = b"TAG" + b"\xff\xfb\x90\x64" + bytes(121)


def ape() -> bytes:
    """A tag behind the sound."""
    size, end = (200 + 32).to_bytes(4, "little"), bytes(8)
    head, foot = (b"APETAGEX\xd0\x07\0\0" + size + b"\x01\0\0\0\0\0\0" + top + end for top in (b"\xa0", b"\x80"))
    return head + b"\xff\xfb\x90\x64" * 50 + foot


def lyrics3(version: int = 2) -> bytes:
    """A tag behind the sound, before its ID3v1."""
    text = b"LYRICSBEGIN" + b"IND0000200LYR00008" + b"\xff\xfb\x90\x64" * 2
    return text + (b"%06dLYRICS200" % len(text) if version == 2 else b"LYRICSEND")


def unknown_length(flac: bytes) -> bytes:
    """A FLAC whose header does not say how many samples it has, as a stream's does not."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


def through_ffmpeg(path: Path, wave: np.ndarray, rate: int = 44_100, *how: str) -> Path:
    """The file, as ffmpeg makes it of these samples."""
    command = ["ffmpeg", "-v", "error", "-y", "-f", "wav", "-i", "-", *how, f"file:{path}"]
    subprocess.run(command, input=audio_bytes(wave, rate), check=True)
    return path


def decoded(path: Path, *filters: str) -> np.ndarray:
    """float32 [S, C] of the first sound track, all of it, by ffmpeg alone."""
    probe = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", "stream=channels", "-of", "csv=p=0"]
    channels = int(
        subprocess.run([*probe, f"file:{path}"], capture_output=True, check=True, text=True).stdout.split()[0]
    )
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path}", "-map", "0:a:0", *filters, "-f", "f32le", "-"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<f4").reshape(-1, channels)
