"""Long recordings a chunk at a time, with the states and the embedding of the whole.

A state of a convolutional encoder depends on a bounded stretch of the waveform: its own samples and
`margin` states on either side. So each chunk runs with that much of its surroundings, whose states
are thrown away, and what stays is what the whole recording would have given, up to rounding.

A state of a recurrent encoder, or of one with attention, depends on the whole recording, and no
cutting is exact. There only the front-end, whose spectrum takes most of the memory, works in
chunks, and the encoder sees the whole: memory grows with the length of a recurrent encoder's
recording, and with the square of it for attention, which is therefore refused beyond
`MAX_ATTENDED` states rather than approximated.

Shapes: N samples, T frames, F mel bands, S states of the recording, s states of a chunk, D width,
E embedding size.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.model.frontend import HOP, N_FFT, FrontEnd
from barlow_speech.upstream.model.readout import read_out_chunks
from barlow_speech.upstream.model.speech_encoder import SpeechEncoder

CHUNK_S = 30.0  # seconds of audio: some 200 MB inside the default encoder
MAX_ATTENDED = 4500  # states, 3 minutes: four heads keep 4 · 4500² scores, 324 MB, several times


def margin(model: SpeechEncoder) -> int | None:
    """States on either side of a state that it depends on; None where there is no bound."""
    frames = model.encoder.receptive_field
    return None if frames is None else -(-(frames * HOP + N_FFT // 2) // model.rate)


def states_in_chunks(
    model: SpeechEncoder, wave_N: Tensor, chunk_s: float = CHUNK_S
) -> Iterator[list[Tensor]]:
    """The hidden states of one recording, in stretches of about `chunk_s` seconds, in order.

    Each stretch is a list of [s, D], one per layer, on the model's device; together they are the
    ceil(N / rate) states that `model` gives. `wave_N` may be elsewhere: chunks are moved one by
    one. An encoder without a bound gives one stretch. The model has to be in evaluation mode.

    Raises:
        BarlowSpeechError: the encoder attends to whole recordings, and this one is too long for it.
    """
    device = next(model.parameters()).device
    sides = margin(model)
    count = -(-len(wave_N) // model.rate)
    if sides is None:
        yield _whole(model, wave_N, count, device, chunk_s)
        return
    step = max(1, round(chunk_s * SAMPLE_RATE / model.rate))
    for first in range(0, count, step):
        last = min(first + step, count)
        begin = max(0, first - sides)
        part = wave_N[begin * model.rate : (last + sides) * model.rate].to(device)
        hidden, _, _ = model([part])
        # Copies: a view would keep the whole layer, margins included, and the batch's axis.
        yield [state_1SD[0, first - begin : last - begin].clone() for state_1SD in hidden]


def _whole(
    model: SpeechEncoder, wave_N: Tensor, count: int, device: torch.device, chunk_s: float
) -> list[Tensor]:
    attends = any(isinstance(one, nn.MultiheadAttention) for one in model.encoder.modules())
    if attends and count > MAX_ATTENDED:
        name = model.settings.encoder["name"]
        most_s = MAX_ATTENDED * model.rate / SAMPLE_RATE
        raise BarlowSpeechError(
            f"a recording of {len(wave_N) / SAMPLE_RATE:,.0f} s is too long for the encoder "
            f"{name}, which attends to all of it at once (at most {most_s:.0f} s); cut it into "
            "parts, or use a checkpoint of cnn1d or cnn2d, which take any length."
        )
    frames_TF = torch.cat(list(frames_in_chunks(model.frontend, wave_N.to(device), chunk_s)))
    lengths_B = torch.tensor([len(frames_TF)], device=device)
    hidden, _ = model.encoder(frames_TF.unsqueeze(0), lengths_B)
    return [state_1SD[0] for state_1SD in hidden]


def frames_in_chunks(
    frontend: FrontEnd, wave_N: Tensor, chunk_s: float = CHUNK_S
) -> Iterator[Tensor]:
    """The ceil(N / HOP) normalised log-mel frames of one recording, in stretches [t, F]."""
    sides = -(-N_FFT // 2 // HOP)  # a frame sees half a window before and behind its middle
    count = -(-len(wave_N) // HOP)
    step = max(1, round(chunk_s * SAMPLE_RATE / HOP))
    for first in range(0, count, step):
        last = min(first + step, count)
        begin = max(0, first - sides)
        part_1N = wave_N[begin * HOP : (last + sides) * HOP].unsqueeze(0)
        yield frontend(part_1N)[0, first - begin : last - begin]


def forward_in_chunks(
    model: SpeechEncoder, wave_N: Tensor, chunk_s: float = CHUNK_S
) -> tuple[list[Tensor], Tensor]:
    """(hidden states [1, S, D] of each layer, embedding [1, E]) of one recording, as `model` gives.

    Raises:
        BarlowSpeechError: as `states_in_chunks`.
    """
    count = -(-len(wave_N) // model.rate)
    layers: list[Tensor] = []

    def kept() -> Iterator[list[Tensor]]:
        place = 0
        for hidden in states_in_chunks(model, wave_N, chunk_s):
            if not layers:  # filled in place: joining lists would hold everything twice
                layers.extend(one.new_empty(count, one.shape[1]) for one in hidden)
            for layer_SD, one in zip(layers, hidden):
                layer_SD[place : place + len(one)] = one
            place += len(hidden[0])
            yield hidden

    embedding_E = read_out_chunks(model.settings.readout, kept())
    return [layer_SD.unsqueeze(0) for layer_SD in layers], embedding_E.unsqueeze(0)
