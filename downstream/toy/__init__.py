"""The toy corpus: spoken by eSpeak NG, with speaker, gender, emotion and keyword known."""
