"""The pretraining benchmark: its parts are the whole, and the baseline gets the same speech."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pretraining
import pytest
import soundfile
import torch
from pretraining import (
    DATA,
    ENCODER,
    REST,
    VIEWS,
    FileViews,
    Stopwatch,
    audio_files,
    bench,
    write_corpus,
)

from barlow_speech import configs
from barlow_speech.upstream.common.errors import BarlowSpeechError
from barlow_speech.upstream.model.frontend import FrontEnd, FrontEndSettings
from barlow_speech.upstream.pretraining.recipe import read_recipe

TINY = [
    "crop_s=0.5", "batch=8", "memory=16", "precision=float32", "encoder.channels=4",
    "model.frontend.n_mels=16", "families.main.projector.width=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_corpus(folder, 6, (0.4, 1.0))
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of tiny operations fight for few cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_parts_are_the_whole_and_the_ratio_ends_the_report(
    corpus: Path, tmp_path: Path
) -> None:
    """In a process of its own: forked workers may break by the threads of other tests."""
    file = tmp_path / "figures.json"
    options = ["--quick", "--device", "cpu", "--rounds", "2", "--steps", "2", "--workers", "1"]
    recipe = ["--set", *TINY, "families.main.views.gain={}"]
    command = [sys.executable, pretraining.__file__, *options, "--files", str(corpus)]
    done = subprocess.run(
        [*command, "--json", str(file), *recipe], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    label, value = last.split()
    assert label == "ratio:"
    assert float(value) > 0
    facts = json.loads(file.read_text())
    assert f"{facts['ratio']['median']:.2f}" == value
    for name, rates in facts["rates"].items():
        assert len(rates) == 2
        assert facts["parts_s"][name][ENCODER] > 0
    ours = facts["parts_s"]["ours"]
    assert all(seconds > 0 for seconds in ours.values())
    # The baseline makes its views in the workers.
    assert facts["parts_s"]["baseline"][VIEWS] == 0


def test_the_clock_divides_time_without_gap_or_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5.0
    monkeypatch.setattr(pretraining, "time", SimpleNamespace(perf_counter=lambda: now))
    watch = Stopwatch(torch.device("cpu"))

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    inner = watch.around(DATA, lambda: passes(2))

    def outer() -> None:
        passes(1)
        inner()
        passes(4)

    passes(8)
    watch.around(VIEWS, outer)()
    passes(16)
    watch.switch(REST)
    spent = {part: seconds for part, seconds in watch.seconds().items() if seconds}
    assert spent == {REST: 24, VIEWS: 5, DATA: 2}


def test_the_baseline_sees_the_log_mel_that_our_front_end_makes(corpus: Path) -> None:
    views = "{mixup: null, resized_crop: null, fader: null, mel_equaliser: null}"
    recipe = read_recipe(configs.find("recipe", "base"), [*TINY, f"families.main.views={views}"])
    settings = FrontEndSettings(16, -6.0, 4.0)
    dataset = FileViews(audio_files(corpus), recipe, settings)
    dataset.gate.set()
    dataset.crop = 16_000 * 2  # longer than every file, so that nothing is drawn
    dataset.frames = 200
    first_TF, second_TF = dataset[0]
    assert torch.equal(first_TF, second_TF)
    wave, _ = soundfile.read(dataset.files[0], dtype="float32")
    expected_TF = FrontEnd(settings)(torch.from_numpy(wave)[None])[0]
    inside = slice(4, len(expected_TF) - 4)  # torchaudio reflects at the ends, we have silence
    torch.testing.assert_close(first_TF[inside], expected_TF[inside], rtol=0, atol=1e-3)


def test_packed_speech_alone_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BarlowSpeechError, match="--files"):
        bench(["--packed", str(tmp_path)])
    with pytest.raises(BarlowSpeechError, match="holds no"):
        bench(["--files", str(tmp_path)])


def test_a_recipe_that_the_baseline_does_not_follow_is_refused() -> None:
    with pytest.raises(BarlowSpeechError, match=r"add --set rotate=false\.$"):
        bench(["--recipe", "fine_states"])
    with pytest.raises(BarlowSpeechError, match=r"add --set families\.main\.crop_s=null\.$"):
        bench(["--set", "families.main.crop_s=0.5"])
