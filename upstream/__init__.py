"""The encoder: front-end, base encoders, objective, views, pretraining, checkpoint, s3prl expert."""
