#!/usr/bin/env bash
# Ogg Vorbis read from the middle by soundfile 0.14.0 (libsndfile 1.2.2).
#
# Guess before: soundfile.read(start=…) is the rest of the whole, to rounding, as it is in FLAC and Opus.
# Seen: not if `start` lies in the file's last page, unless that is the only one: the sound comes from
# another time, without an error and with the right number of samples. A page has some four kilobytes,
# so in speech the last second or less is wrong; but silence takes next to none, and then it is all behind
# the last word, here four seconds. What reads segments through it (librosa.load with an offset,
# audiofile.read) has it too. Read from 0 and cut.
#
# Fails if that changes. Needs the network.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check soundfile==0.14.0 numpy==2.4.6
cat > try.py <<'PY'
import sys
from importlib.metadata import version
import numpy as np
import soundfile

RATE = 16000


def wrong_from(codec, sound):
    """The seconds from which on reads begin that are not the rest of the whole, as (first, count)."""
    soundfile.write("sound.ogg", sound, RATE, format="OGG", subtype=codec)
    whole = soundfile.read("sound.ogg")[0]
    starts = range(0, len(whole) - 200, 800)
    wrong = [
        start
        for start in starts
        if np.abs(soundfile.read("sound.ogg", start=start)[0] - whole[start:]).max() > 0.01
    ]
    return (wrong[0] / RATE if wrong else None), len(wrong), len(starts)


print({one: version(one) for one in ("soundfile", "numpy")}, soundfile.__libsndfile_version__)
noise = np.random.default_rng(0).uniform(-0.3, 0.3, 6 * RATE + 123)
quiet = noise.copy()
quiet[2 * RATE : -RATE // 4] = 0
found = {}
for codec in ("OPUS", "VORBIS"):
    for name, sound in (("noise", noise), ("silence from 2 s", quiet)):
        found[codec, name] = wrong_from(codec, sound)
        print(codec, name, "wrong from", found[codec, name][0], "s: %d of %d" % found[codec, name][1:])
right = not found["OPUS", "noise"][1] and not found["OPUS", "silence from 2 s"][1]
right &= found["VORBIS", "noise"][1] > 0 and found["VORBIS", "noise"][0] > 5
right &= found["VORBIS", "silence from 2 s"][1] > 60
sys.exit(not right)
PY
venv/bin/python try.py
# Output seen:
# {'soundfile': '0.14.0', 'numpy': '2.4.6'} 1.2.2
# OPUS noise wrong from None s: 0 of 120
# OPUS silence from 2 s wrong from None s: 0 of 120
# VORBIS noise wrong from 5.4 s: 12 of 120
# VORBIS silence from 2 s wrong from 2.0 s: 80 of 120
