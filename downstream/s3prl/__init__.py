"""Our tasks inside s3prl, and s3prl's own program and SUPERB tasks on today's torch."""
