"""One file a kind of figure; each takes numbers and gives a matplotlib figure."""
