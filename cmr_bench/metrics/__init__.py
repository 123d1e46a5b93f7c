"""Metrics on three axes; one metric one file, its mathematics in pure functions."""
