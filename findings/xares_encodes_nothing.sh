#!/usr/bin/env bash
# X-ARES 0.1.3 with torchaudio 2.11, as pip installs the two today, and no torchcodec.
#
# Guess before: it stops at the first recording, with torchaudio's error that names torchcodec.
# Seen: webdataset's decoding fails for every recording, X-ARES's handler goes on, its warnings are
# set to be hidden, and the encoding ends well with no embedding written. What the guess missed most
# is what stays: the folder is marked as encoded, so that a later run in which audio can be read
# (here soundfile in the place of torchaudio.load; torchcodec installed does the same) says "Skip
# encoding" and has no embeddings either, until force_encode is set.
#
# Fails if any of it changes. Needs Python 3.11 or 3.12 and the network; some gigabytes are installed.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  xares==0.1.3 torch==2.11.0 torchaudio==2.11.0 webdataset==1.0.2 soundfile==0.14.0
cat > try.py <<'PY'
import io, json, pathlib, subprocess, sys, tarfile, wave
from importlib.metadata import version
import numpy as np
import torch

PER_SPLIT = 8
SPLITS = ("train", "valid", "test")


def recordings(folder):
    """Tars in X-ARES's format: half a second of a tone at half of full scale, 16 kHz, 16 bits."""
    folder.mkdir(parents=True)
    for split in SPLITS:
        with tarfile.open(folder / f"{split}_00000.tar", "w") as tar:
            for i in range(PER_SPLIT):
                sound = io.BytesIO()
                with wave.open(sound, "wb") as out:
                    out.setnchannels(1), out.setsampwidth(2), out.setframerate(16000)
                    tone = 0.5 * np.sin(2 * np.pi * 200 * (i + 1) * np.arange(8000) / 16000)
                    out.writeframes((32767 * tone).astype("<i2").tobytes())
                label = json.dumps({"label": i % 2}).encode()
                for name, data in ((f"{split}{i}.wav", sound.getvalue()), (f"{split}{i}.json", label)):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
    (folder / ".audio_tar_ready").touch()


class ToneEncoder(torch.nn.Module):
    sampling_rate, output_dim, hop_size_in_ms = 16000, 4, 100

    def forward(self, audio):
        return audio[:, : audio.shape[1] // 1600 * 1600].reshape(len(audio), -1, 1600)[:, :, :4]


def encode(env, force):
    from xares.task import TaskConfig, XaresTask

    config = TaskConfig(
        name="tones", env_root=env, encoder=ToneEncoder(), output_dim=2, num_encoder_workers=0,
        force_encode=force,
    )
    XaresTask(config).make_encoded_tar()


def encoded(how):
    """Embeddings that a run of this program leaves, and whether the folder says that it is done."""
    subprocess.run([sys.executable, __file__, how], check=True, capture_output=True)
    folder = pathlib.Path("env/tones/embeddings/ToneEncoder")
    count = 0
    for file in folder.glob("*.tar"):
        if file.stat().st_size:
            with tarfile.open(file) as tar:
                count += sum(name.endswith(".npy") for name in tar.getnames())
    return count, (folder / ".encoded_tar_ready").exists()


def load_by_soundfile(file, **_):
    import soundfile

    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


if __name__ == "__main__":
    if len(sys.argv) > 1:
        import torchaudio

        if sys.argv[1] != "as installed":
            torchaudio.load = load_by_soundfile
        encode("env", sys.argv[1] == "forced")
        sys.exit()
    print({name: version(name) for name in ("xares", "torch", "torchaudio", "webdataset")})
    recordings(pathlib.Path("env/tones"))
    found = [encoded(how) for how in ("as installed", "with a decoder", "forced")]
    print("embeddings and 'ready': as installed", found[0], "then with a decoder", found[1],
          "and with force_encode", found[2])
    sys.exit(found != [(0, True), (0, True), (len(SPLITS) * PER_SPLIT, True)])
PY
venv/bin/python try.py
# Output seen:
# {'xares': '0.1.3', 'torch': '2.11.0', 'torchaudio': '2.11.0', 'webdataset': '1.0.2'}
# embeddings and 'ready': as installed (0, True) then with a decoder (0, True) and with force_encode (24, True)
