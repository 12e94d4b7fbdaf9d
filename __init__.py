"""Barlow Twins speech encoders for s3prl, and a benchmark that repeats every task 50 times."""

__version__ = "0.1.0"
