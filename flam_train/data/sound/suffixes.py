"""How sound files are called. What they hold, their content tells: a name only says what to look at."""

from __future__ import annotations

NATIVE = (
    ".flac", ".wav", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".w64", ".rf64", ".bwf", ".caf", ".au", ".snd",
    ".nist", ".sph", ".oga", ".mp2",
)  # fmt: skip
"""Of those that libsndfile reads: if it does not, and ffmpeg is not there, it is the file's fault."""

THROUGH_FFMPEG = (
    ".m4a", ".mp4", ".webm", ".aac", ".mkv", ".wma", ".mka", ".3gp", ".mov", ".m4v", ".m4b", ".avi", ".flv", ".ts",
    ".mts", ".m2ts", ".mpg", ".mpeg", ".wv", ".tta", ".ape", ".amr", ".ac3", ".voc",
)  # fmt: skip

SUFFIXES = (*NATIVE, *THROUGH_FFMPEG)
"""Those that lose nothing stand before others: of two files of one recording the earlier is taken."""
