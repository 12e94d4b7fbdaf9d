"""Evaluating an upstream on a task: protocol, inputs, the runs of heads, records."""
