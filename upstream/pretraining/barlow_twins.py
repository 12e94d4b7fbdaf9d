"""The networks that are trained: an encoder, and a projector for each view family."""

from __future__ import annotations

from torch import Tensor, nn

from barlow_speech.upstream.model.speech_encoder import SpeechEncoder
from barlow_speech.upstream.pretraining.recipe import Projector, ViewFamily


def projector(settings: Projector, size: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, …, linear: embeddings or states [N, size] → z [N, width]."""
    layers: list[nn.Module] = []
    for _ in range(settings.layers - 1):
        layers += [nn.Linear(size, settings.width, bias=False), nn.BatchNorm1d(settings.width)]
        layers += [nn.ReLU()]
        size = settings.width
    return nn.Sequential(*layers, nn.Linear(size, settings.width, bias=False))


class BarlowTwins(nn.Module):
    """The encoder with one projector per view family: what is trained."""

    def __init__(self, model: SpeechEncoder, families: dict[str, ViewFamily]) -> None:
        super().__init__()
        self.model = model
        self.levels = {name: family.level for name, family in families.items()}
        sizes = {"utterance": model.encoder.embedding_dim, "frames": model.encoder.width}
        self.projectors = nn.ModuleDict(
            {
                name: projector(family.projector, sizes[family.level])
                for name, family in families.items()
            }
        )

    def forward(self, frames_BTF: Tensor, family: str) -> tuple[Tensor, Tensor]:
        """Log-mel, all of one length → (embedding [B, E], z [N, width] of the family's items).

        The items are the B utterances, or with `level: frames` their S states each, N = B · S, one
        utterance after the other.
        """
        hidden, embedding_BE = self.model.encoder(frames_BTF)
        over_frames = self.levels[family] == "frames"
        items_ND = hidden[-1].flatten(0, 1) if over_frames else embedding_BE
        return embedding_BE, self.projectors[family](items_ND)
