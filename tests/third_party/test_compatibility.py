"""s3prl's missing names are put back where they are missing, and mean what they meant."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.machinery
import importlib.util
import io
import itertools
import json
import math
import os
import re
import subprocess
import sys
import textwrap
import types
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from programs import program

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.s3prl_package import find_s3prl
from barlow_speech.upstream.third_party import compatibility

RATE = 16_000


def run_python(script: str, folder: Path, path: Path | None = None) -> subprocess.CompletedProcess:
    """Run a script in a process of its own, in `folder`, with `path` before the site-packages."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(path or ""))
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.fixture
def wave() -> np.ndarray:
    """A stereo waveform [N, C] that PCM_16 holds exactly."""
    integers = np.random.default_rng(0).integers(-(2**15), 2**15, size=(1_600, 2))
    return (integers / 2**15).astype(np.float32)


# --- a pair of torch and torchaudio -----------------------------------------------------------


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The versions that pip has recorded, for a test to set."""
    recorded: dict[str, str] = {}

    def version(package: str) -> str:
        if package not in recorded:
            raise metadata.PackageNotFoundError(package)
        return recorded[package]

    monkeypatch.setattr(metadata, "version", version)
    return recorded


def test_a_fitting_pair_is_imported() -> None:
    assert compatibility.import_torchaudio() is torchaudio


CUDA_ERROR = (
    "RuntimeError('Detected that PyTorch and TorchAudio were compiled with different CUDA "
    "versions. PyTorch has CUDA version 13.2 whereas TorchAudio has CUDA version 13.0. Please "
    "install the TorchAudio version that matches your PyTorch version.')"
)


@pytest.mark.parametrize(
    "failure",
    [CUDA_ERROR, "OSError('libtorchaudio.so: undefined symbol: _ZN3c10')", "ImportError('no lib')"],
)
def test_a_mismatched_pair_is_one_sentence(tmp_path: Path, failure: str) -> None:
    """Fakes on the path, so that nothing of the real packages is imported or asked."""
    for name, version, source in (
        ("torch", "2.15.0+cu132", ""),
        ("torchaudio", "2.10.1+cu130", f"raise {failure}"),
    ):
        (tmp_path / f"{name}.py").write_text(source)
        record = tmp_path / f"{name}-{version}.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}")
    result = run_python(
        """
        from barlow_speech.upstream.third_party.compatibility import patch_s3prl
        from barlow_speech.upstream.common.errors import run_command
        raise SystemExit(run_command(lambda _: patch_s3prl(), []))
        """,
        tmp_path,
        path=tmp_path,
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "torch 2.15.0+cu132 and torchaudio 2.10.1+cu130" in result.stderr
    assert result.stderr.endswith("pip install 'torch==2.10.1' 'torchaudio==2.10.1'\n")


@pytest.mark.parametrize(
    ("torch_version", "audio_version", "command"),
    [
        ("2.15.0", "2.11.0+cu130", "pip install 'torch==2.11.0' 'torchaudio==2.11.0'"),
        ("2.8.0", "2.9.1", "pip install 'torch==2.9.1' 'torchaudio==2.9.1'"),
        ("2.15.0", "2.12.0", "pip install 'torch==2.11.0' 'torchaudio==2.11.0'"),
        ("1.13.1", "0.13.1", "pip install 'torch==2.11.0' 'torchaudio==2.11.0'"),
        # pip would take the CPU build of the same version for good enough
        (
            "2.8.0+cpu",
            "2.8.0",
            "pip install --force-reinstall 'torch==2.8.0' 'torchaudio==2.8.0'",
        ),
        ("2.15.0", None, "pip install 'torch==2.11.0' 'torchaudio==2.11.0'"),
    ],
)
def test_the_command_that_mends_a_pair(
    monkeypatch: pytest.MonkeyPatch,
    versions: dict[str, str],
    torch_version: str,
    audio_version: str | None,
    command: str,
) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio", None)  # its import fails
    versions["torch"] = torch_version
    if audio_version:
        versions["torchaudio"] = audio_version
    with pytest.raises(BarlowSpeechError) as raised:
        compatibility.import_torchaudio()
    message = str(raised.value)
    assert f"torch {torch_version} and torchaudio {audio_version or '(not installed)'}" in message
    assert message.endswith(f"; run: {command}")


# --- where a name is missing, and only there --------------------------------------------------


def test_set_audio_backend_only_where_missing() -> None:
    new = types.SimpleNamespace()
    assert compatibility.patch_set_audio_backend(new) == ["torchaudio.set_audio_backend"]
    assert new.set_audio_backend("sox_io") is None
    assert compatibility.patch_set_audio_backend(new) == []

    old = types.SimpleNamespace(set_audio_backend=print)
    assert compatibility.patch_set_audio_backend(old) == []
    assert old.set_audio_backend is print


def test_huggingface_names_only_where_missing() -> None:
    module = types.SimpleNamespace(Repository=print)
    assert compatibility.patch_huggingface_hub(module) == ["huggingface_hub.HfFolder"]
    assert module.Repository is print
    assert compatibility.patch_huggingface_hub(module) == []


def test_safe_globals_only_where_missing() -> None:
    known: list[type] = []
    serialization = types.SimpleNamespace(
        get_safe_globals=lambda: known, add_safe_globals=known.extend
    )
    assert len(compatibility.patch_safe_globals(serialization)) == 1
    assert known == [argparse.Namespace]
    assert compatibility.patch_safe_globals(serialization) == []


def test_without_a_gpu_a_tensor_stays_where_it_is() -> None:
    moved, tensor = torch.Tensor.cuda, torch.ones(2)
    with contextlib.suppress(KeyError), compatibility.without_gpu():
        assert tensor.cuda() is tensor and tensor.cuda(0, non_blocking=True) is tensor
        raise KeyError
    assert torch.Tensor.cuda is moved


@pytest.fixture
def fake_torchaudio(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A torchaudio that has nothing, in the place of the real one while a test lasts."""
    fake = types.ModuleType("torchaudio")
    monkeypatch.setitem(sys.modules, "torchaudio", fake)
    monkeypatch.setitem(sys.modules, "torchaudio.sox_effects", fake)  # so that it is undone
    del sys.modules["torchaudio.sox_effects"]
    return fake


def test_sox_effects_where_the_module_is_missing(fake_torchaudio: types.ModuleType) -> None:
    assert compatibility.patch_sox_effects(fake_torchaudio) == ["torchaudio.sox_effects"]
    from torchaudio.sox_effects import apply_effects_file, apply_effects_tensor

    assert apply_effects_file is compatibility.apply_effects_file
    assert apply_effects_tensor is compatibility.apply_effects_tensor
    assert compatibility.patch_sox_effects(fake_torchaudio) == []


@pytest.mark.parametrize("libsox", [True, False])
def test_sox_effects_where_the_module_is_there(
    fake_torchaudio: types.ModuleType, libsox: bool
) -> None:
    """torchaudio 2.8 has the module everywhere, but it works with libsox only."""

    def native(tensor: torch.Tensor, sample_rate: int, effects: list[list[str]]) -> None:
        if not libsox:
            raise ImportError("libsox.so: cannot open shared object file")

    module = types.ModuleType("torchaudio.sox_effects")
    module.apply_effects_tensor = native  # type: ignore[attr-defined]
    sys.modules["torchaudio.sox_effects"] = module
    fixed = compatibility.patch_sox_effects(fake_torchaudio)
    assert fixed == ([] if libsox else ["torchaudio.sox_effects"])
    assert (module.apply_effects_tensor is native) == libsox
    assert compatibility.patch_sox_effects(fake_torchaudio) == []


def torchaudio_like(module: str, **names: object) -> types.SimpleNamespace:
    """A torchaudio whose `load` and `save` were defined in `module`."""
    load = types.FunctionType((lambda uri: None).__code__, {})
    load.__module__ = module
    return types.SimpleNamespace(load=load, save=load, **names)


@pytest.mark.parametrize("torchcodec", ["missing", "without FFmpeg", "usable"])
def test_audio_files_only_where_torchcodec_is_not_usable(
    monkeypatch: pytest.MonkeyPatch, torchcodec: str
) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    if torchcodec == "missing":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    else:
        package = types.ModuleType("torchcodec")
        package.__spec__ = importlib.machinery.ModuleSpec("torchcodec", None)
        monkeypatch.setitem(sys.modules, "torchcodec", package)
    if torchcodec == "usable":
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", types.ModuleType("decoders"))
    module = torchaudio_like("torchaudio")
    native = module.load
    fixed = compatibility.patch_audio_files(module)
    assert module.info is compatibility.audio_info  # gone since 2.9 in any case
    if torchcodec == "usable":
        assert fixed == ["torchaudio.info"]
        assert module.load is native
    else:
        assert fixed == ["torchaudio.load", "torchaudio.save", "torchaudio.info"]
        assert module.load is compatibility.load_audio
        assert module.save is compatibility.save_audio
    assert compatibility.patch_audio_files(module) == []


def test_audio_files_of_an_older_torchaudio_stay() -> None:
    module = torchaudio_like("torchaudio._backend.utils", info=print)
    assert compatibility.patch_audio_files(module) == []
    assert module.load.__module__ == "torchaudio._backend.utils"
    assert module.info is print


# --- what the names mean ----------------------------------------------------------------------


def test_effects_of_speech_commands(tmp_path: Path, wave: np.ndarray) -> None:
    """The chain of s3prl's downstream/speech_commands/dataset.py, against numpy."""
    path = tmp_path / "stereo.wav"
    soundfile.write(path, wave, RATE)
    effects = [["channels", "1"], ["rate", "16000"], ["gain", "-3.0"]]
    result, rate = compatibility.apply_effects_file(str(path), effects)
    assert rate == RATE
    assert result.shape == (1, 1_600)
    expected = wave.astype(np.float64).mean(axis=1) * 10 ** (-3 / 20)
    np.testing.assert_allclose(result[0].numpy(), expected, atol=1e-7)


def test_rate_resamples(wave: np.ndarray) -> None:
    tensor = torch.from_numpy(wave.T) * 0.5
    result, rate = compatibility.apply_effects_tensor(tensor, 48_000, [["rate", "16k"]])
    assert rate == RATE
    torch.testing.assert_close(result, torchaudio.functional.resample(tensor, 48_000, RATE))


def test_gain_clips_and_channels_copy() -> None:
    tensor = torch.tensor([[0.25, -0.75]])
    loud, _ = compatibility.apply_effects_tensor(tensor, RATE, [["gain", "6.0"]])
    torch.testing.assert_close(loud, torch.tensor([[0.25 * 10**0.3, -1.0]]))
    stereo, _ = compatibility.apply_effects_tensor(tensor, RATE, [["channels", "2"]])
    assert torch.equal(stereo, tensor.repeat(2, 1))


def test_effects_with_channels_last(wave: np.ndarray) -> None:
    mono, _ = compatibility.apply_effects_tensor(
        torch.from_numpy(wave), RATE, [["channels", "1"]], channels_first=False
    )
    assert mono.shape == (1_600, 1)
    np.testing.assert_allclose(mono[:, 0].numpy(), wave.mean(axis=1), atol=1e-7)


SILENCE = ["silence", "1", "0.1", "0.1%", "-1", "0.1", "0.1%"]  # as sv_voxceleb1 asks for


def sounding(samples: list[float]) -> list[float]:
    """What SoX's `silence 1 0.1 0.1% -1 0.1 0.1%` keeps: its silence.c, sample by sample."""
    window, duration = [0.0] * (RATE // 50), RATE // 10
    kept: list[float] = []
    held: list[float] = []
    copying, total = False, 0.0
    for at, sample in enumerate(samples):
        total += sample**2 - window[at % len(window)]
        window[at % len(window)] = sample**2
        loud = math.sqrt(max(total, 0) / len(window)) > 0.001
        if copying and loud:
            kept += [*held, sample]
            held = []
        elif copying:
            held.append(sample)
            if len(held) == duration:
                copying, held, total, window = False, [], 0.0, [0.0] * len(window)
        else:
            held = [*held, sample] if loud else []
            if len(held) == duration:
                kept += held
                copying, held = True, []
    return kept + held if copying else kept


def bursts(seed: int) -> np.ndarray:
    """A waveform [N] of stretches at levels far above, about and far below the threshold."""
    noise = np.random.default_rng(seed)
    levels = noise.choice([0, 1e-4, 9e-4, 1.1e-3, 1e-2, 0.1], noise.integers(1, 9))
    stretches = [level * noise.standard_normal(noise.integers(1, 5_000)) for level in levels]
    return np.round(np.concatenate(stretches) * 2**15).clip(-(2**15), 2**15 - 1) / 2**15


@pytest.mark.parametrize("seed", range(8))
def test_silence_keeps_what_sox_keeps(seed: int) -> None:
    wave_N = bursts(seed)
    kept, _ = compatibility.apply_effects_tensor(
        torch.from_numpy(wave_N.astype(np.float32))[None], RATE, [SILENCE]
    )
    assert kept[0].tolist() == sounding(wave_N.tolist())


def test_silence_edges() -> None:
    """Nothing of silence, all of a sound without a pause, nothing of an empty waveform."""
    for level, length, kept in ((0, 9_000, 0), (0.5, 9_000, 9_000), (0.5, 0, 0)):
        wave_N = torch.full((length,), level)
        result, _ = compatibility.apply_effects_tensor(wave_N[None], RATE, [SILENCE])
        assert result.shape == (1, kept)


def test_silence_against_sox_itself(tmp_path: Path) -> None:
    sox = program("sox")
    effects = [["channels", "1"], ["rate", "16000"], ["gain", "-3.0"], SILENCE]
    for seed in range(20):
        soundfile.write(tmp_path / "in.wav", bursts(seed), RATE, subtype="PCM_16")
        command = [sox, tmp_path / "in.wav", "-b", "32", "-e", "float", tmp_path / "out.wav"]
        subprocess.run([*command, *itertools.chain(*effects)], check=True)
        expected, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
        kept, _ = compatibility.apply_effects_file(tmp_path / "in.wav", effects)
        np.testing.assert_allclose(kept[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "effect",
    [
        ["silence", "1", "0.1", "0.1%"],
        ["silence", "2", "0.1", "0.1%", "-1", "0.1", "0.1%"],
        ["silence", "1", "0.1", "-60d", "-1", "0.1", "-60d"],
        SILENCE,  # of two channels
        ["norm"],
        ["gain", "-n", "-3"],
        ["gain", "-n"],
        ["rate", "-v", "16000"],
        ["channels"],
        ["channels", "3"],
    ],
)
def test_other_effects_are_refused_by_name(effect: list[str]) -> None:
    message = re.escape(f"'{' '.join(effect)}' is not supported")
    with pytest.raises(BarlowSpeechError, match=message):
        compatibility.apply_effects_tensor(torch.zeros(2, 8), RATE, [["gain", "-3.0"], effect])


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize(("offset", "frames"), [(0, -1), (100, -1), (100, 50), (1_500, 500)])
def test_load_agrees_with_soundfile(
    tmp_path: Path, wave: np.ndarray, suffix: str, offset: int, frames: int
) -> None:
    path = tmp_path / f"stereo{suffix}"
    soundfile.write(path, wave, 22_050, subtype="PCM_16")
    expected, _ = soundfile.read(path, start=offset, frames=frames, dtype="float32")
    loaded, rate = compatibility.load_audio(path, offset, frames)
    assert rate == 22_050
    assert loaded.dtype == torch.float32
    assert loaded.is_contiguous()
    np.testing.assert_array_equal(loaded.numpy(), expected.T)
    last, _ = compatibility.load_audio(str(path), offset, frames, channels_first=False)
    np.testing.assert_array_equal(last.numpy(), expected)


def test_load_edges(tmp_path: Path, wave: np.ndarray) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, wave, RATE)
    assert compatibility.load_audio(path, frame_offset=5_000)[0].shape == (2, 0)
    assert compatibility.load_audio(path, num_frames=0)[0].shape == (2, 0)
    from_memory, _ = compatibility.load_audio(io.BytesIO(path.read_bytes()))
    np.testing.assert_array_equal(from_memory.numpy(), wave.T)
    with pytest.raises(RuntimeError, match=r"missing\.wav"):
        compatibility.load_audio(tmp_path / "missing.wav")


def test_load_keeps_the_sample_type_on_request(tmp_path: Path, wave: np.ndarray) -> None:
    integers = (wave * 2**15).astype(np.int16)
    for subtype, expected in (
        ("PCM_16", integers),
        ("PCM_24", integers.astype(np.int32) << 16),
        ("PCM_32", integers.astype(np.int32) << 16),
        ("FLOAT", wave),
    ):
        path = tmp_path / f"{subtype}.wav"
        soundfile.write(path, wave, RATE, subtype=subtype)
        loaded, _ = compatibility.load_audio(path, normalize=False)
        assert loaded.numpy().dtype == expected.dtype
        np.testing.assert_array_equal(loaded.numpy(), expected.T)
    soundfile.write(tmp_path / "bytes.wav", wave, RATE, subtype="PCM_U8")
    with pytest.raises(BarlowSpeechError, match="PCM_U8"):
        compatibility.load_audio(tmp_path / "bytes.wav", normalize=False)


@pytest.mark.parametrize(
    ("suffix", "subtype", "bits", "encoding"),
    [
        (".wav", "PCM_U8", 8, "PCM_U"),
        (".wav", "PCM_16", 16, "PCM_S"),
        (".wav", "PCM_24", 24, "PCM_S"),
        (".wav", "FLOAT", 32, "PCM_F"),
        (".wav", "ULAW", 8, "ULAW"),
        (".wav", "MS_ADPCM", 0, "UNKNOWN"),
        (".flac", "PCM_24", 24, "FLAC"),
        (".ogg", "VORBIS", 0, "VORBIS"),
    ],
)
def test_info(
    tmp_path: Path, wave: np.ndarray, suffix: str, subtype: str, bits: int, encoding: str
) -> None:
    path = tmp_path / f"stereo{suffix}"
    soundfile.write(path, wave, 22_050, subtype=subtype)
    info = compatibility.audio_info(path)
    assert (info.sample_rate, info.num_channels) == (22_050, 2)
    assert info.num_frames == soundfile.info(path).frames
    assert (info.bits_per_sample, info.encoding) == (bits, encoding)


def test_save_keeps_the_samples(tmp_path: Path, wave: np.ndarray) -> None:
    path = tmp_path / "saved.wav"
    for samples in (wave, wave.astype(np.float64), (wave * 2**15).astype(np.int16)):
        compatibility.save_audio(path, torch.from_numpy(samples.T), RATE)
        loaded, rate = compatibility.load_audio(path, normalize=False)
        assert rate == RATE
        assert loaded.numpy().dtype == samples.dtype
        np.testing.assert_array_equal(loaded.numpy(), samples.T)
    compatibility.save_audio(path, torch.from_numpy(wave), RATE, channels_first=False)
    np.testing.assert_array_equal(soundfile.read(path)[0], wave)


def test_save_refuses_what_it_would_ignore(tmp_path: Path) -> None:
    with pytest.raises(BarlowSpeechError, match="bits_per_sample"):
        compatibility.save_audio(tmp_path / "a.wav", torch.zeros(1, 8), RATE, bits_per_sample=16)
    with pytest.raises(BarlowSpeechError, match="int64"):
        compatibility.save_audio(tmp_path / "a.wav", torch.zeros(1, 8, dtype=torch.long), RATE)


def test_pushing_to_the_hub_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BarlowSpeechError, match="hf upload"):
        compatibility.Repository(local_dir="here", clone_from="there")
    with pytest.raises(BarlowSpeechError, match="hf auth login"):
        compatibility.HfFolder.save_token("secret")
    monkeypatch.setenv("HF_TOKEN", "from the environment")
    assert compatibility.HfFolder.get_token() == "from the environment"


# --- s3prl itself -----------------------------------------------------------------------------


@pytest.fixture
def broken_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The source of an `s3prl.hub` in the place of the real one, for a test to write."""
    package = tmp_path / "s3prl"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "version.txt").write_text("0.4.18\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "s3prl"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("s3prl", "s3prl.hub"):  # so that the import below is undone
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(compatibility, "patch_s3prl", list)
    return package / "hub.py"


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ("import no_such_package.part", "pip install no_such_package"),
        (
            "from s3prl import no_such_name",
            "pip install --force-reinstall --no-deps 's3prl==0.4.18'",
        ),
        # As transformers does: its own error, caused by that of a package it imports.
        (
            "try:\n"
            "    raise RuntimeError('operator torchvision::nms does not exist')\n"
            "except RuntimeError as error:\n"
            "    raise ModuleNotFoundError('Could not import HubertModel') from error\n",
            "pip install 'torch==2.9.0' torchvision",
        ),
    ],
)
def test_a_hub_that_fails_names_versions_and_remedy(
    broken_hub: Path, versions: dict[str, str], source: str, command: str
) -> None:
    broken_hub.write_text(source)
    versions.update(torch="2.9.0+cu126", torchaudio="2.9.0")
    with pytest.raises(BarlowSpeechError) as raised:
        compatibility.s3prl_hub()
    message = str(raised.value)
    assert "s3prl 0.4.18" in message
    assert "torch 2.9.0+cu126, torchaudio 2.9.0, huggingface_hub (not installed)" in message
    assert message.endswith(f"; run: {command}")
    assert "\n" not in message


def test_what_a_hub_warns_of_when_it_is_imported_is_no_news_to_the_user(
    broken_hub: Path, recwarn: pytest.WarningsRecorder
) -> None:
    broken_hub.write_text("import warnings\nwarnings.warn('going', FutureWarning)\nname = 1\n")
    assert compatibility.s3prl_hub().name == 1
    assert not recwarn.list
    warnings.warn("theirs, afterwards", FutureWarning, stacklevel=1)
    assert len(recwarn.list) == 1


def test_without_s3prl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "patch_s3prl", list)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BarlowSpeechError, match=r"s3prl is not installed .* run: pip install"):
        compatibility.s3prl_hub()


@pytest.mark.parametrize("text", ["0.3.4", "0.5.0", "2026.05.13", "", "new"])
def test_an_s3prl_of_neither_kind_is_named(broken_hub: Path, text: str) -> None:
    (broken_hub.parent / "version.txt").write_text(text)
    with pytest.raises(BarlowSpeechError) as raised:
        compatibility.s3prl_hub()
    message = str(raised.value)
    assert f"{broken_hub.parent} is s3prl {text or 'without version.txt'}, and" in message
    assert "s3prl 0.4.18 or espnet-s3prl 2026.5.14 or newer" in message
    assert "run: pip uninstall --yes s3prl espnet-s3prl, then: pip install espnet-s3prl" in message


@pytest.mark.parametrize(
    ("text", "name"),
    [("0.4.18\n", "s3prl 0.4.18"), ("2026.05.14", "espnet-s3prl 2026.5.14"),
     ("2027.1.3", "espnet-s3prl 2027.1.3"), ("0.4.19", "s3prl 0.4.19")],
)  # fmt: skip
def test_both_kinds_of_s3prl_are_known_by_their_version(
    broken_hub: Path, text: str, name: str
) -> None:
    (broken_hub.parent / "version.txt").write_text(text)
    broken_hub.write_text("from s3prl import no_such_name")
    assert str(find_s3prl()) == name
    with pytest.raises(BarlowSpeechError) as raised:
        compatibility.s3prl_hub()
    message = str(raised.value)
    assert message.startswith(f"{name} cannot be imported beside torch ")
    command = f"pip install --force-reinstall --no-deps '{name.replace(' ', '==')}'"
    assert message.endswith(f"; run: {command}")


S3PRL_CONFIG = """
runner:
  total_steps: 2
  gradient_clipping: 1
  gradient_accumulate_steps: 1
  log_step: 1
  eval_step: 2
  save_step: 2
  max_keep: 1
  eval_dataloaders: [dev, test]
optimizer:
  name: TorchOptim
  torch_optim_name: Adam
  lr: 1.0e-4
downstream_expert:
  datarc:
    speech_commands_root: train
    speech_commands_test_root: test
    num_workers: 0
    batch_size: 4
  modelrc:
    projector_dim: 16
    select: UtteranceLevel
    UtteranceLevel: {pooling: MeanPooling}
"""

# One process for all that needs the real s3prl, whose import takes seconds. Its answers are printed
# last, as JSON.
S3PRL_SCRIPT = """
import json, logging, sys, warnings
import torch
from barlow_speech.upstream.third_party import compatibility
from barlow_speech.upstream.third_party.compatibility import patch_s3prl, s3prl_hub

def state():
    return [
        torch.get_rng_state().tolist(), torch.get_num_threads(), str(warnings.filters),
        logging.root.level, str(logging.root.handlers),
    ]

torchaudio = compatibility.import_torchaudio()
import huggingface_hub

def sox_works():
    from torchaudio.sox_effects import apply_effects_tensor
    apply_effects_tensor(torch.zeros(1, 8), 16_000, [["gain", "0"]])

def sampler():
    from catalyst.data.sampler import DistributedSamplerWrapper

def find_files():
    from librosa.util import find_files

def missing():  # the names that cannot be used, each found by using it
    use = {
        "torchaudio.set_audio_backend": lambda: torchaudio.set_audio_backend("soundfile"),
        "torchaudio.sox_effects": sox_works,
        "torchaudio.load": lambda: torchaudio.load("train/yes/0_nohash_0.wav"),
        "torchaudio.save": lambda: torchaudio.save("saved.wav", torch.zeros(1, 8), 16_000),
        "torchaudio.info": lambda: torchaudio.info("train/yes/0_nohash_0.wav"),
        "huggingface_hub.HfFolder": lambda: huggingface_hub.HfFolder,
        "huggingface_hub.Repository": lambda: huggingface_hub.Repository,
        "torch.serialization: argparse.Namespace": lambda: torch.load("namespace.pt"),
        "catalyst.data.sampler.DistributedSamplerWrapper": lambda: sampler(),
        "librosa.util.find_files": lambda: find_files(),
        "editdistance.eval": lambda: __import__("editdistance").eval,
        "editdistance.distance": lambda: __import__("editdistance").distance,
        "sox.Transformer": lambda: __import__("sox").Transformer,
    }
    names = []
    for name, call in use.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call()
        except Exception:
            names.append(name)
    return names

import argparse, io
torch.save(argparse.Namespace(a=1), "namespace.pt")
answers = {"missing": missing()}
before = state()
with warnings.catch_warnings(record=True) as raised:
    warnings.simplefilter("always")
    answers["fixed"] = patch_s3prl()
answers["warnings"] = [str(warning.message) for warning in raised]
answers["untouched"] = state() == before
answers["fixed again"] = patch_s3prl()
answers["still missing"] = missing()

hub = s3prl_hub()
answers["hub"] = hub.__name__
features = hub.fbank_no_cmvn()([torch.randn(16_000), torch.randn(8_000)])["hidden_states"]
answers["shapes"] = [list(feature.shape) for feature in features]

from s3prl.nn import S3PRLUpstream
with torch.no_grad():
    layers, lengths = S3PRLUpstream("fbank_no_cmvn")(
        torch.randn(2, 16_000), torch.tensor([16_000, 8_001])
    )
answers["nn"] = [list(layers[0].shape), lengths[0].tolist()]

from s3prl.util.pseudo_data import pseudo_audio
import torchaudio
with pseudo_audio([0.5]) as (paths, lengths):
    answers["pseudo audio"] = list(torchaudio.load(paths[0])[0].shape) == [1, lengths[0]]

from s3prl import run_downstream
def runner(*arguments):
    sys.argv = ["run_downstream.py", *arguments, "--device", "cpu"]
    run_downstream.main()
runner("-m", "train", "-u", "fbank_no_cmvn", "-d", "speech_commands", "-c", "c.yaml", "-p", "exp")
runner("-m", "train", "-e", "exp", "-o", "config.runner.total_steps=4")
runner("-m", "evaluate", "-t", "test", "-e", "exp/states-4.ckpt")
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def s3prl_answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the unmodified s3prl answers, with its runner's experiment in the folder "exp"."""
    folder = tmp_path_factory.mktemp("s3prl")
    (folder / "c.yaml").write_text(S3PRL_CONFIG)
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for word in ("yes", "bed" if split == "train" else "_unknown_"):
            (folder / split / word).mkdir(parents=True)
            # s3prl splits by a hash of the name: of eight, some fall to train and some to dev.
            for speaker in ("0", "1", "2", "3", "4", "5", "6", "9"):
                path = folder / split / word / f"{speaker}_nohash_0.wav"
                soundfile.write(path, 0.1 * noise.standard_normal(4_000), RATE)
    (folder / "train" / "_background_noise_").mkdir()
    soundfile.write(
        folder / "train" / "_background_noise_" / "n.wav", 0.1 * noise.standard_normal(20_000), RATE
    )
    result = run_python(S3PRL_SCRIPT, folder)
    assert result.returncode == 0, result.stderr[-2_000:]
    return {**json.loads(result.stdout.splitlines()[-1]), "folder": folder}


def test_what_is_missing_is_mended_and_nothing_else(s3prl_answers: dict[str, object]) -> None:
    """Each name is tried out before and after: fixed is what did not work, and all works then."""
    assert s3prl_answers["fixed"] == s3prl_answers["missing"]
    assert s3prl_answers["still missing"] == []
    assert s3prl_answers["fixed again"] == []


@pytest.mark.skipif(not torchaudio.__version__.startswith("2.8."), reason="torchaudio 2.8 only")
def test_nothing_is_done_to_torchaudio_2_8(s3prl_answers: dict[str, object]) -> None:
    """But for the effects where libsox is missing: they are there, and fail when called."""
    fixed = set(s3prl_answers["fixed"])  # type: ignore[call-overload]
    assert {one for one in fixed if one.startswith("torchaudio.")} <= {"torchaudio.sox_effects"}


def test_mending_is_silent_and_leaves_the_rest_alone(s3prl_answers: dict[str, object]) -> None:
    assert s3prl_answers["warnings"] == []
    assert s3prl_answers["untouched"] is True


def test_the_hub_imports_and_its_filterbank_runs(s3prl_answers: dict[str, object]) -> None:
    assert s3prl_answers["hub"] == "s3prl.hub"
    # 25 ms windows each 10 ms, none beyond the ends: (16000 - 400) // 160 + 1; 80 bands, Δ, ΔΔ.
    assert s3prl_answers["shapes"] == [[2, 98, 240]]
    # s3prl.nn brings the lengths to ceil(length / 160).
    assert s3prl_answers["nn"] == [[2, 100, 240], [100, 51]]
    assert s3prl_answers["pseudo audio"] is True


def test_the_runner_trains_resumes_and_evaluates(s3prl_answers: dict[str, object]) -> None:
    experiment = Path(str(s3prl_answers["folder"])) / "exp"
    assert [path.name for path in experiment.glob("states-*.ckpt")] == ["states-4.ckpt"]
    log = (experiment / "log.log").read_text()
    assert [step for step in range(5) if f"train at step {step}:" in log] == [1, 2, 3, 4]
    assert "test at step 4:" in log
    assert "test at step 0:" in log  # the evaluation by itself
