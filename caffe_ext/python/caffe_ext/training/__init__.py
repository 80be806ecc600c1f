"""Training with `caffe train`: progress, interruption, resuming; settings and logs as records."""

from caffe_ext.training.run import TrainingError, TrainingRequest, TrainingResult, train

__all__ = ["TrainingError", "TrainingRequest", "TrainingResult", "train"]
