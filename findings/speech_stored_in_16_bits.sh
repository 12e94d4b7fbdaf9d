#!/usr/bin/env bash
# Waveforms in Hugging Face datasets 5.2.0 (Audio) and in lhotse 1.33.0 (Shar).
#
# Guess before: arrays that are given as Audio come back as they are, to 1e-4, and so does what Shar keeps
# in WAV, above 1 too.
# Seen: both go through WAV of 16 bits, without a word. What is above 1 is cut off: of a waveform with unit
# variance, as wav2vec 2.0 takes it, a third of the samples, and the error is 39 % of it. What is quiet is
# rounded: at -80 dB the error is 9 % in datasets, 18 % in Shar. Shar does so even under the format
# "original", to a WAV of 32-bit floats and to one of 24 bits. Peaks over 1 are what resampling,
# reverberation and mixing make. Scale to under 1 before, or store the numbers as numbers.
#
# Fails if that changes. Needs FFmpeg's libraries and the network; some gigabytes are installed.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  datasets==5.2.0 lhotse==1.33.0 torch==2.11.0 torchcodec==0.17.0 soundfile==0.14.0 \
  urllib3==2.6.3 numpy==2.4.6  # urllib3 for lhotse, which does not declare it
cat > try.py <<'PY'
import sys
import tempfile
from importlib.metadata import version
import datasets
import numpy as np
import soundfile
from lhotse import CutSet, Recording
from lhotse.shar import SharWriter

NAMES = "datasets", "lhotse", "torch", "torchcodec", "soundfile", "numpy"
print({one: version(one) for one in NAMES})
noise = np.random.default_rng(0).standard_normal(16000).astype("float32")
sounds = {"unit variance": noise, "-80 dB": 1e-4 * noise}
errors = {}


def found(name, sound, back):
    errors[name] = float(np.sqrt(np.mean((back - sound) ** 2) / np.mean(sound**2)))
    print(f"{name}: largest {np.abs(sound).max():.5f} comes back as {np.abs(back).max():.5f}, "
          f"error {100 * errors[name]:.1f} %")


rows = [{"array": sound, "sampling_rate": 16000} for sound in sounds.values()]
stored = datasets.Dataset.from_dict({"audio": rows}, features=datasets.Features(audio=datasets.Audio()))
for (name, sound), row in zip(sounds.items(), stored):
    found(f"datasets, {name}", sound, row["audio"]["array"])
for codec, sound in (("FLOAT", noise), ("PCM_24", 1e-4 * noise)):
    soundfile.write("sound.wav", sound, 16000, subtype=codec)
    cut = Recording.from_file("sound.wav").to_cut()
    with tempfile.TemporaryDirectory() as folder:
        with SharWriter(folder, fields={"recording": "original"}) as writer:
            writer.write(cut)
        back = next(iter(CutSet.from_shar(in_dir=folder))).load_audio()[0]
    assert np.abs(cut.load_audio()[0] - sound).max() < 1e-6  # lhotse reads the file itself right
    found(f"Shar, original, {codec}", sound, back)
right = all(0.35 < errors[one] < 0.45 for one in ("datasets, unit variance", "Shar, original, FLOAT"))
right &= 0.05 < errors["datasets, -80 dB"] < 0.12 and 0.12 < errors["Shar, original, PCM_24"] < 0.25
sys.exit(not right)
PY
venv/bin/python try.py
# Output seen:
# {'datasets': '5.2.0', 'lhotse': '1.33.0', 'torch': '2.11.0', 'torchcodec': '0.17.0', 'soundfile': '0.14.0', 'numpy': '2.4.6'}
# datasets, unit variance: largest 4.02316 comes back as 1.00000, error 38.6 %
# datasets, -80 dB: largest 0.00040 comes back as 0.00040, error 8.8 %
# Shar, original, FLOAT: largest 4.02316 comes back as 1.00000, error 38.6 %
# Shar, original, PCM_24: largest 0.00040 comes back as 0.00043, error 17.7 %
