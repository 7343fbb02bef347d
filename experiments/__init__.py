"""Thin doors: each script parses flags and calls the library."""
