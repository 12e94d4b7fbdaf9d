"""For torch.hub: the encoder from a clone of the repository, which need not be installed.

Usage:
    encoder = torch.hub.load(FOLDER, "barlow_speech", source="local")
    encoder = torch.hub.load(OWNER_AND_REPOSITORY, "barlow_speech")
    encoder.embed(["one.wav", "two.flac"])
"""

from __future__ import annotations

import importlib.util as _import
import sys as _sys
from pathlib import Path as _Path
from typing import Any as _Any

# What the encoder needs, by import name; s3prl and the rest of the benchmark it does not.
dependencies = ["torch", "torchaudio", "numpy", "soundfile", "safetensors", "yaml", "tqdm"]


def barlow_speech(checkpoint: str | None = None, device: str = "cpu") -> _Any:
    """A Barlow Twins speech encoder in evaluation mode.

    `embed(waves, sample_rate=None)` takes paths, arrays and tensors and gives an embedding each,
    [N, E]. Called with a list of 16 kHz waveforms it gives `hidden_states`, `last_hidden_state`
    and `embedding`, as s3prl's upstreams do. `checkpoint` is a file that `barlow-speech pretrain`
    wrote; by default the one that comes with the repository.
    """
    _make_importable()
    import barlow_speech as package

    return package.load(checkpoint, device)


def _make_importable() -> None:
    """Let `import barlow_speech` find this folder, as setup.cfg says, whatever it is called.

    An already imported package stays: its classes are in use.
    """
    if "barlow_speech" in _sys.modules:
        return
    root = _Path(__file__).resolve().parent
    spec = _import.spec_from_file_location(
        "barlow_speech", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = _import.module_from_spec(spec)
    _sys.modules["barlow_speech"] = package
    spec.loader.exec_module(package)
