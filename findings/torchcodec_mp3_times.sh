#!/usr/bin/env bash
# torchcodec 0.17.0 with torch 2.11.0, on MP3 as LAME writes it (here by soundfile 0.14.0).
#
# Guess before: what AudioDecoder gives for the seconds 1 to 2 is samples 1 to 2 s of what it gives for all.
# Seen: in WAV, FLAC and Vorbis it is. An MP3's sound begins at the 1,105th sample of the decoder's clock
# (begin_stream_seconds_from_header says so): 69 ms at 16 kHz, 25 ms at 44.1. What is asked for by time is
# that much earlier in the sound than the same times of the whole, of soundfile, ffmpeg or torchaudio.load,
# which count from the first sample; from 0 s on, a second has 1,105 samples less. Segments of Common
# Voice or of podcasts, and all marks of phones and words, are off by that. Add the beginning to both times.
#
# Fails if that changes. Needs FFmpeg's libraries and the network; some gigabytes are installed.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  torchcodec==0.17.0 torch==2.11.0 soundfile==0.14.0 numpy==2.4.6
cat > try.py <<'PY'
import sys
from importlib.metadata import version
import numpy as np
import soundfile
from torchcodec.decoders import AudioDecoder

print({one: version(one) for one in ("torchcodec", "torch", "soundfile", "numpy")})
rng = np.random.default_rng(0)
right = True
for rate in (16000, 44100):
    time = np.arange(5 * rate) / rate
    sound = 0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time) + 0.05 * rng.standard_normal(len(time))
    for kind in ("wav", "flac", "ogg", "mp3"):
        soundfile.write(f"sound.{kind}", sound, rate)
        whole = AudioDecoder(f"sound.{kind}").get_all_samples().data[0].numpy()
        other = soundfile.read(f"sound.{kind}", dtype="float32")[0]
        decoder = AudioDecoder(f"sound.{kind}")
        first = decoder.get_samples_played_in_range(0, 1).data[0].numpy()
        part = AudioDecoder(f"sound.{kind}").get_samples_played_in_range(1, 2).data[0].numpy()
        head = part[:2000]
        distances = [np.abs(whole[at : at + 2000] - head).max() for at in range(2 * rate)]
        place = int(np.argmin(distances))
        same = len(whole) == len(other) and np.abs(whole - other).max() < 1e-4
        begin = decoder.metadata.begin_stream_seconds_from_header
        print(rate, kind, "as soundfile:", same, "| the second from 1 s begins at sample", place,
              "| that from 0 s has", len(first), "| it begins at", round(begin or 0, 4), "s")
        early = 1105 if kind == "mp3" else 0
        right &= same and place == rate - early and len(first) == rate - early
sys.exit(not right)
PY
venv/bin/python try.py
# Output seen:
# {'torchcodec': '0.17.0', 'torch': '2.11.0', 'soundfile': '0.14.0', 'numpy': '2.4.6'}
# 16000 wav as soundfile: True | the second from 1 s begins at sample 16000 | that from 0 s has 16000 | it begins at 0 s
# 16000 flac as soundfile: True | the second from 1 s begins at sample 16000 | that from 0 s has 16000 | it begins at 0 s
# 16000 ogg as soundfile: True | the second from 1 s begins at sample 16000 | that from 0 s has 16000 | it begins at 0 s
# 16000 mp3 as soundfile: True | the second from 1 s begins at sample 14895 | that from 0 s has 14895 | it begins at 0.0691 s
# 44100 wav as soundfile: True | the second from 1 s begins at sample 44100 | that from 0 s has 44100 | it begins at 0 s
# 44100 flac as soundfile: True | the second from 1 s begins at sample 44100 | that from 0 s has 44100 | it begins at 0 s
# 44100 ogg as soundfile: True | the second from 1 s begins at sample 44100 | that from 0 s has 44100 | it begins at 0 s
# 44100 mp3 as soundfile: True | the second from 1 s begins at sample 42995 | that from 0 s has 42995 | it begins at 0.0251 s
