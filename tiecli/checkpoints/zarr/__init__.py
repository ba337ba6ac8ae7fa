"""Zarr arrays: what their metadata says, and their chunks decoded and encoded within bounded memory."""
