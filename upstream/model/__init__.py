"""The encoder as it is used: front-end, readout, long recordings, checkpoint, ONNX."""
