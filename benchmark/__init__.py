"""The harness: features, runs, statistics, result store, figures, report and command line."""
