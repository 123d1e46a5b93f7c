"""Fidelity: does a synthetic image look real, and does it obey its mask?"""
