"""Verbs: what tiecli does, one public function each, from a path to a report."""
