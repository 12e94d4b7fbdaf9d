"""Tiny checkpoints with random weights in the formats of other people's loaders, for the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from barlow_speech.benchmark.features.hugging_face_families import random_model

CONVOLUTIONS = "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2"
FAIRSEQ = {
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 20,
    "encoder_attention_heads": 2,
    "conv_feature_layers": CONVOLUTIONS,
    "conv_pos": 8,
    "conv_pos_groups": 2,
    "final_dim": 8,
}
FBANK = {"feat_type": "fbank", "feat_dim": 16, "frame_length": 25, "frame_shift": 10}


def apc() -> dict[str, Any]:
    """As s3prl's `upstream/apc/expert.py` reads it."""
    from s3prl.upstream.apc.apc import APC

    paras = {"hidden_size": 12, "num_layers": 3, "dropout": 0.0, "residual": True}
    weights = APC(FBANK["feat_dim"], **paras).state_dict()
    return {"config": {"data": {"audio": FBANK}, "model": {"paras": paras}}, "model": weights}


def npc() -> dict[str, Any]:
    """As s3prl's `upstream/npc/expert.py` reads it."""
    from s3prl.upstream.npc.npc import NPC

    paras = {"hidden_size": 12, "n_blocks": 2, "dropout": 0.0, "residual": True,
             "kernel_size": 15, "mask_size": 5}  # fmt: skip
    weights = NPC(FBANK["feat_dim"], **paras).state_dict()
    return {"config": {"data": {"audio": FBANK}, "model": {"paras": paras}}, "model": weights}


def wavlm() -> dict[str, Any]:
    """As s3prl's `upstream/wavlm/expert.py` reads it."""
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    cfg = {key: value for key, value in FAIRSEQ.items() if key != "final_dim"}
    return {"cfg": cfg, "model": WavLM(WavLMConfig(cfg)).state_dict()}


def wav2vec2() -> dict[str, Any]:
    """As s3prl's `upstream/wav2vec2/convert.py` writes it."""
    from s3prl.upstream.utils import merge_with_parent
    from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

    model = Wav2Vec2Model(merge_with_parent(Wav2Vec2Config, FAIRSEQ))
    return {
        "task_cfg": {"normalize": False},
        "model_cfg": FAIRSEQ,
        "model_weight": model.state_dict(),
    }


def hubert() -> dict[str, Any]:
    """As s3prl's `upstream/hubert/convert.py` writes it; a symbol is a parenthesis."""
    from s3prl.upstream.hubert.hubert_model import (
        HubertConfig,
        HubertModel,
        HubertPretrainingConfig,
    )
    from s3prl.upstream.utils import merge_with_parent

    task_cfg = {"label_rate": 50.0, "sample_rate": 16_000, "normalize": False}
    model_cfg = {**FAIRSEQ, "label_rate": 50.0, "untie_final_proj": False}
    symbols = [["a", "(", ")"]]
    model = HubertModel(
        merge_with_parent(HubertConfig, model_cfg),
        merge_with_parent(HubertPretrainingConfig, task_cfg),
        symbols,
    )
    return {
        "task_cfg": task_cfg,
        "model_cfg": model_cfg,
        "model_weight": model.state_dict(),
        "dictionaries_symbols": symbols,
    }


def tera() -> dict[str, Any]:
    """As s3prl's `upstream/mockingjay/builder.py` reads it, which asks for unpickling."""
    from s3prl.upstream.mockingjay.model import TransformerConfig, TransformerModel

    transformer = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "gelu",
        "intermediate_size": 20, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02, "layer_norm_eps": 1e-12, "share_layer": False,
        "pre_layer_norm": False,
    }  # fmt: skip
    fbank = {"frame_length": 25.0, "frame_shift": 10.0, "num_mel_bins": 16}
    audio = {
        "kaldi": {"feat_type": "fbank", "fbank": fbank},
        "delta": {"order": 0},
        "cmvn": {"use_cmvn": True},
    }
    config = {"transformer": transformer, "audio": audio, "task": {"sequence_length": 1500}}
    model = TransformerModel(TransformerConfig(transformer), 16)
    return {"Config": config, "Upstream_Config": config, "Transformer": model.state_dict()}


FAMILIES: dict[str, Callable[[], dict[str, Any]]] = {
    "apc": apc,
    "hubert": hubert,
    "npc": npc,
    "tera": tera,
    "wav2vec2": wav2vec2,
    "wavlm": wavlm,
}


def s3prl_checkpoint(family: str, path: Path, seed: int = 0) -> Path:
    """Write a checkpoint of one of `FAMILIES` and return its path."""
    from barlow_speech.upstream.third_party.registry import register_upstream

    register_upstream()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.save(FAMILIES[family](), path)
    return path


def hugging_face_folder(
    kind: str, norm: str, folder: Path, do_normalize: bool = True, safe: bool = True
) -> Path:
    """Write a model of transformers ("Wav2Vec2" or its model type) and its feature extractor.

    `norm` is that of its convolutions: "group" as in the base models, "layer" as in the large ones.
    """
    model, extractor = random_model(kind.lower(), norm)
    model.save_pretrained(folder)
    if not safe:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    if not do_normalize:
        extractor.do_normalize = False
    extractor.save_pretrained(folder)
    return folder
