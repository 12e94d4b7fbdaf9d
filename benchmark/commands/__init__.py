"""The verbs of `barlow-speech`: a file each, found by its name (`check_upstream.py`: check-upstream).

A verb's module has a docstring whose first line is its help, `add_arguments(parser)` and
`run(given)`. Adding a file adds a verb.
"""
