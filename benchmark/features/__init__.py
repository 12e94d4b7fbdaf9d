"""Upstreams and what they make of recordings: features, their cache, cost and contract."""
