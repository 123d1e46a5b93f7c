"""Utility: does a segmentation network learn from synthetic images?"""
