"""The encoder as an ONNX file: waveforms [batch, samples] at 16 kHz in, features out.

Outputs: `embedding` [batch, E] and `last_hidden_state` [batch, ceil(samples / rate), D]. All
waveforms of a batch are of one length; run those of other lengths by themselves.

The short-time Fourier transform is exported as a convolution with windowed cosines and sines: not
every runtime knows ONNX's own STFT, and torch.export cannot follow the shape of a slice of ours.

Needs `pip install 'barlow-speech[onnx]'`.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.common.files import written_whole
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.encoders import shorter
from barlow_speech.upstream.model.frontend import FLOOR, HOP, N_FFT, FrontEnd
from barlow_speech.upstream.model.readout import read_out
from barlow_speech.upstream.model.speech_encoder import SpeechEncoder

TOLERANCE = 1e-4  # between onnxruntime and torch, relative to the largest value of an output
# What comes in and what goes out, and what their axes of no fixed size are called.
AXES = {
    "waves": ("batch", "samples"),
    "embedding": ("batch",),
    "last_hidden_state": ("batch", "states"),
}
OUTPUTS = list(AXES)[1:]
TRACED = (2, 16_123)  # batch and samples of the example that is exported
CHECKED = ((1, 1), (1, 800), (2, 16_123), (3, 40_000))  # shapes that are compared afterwards
OPSET = 17  # of the older exporter; the newer one chooses its own


class ConvolutionalFrontEnd(nn.Module):
    """The normalised log-mel of `FrontEnd`, with the Fourier transform as one convolution."""

    kernels: Tensor
    filters: Tensor

    def __init__(self, frontend: FrontEnd) -> None:
        super().__init__()
        self.settings = frontend.settings
        # Bins that no filter looks at need not be computed.
        bins_K = (frontend.filters > 0).any(dim=1).nonzero().flatten()
        angles_KN = bins_K.double().outer(torch.arange(N_FFT).double()) * (2 * math.pi / N_FFT)
        kernels_CN = torch.cat([angles_KN.cos(), angles_KN.sin()]) * frontend.window.double()
        self.register_buffer("kernels", kernels_CN.float().unsqueeze(1))
        self.register_buffer("filters", frontend.filters[bins_K])

    def forward(self, waves_BN: Tensor) -> Tensor:
        """waves_BN → frames_BTF with T = ceil(N / HOP)."""
        padded_B1N = nn.functional.pad(waves_BN, (N_FFT // 2, N_FFT // 2 - 1)).unsqueeze(1)
        parts_BCT = nn.functional.conv1d(padded_B1N, self.kernels, stride=HOP).square()
        real_BKT, imaginary_BKT = parts_BCT.chunk(2, dim=1)
        power_BTK = (real_BKT + imaginary_BKT).transpose(1, 2)
        log_mel_BTF = torch.log(power_BTK @ self.filters + FLOOR)
        return (log_mel_BTF - self.settings.mean) / self.settings.std


class Exportable(nn.Module):
    """A model of waveforms of one length: a tensor in, two tensors out."""

    def __init__(self, model: SpeechEncoder) -> None:
        super().__init__()
        self.frontend = ConvolutionalFrontEnd(model.frontend)
        self.encoder, self.readout = model.encoder, model.settings.readout

    def forward(self, waves_BN: Tensor) -> tuple[Tensor, Tensor]:
        """waves_BN → (embedding_BE, last_hidden_state_BSD)."""
        frames_BTF = self.frontend(waves_BN)
        lengths_B = torch.ones(waves_BN.shape[0], dtype=torch.int64) * frames_BTF.shape[1]
        hidden, _ = self.encoder(frames_BTF, lengths_B)
        states_B = shorter(lengths_B, self.encoder.stride)
        return read_out(self.readout, hidden, states_B), hidden[-1]


def export_onnx(model: SpeechEncoder, path: Path, facts: dict[str, str] | None = None) -> float:
    """Write a model as ONNX, once onnxruntime has given the same numbers from it.

    The file's metadata holds `sample_rate`, `samples_per_state` and `facts`. Returns the largest
    difference to the model, relative to the largest value of an output; it is at most `TOLERANCE`.

    Raises:
        BarlowSpeechError: the packages of the extra `onnx` are missing, the encoder cannot be
            exported, or onnxruntime gives other numbers; nothing is written then.
    """
    onnx, runtime = _needed("onnx"), _needed("onnxruntime")
    _needed("onnxscript")
    name = model.settings.encoder["name"]
    model = copy.deepcopy(model).cpu().eval()
    with (
        progress(1 + len(CHECKED), f"ONNX of {name}", "step") as bar,
        written_whole(path) as part,
        torch.no_grad(),
    ):
        try:
            with _quiet():
                _export(model, part)
                exported = onnx.load(str(part))
                _name_axes(exported.graph, model)
                properties = {
                    "sample_rate": str(SAMPLE_RATE),
                    "samples_per_state": str(model.rate),
                    **(facts or {}),
                }
                onnx.helper.set_model_props(exported, properties)
                onnx.checker.check_model(exported)
                onnx.save(exported, str(part))
            bar.update()
            options = runtime.SessionOptions()
            options.log_severity_level = 4  # what fails is told below
            options.intra_op_num_threads = torch.get_num_threads()
            session = runtime.InferenceSession(
                str(part), options, providers=["CPUExecutionProvider"]
            )
            worst = 0.0
            for batch, samples in CHECKED:
                worst = max(worst, _difference(model, session, batch, samples))
                bar.update()
        except Exception as error:  # of whatever torch.export, ONNX and onnxruntime raise
            reason = " ".join(str(error).split())[-300:] or type(error).__name__
            raise BarlowSpeechError(
                f"the encoder {name} cannot be exported to ONNX with torch {torch.__version__} "
                f"(… {reason}); use a checkpoint of cnn1d or cnn2d."
            ) from error
        if not worst <= TOLERANCE:
            raise BarlowSpeechError(
                f"onnxruntime {runtime.__version__} differs from the encoder {name} by {worst:.1g} "
                f"of its largest value, more than {TOLERANCE:g}; nothing was written, try another "
                "version of onnxruntime."
            )
    return worst


def _export(model: SpeechEncoder, path: Path) -> None:
    exportable = Exportable(model).eval()
    example = (_sound(*TRACED),)
    names: dict[str, Any] = {"input_names": ["waves"], "output_names": OUTPUTS}
    if any(isinstance(one, nn.RNNBase) for one in model.encoder.modules()):
        # torch.export cannot follow packed sequences (torch 2.8 to 2.11); tracing can.
        axes = {value: dict(enumerate(names)) for value, names in AXES.items()}
        torch.onnx.export(
            exportable, example, str(path), dynamo=False, opset_version=OPSET,
            dynamic_axes=axes, **names,
        )  # fmt: skip
        return
    free = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        exportable, example, str(path), dynamo=True, external_data=False, verbose=False,
        dynamic_shapes=({0: free, 1: free},), **names,
    )  # fmt: skip


def _name_axes(graph: Any, model: SpeechEncoder) -> None:
    """Call the axes by `AXES`: torch.export has s28 and expressions of it, or takes minutes.

    The shapes in between are of these expressions too; they go, and whoever needs them infers them.
    """
    fixed = {"embedding": model.embedding_dim, "last_hidden_state": model.encoder.width}
    for value in (*graph.input, *graph.output):
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes, AXES[value.name]):
            axis.dim_param = name
        if value.name in fixed:  # which tracing leaves open
            axes[-1].dim_value = fixed[value.name]
    del graph.value_info[:]


def _difference(model: SpeechEncoder, session: Any, batch: int, samples: int) -> float:
    """The largest difference of an output, relative to its largest value."""
    waves_BN = _sound(batch, samples)
    hidden, _, embedding_BE = model(list(waves_BN))
    outputs = session.run(OUTPUTS, {"waves": waves_BN.numpy()})
    worst = 0.0
    for output, wanted in zip(outputs, (embedding_BE, hidden[-1])):
        if output.shape != wanted.shape:
            raise ValueError(f"shape {list(output.shape)} in place of {list(wanted.shape)}")
        difference = (torch.from_numpy(output) - wanted).abs().max() / wanted.abs().max()
        worst = max(worst, float(difference.nan_to_num(math.inf)))
    return worst


def _sound(batch: int, samples: int) -> Tensor:
    """A loud tone, and ever fainter noise that starts in silence: [batch, samples]."""
    generator = torch.Generator().manual_seed(batch + samples)
    time_N = torch.arange(samples) / SAMPLE_RATE
    noise_BN = torch.randn(batch, samples, generator=generator) * 0.1
    noise_BN = noise_BN * 0.1 ** torch.arange(batch).unsqueeze(1) * (time_N >= samples / 4e4)
    tone_BN = torch.zeros(batch, samples)
    tone_BN[0] = 0.8 * torch.sin(2 * math.pi * 300 * time_N + 1)
    return noise_BN + tone_BN


def _needed(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise BarlowSpeechError(
            f"the export to ONNX needs the package {package} ({error}); run: "
            "pip install 'barlow-speech[onnx]'"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters print graphs, logs and warnings by the hundred; what fails is raised anyway."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
