"""The encoder: front-end, base encoders, objective, views, recipe, checkpoint, s3prl expert."""
