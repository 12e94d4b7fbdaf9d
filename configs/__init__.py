"""YAML: pretraining recipes, corpus cards, protocols."""
