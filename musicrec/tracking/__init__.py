"""Loggers of runs: W&B, TensorBoard, CSV."""
