"""Recordings: reading audio, manifests, packed speech, and the folders that may be read."""
