"""Which factor of speech an embedding holds where: measures, bases, probes, spectrum."""
