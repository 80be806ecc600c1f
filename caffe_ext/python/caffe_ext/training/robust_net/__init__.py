"""Training nets whose losses make a network robust, written from a stock prototxt.

text = write_robust_net(read_chain(path, (1, 28, 28)), RobustLoss("sm", epsilon=12.75))
"""

from caffe_ext.training.robust_net.chain import Chain, ChainError, read_chain
from caffe_ext.training.robust_net.losses import (
    BOUNDED,
    METHODS,
    Method,
    RobustLoss,
    write_robust_net,
)

__all__ = [
    "BOUNDED",
    "METHODS",
    "Chain",
    "ChainError",
    "Method",
    "RobustLoss",
    "read_chain",
    "write_robust_net",
]
