"""Speech Commands v0.02: 35 words; and twelve classes. All as in speech_commands_v1.py.

P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv 1804.03209,
table of the words of version 2.
"""

from __future__ import annotations

from barlow_speech.downstream.corpora.speech_commands_v1 import SILENCE, UNKNOWN, Version, reader_of

VERSION = Version(
    number="0.02",
    words={
        "backward": 1664, "bed": 2014, "bird": 2064, "cat": 2031, "dog": 2128, "down": 3917,
        "eight": 3787, "five": 4052, "follow": 1579, "forward": 1557, "four": 3728, "go": 3880,
        "happy": 2054, "house": 2113, "learn": 1575, "left": 3801, "marvin": 2100, "nine": 3934,
        "no": 3941, "off": 3745, "on": 3845, "one": 3890, "right": 3778, "seven": 3998,
        "sheila": 2022, "six": 3860, "stop": 3872, "three": 3727, "tree": 1759, "two": 3880,
        "up": 3723, "visual": 1592, "wow": 2123, "yes": 4044, "zero": 4052,
    },
    speakers=2618,
    dev=9981,
    test=11005,
    test_set={
        "yes": 419, "no": 405, "up": 425, "down": 406, "left": 412, "right": 396, "on": 396,
        "off": 402, "stop": 411, "go": 402, UNKNOWN: 408, SILENCE: 408,
    },
)  # fmt: skip
READER = reader_of(VERSION)
