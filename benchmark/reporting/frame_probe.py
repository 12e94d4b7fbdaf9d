"""Phones of single states: what was probed, as a record and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from barlow_speech.benchmark.disentanglement.frame_probe import (
    OTHER,
    FrameTask,
    LayerProbe,
    Probed,
    Scale,
    class_names,
    scale,
)
from barlow_speech.benchmark.reporting.document import Document, Section, Table, Value
from barlow_speech.benchmark.reporting.numbers import estimate, percent
from barlow_speech.benchmark.statistics.speaker_bootstrap import Estimate

SPLITS = ("train", "dev", "test")


def record(task: FrameTask, found: Sequence[Probed], pairs: Mapping[str, str]) -> dict[str, Any]:
    """Every number, JSON-able; `pairs` has the upstream of random weights that each is less."""
    test = scale(task)
    phones = {split: np.concatenate([task.phones_N[row] for row in task.rows(split)])
              for split in SPLITS}  # fmt: skip
    names, counts = np.unique(phones["train"], return_counts=True)
    return {
        "splits": {
            split: {
                "speakers": len(set(task.speakers_N[task.rows(split)])),
                "recordings": len(task.rows(split)),
                "frames": len(phones[split]),
                "silence": float(np.mean(phones[split] == task.silence)),
            }
            for split in SPLITS
        },
        "classes": class_names(task),
        "frames_of_train": dict(zip(names.tolist(), counts.tolist())),
        "upstreams": [
            {
                "upstream": one.upstream,
                "seed": one.seed,
                "rate": one.rate,
                "centre": one.centre,
                "chosen": one.best.layer,
                "layers": [
                    {
                        "layer": layer.layer,
                        "width": layer.width,
                        "strength": layer.strength,
                        "dev": layer.dev,
                        "test": _stored(test.accuracy(layer.right_N)),
                        "test_sounding": _stored(test.sounding(layer.sounding_right_N)),
                    }
                    for layer in one.layers
                ],
            }
            for one in found
        ],
        "differences": [
            {
                "upstream": name,
                "less": [twin.label for twin in twins],
                "test": _stored(difference),
                "test_sounding": _stored(sounding),
            }
            for name, twins, difference, sounding in _differences(found, pairs, test)
        ],
    }


def document(task: FrameTask, found: Sequence[Probed], pairs: Mapping[str, str]) -> Document:
    """The layers that dev chose, what they are over random weights, and every layer."""
    test = scale(task)
    columns = ("dev", "test", "test, no silence", "C")
    formats = {"dev": lambda value: f"{100 * value:.1f}", "C": lambda value: f"{value:g}"}

    def row(layer: LayerProbe) -> tuple[Value, ...]:
        test_all = _text(test.accuracy(layer.right_N))
        return layer.dev, test_all, _text(test.sounding(layer.sounding_right_N)), layer.strength

    chosen = tuple((one.label, one.best.layer, *row(one.best)) for one in found)
    differences = tuple(
        (name, f"less {len(twins)} of random weights", _text(difference, True),
         _text(sounding, True))
        for name, twins, difference, sounding in _differences(found, pairs, test)
    )  # fmt: skip
    layers = tuple(
        (one.label, layer.layer, layer.width, *row(layer)) for one in found for layer in one.layers
    )
    parts = [
        Table("phones", "", ("upstream", "layer", *columns), chosen, texts=2, formats=formats),
        Table("differences", "", ("upstream", "difference", *columns[1:3]), differences, texts=2),
        Table("layers", "", ("upstream", "layer", "width", *columns), layers, texts=2, groups=1,
              formats=formats),
    ]  # fmt: skip
    if not differences:
        del parts[1]
    speakers = len(set(task.speakers_N[task.rows("test")]))
    frames, sounding_frames = int(test.frames_N.sum()), int(test.sounding_N.sum())
    notes = [
        "Synthesised speech: no claim about people's. Percent of the test's "
        f"{frames} moments, one every 20 ms, {sounding_frames} of them without silence, whose "
        f"phone (of {len(class_names(task))}; one with under 0.5 % of train is "
        f"'{OTHER}') a logistic regression names from the one state nearest in time. Always "
        f"silence: {percent(1 - sounding_frames / frames)}. Layer and C (the inverse of "
        "regularisation) by dev.",
        f"± is half a 95 % interval: draws of the {speakers} test speakers, paired in differences; "
        "the probes are kept. There is none of fewer than five speakers.",
    ]
    return Document("Phones of single states", "", (Section("", (), tuple(notes), tuple(parts)),))


def _differences(
    found: Sequence[Probed], pairs: Mapping[str, str], test: Scale
) -> list[tuple[str, list[Probed], Estimate, Estimate]]:
    """Of each upstream with random twins: these, and by how much it is over their mean."""
    result = []
    for one in found:
        twins = [twin for twin in found if twin.upstream == pairs.get(one.upstream)]
        if twins:
            best, others = one.best, [twin.best for twin in twins]
            less = np.mean([other.right_N for other in others], axis=0)
            sounding = np.mean([other.sounding_right_N for other in others], axis=0)
            differences = (
                test.accuracy(best.right_N, less),
                test.sounding(best.sounding_right_N, sounding),
            )
            result.append((one.label, twins, *differences))
    return result


def _text(value: Estimate, plus: bool = False) -> str:
    return estimate(value.value, value.reach, plus)


def _stored(value: Estimate) -> dict[str, Any]:
    return {"value": value.value, "error": value.error, "ci95": value.interval(-1.0, 1.0)}
