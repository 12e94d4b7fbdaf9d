#!/usr/bin/env bash
# openSMILE (opensmile 2.6.0), eGeMAPSv02 functionals: the same sound stored at 8 to 48 kHz.
#
# Guess before: the sound has nothing above 3.6 kHz, so that F0 and jitter are the same at every rate to
# 5 %; nothing was guessed of the rest. Seen: F0, levels in dB and the alpha ratio are; but loudness is
# 1.8 times as much at 48 kHz as at 16 (2.5 times that at 8), and spectral flux three times. Both go up with the number of bins of the
# spectrum, most where the window takes the next power of two. Corpora of emotional speech come at 8
# (calls), 16 (EmoDB) and 48 kHz (RAVDESS): together, or one for training and one for test, loudness tells
# them apart where emotions should be told apart. Resample all to one rate before.
#
# Fails if that changes. Needs the network.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  opensmile==2.6.0 numpy==2.4.6 scipy==1.17.1 soxr==1.1.0
cat > try.py <<'PY'
import sys
from importlib.metadata import version
import numpy as np
import opensmile
import scipy.signal
import soxr

RATES = 8000, 16000, 24000, 48000
FEATURES = {
    "loudness": "loudness_sma3_amean",
    "flux": "spectralFlux_sma3_amean",
    "level, dB": "equivalentSoundLevel_dBp",
    "F0, semitones": "F0semitoneFrom27.5Hz_sma3nz_amean",
    "alpha ratio": "alphaRatioV_sma3nz_amean",
}


def voice(f0, seconds=3, rate=48000):
    """A voice of three formants that goes up and down in pitch and level, all below 3.6 kHz."""
    time = np.arange(seconds * rate) / rate
    phase = 2 * np.pi * np.cumsum(f0 * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time))) / rate
    sound = np.zeros_like(time)
    for harmonic in range(1, int(3000 / f0)):
        hertz = harmonic * f0
        formants = ((700, 100), (1200, 120), (2600, 180))
        gain = 0.02 + sum(1 / (1 + ((hertz - middle) / width) ** 2) for middle, width in formants)
        sound += gain * np.cos(harmonic * phase + 0.3 * harmonic**2)
    sound *= (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)) / (2 * np.abs(sound).max())
    sound += 0.003 * np.random.default_rng(0).standard_normal(len(time))
    low = scipy.signal.butter(8, 3600, fs=rate, output="sos")
    return scipy.signal.sosfiltfilt(low, sound).astype("float32")


smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
print({one: version(one) for one in ("opensmile", "numpy", "scipy", "soxr")})
right = True
for f0 in (110, 210):
    original = voice(f0)
    found = {}
    for rate in RATES:
        sound = original if rate == 48000 else soxr.resample(original, 48000, rate, "VHQ")
        row = smile.process_signal(sound, rate).iloc[0]
        found[rate] = {name: float(row[feature]) for name, feature in FEATURES.items()}
        print(f0, "Hz at", rate, {name: round(value, 2) for name, value in found[rate].items()})
    of = {name: found[48000][name] / found[16000][name] for name in FEATURES}
    alike = all(0.95 < of[name] < 1.05 for name in ("level, dB", "F0, semitones", "alpha ratio"))
    right &= alike and 1.6 < of["loudness"] < 2.0 and 2.6 < of["flux"] < 3.4
    right &= 2.2 < found[48000]["loudness"] / found[8000]["loudness"] < 2.8
sys.exit(not right)
PY
venv/bin/python try.py
# Output seen:
# {'opensmile': '2.6.0', 'numpy': '2.4.6', 'scipy': '1.17.1', 'soxr': '1.1.0'}
# 110 Hz at 8000 {'loudness': 1.24, 'flux': 0.13, 'level, dB': -17.5, 'F0, semitones': 36.4, 'alpha ratio': 3.81}
# 110 Hz at 16000 {'loudness': 1.69, 'flux': 0.24, 'level, dB': -17.5, 'F0, semitones': 36.0, 'alpha ratio': 3.81}
# 110 Hz at 24000 {'loudness': 1.94, 'flux': 0.36, 'level, dB': -17.5, 'F0, semitones': 35.97, 'alpha ratio': 3.63}
# 110 Hz at 48000 {'loudness': 3.06, 'flux': 0.71, 'level, dB': -17.5, 'F0, semitones': 35.98, 'alpha ratio': 3.63}
# 210 Hz at 8000 {'loudness': 1.23, 'flux': 0.13, 'level, dB': -17.41, 'F0, semitones': 35.31, 'alpha ratio': 4.33}
# 210 Hz at 16000 {'loudness': 1.7, 'flux': 0.24, 'level, dB': -17.41, 'F0, semitones': 35.21, 'alpha ratio': 4.33}
# 210 Hz at 24000 {'loudness': 1.94, 'flux': 0.36, 'level, dB': -17.41, 'F0, semitones': 35.2, 'alpha ratio': 4.18}
# 210 Hz at 48000 {'loudness': 3.07, 'flux': 0.71, 'level, dB': -17.41, 'F0, semitones': 35.2, 'alpha ratio': 4.18}
