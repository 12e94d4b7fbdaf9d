"""How results become words: numbers, tables, documents, and one renderer a format."""
