"""Statistics of repeated runs: summaries, intervals, tests, ranks; nothing here reads a file."""
