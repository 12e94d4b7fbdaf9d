"""Readers of corpora in their official folder layouts, a file each (`_scan.py`)."""
