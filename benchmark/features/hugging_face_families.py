"""Which speech encoders of transformers hear more of a batch than their own recording.

Each is built at random, small, by its own configuration, and run by transformers alone: what is
measured is the model as others use it, not our upstream `hf:`, which avoids what is found here.

Shapes: N samples, T frames, D width.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE
from barlow_speech.upstream.model.speech_encoder import seeded
from barlow_speech.upstream.third_party.huggingface import EXTRACTORS, MODELS, NORMS

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20,
    "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
# Where the names or sizes of a configuration are its own.
OWN: dict[str, dict[str, Any]] = {
    "data2vec-audio": {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 5},
    "sew": {
        "conv_dim": (8,) * 7, "conv_stride": (5, 2, 2, 2, 2, 2, 2),
        "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    },
    "wav2vec2-bert": {"feature_projection_input_dim": 160},
    "whisper": {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20,
        "max_source_positions": 100, "vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "decoder_start_token_id": 3, "max_target_positions": 8,
    },
}  # fmt: skip
TWO_NORMS = ("sew", "wav2vec2-conformer")
RANDOM = re.compile("drop|mask_(time|feature)_prob")
SECONDS = (0.9, 0.91)  # of recordings, of an even and an odd number of frames
LONGER_S = 1.2  # of one beside them


def variants() -> list[tuple[str, str]]:
    """(model type, norm of its convolutions or "") of all that are built."""
    return [
        (kind, norm)
        for kind, model in MODELS.items()
        for norm in (("group", "layer") if model.masked is NORMS or kind in TWO_NORMS else ("",))
    ]


def random_model(kind: str, norm: str = "", **changes: Any) -> tuple[Any, Any]:
    """A small model of transformers with random weights, in evaluation mode, and its extractor."""
    import transformers

    settings = {**({} if kind == "whisper" else SMALL), **OWN.get(kind, {}), **changes}
    if norm:
        settings["feat_extract_norm"] = norm
        if kind not in TWO_NORMS:
            settings["do_stable_layer_norm"] = norm == "layer"
    stem = MODELS[kind].name.removesuffix("Model")
    config = getattr(transformers, f"{stem}Config")(**settings)
    with seeded(0):
        model = getattr(transformers, f"{stem}Model")(config).eval()
    name = EXTRACTORS.get(kind, "Wav2Vec2FeatureExtractor")
    options = {"chunk_length": 2} if kind == "whisper" else {}
    return model, getattr(transformers, name)(**options)


@dataclass(frozen=True)
class Row:
    """Relative differences of a recording's last hidden state, alone and otherwise.

    `mates`: beside one of its length. `padded`, `masked`: beside a longer one, without and with the
    attention mask; None where it takes no mask. `training`: in training mode, with dropout, layer
    drop and SpecAugment as the configuration has them; `normed`: with all of them off.
    """

    kind: str
    norm: str
    mates: float
    padded: float
    masked: float | None
    training: float
    normed: float


def measure(kind: str, norm: str) -> Row:
    """One row of the table."""
    model, extractor = random_model(kind, norm)
    settings = model.config.to_dict()
    random = {key: 0.0 for key, value in settings.items() if RANDOM.search(key) and value}
    certain, _ = random_model(kind, norm, **random)
    certain.load_state_dict(model.state_dict(), strict=False)
    generator = torch.Generator().manual_seed(0)
    found: list[list[float]] = []
    for seconds in SECONDS:
        longer, mate = (
            0.1 * torch.randn(round(LONGER_S * SAMPLE_RATE), generator=generator) for _ in range(2)
        )
        one = mate.flip(0)[: round(seconds * SAMPLE_RATE)]
        waves = [one, longer]
        alone_TD = _states(model, extractor, [one])
        mask = kind != "whisper"
        masked_TD = _states(model, extractor, [one], mask)
        others = [
            _states(model, extractor, [one, mate[: len(one)]]),
            _states(model, extractor, waves),
        ]
        numpys = np.random.get_state()  # which SpecAugment draws from
        np.random.seed(0)
        with seeded(0):  # a copy, since training moves the statistics of batch norms
            others.append(_states(copy.deepcopy(model).train(), extractor, [one]))
        np.random.set_state(numpys)
        others.append(_states(copy.deepcopy(certain).train(), extractor, [one]))
        heard = _difference(masked_TD, _states(model, extractor, waves, mask))
        found.append([heard, *(_difference(alone_TD, other_TD) for other_TD in others)])
    masked, mates, padded, training, normed = (max(column) for column in zip(*found))
    return Row(kind, norm, mates, padded, None if kind == "whisper" else masked, training, normed)


def _difference(one_TD: Tensor, other_TD: Tensor) -> float:
    shared = min(len(one_TD), len(other_TD))
    return float((other_TD[:shared] - one_TD[:shared]).norm() / one_TD[:shared].norm())


@torch.no_grad()
def _states(model: Any, extractor: Any, waves: list[Tensor], mask: bool = False) -> Tensor:
    """The last hidden state [T, D] of the first of some recordings, its own frames."""
    options: dict[str, Any] = {"sampling_rate": SAMPLE_RATE, "return_tensors": "pt"}
    whisper = hasattr(model, "decoder")
    if not whisper:
        options |= {"padding": True, "return_attention_mask": True}
    given = extractor([wave.numpy() for wave in waves], **options)
    inputs = next(iter(given[key] for key in ("input_values", "input_features") if key in given))
    encoder = model.get_encoder() if whisper else model
    mask_of = {"attention_mask": given["attention_mask"]} if mask else {}
    with warnings.catch_warnings():
        # Of WavLM's own code about the masks that it makes itself.
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
        states_BTD = encoder(inputs, **mask_of).last_hidden_state
    own = given["attention_mask"][0].sum() if "input_features" in given and not whisper else None
    return states_BTD[0, :own]


def table() -> Iterator[str]:
    """The lines of the table, in Markdown, with the versions that it is of."""
    names = variants()
    yield (
        f"transformers {version('transformers')}, torch {version('torch')}, on the CPU; relative "
        "differences, those under 1e-5 as 0"
    )
    yield ""
    yield (
        "| model type | norm of convolutions | mate of its length | longer mate, no mask | "
        "longer mate, mask | training mode | training mode, nothing random |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|"
    with progress(len(names), "families", "family") as bar:
        for kind, norm in names:
            row = measure(kind, norm)
            numbers = (row.mates, row.padded, row.masked, row.training, row.normed)
            shown = ("–" if x is None else "0" if x < 1e-5 else f"{x:.2g}" for x in numbers)
            yield f"| {kind} | {norm or '–'} | {' | '.join(shown)} |"
            bar.update()
