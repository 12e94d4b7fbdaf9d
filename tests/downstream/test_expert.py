"""Our tasks as s3prl's Runner calls them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

from barlow_speech.downstream.emotion.expert import DownstreamExpert


def test_of_equal_accuracies_on_dev_the_earliest_is_kept(tones: Path, tmp_path: Path) -> None:
    """Whichever way single precision, in which the best one is saved, rounds them."""
    datarc = {"corpus": str(tones), "train_batch_size": 4, "eval_batch_size": 4}
    config = {"datarc": datarc, "modelrc": {"projector_dim": 4}}
    logger = SimpleNamespace(add_scalar=lambda *_, **__: None)
    saved: Counter[int] = Counter()
    for right in range(1, 24):
        expert = DownstreamExpert(8, config, str(tmp_path))
        for step, count in enumerate((right, right, right - 1, right + 1)):
            records: dict[str, list] = {"acc": [1.0] * count + [0.0] * (24 - count), "loss": [0.5]}
            records |= {name: [] for name in ("recording", "predicted", "truth")}
            saved[step] += len(expert.log_records("dev", records, logger, step))
    assert saved == {0: 23, 1: 0, 2: 0, 3: 23}
