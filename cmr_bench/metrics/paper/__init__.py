"""The definitions of the study "Balancing Fidelity, Utility, and Privacy in Synthetic Cardiac MRI Generation" (2026).

They stand beside ours so that readers see how much of a ranking is protocol. What is wrong with each
is said where it is defined; no conclusion of the benchmark rests on them.
"""
