"""Orbax checkpoints: one item of a step, as stock Orbax writes it, read and rewritten without decoding."""
