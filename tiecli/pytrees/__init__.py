"""Pytrees: the ties of a checkpoint on a live tree of arrays."""
