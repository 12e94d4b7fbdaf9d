"""The thirteen configurations of configs/superb against a checkout of s3prl, field by field.

    python tests/superb/configurations.py path/to/s3prl

Prints every difference; those that are meant have their reason here. Ends with status 1 where there
is another, or where one that is meant is none any more.
"""

from __future__ import annotations

import fnmatch
import sys
from pathlib import Path
from typing import Any

import yaml

from barlow_speech import configs

# Ours, and the file below s3prl/downstream whose numbers are SUPERB's.
FILES = {
    "asr": "asr/config.yaml",
    "ctc": "ctc/libriphone.yaml",
    "diarization": "diarization/config.yaml",
    "emotion": "emotion/config.yaml",
    "enhancement_stft2": "enhancement_stft2/configs/cfg_voicebank.yaml",
    "fluent_commands": "fluent_commands/config.yaml",
    "quesst14_dtw": "quesst14_dtw/config.yaml",
    "separation_stft2": "separation_stft2/configs/cfg.yaml",
    "snips": "ctc/snips.yaml",
    "speech_commands": "speech_commands/config.yaml",
    "speech_translation": "speech_translation/config.yaml",
    "sv_voxceleb1": "sv_voxceleb1/configs/amsoftmax.yaml",
    "voxceleb1": "voxceleb1/config.yaml",
}
PLACE = "a folder of whoever runs it"
MADE = "empty: it is made from the corpus, or found in its folder"
UNUSED = "settings of a model that `select` (or a loss that ObjectiveLoss) does not choose"
MEANT = {
    "*.datarc.libri_root": PLACE,
    "*.datarc.root": PLACE,
    "*.datarc.file_path": PLACE,
    "*.datarc.dataset_root": PLACE,
    "*.datarc.speech_commands*root": PLACE,
    "*.corpus.path": PLACE,
    "*.taskrc.data": PLACE,
    "*.loaderrc.*_dir": PLACE,
    "asr.*.decoder_args.kenlm_model": PLACE,
    "asr.*.decoder_args.lexicon": PLACE,
    "asr.*.datarc.bucket_file": MADE,
    "asr.*.datarc.dict_path": MADE,
    "*.text.vocab_file": MADE,
    "snips.*.text.slots_file": MADE,
    "ctc.*.corpus.lexicon": MADE,
    "emotion.*.datarc.meta_data": MADE,
    "voxceleb1.*.datarc.meta_data": MADE,
    "sv_voxceleb1.*.datarc.*_meta_data": MADE,
    "*.Wav2Letter.total_rate": UNUSED,
    "ctc.*.model.RNNs.*": UNUSED,
    "emotion.*.modelrc.DeepModel.*": UNUSED,
    "sv_voxceleb1.*.LossConfig.AAMSoftmaxLoss.*": UNUSED,
    "sv_voxceleb1.*.LossConfig.SoftmaxLoss.*": UNUSED,
    "sv_voxceleb1.*.module_config.Identity.*": UNUSED,
    "speech_translation.*.asrrc.*": "of the joint speech recognition, which use_asr switches off",
}


def flat(tree: Any, name: str) -> dict[str, Any]:
    """The leaves of nested mappings by their dotted names."""
    if not isinstance(tree, dict) or not tree:
        return {name: tree}
    return {key: v for k, one in tree.items() for key, v in flat(one, f"{name}.{k}").items()}


def main(checkout: Path) -> int:
    """Compare, print and count."""
    assert set(FILES) == set(configs.files("configuration"))
    used, wrong, fields = set(), 0, 0
    for name, path in FILES.items():
        ours, theirs = (
            flat(yaml.safe_load(file.read_text(encoding="utf-8")), name)
            for file in (
                configs.find("configuration", name),
                checkout / "s3prl" / "downstream" / path,
            )
        )
        fields += len(ours.keys() | theirs.keys())
        for key in sorted(ours.keys() | theirs.keys()):
            pair = [one.get(key, "(absent)") for one in (ours, theirs)]
            if pair[0] == pair[1]:
                continue
            pattern = next((one for one in MEANT if fnmatch.fnmatchcase(key, one)), "")
            used.add(pattern)
            wrong += not pattern
            reason = MEANT.get(pattern, "NOT MEANT")
            print(f"{key}: {pair[0]} here, {pair[1]} there ({reason})")
    stale = sorted(set(MEANT) - used)
    for pattern in stale:
        print(f"{pattern}: meant to differ, and does not")
    print(f"{len(FILES)} configurations, {fields} fields, {wrong} differences that are not meant")
    return 1 if wrong or stale else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
