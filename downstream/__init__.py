"""The tasks: corpora, heads, and one small folder per task with `expert.py` and `config.yaml`."""
