"""Views of speech: batched on the device, drawn per item, applied as pure functions."""
