"""Log-mel spectrograms from 16 kHz waveforms, on the waveforms' device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torchaudio.functional
from pydantic import Field
from torch import Tensor, nn

from barlow_speech.upstream.data.audio import SAMPLE_RATE

HOP = 160  # samples between frames, 10 ms
N_FFT = 1024  # samples of the window, 64 ms: wide enough to tell the harmonics of a low voice apart
LOW_HZ, HIGH_HZ = 60.0, 7800.0  # edges of the mel filter bank
FLOOR = 1e-6  # added to the mel power before the logarithm; 16-bit rounding noise lies near it


@dataclass(frozen=True)
class FrontEndSettings:
    """`n_mels` filters; `mean` and `std` of the log-mel values of the pretraining speech."""

    n_mels: Annotated[int, Field(ge=1, le=N_FFT // 2 + 1)] = 64
    mean: Annotated[float, Field(ge=-1e3, le=1e3)] = 0.0
    std: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.0


class FrontEnd(nn.Module):
    """Normalised log-mel: waves_BN → frames_BTF with T = ceil(N / HOP).

    A frame depends on the 64 ms around it and on nothing else; before the start and behind the
    end there is silence, so padding a waveform with zeros changes no frame that lies inside it.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, settings: FrontEndSettings) -> None:
        super().__init__()
        self.settings = settings
        filters = torchaudio.functional.melscale_fbanks(
            N_FFT // 2 + 1, LOW_HZ, HIGH_HZ, settings.n_mels, SAMPLE_RATE
        )
        # Constants of the code, not of the training: they are not saved.
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def log_mel(self, waves_BN: Tensor) -> Tensor:
        """Log-mel before normalisation, frames_BTF in float32, whatever autocast says."""
        with torch.autocast(waves_BN.device.type, enabled=False):
            waves_BN = waves_BN.float()
            n_frames = -(-waves_BN.shape[1] // HOP)
            padded = nn.functional.pad(waves_BN, (N_FFT // 2, N_FFT // 2 + HOP))
            spectrum = torch.stft(
                padded, N_FFT, HOP, window=self.window, center=False, return_complex=True
            )
            power_BTK = spectrum[:, :, :n_frames].abs().square().transpose(1, 2)
            return torch.log(power_BTK @ self.filters + FLOOR)

    def forward(self, waves_BN: Tensor) -> Tensor:
        return (self.log_mel(waves_BN) - self.settings.mean) / self.settings.std


def frame_count(n_samples: Tensor) -> Tensor:
    """Frames of a waveform of so many samples: ceil(n / HOP)."""
    return torch.div(n_samples + HOP - 1, HOP, rounding_mode="floor")
