"""What an upstream makes of recordings, computed once and kept (benchmark/features/cache.py).

Of every recording the mean and the standard deviation over its frames of every layer, and the
upstream's own embedding where it has one; or, for heads that look at frames, the frames themselves.
Frames are cut as s3prl's Featurizer cuts them (`Upstream.frames`).

Shapes: N recordings, L layers, D width, E embedding size, B batch, T frames.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from barlow_speech.benchmark.features.cache import Folder, Shard, recording_keys
from barlow_speech.benchmark.features.kinds import Kind
from barlow_speech.benchmark.features.upstreams import Upstream
from barlow_speech.upstream.common.errors import BarlowSpeechError, one_line
from barlow_speech.upstream.common.progress import progress
from barlow_speech.upstream.data.audio import SAMPLE_RATE, duration_s, read_audio
from barlow_speech.upstream.data.manifest import Recording

# Seconds of audio, padding included, that run through an upstream together: on a CPU as much as its
# caches hold (three times as fast as 120 s), on a GPU as much as keeps it busy.
BATCH_S, GPU_BATCH_S = 10.0, 120.0
# What there is goes to disk after so many seconds of computing, or after this share of all that was
# computed, so that a day makes some tens of files and not thousands; and never more than so much.
FLUSH_S, FLUSH_SHARE, FLUSH_BYTES = 30.0, 0.1, 1 << 30
HALF_LOSS = 1e-3  # of a layer, that half precision may round away; of ordinary numbers it is 3e-4
READERS = 2  # threads that read audio ahead


@dataclass(frozen=True)
class Features:
    """What one upstream makes of a list of recordings, in its order.

    `key` names the computation and the recordings; `audio_N` is a digest of each recording's
    samples, equal for identical recordings; `seconds` is what the computation took.
    """

    upstream: str
    key: str
    audio_N: np.ndarray
    seconds: float
    _shards: list[Shard]
    _places: list[tuple[int, int]]

    @property
    def shape(self) -> tuple[int, int]:
        """L and D."""
        return self._shards[0].layers, self._shards[0].width

    @property
    def has_embedding(self) -> bool:
        """Whether the upstream gives an embedding of its own."""
        return all("embedding" in shard.names for shard in self._shards)

    def means(self, rows: np.ndarray, with_std: bool = False) -> Tensor:
        """x_NLD of some recordings: mean over time; with the standard deviation [N, L, 2 D]."""
        mean_NLD = self._gather("mean", rows)
        return torch.cat([mean_NLD, self._gather("std", rows)], dim=2) if with_std else mean_NLD

    def embeddings(self, rows: np.ndarray) -> Tensor:
        """x_N1E of some recordings: the upstream's own embedding.

        Raises:
            BarlowSpeechError: the upstream has none.
        """
        if not self.has_embedding:
            raise BarlowSpeechError(
                f"upstream '{self.upstream}' gives no embedding of an utterance; "
                "use -s hidden_states."
            )
        return self._gather("embedding", rows)

    def frames(self, rows: np.ndarray) -> list[Tensor]:
        """Frames [T, L, D] of some recordings, mapped, in the precision they were kept in."""
        tensors = [(shard.tensor("frames"), shard.tensor("offsets")) for shard in self._shards]
        result = []
        for row in rows.tolist():
            shard, place = self._places[row]
            frames, offsets = tensors[shard]
            result.append(frames[int(offsets[place]) : int(offsets[place + 1])])
            _check_finite(self._shards[shard], result[-1])
        return result

    def _gather(self, name: str, rows: np.ndarray) -> Tensor:
        """A tensor of all shards as [rows, L, D], read shard by shard."""
        shards, places = np.array([self._places[row] for row in rows.tolist()]).T
        result: Tensor | None = None
        for number in np.unique(shards).tolist():
            here = np.flatnonzero(shards == number)
            taken = self._shards[number].tensor(name)[torch.from_numpy(places[here])]
            _check_finite(self._shards[number], taken)
            if taken.ndim == 2:
                taken = taken.unsqueeze(1)
            if result is None:
                result = taken.new_empty(len(rows), *taken.shape[1:])
            result[torch.from_numpy(here)] = taken
        assert result is not None
        return result


def _check_finite(shard: Shard, x: Tensor) -> None:
    """Refuse what a disk has damaged before it becomes a prediction like any other."""
    if not torch.isfinite(x).all():
        raise BarlowSpeechError(
            f"features in {shard.path} are not finite, as they were when they were written; delete "
            "that file, and they are computed again."
        )


def features(
    upstream: Upstream,
    recordings: Sequence[Recording],
    cache: Path,
    listed_in: Path,
    kind: Kind = "pooled",
    verify: bool = False,
) -> Features:
    """The features of recordings from the cache; what is missing is computed and put there.

    Two processes that want the same compute it once. An interrupted computation goes on where its
    last shard ends. What the recordings need is compared with its checksum first; frames, which are
    mapped and may be larger than memory, only with `verify`, which also reads every recording to
    see that it is the one it was.

    Raises:
        BarlowSpeechError: a recording cannot be read or changes meanwhile, or a feature is not
            finite (it is named).
    """
    keys = recording_keys(recordings, listed_in, verify)
    folder = Folder(cache, upstream.name, upstream.fingerprint, kind)
    shards = folder.shards(frozenset(keys if verify or kind == "pooled" else ()))
    if _missing(keys, shards):
        with folder.locked():
            shards = folder.shards()
            missing = _missing(keys, shards)
            for part, tensors, seconds in _extract(upstream, recordings, missing, kind):
                computed = [keys[row] for row in part]
                if recording_keys([recordings[row] for row in part], listed_in) != computed:
                    raise BarlowSpeechError(
                        f"recordings of {listed_in} changed while they were read; run it again."
                    )
                folder.add(computed, tensors, seconds)
            shards = folder.shards()
    where = {key: (i, row) for i, shard in enumerate(shards) for row, key in enumerate(shard.keys)}
    try:
        places = [where[key] for key in keys]
    except KeyError:
        raise BarlowSpeechError(
            f"features in {folder.path} were removed while they were read; run it again."
        ) from None
    used = sorted({shard for shard, _ in places})
    shards, places = [shards[i] for i in used], [(used.index(i), row) for i, row in places]
    if any(shard.layout != shards[0].layout for shard in shards):
        raise BarlowSpeechError(
            f"features in {folder.path} are of several sizes; delete that folder, and they are "
            "computed again."
        )
    share = len(set(keys)) / max(1, sum(len(shard.keys) for shard in shards))
    audio = [shard.tensor("audio").numpy() for shard in shards]
    return Features(
        upstream=upstream.name,
        key=folder.key_of(keys),
        audio_N=np.array([audio[shard][row] for shard, row in places]),
        seconds=round(share * sum(shard.seconds for shard in shards), 3),
        _shards=shards,
        _places=places,
    )


def _missing(keys: Sequence[bytes], shards: Sequence[Shard]) -> list[int]:
    """One row for each key that no shard has."""
    there = {key for shard in shards for key in shard.keys}
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    return sorted(row for key, row in first.items() if key not in there)


def _extract(
    upstream: Upstream, recordings: Sequence[Recording], rows: Sequence[int], kind: Kind
) -> Iterator[tuple[list[int], dict[str, Tensor], float]]:
    """Parts of `rows` with their tensors and the seconds they took, as they are done."""
    seconds_N = _durations(recordings, rows, upstream.name)
    most_s = BATCH_S if upstream.device.type == "cpu" else GPU_BATCH_S
    batches = _batches(upstream.batched, seconds_N, most_s)
    total_h = sum(seconds_N.values()) / 3600
    done = 0

    def read(batch: list[int]) -> list[np.ndarray]:
        return [
            read_audio(one.path, one.start_s, one.end_s, one.gain_db)
            for one in (recordings[row] for row in batch)
        ]

    with (
        progress(total_h, f"features of {upstream.name}", "h", unit_scale=False,
                 bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} h of audio"
                 "{postfix} [{elapsed}<{remaining}]") as bar,
        ThreadPoolExecutor(READERS) as readers,
    ):  # fmt: skip
        ahead = [readers.submit(read, batch) for batch in batches[:READERS]]
        part: list[int] = []
        parts: list[dict[str, Tensor]] = []
        size = 0
        begun = started = time.monotonic()
        try:
            for number, batch in enumerate(batches):
                waves = ahead.pop(0).result()
                if number + READERS < len(batches):
                    ahead.append(readers.submit(read, batches[number + READERS]))
                # Headers, which `_batches` read, may be wrong.
                for group in upstream.groups([len(wave) for wave in waves]):
                    rows_B = [batch[i] for i in group]
                    of_group = [recordings[row] for row in rows_B], [waves[i] for i in group]
                    parts.append(_of_batch(upstream, *of_group, kind))
                    part += rows_B
                    size += sum(one.nbytes for one in parts[-1].values())
                done += len(batch)
                bar.set_postfix_str(f"{done}/{len(rows)} recordings", refresh=False)
                bar.update(sum(map(len, waves)) / SAMPLE_RATE / 3600)
                now = time.monotonic()
                due = now - started > max(FLUSH_S, FLUSH_SHARE * (now - begun))
                if due or size > FLUSH_BYTES or number == len(batches) - 1:
                    yield part, _joined(parts), now - started
                    part, parts, size, started = [], [], 0, time.monotonic()
        finally:
            for one in ahead:
                one.cancel()


def _of_batch(
    upstream: Upstream, recordings: Sequence[Recording], waves: list[np.ndarray], kind: Kind
) -> dict[str, Tensor]:
    tensors = [torch.from_numpy(wave).to(upstream.device) for wave in waves]
    pool = pooled if kind == "pooled" else framed
    try:
        result = {name: one.cpu() for name, one in pool(upstream, tensors).items()}
    except Exception as error:  # of any upstream's forward
        raise _failure(upstream, recordings, tensors, error) from error
    if not _finite(result):
        for recording, wave in zip(recordings, tensors):
            if not _finite(pool(upstream, [wave])):
                raise BarlowSpeechError(
                    f"upstream '{upstream.name}' gives features that are not finite for "
                    f"{recording}; look at the recording, or drop its manifest row."
                )
        raise BarlowSpeechError(
            f"upstream '{upstream.name}' gives features that are not finite for {recordings[0]} "
            "when others run beside it; run: barlow-speech check-upstream."
        )
    digests = [hashlib.blake2b(wave.tobytes(), digest_size=8).digest() for wave in waves]
    result["audio"] = torch.from_numpy(np.frombuffer(b"".join(digests), "<i8").copy())
    return result


def _failure(
    upstream: Upstream, recordings: Sequence[Recording], waves: list[Tensor], error: Exception
) -> BarlowSpeechError:
    """What to say of a forward that raised: which recording it was, if it fails alone too."""
    place = max(range(len(waves)), key=lambda row: len(waves[row]))
    beside = f" beside {len(waves) - 1} others" if len(waves) > 1 else ""
    for row, wave in enumerate(waves if beside else ()):
        try:
            pooled(upstream, [wave])
        except Exception as alone:
            place, error, beside = row, alone, ""
            break
    return BarlowSpeechError(
        f"upstream '{upstream.name}' fails on {recordings[place]}, "
        f"{len(waves[place]) / SAMPLE_RATE:.4g} s long{beside} "
        f"({one_line(error, 300, named=True)}); drop its manifest row, or see: "
        f"barlow-speech check-upstream {upstream.name}"
    )


def _finite(tensors: dict[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(one).all()) for one in tensors.values())


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    result = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if "lengths" in result:
        lengths = result.pop("lengths")
        result["offsets"] = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        # Half of the disk; values that are too large or too small for it keep the shard in single.
        half_TLD = result["frames"].half()
        if all(map(_alike, half_TLD.unbind(1), result["frames"].unbind(1))):
            result["frames"] = half_TLD
    return result


def _alike(half_TD: Tensor, x_TD: Tensor) -> bool:
    lost, all_of_it = (
        torch.linalg.vector_norm(one, dtype=torch.float64) for one in (half_TD - x_TD, x_TD)
    )
    return bool(lost <= HALF_LOSS * all_of_it)


def _durations(recordings: Sequence[Recording], rows: Sequence[int], name: str) -> dict[int, float]:
    """Seconds of each recording, from its span or its file's header."""

    def seconds(row: int) -> float:
        one = recordings[row]
        whole = one.end_s if one.end_s is not None else duration_s(one.path)
        return max(0.0, whole - one.start_s)

    with (
        ThreadPoolExecutor(READERS) as readers,
        progress(len(rows), f"lengths for {name}", "rec") as bar,
    ):
        result = {}
        for row, length in zip(rows, readers.map(seconds, rows)):
            result[row] = length
            bar.update()
    return result


def _batches(batched: bool, seconds: dict[int, float], most_s: float) -> list[list[int]]:
    """Rows that run together, at most `most_s`, longest first: alike in length, or of one length.

    An upstream whose result depends on what else is in the batch gets only equal lengths, between
    which there is no padding.
    """
    batches: list[list[int]] = []
    for row in sorted(seconds, key=lambda row: (-seconds[row], row)):
        if batches:
            longest = seconds[batches[-1][0]]
            fits = longest * (len(batches[-1]) + 1) <= most_s
            if fits and (batched or longest == seconds[row]):
                batches[-1].append(row)
                continue
        batches.append([row])
    return batches


def pooled(upstream: Upstream, waves: list[Tensor]) -> dict[str, Tensor]:
    """`mean` and `std` [B, L, D] over its own frames of each waveform; `embedding` [B, E] if any.

    At least one frame is taken where s3prl, rounding the length of a very short recording down to
    none, would give NaN. `std` is that of the frames, without Bessel's correction.
    """
    outputs = upstream.outputs(waves)
    means, stds = [], []
    for row, wave in enumerate(waves):
        frames_LTD = _frames(upstream, outputs["hidden_states"], row, len(wave))
        means.append(frames_LTD.mean(dim=1))
        stds.append(frames_LTD.std(dim=1, correction=0))
    result = {"mean": torch.stack(means), "std": torch.stack(stds)}
    if outputs.get("embedding") is not None:
        result["embedding"] = _at_least_float(outputs["embedding"])
    return result


def framed(upstream: Upstream, waves: list[Tensor]) -> dict[str, Tensor]:
    """`frames` [ΣT, L, D], those of all waveforms one after the other, and `lengths` [B]."""
    hidden = upstream.outputs(waves)["hidden_states"]
    frames = [
        _frames(upstream, hidden, row, len(wave)).transpose(0, 1) for row, wave in enumerate(waves)
    ]
    return {"frames": torch.cat(frames), "lengths": torch.tensor([len(one) for one in frames])}


def _frames(upstream: Upstream, hidden: Sequence[Tensor], row: int, samples: int) -> Tensor:
    """[L, T, D]: the valid frames of one waveform of a batch."""
    return torch.stack(
        [_at_least_float(upstream.frames(layer_BTD, row, samples)) for layer_BTD in hidden]
    )


def _at_least_float(x: Tensor) -> Tensor:
    """Half precision as float32: a mean over thousands of frames loses digits in it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
