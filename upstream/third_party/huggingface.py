"""Hugging Face speech models from a local folder, as s3prl upstreams.

Usage: run_downstream.py -u hf:models/wav2vec2-base -d all

The folder is one that `save_pretrained` wrote, of the model and of its feature extractor. Nothing
is downloaded, no code of the folder is run, and nothing is unpickled: `model.safetensors` is
preferred, an older `pytorch_model.bin` is read weights-only.

The hidden states are those of s3prl's `upstream/hf_wav2vec2/expert.py` for a recording alone: the
input of the first layer and the output of every layer, as transformers 4 gave them
(hidden_states.py). Two things differ, so that what a recording
gets never depends on its batch. Models whose first convolution is normalised over time hear the
padding behind a shorter recording (the base ones), so they run only recordings of equal length
together; the others run all of a batch with an attention mask. And the convolutions, which are not
padded, give a frame or so less than samples / rate; the last frame is repeated up to
ceil(samples / rate), as s3prl's `nn/upstream.py` does for the longest of a batch.

Shapes: B recordings, N samples, T frames, D width.
"""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError, unknown
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.model.checkpoint import describe
from barlow_speech.upstream.model.speech_encoder import seeded
from barlow_speech.upstream.third_party.hidden_states import as_published
from barlow_speech.upstream.third_party.safe_load import safe_load

# Class in transformers and kind of attention, by the `model_type` of config.json. The kind is given
# rather than left to config.json, which may name code to download.
MODELS = {
    "hubert": ("HubertModel", "sdpa"),
    "wav2vec2": ("Wav2Vec2Model", "sdpa"),
    "wavlm": ("WavLMModel", "eager"),
}
NORMALISE_EPSILON = 1e-7  # of the variance, in Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm
UNTRAINED = "masked_spec_embed"  # stands in for masked frames in pretraining; often not saved


class HuggingFaceUpstream(nn.Module):
    """A wav2vec 2.0, HuBERT or WavLM model of transformers behind s3prl's interface.

    SpecAugment and layer drop are off, as in s3prl: fine-tuning sees every frame and every layer.

    Raises:
        BarlowSpeechError: the folder holds no such model, not all of its weights, or no feature
            extractor, or the model is not for 16 kHz.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        folder = Path(folder)
        self.settings = read_folder(folder)
        model = _load(folder, self.settings["config"]["model_type"])
        model.config.apply_spec_augment = False
        self.kernels = [int(kernel) for kernel in model.config.conv_kernel]
        self.strides = [int(stride) for stride in model.config.conv_stride]
        # A group norm, which goes over time, hears the padding whatever the mask says.
        self.masked: bool = model.config.feat_extract_norm == "layer"
        self.normalise: bool = self.settings["preprocessor_config"]["do_normalize"]
        self.model = model

    @property
    def rate(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame of the convolutions sees."""
        samples = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides)):
            samples = (samples - 1) * stride + kernel
        return samples

    def frame_count(self, samples: int) -> int:
        """Frames that the convolutions make of that many samples."""
        for kernel, stride in zip(self.kernels, self.strides):
            samples = (samples - kernel) // stride + 1
        return samples

    def get_downsample_rates(self, key: str) -> int:
        """Samples per hidden state, of every `key`."""
        return self.rate

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, Any]:
        """1-D waveforms at 16 kHz → `hidden_states` (a list of [B, T, D]), `last_hidden_state`.

        T = ceil(longest / rate); behind a recording's own ceil(samples / rate) frames are zeros.
        A recording that is too short for one frame is padded with zeros to one.

        Raises:
            BarlowSpeechError: a waveform has no sample.
        """
        if any(len(wave) == 0 for wave in wavs):
            raise BarlowSpeechError(
                "a waveform has no sample; drop empty recordings from the batch."
            )
        rows: list[list[Tensor]] = [[] for _ in wavs]  # for each recording its layers, [T, D]
        for group in self._groups([len(wave) for wave in wavs]):
            hidden = self._run([wavs[row] for row in group])
            for place, row in enumerate(group):
                valid = self.frame_count(max(len(wavs[row]), self.receptive_field))
                frames = -(-len(wavs[row]) // self.rate)
                for state_BTD in hidden:
                    own_TD = state_BTD[place, :valid]
                    last_TD = own_TD[-1:].expand(frames - valid, -1)
                    rows[row].append(torch.cat([own_TD, last_TD]))
        layers = [nn.utils.rnn.pad_sequence(list(layer), batch_first=True) for layer in zip(*rows)]
        return {"hidden_states": layers, "last_hidden_state": layers[-1]}

    def _groups(self, lengths: list[int]) -> Iterator[list[int]]:
        """Rows that may run together: all, or those of one length where padding would be heard."""
        if self.masked:
            yield list(range(len(lengths)))
            return
        for length in dict.fromkeys(lengths):
            yield [row for row, other in enumerate(lengths) if other == length]

    def _run(self, wavs: list[Tensor]) -> tuple[Tensor, ...]:
        """The hidden states that the model gives for one padded batch."""
        least = self.receptive_field
        if self.normalise:
            wavs = [_normalised(wave) for wave in wavs]
        waves_BN = nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        waves_BN = nn.functional.pad(waves_BN, (0, max(0, least - waves_BN.shape[1])))
        mask_BN = None
        if self.masked:
            lengths = torch.tensor([max(len(wave), least) for wave in wavs], device=waves_BN.device)
            steps = torch.arange(waves_BN.shape[1], device=waves_BN.device)
            mask_BN = (steps < lengths.unsqueeze(1)).long()
        with warnings.catch_warnings():
            # Of WavLM's own code about the masks that it makes itself.
            warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
            return self.model(
                waves_BN, attention_mask=mask_BN, output_hidden_states=True
            ).hidden_states


def read_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """`config` and `preprocessor_config` of a folder, checked, without its weights.

    Raises:
        BarlowSpeechError: as `HuggingFaceUpstream`, but for the weights.
    """
    config = _read_json(folder, "config.json", "give one that save_pretrained wrote")
    kind = config.get("model_type")
    if kind not in MODELS:
        raise unknown("model_type", str(kind), MODELS, str(folder / "config.json"))
    extractor = _read_json(
        folder,
        "preprocessor_config.json",
        "without it nobody can tell how the waveforms are to be normalised; save the model's "
        "feature extractor there too",
    )
    extractor = {
        # The defaults of transformers' Wav2Vec2FeatureExtractor.
        "do_normalize": bool(extractor.get("do_normalize", True)),
        "sampling_rate": extractor.get("sampling_rate", SAMPLE_RATE),
    }
    if extractor["sampling_rate"] != SAMPLE_RATE:
        raise BarlowSpeechError(
            f"the model in {folder} expects audio at {extractor['sampling_rate']} Hz, and "
            f"upstreams get {SAMPLE_RATE} Hz here; choose a model that was trained on it."
        )
    return {"config": config, "preprocessor_config": extractor}


def _read_json(folder: Path, name: str, remedy: str) -> dict[str, Any]:
    if not folder.is_dir():
        raise BarlowSpeechError(
            f"hf:{folder} expects a local folder that transformers' save_pretrained wrote, and "
            f"{folder} is {describe(folder)}; give the folder."
        )
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BarlowSpeechError(f"folder {folder} has no {name}; {remedy}.") from error
    except (OSError, ValueError) as error:
        raise BarlowSpeechError(f"{folder / name} cannot be read ({error}); {remedy}.") from error
    if not isinstance(value, dict):
        raise BarlowSpeechError(f"{folder / name} is no JSON object; {remedy}.")
    return value


def _load(folder: Path, kind: str) -> Any:
    """The model with its weights, in float32 and evaluation mode."""
    import transformers  # takes seconds, so only where it is needed

    name, attention = MODELS[kind]
    try:
        with (
            seeded(0),
            safe_load(remedy="save the model again, as safetensors"),
            _quiet(transformers.logging),
        ):
            model, report = getattr(transformers, name).from_pretrained(
                folder,
                local_files_only=True,
                weights_only=True,
                attn_implementation=attention,
                output_loading_info=True,
            )
    except BarlowSpeechError:
        raise
    except Exception as error:  # of transformers, safetensors, torch and json
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BarlowSpeechError(
            f"the {kind} model in {folder} cannot be loaded ({reason[:300]}); "
            "save it again with save_pretrained."
        ) from error
    missing = sorted({key for key in report["missing_keys"] if key != UNTRAINED})
    missing += sorted(str(key) for key, *_ in report["mismatched_keys"])
    if missing:
        raise BarlowSpeechError(
            f"the weights in {folder} lack {len(missing)} tensors of a {kind} model, "
            f"{missing[0]} among them; save it again with save_pretrained."
        )
    return as_published(model).eval()


@contextlib.contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """No bar and no report of unused heads on stderr; what is missing is our error."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _normalised(wave_N: Tensor) -> Tensor:
    """Mean zero and variance one, as Wav2Vec2FeatureExtractor makes them, on any device."""
    variance = wave_N.var(correction=0)
    return (wave_N - wave_N.mean()) / torch.sqrt(variance + NORMALISE_EPSILON)
