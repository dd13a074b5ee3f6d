"""Nouns: frozen values and contracts, no I/O. Imported by every other floor, importing none."""
