"""The verbs of `barlow-speech`, a file each: `check_upstream.py` is `check-upstream`.

A verb's module has a docstring whose first line is its help, `add_arguments(parser)` and
`run(given)`. Adding a file adds a verb.
"""
