"""Mask sources (stage 1): where the anatomies come from that images are synthesised for."""
