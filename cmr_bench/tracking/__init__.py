"""The record of a cell while it runs, and all that knows W&B."""
