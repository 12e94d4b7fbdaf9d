"""Studies: what a YAML file names, planned as stages, run once, presented by its analyses."""
