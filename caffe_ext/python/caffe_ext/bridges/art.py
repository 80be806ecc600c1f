"""A Model as a classifier of the Adversarial Robustness Toolbox (ART).

from art.attacks.evasion import DeepFool
from caffe_ext.bridges.art import CaffeClassifier

classifier = CaffeClassifier(read_model(Path("lenet.yaml")).load())
adversarials = DeepFool(classifier).generate(images)     # float32 (N, C, H, W) in [0, 1]

Needs ART: `pip install caffe_ext[art]`.
"""

from typing import Any

import numpy as np
from art.config import ART_NUMPY_DTYPE
from art.estimators.classification.classifier import ClassifierNeuralNetwork
from numpy.typing import NDArray

from caffe_ext.bridges.value_range import ValueRange, check_model
from caffe_ext.models.base import Diff, Floats, Ints, Model, softmax
from caffe_ext.models.classifier import Classifier


class CaffeClassifier(ClassifierNeuralNetwork):  # type: ignore[misc]  # art may be missing
    """ART's estimator for a Model: predictions are logits, the loss is the cross-entropy.

        loss(x, y) = -sum_k y_k log softmax(logits(x))_k        for each image by itself

    Images are (N, C, H, W), C = 1 (grey) or 3 (RGB), from clip_values' black to its white. Labels
    are classes (N,) or rows that sum to one (N, K). The model is trained already: fit() is refused.
    """

    estimator_params = ClassifierNeuralNetwork.estimator_params

    def __init__(
        self,
        model: Model,
        clip_values: tuple[float, float] = (0.0, 1.0),
        *,
        preprocessing_defences: Any = None,
        postprocessing_defences: Any = None,
        preprocessing: Any = (0.0, 1.0),
    ) -> None:
        """Take a model.

        clip_values    the values of black and of white, two numbers
        preprocessing  and the defences: as in ART, before and after the model; those before it must
                       leave the values within clip_values

        Raises ValueError for clip_values that are not a range, TypeError for what is no model.
        """
        check_model(model)
        super().__init__(
            model=model,
            clip_values=clip_values,
            channels_first=True,
            preprocessing_defences=preprocessing_defences,
            postprocessing_defences=postprocessing_defences,
            preprocessing=preprocessing,
        )
        self.nb_classes = model.classes
        self._get_range()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W) of an image."""
        shape: tuple[int, int, int] = self.model.image_shape
        return shape

    @property
    def layer_names(self) -> list[str]:
        """Return the blobs that get_activations() takes, in the order of the network."""
        return self._get_classifier().blob_names

    def predict(self, x: NDArray[Any], batch_size: int = 128, **_: Any) -> Floats:
        """Return the logits (N, K), after the postprocessing defences.

        batch_size  has no effect: the model's own bounds the memory
        """
        pixels = self._convert_to_pixels(self._apply_preprocessing(x, y=None, fit=False)[0])
        logits: Floats = self._apply_postprocessing(self.model.logits(pixels), fit=False)
        return logits

    def loss_gradient(self, x: NDArray[Any], y: NDArray[Any], **_: Any) -> Floats:
        """Return dloss/dx of each image's own loss, in the shape of x."""
        prepared, labels = self._apply_preprocessing(x, y, fit=False)
        weights = self._weigh_classes(labels, len(prepared))
        return self._compute_gradient(
            x, prepared, lambda logits, rows: softmax(logits) - weights[rows]
        )

    def class_gradient(
        self, x: NDArray[Any], label: int | list[int] | NDArray[Any] | None = None, **_: Any
    ) -> Floats:
        """Return dlogit/dx: (N, K, C, H, W) of all classes, (N, 1, C, H, W) of the labels.

        label  a class, or one for each image; by default all of them
        """
        prepared, _labels = self._apply_preprocessing(x, y=None, fit=False)
        count, classes = len(prepared), self.nb_classes
        wanted: list[Ints]
        if label is None:
            wanted = [np.full(count, number, np.int64) for number in range(classes)]
        else:
            wanted = [self.model.check_labels(np.broadcast_to(np.asarray(label), (count,)), count)]
        one_hot = np.eye(classes, dtype=np.float32)
        gradients = [self._compute_gradient(x, prepared, one_hot[labels]) for labels in wanted]
        return np.stack(gradients, axis=1)

    def compute_loss(
        self, x: NDArray[Any], y: NDArray[Any], reduction: str = "none", **_: Any
    ) -> NDArray[Any]:
        """Return the loss: per image, (N,), for "none", else its "mean" or "sum"."""
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f"reduction must be none, mean or sum, not {reduction!r}")
        prepared, labels = self._apply_preprocessing(x, y, fit=False)
        logits = self.model.logits(self._convert_to_pixels(prepared)).astype(np.float64)
        highest = logits.max(axis=1, keepdims=True, initial=-np.inf)
        normalizer = highest + np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
        losses = -(self._weigh_classes(labels, len(prepared)) * (logits - normalizer)).sum(axis=1)
        reduced = losses if reduction == "none" else getattr(losses, reduction)()
        return np.asarray(reduced, ART_NUMPY_DTYPE)

    def get_activations(
        self, x: NDArray[Any], layer: int | str, batch_size: int = 128, framework: bool = False
    ) -> Floats:
        """Return the values of a blob, by its name or its number in layer_names.

        batch_size  has no effect: the model's own bounds the memory
        framework   is refused: Caffe has no tensors to hand out
        """
        if framework:
            raise NotImplementedError("a Caffe model's activations are arrays: framework=False")
        name = self.layer_names[layer] if isinstance(layer, int) else layer
        prepared = self._apply_preprocessing(x, y=None, fit=False)[0]
        return self._get_classifier().features(self._convert_to_pixels(prepared), name)

    def fit(self, x: NDArray[Any], y: NDArray[Any], **_: Any) -> None:
        """Refuse: training is left to Caffe's solvers."""
        raise NotImplementedError("a Caffe model is trained by Caffe (`caffe train`), not by fit()")

    def save(self, filename: str, path: str | None = None) -> None:
        """Refuse: the model was loaded from its files."""
        raise NotImplementedError("a Caffe model is in the files that it was loaded from")

    def _get_classifier(self) -> Classifier:
        if not isinstance(self.model, Classifier):
            raise NotImplementedError(
                f"a {type(self.model).__name__} has no layers; only a Classifier, the model of one "
                "Caffe net, has"
            )
        return self.model

    def _get_range(self) -> ValueRange:
        """Return the range, which set_params() may change at any time."""
        low, high = (np.asarray(bound) for bound in self.clip_values)
        if low.size != 1 or high.size != 1:
            raise ValueError("clip_values must be two numbers, the values of black and of white")
        return ValueRange(float(low), float(high))

    def _convert_to_pixels(self, values: NDArray[Any]) -> Floats:
        return self._get_range().to_pixels(np.asarray(values), self.input_shape)

    def _compute_gradient(self, x: NDArray[Any], prepared: NDArray[Any], diff: Diff) -> Floats:
        """Return dE/dx, before the preprocessing, for dE/dlogits."""
        by_pixels = self.model.gradient(self._convert_to_pixels(prepared), diff)
        by_values = self._get_range().convert_gradient(by_pixels)
        gradient: Floats = self._apply_preprocessing_gradient(x, by_values)
        return gradient

    def _weigh_classes(self, labels: NDArray[Any], count: int) -> Floats:
        """Return each class's weight in the loss, (N, K), from classes or rows that sum to one."""
        labels = np.asarray(labels)
        if labels.shape == (count, self.nb_classes):
            return np.asarray(labels, np.float32)
        classes: Ints = self.model.check_labels(labels.reshape(-1), count)
        return np.eye(self.nb_classes, dtype=np.float32)[classes]
