"""From a corpus as it was downloaded to a manifest and a card."""
