"""The order of IEMOCAP's dialogues, which decides SUPERB's dev split.

s3prl draws dev from the utterances in the order in which a file system once listed the label files:
that of `downstream/emotion/meta_data/Session*/{train,test}_meta_data.json` of s3prl@ec8064b, where
each dialogue is one block.
"""

from __future__ import annotations

NAMES = """
Ses01F_script02_2 Ses01F_impro07 Ses01F_script03_2 Ses01M_impro02 Ses01F_impro06 Ses01F_script01_3
Ses01M_script02_1 Ses01M_impro04 Ses01M_script01_1 Ses01F_impro01 Ses01F_script01_1 Ses01F_impro05
Ses01M_script01_2 Ses01M_script02_2 Ses01F_script02_1 Ses01M_script03_2 Ses01M_impro05
Ses01M_impro01 Ses01F_impro03 Ses01M_impro03 Ses01M_script01_3 Ses01F_script03_1 Ses01M_impro07
Ses01F_impro02 Ses01M_impro06 Ses01M_script03_1 Ses01F_impro04 Ses01F_script01_2 Ses02F_impro03
Ses02F_script03_2 Ses02M_script03_2 Ses02M_impro04 Ses02M_impro05 Ses02F_script02_1
Ses02F_script02_2 Ses02M_script02_2 Ses02M_impro08 Ses02M_impro07 Ses02F_script03_1
Ses02M_script01_3 Ses02F_impro06 Ses02F_impro01 Ses02F_impro04 Ses02F_script01_2 Ses02M_impro02
Ses02M_impro03 Ses02F_script01_3 Ses02F_impro05 Ses02F_script01_1 Ses02M_impro06 Ses02M_script02_1
Ses02F_impro08 Ses02F_impro02 Ses02M_script01_1 Ses02M_impro01 Ses02M_script01_2 Ses02M_script03_1
Ses02F_impro07 Ses03F_script02_1 Ses03M_impro04 Ses03M_script03_2 Ses03M_impro05b Ses03M_impro02
Ses03F_impro05 Ses03M_script02_2 Ses03M_impro08b Ses03F_impro07 Ses03M_script01_1
Ses03M_script02_1 Ses03M_impro05a Ses03M_impro07 Ses03M_script03_1 Ses03F_script03_1
Ses03M_impro01 Ses03F_script01_1 Ses03F_impro04 Ses03F_script02_2 Ses03F_script01_3
Ses03M_script01_3 Ses03M_impro06 Ses03F_impro01 Ses03F_impro03 Ses03M_script01_2 Ses03M_impro08a
Ses03M_impro03 Ses03F_script03_2 Ses03F_script01_2 Ses03F_impro08 Ses03F_impro06 Ses03F_impro02
Ses04F_script03_1 Ses04F_impro01 Ses04M_script02_1 Ses04M_script02_2 Ses04F_script01_3
Ses04M_impro05 Ses04F_script02_1 Ses04F_impro07 Ses04F_impro02 Ses04F_impro03 Ses04M_impro02
Ses04F_script01_1 Ses04M_script01_1 Ses04F_script03_2 Ses04M_impro06 Ses04F_script02_2
Ses04M_impro01 Ses04M_impro04 Ses04F_impro05 Ses04F_script01_2 Ses04F_impro08 Ses04F_impro06
Ses04M_impro03 Ses04M_script01_3 Ses04M_script01_2 Ses04M_script03_1 Ses04M_script03_2
Ses04M_impro07 Ses04F_impro04 Ses04M_impro08 Ses05M_script01_3 Ses05F_impro04 Ses05M_script02_2
Ses05F_script01_3 Ses05F_script01_2 Ses05F_impro06 Ses05M_impro06 Ses05M_impro01 Ses05F_script03_1
Ses05F_impro07 Ses05F_script03_2 Ses05M_script01_1b Ses05F_impro05 Ses05M_script01_1
Ses05F_impro08 Ses05M_script03_1 Ses05M_impro05 Ses05F_impro01 Ses05F_impro02 Ses05M_impro03
Ses05F_script01_1 Ses05M_impro04 Ses05M_script02_1 Ses05F_impro03 Ses05F_script02_2
Ses05F_script02_1 Ses05M_script03_2 Ses05M_impro08 Ses05M_impro02 Ses05M_impro07 Ses05M_script01_2
"""
DIALOGUES = tuple(NAMES.split())
_PLACES = {name: place for place, name in enumerate(DIALOGUES)}


def place_of(dialogue: str) -> tuple[int, str]:
    """What label files are sorted by; those of no such dialogue come last, by their names."""
    return _PLACES.get(dialogue, len(_PLACES)), dialogue
