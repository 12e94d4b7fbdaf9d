"""Speaker identification inside s3prl, as `-d barlow_speaker_id`."""

from barlow_speech.downstream.expert import UtteranceExpert


class DownstreamExpert(UtteranceExpert):
    """The shared utterance classifier on the labels of this task; see `UtteranceExpert`."""

    task_name = "speaker_id"
