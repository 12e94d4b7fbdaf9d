"""Other people's code made to work: s3prl on today's torch, and Hugging Face's encoders."""
