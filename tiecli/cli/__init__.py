"""Command line: parse, call a verb, show its report, give an exit code."""
