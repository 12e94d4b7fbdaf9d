"""Gender recognition inside s3prl: `run_downstream.py -m train -u barlow_speech -d barlow_gender`."""

from barlow_speech.downstream.expert import UtteranceExpert


class DownstreamExpert(UtteranceExpert):
    """The shared utterance classifier on the labels of this task; see `UtteranceExpert`."""

    task_name = "gender"
