"""Hugging Face speech models from a local folder, as s3prl upstreams.

Usage: run_downstream.py -u hf:models/wav2vec2-base -d all

The folder is one that `save_pretrained` wrote, of the model and of its feature extractor. Nothing
is downloaded, no code of the folder is run, and nothing is unpickled: `model.safetensors` is
preferred, an older `pytorch_model.bin` is read weights-only.

The hidden states of models that read waveforms are those of s3prl's
`upstream/hf_wav2vec2/expert.py` for a recording alone: the input of the first layer and the output
of every layer, as transformers 4 gave them (hidden_states.py). Two things differ, so that what a
recording gets never depends on its batch. Models whose first convolution is normalised over time
hear the padding behind a shorter recording (the base ones), and some hear it in their encoder
whatever the mask says (MODELS), so they run only recordings of equal length together; the others
run all of a batch with an attention mask. And the convolutions, which are not padded, give a frame
or so less than samples / rate; the last frame is repeated up to ceil(samples / rate), as s3prl's
`nn/upstream.py` does for the longest of a batch. SEW's layers have a state for every two frames,
which stands for both.

Models that read features (wav2vec2-bert, Whisper's encoder) get those of their own extractor.
Whisper hears windows of 30 s: a recording is cut into them, the last is
padded with zeros, as its extractor does, and of that window's frames those behind the recording's
end, ceil(samples / rate), are dropped.

Shapes: B recordings, N samples, T frames, D width.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line, unknown
from barlow_speech.upstream.common.files import checkpoint_file, parsed_json
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.model.checkpoint import describe
from barlow_speech.upstream.model.speech_encoder import seeded
from barlow_speech.upstream.third_party.hidden_states import as_published
from barlow_speech.upstream.third_party.safe_load import safe_load

NORMS = None  # of `Model.masked`: as the norm of its convolutions says


@dataclass(frozen=True)
class Model:
    """How a model of transformers is run.

    `name`: its class. `attention`: its kind, which is not left to config.json, which may name code
    to download. `masked`: whether recordings of unlike length may run together, with a mask.
    """

    name: str
    attention: str = "sdpa"
    masked: bool | None = NORMS


# By the `model_type` of config.json; `check-upstream --families` measures `masked`.
MODELS = {
    "data2vec-audio": Model("Data2VecAudioModel", masked=False),
    "hubert": Model("HubertModel"),
    "sew": Model("SEWModel", masked=False),
    "unispeech": Model("UniSpeechModel"),
    "unispeech-sat": Model("UniSpeechSatModel"),
    "wav2vec2": Model("Wav2Vec2Model"),
    "wav2vec2-bert": Model("Wav2Vec2BertModel", "eager", masked=True),
    "wav2vec2-conformer": Model("Wav2Vec2ConformerModel", "eager", masked=False),
    "wavlm": Model("WavLMModel", "eager"),
    "whisper": Model("WhisperModel", masked=False),
}
# Extractors of features, by the same; the others read waveforms.
EXTRACTORS = {
    "wav2vec2-bert": "SeamlessM4TFeatureExtractor",
    "whisper": "WhisperFeatureExtractor",
}
WINDOWS = 8  # of Whisper that run together
NORMALISE_EPSILON = 1e-7  # of the variance, in Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm
UNTRAINED = "masked_spec_embed"  # stands in for masked frames in pretraining; often not saved


class _Upstream(nn.Module):
    """What models that read waveforms and those that read features have in common.

    SpecAugment and layer drop are off, as in s3prl: fine-tuning sees every frame and every layer.

    Raises:
        BarlowSpeechError: the folder holds no such model, not all of its weights, or no feature
            extractor, or the model is not for 16 kHz.
    """

    rate: int  # samples per frame

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.settings = read_folder(Path(folder))
        self.model = _load(Path(folder), self.settings["config"]["model_type"])
        self.model.config.apply_spec_augment = False

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
        rows: list[list[Tensor]] = []  # for each recording its layers, [T, D]
        for wave, states in zip(wavs, self.states(wavs)):
            frames = -(-len(wave) // self.rate)
            rows.append(
                [torch.cat([one, one[-1:].expand(frames - len(one), -1)]) for one in states]
            )
        layers = [nn.utils.rnn.pad_sequence(list(layer), batch_first=True) for layer in zip(*rows)]
        return {"hidden_states": layers, "last_hidden_state": layers[-1]}

    def states(self, wavs: Sequence[Tensor]) -> Sequence[list[Tensor]]:
        """For each recording its layers [T, D], of at most ceil(samples / rate) frames."""
        raise NotImplementedError


class HuggingFaceUpstream(_Upstream):
    """A model of transformers that reads waveforms behind s3prl's interface."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        config = self.model.config
        self.kernels = [int(kernel) for kernel in config.conv_kernel]
        self.strides = [int(stride) for stride in config.conv_stride]
        self.rate = math.prod(self.strides)
        # A group norm, which goes over time, hears the padding whatever the mask says.
        masked = MODELS[config.model_type].masked
        self.masked: bool = config.feat_extract_norm == "layer" if masked is NORMS else masked
        self.normalise: bool = self.settings["preprocessor_config"]["do_normalize"]

    @property
    def receptive_field(self) -> int:
        """Samples that one frame of the encoder sees: one of the convolutions, in SEW two."""
        samples = getattr(self.model.config, "squeeze_factor", 1)
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides)):
            samples = (samples - 1) * stride + kernel
        return samples

    def frame_count(self, samples: int) -> int:
        """Frames that the convolutions make of that many samples."""
        for kernel, stride in zip(self.kernels, self.strides):
            samples = (samples - kernel) // stride + 1
        return samples

    def states(self, wavs: Sequence[Tensor]) -> Sequence[list[Tensor]]:
        """See `_Upstream`."""
        rows: list[list[Tensor]] = [[] for _ in wavs]
        for group in self._groups([len(wave) for wave in wavs]):
            hidden = self._run([wavs[row] for row in group])
            most = hidden[-1].shape[1]
            for place, row in enumerate(group):
                valid = self.frame_count(max(len(wavs[row]), self.receptive_field))
                valid = min(valid, -(-len(wavs[row]) // self.rate))
                for state_BTD in hidden:
                    own_TD = state_BTD[place]
                    if len(own_TD) < most:
                        own_TD = own_TD.repeat_interleave(round(most / len(own_TD)), dim=0)
                    rows[row].append(own_TD[:valid])
        return rows

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


class WhisperUpstream(_Upstream):
    """Whisper's encoder behind s3prl's interface, in windows of the length that it knows.

    Raises:
        BarlowSpeechError: as `_Upstream`, or its extractor makes windows of another length.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self.extractor = _extractor(Path(folder), "whisper")
        self.rate = 2 * int(self.extractor.hop_length)  # its second convolution halves
        self.window = self.rate * int(self.model.config.max_source_positions)
        if self.extractor.n_samples != self.window:
            raise BarlowSpeechError(
                f"the model in {folder} hears windows of {self.window} samples, and its "
                f"preprocessor_config.json makes {self.extractor.n_samples}; save the feature "
                "extractor that belongs to it."
            )

    def states(self, wavs: Sequence[Tensor]) -> Sequence[list[Tensor]]:
        """See `_Upstream`."""
        windows = [part for wave in wavs for part in wave.split(self.window)]
        made: list[list[Tensor]] = []  # for each window its layers
        for first in range(0, len(windows), WINDOWS):
            part = windows[first : first + WINDOWS]
            features_BFT = _features(self.extractor, part)["input_features"]
            hidden = self.model(features_BFT, output_hidden_states=True).hidden_states
            made += [list(layers) for layers in zip(*hidden)]
        rows, place = [], 0
        for wave in wavs:
            count, frames = -(-len(wave) // self.window), -(-len(wave) // self.rate)
            layers = zip(*made[place : place + count])
            rows.append([torch.cat(list(layer))[:frames] for layer in layers])
            place += count
        return rows


class Wav2Vec2BertUpstream(_Upstream):
    """w2v-BERT 2.0 behind s3prl's interface."""

    rate = 320  # two frames of its filter bank, of 10 ms each
    least = 400 + 3 * 160  # samples: a window and three steps of it, for a variance over time

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self.extractor = _extractor(Path(folder), "wav2vec2-bert")

    def states(self, wavs: Sequence[Tensor]) -> Sequence[list[Tensor]]:
        """See `_Upstream`."""
        short = [max(0, self.least - len(wave)) for wave in wavs]
        padded = [nn.functional.pad(wave, (0, more)) for wave, more in zip(wavs, short)]
        given = _features(self.extractor, padded)
        hidden = self.model(**given, output_hidden_states=True).hidden_states
        rows = []
        for row, (wave, own) in enumerate(zip(wavs, given["attention_mask"].sum(dim=1).tolist())):
            valid = min(own, -(-len(wave) // self.rate))
            rows.append([state_BTD[row, :valid] for state_BTD in hidden])
        return rows


CLASSES: dict[str, type[_Upstream]] = {
    "wav2vec2-bert": Wav2Vec2BertUpstream,
    "whisper": WhisperUpstream,
}


def hugging_face_upstream(folder: Path) -> _Upstream:
    """The model of a folder.

    Raises:
        BarlowSpeechError: as `_Upstream`.
    """
    kind = read_folder(folder)["config"]["model_type"]
    return CLASSES.get(kind, HuggingFaceUpstream)(folder)


def _features(extractor: Any, wavs: Sequence[Tensor]) -> dict[str, Tensor]:
    """What an extractor makes of recordings, on their device."""
    arrays = [wave.detach().cpu().numpy() for wave in wavs]
    given = extractor(arrays, sampling_rate=SAMPLE_RATE, return_tensors="pt")
    return {key: value.to(wavs[0].device) for key, value in given.items()}


def _extractor(folder: Path, kind: str) -> Any:
    import transformers

    try:
        return getattr(transformers, EXTRACTORS[kind]).from_pretrained(
            folder, local_files_only=True
        )
    except Exception as error:  # of transformers and json
        raise BarlowSpeechError(
            f"the feature extractor in {folder} cannot be loaded ({one_line(error, 200)}); "
            f"save that of the {kind} model there too."
        ) from error


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
    if kind not in EXTRACTORS:
        extractor = {
            # The default of transformers' Wav2Vec2FeatureExtractor.
            "do_normalize": bool(extractor.get("do_normalize", True)),
            "sampling_rate": extractor.get("sampling_rate"),
        }
    extractor["sampling_rate"] = extractor.get("sampling_rate") or SAMPLE_RATE
    if extractor["sampling_rate"] != SAMPLE_RATE:
        raise BarlowSpeechError(
            f"the model in {folder} expects audio at {extractor['sampling_rate']!r} Hz, and "
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
        value = parsed_json((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if "of barlow_speech" in describe(checkpoint_file(folder)):
            remedy = f"it is a card of ours: barlow_speech@{folder}"
        raise BarlowSpeechError(f"folder {folder} has no {name}; {remedy}.") from error
    except (OSError, ValueError) as error:
        raise BarlowSpeechError(f"{folder / name} cannot be read ({error}); {remedy}.") from error
    if not isinstance(value, dict):
        raise BarlowSpeechError(f"{folder / name} is no JSON object; {remedy}.")
    return value


def _load(folder: Path, kind: str) -> Any:
    """The model with its weights, in float32 and evaluation mode."""
    import transformers  # takes seconds, so only where it is needed

    how = MODELS[kind]
    try:
        with (
            seeded(0),
            safe_load(remedy="save the model again, as safetensors"),
            _quiet(transformers.logging),
        ):
            model, report = getattr(transformers, how.name).from_pretrained(
                folder,
                local_files_only=True,
                weights_only=True,
                attn_implementation=how.attention,
                output_loading_info=True,
            )
    except BarlowSpeechError:
        raise
    except Exception as error:  # of transformers, safetensors, torch and json
        raise BarlowSpeechError(
            f"the {kind} model in {folder} cannot be loaded ({one_line(error, 300)}); "
            "save it again with save_pretrained."
        ) from error
    part = "encoder." if kind == "whisper" else ""  # of it nothing else is used
    missing = sorted(
        {key for key in report["missing_keys"] if key != UNTRAINED and key.startswith(part)}
    )
    missing += sorted(str(key) for key, *_ in report["mismatched_keys"])
    if missing:
        raise BarlowSpeechError(
            f"the weights in {folder} lack {len(missing)} tensors of a {kind} model, "
            f"{missing[0]} among them; save it again with save_pretrained."
        )
    if kind == "whisper":
        model = model.get_encoder()
        model.layerdrop = 0.0
        return model.float().eval()
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
