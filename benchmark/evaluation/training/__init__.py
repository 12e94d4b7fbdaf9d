"""What trains heads: many at once on frozen features, or one together with its encoder."""
