"""How often intervals hold the truth, and tests find what is not there, over other speakers.

    python tests/statistics/other_speakers.py                # the table of benchmark/README.md

Every recording of a speaker is evaluated by every run of three equal upstreams. Whether one is
right has a part of its speaker, of the recording, of the run, and of chance; half as much again as
the parts of speakers and recordings that all upstreams share, each has of its own. The intraclass
correlation is the speaker's share of what speaker and recording give.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import ndtri

from barlow_speech.benchmark.statistics.comparison import holm
from barlow_speech.benchmark.statistics.crossed import (
    Crossed,
    crossed,
    pigeonhole_draws,
    pigeonhole_interval,
)

RUNS, UPSTREAMS = 20, 3
SHARED, OWN, RUN, REST = 1.0, 0.5, 0.02, 0.7  # variances on the latent scale
SIZES = {"equal": (20,), "unequal": (5, 10, 15, 20, 25, 45)}  # recordings of a speaker
TRUTH = 0.7


@dataclass(frozen=True)
class World:
    """People, how alike their recordings are, and how many there are of each."""

    speakers: int
    correlation: float
    sizes: str = "equal"
    gain: float = 0.0  # of the first upstream, on the latent scale

    def experiments(self, count: int) -> Iterator[np.ndarray]:
        """Whether each upstream's runs are right, [U, R, N], of people drawn anew each time."""
        generator = np.random.default_rng(
            [self.speakers, round(10 * self.correlation), len(self.sizes), round(1e3 * self.gain)]
        )
        speaker_N = self.speaker_N
        of_speaker, of_recording = math.sqrt(self.correlation), math.sqrt(1 - self.correlation)

        def heard(*shape: int) -> np.ndarray:
            who = generator.standard_normal((*shape, self.speakers), dtype=np.float32)
            what = generator.standard_normal((*shape, len(speaker_N)), dtype=np.float32)
            return of_speaker * who[..., speaker_N] + of_recording * what

        level = ndtri(TRUTH) * math.sqrt(SHARED + OWN + RUN + REST)
        gain_U = np.array([self.gain, *[0.0] * (UPSTREAMS - 1)])
        for _ in range(count):
            fixed_UN = math.sqrt(SHARED) * heard() + math.sqrt(OWN) * heard(UPSTREAMS)
            run_UR = math.sqrt(RUN) * generator.standard_normal((UPSTREAMS, RUNS))
            chance = generator.standard_normal((UPSTREAMS, RUNS, len(speaker_N)), dtype=np.float32)
            steady = fixed_UN[:, None] + run_UR[..., None] + level + gain_U[:, None, None]
            yield (steady + math.sqrt(REST) * chance > 0).astype(np.float32)

    @property
    def size_K(self) -> np.ndarray:
        """Recordings of each speaker."""
        return np.resize(SIZES[self.sizes], self.speakers)

    @property
    def speaker_N(self) -> np.ndarray:
        """The speaker of each recording."""
        return np.repeat(np.arange(self.speakers), self.size_K)

    def analysed(self, right_RN: np.ndarray) -> tuple[Crossed, np.ndarray, np.ndarray]:
        """The mean over its sources; the runs' scores, and the speakers' influence on each."""
        score_R = right_RN.mean(axis=1, dtype=np.float64)
        starts = np.cumsum([0, *self.size_K[:-1]])
        apart_RN = (right_RN - score_R[:, None]) / right_RN.shape[1]
        part_RK = np.add.reduceat(apart_RN, starts, axis=1)
        share_K = self.size_K / right_RN.shape[1]
        found = crossed(
            score_R, part_RK, apart_RN.mean(axis=0), self.speaker_N, share_K, self.size_K
        )
        return found, score_R, part_RK


@dataclass
class Coverage:
    """Shares of the experiments."""

    mean: float  # whose interval of an upstream's mean holds it
    difference: float  # of two equal upstreams' difference
    runs_mean: float  # the same by an interval over the runs alone
    runs_difference: float
    bootstrap: float  # of the difference, by the pigeonhole bootstrap; of the first pair
    false: float  # in which some two of three equal upstreams are separated, after Holm
    runs_false: float


def coverage(world: World, experiments: int, bootstrap: bool = True) -> Coverage:
    """What intervals and tests do in a world of equal upstreams."""
    held = np.zeros(7)
    for right_URN in world.experiments(experiments):
        for right_RN in right_URN:
            found, score_R, _ = world.analysed(right_RN)
            low, high = found.interval(0.0)
            held[0] += (low <= TRUTH <= high) / UPSTREAMS
            held[2] += (runs_p(score_R - TRUTH) > 0.05) / UPSTREAMS
        p, p_runs = [], []
        for a, b in ((0, 1), (0, 2), (1, 2)):
            found, score_R, part_RK = world.analysed(right_URN[a] - right_URN[b])
            low, high = found.interval()
            p.append(found.p)
            p_runs.append(runs_p(score_R))
            held[1] += (low <= 0 <= high) / 3
            held[3] += (p_runs[-1] > 0.05) / 3
            if bootstrap and not a and b == 1:
                low, high = pigeonhole_interval(pigeonhole_draws(score_R, part_RK))
                held[4] += low <= 0 <= high
        held[5] += min(holm(p)) < 0.05
        held[6] += min(holm(p_runs)) < 0.05
    return Coverage(*(held / experiments))


def runs_p(score_R: np.ndarray) -> float:
    """Of a mean of 0, over the runs alone: Student's, which for these agrees with sign flips."""
    return float(stats.ttest_1samp(score_R, 0.0).pvalue)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--experiments", type=int, default=1000)
    given = parser.parse_args()
    started = time.monotonic()
    print(
        "| speakers | correlation | recordings | mean | difference | bootstrap | false | "
        "runs alone: mean | difference | false |"
    )
    print("|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for speakers in (3, 5, 10, 40):
        for correlation in (0.0, 0.2, 0.5):
            for sizes in SIZES:
                got = coverage(World(speakers, correlation, sizes), given.experiments)
                shares = (
                    got.mean, got.difference, got.bootstrap, got.false, got.runs_mean,
                    got.runs_difference, got.runs_false,
                )  # fmt: skip
                shown = " | ".join(f"{100 * share:.1f}" for share in shares)
                print(f"| {speakers} | {correlation:g} | {sizes} | {shown} |", flush=True)
    print(f"{given.experiments} experiments each, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
