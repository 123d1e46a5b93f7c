from slurm_support import alone, cluster, pytest_collection_modifyitems, same, sweep

__all__ = ["alone", "cluster", "pytest_collection_modifyitems", "same", "sweep"]
