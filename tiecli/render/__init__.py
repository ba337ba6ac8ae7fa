"""Rendering: reports and errors as lines for people and as JSON for programs."""
