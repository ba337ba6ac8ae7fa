"""Verifying: whether a tied checkpoint computes, and trains, as it says."""
