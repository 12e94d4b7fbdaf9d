"""Any upstream by its name, as other benchmarks want a model: a file a benchmark.

A name is what `run_downstream.py -u` takes, or a checkpoint file of ours; without one it is the
encoder that comes with the package. Nothing of a benchmark is imported but by its own file.
"""
