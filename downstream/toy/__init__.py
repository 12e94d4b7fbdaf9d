"""What eSpeak NG speaks: the toy corpus, with speaker, gender, emotion and keyword, and phones."""
