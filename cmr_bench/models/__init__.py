"""Mask-to-image generators (stage 2): the three diffusion families and the controls, under one interface."""
