"""Emotion recognition inside s3prl, as `-d barlow_emotion`."""

from barlow_speech.downstream.expert import UtteranceExpert


class DownstreamExpert(UtteranceExpert):
    """The shared utterance classifier on the labels of this task; see `UtteranceExpert`."""

    task_name = "emotion"
