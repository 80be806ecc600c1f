"""How pixels become the input of the network, as nodes: what PixelSpace.to_input() does."""

import numpy as np

from caffe_ext.exchange.caffe_to_onnx.graph import Graph
from caffe_ext.models.pixels import PixelSpace


def add_preprocessing(
    graph: Graph, images: str, shape: tuple[int, int, int], space: PixelSpace
) -> str:
    """Write the nodes; return the value that is the network's input.

        input = (crop(swap(pixels)) - mean) * scale

    images  value of RGB or grey images (N, C, H, W) in grey levels 0..255
    shape   (C, H, W)
    """
    channels, height, width = shape
    value = images
    rows, columns = space.find_visible_window((height, width))
    if (rows, columns) != (slice(0, height), slice(0, width)):
        numbers = {
            "starts": [rows.start, columns.start],
            "ends": [rows.stop, columns.stop],
            "axes": [2, 3],
        }
        constants = [graph.add_integers(f"crop.{name}", these) for name, these in numbers.items()]
        value = graph.add("Slice", [value, *constants], "crop")
    if space.channel_order == "BGR" and channels > 1:
        reverse = graph.add_integers("bgr.order", range(channels - 1, -1, -1))
        value = graph.add("Gather", [value, reverse], "bgr", axis=1)
    if space.mean is not None:
        mean = space.mean
        mean = mean[:, rows, columns] if mean.ndim == 3 else mean.reshape(-1, 1, 1)
        value = graph.add("Sub", [value, graph.add_constant("mean.numbers", mean)], "mean")
    scale = np.asarray(space.scale, np.float32).reshape(-1, 1, 1)
    if (scale == 1).all():
        return value
    return graph.add("Mul", [value, graph.add_constant("scale.numbers", scale)], "scale")
