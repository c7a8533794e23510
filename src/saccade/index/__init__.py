"""The library on disk: catalog, vectors, full text and fusion (vectors, text and ids, never pixels)."""
