"""cmr_bench decides, with evidence, whether synthetic cardiac MRI is faithful, useful and safe."""

__version__ = "0.1.0"
