"""Readers of corpora in their official folder layouts, a file each (downstream/reader.py)."""
