"""The layers that a robust training net adds to a stock one.

sm        CE + weight * S, S the volume of the box that the dual bound gives (Wang et al., 2019)
kw        CE of the worst scores within the dual bound (Wong and Kolter, 2018)
jacob     CE + weight * ||J||_F^2, J the Jacobian of the scores (Jakubovitz and Giryes, 2018)
spectral  CE + weight / 2 * sum sigma(W)^2 over all weights (Yoshida and Miyato, 2017)

Rows of coefficients of the scores go down the net through Deconvolution and transposed
InnerProduct layers, which share the weights by their names, and through Scale layers, which
multiply them by the slopes of the ReLUs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from caffe.proto import caffe_pb2

from caffe_ext.training.robust_net.chain import Chain, ChainError, LinearStep
from caffe_ext.training.robust_net.text import format_network, parse_layer

Method = Literal["sm", "kw", "jacob", "spectral"]
METHODS: tuple[Method, ...] = get_args(Method)

WEIGHTS: Mapping[Method, float] = {"sm": 1e-6, "kw": 1.0, "jacob": 0.1, "spectral": 0.01}
"""The paper's weights of the losses."""
BOUNDED: tuple[Method, ...] = ("sm", "kw")
"""Methods that need a distance."""


@dataclass(frozen=True)
class RobustLoss:
    """What is added to the loss.

    method   one of METHODS
    epsilon  Linf distance in grey levels, of the methods in BOUNDED
    weight   None: the paper's

    Raises ValueError for wrong settings.
    """

    method: Method
    epsilon: float | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.method not in METHODS:
            raise ValueError(f"the method must be one of {', '.join(METHODS)}, not {self.method!r}")
        if (self.epsilon is None) == (self.method in BOUNDED):
            needs = "needs an" if self.method in BOUNDED else "has no"
            raise ValueError(f"the method {self.method} {needs} epsilon")

    @property
    def loss_weight(self) -> float:
        """Return the weight."""
        return WEIGHTS[self.method] if self.weight is None else self.weight


def write_robust_net(chain: Chain, loss: RobustLoss, heading: str = "") -> str:
    """Return the prototxt of a training net: the layers of a stock net, and those of the loss.

    heading  a comment at the top

    Raises ChainError if layers or blobs of the stock net have names that the new ones need.
    """
    builder = _Builder(chain, loss)
    builder.build()
    return format_network(chain.network.name, builder.parts, heading)


class _Builder:
    def __init__(self, chain: Chain, loss: RobustLoss) -> None:
        self.chain, self.loss = chain, loss
        self.steps = chain.steps
        self.epsilon = f"{(loss.epsilon or 0) * chain.scale:.9g}"
        self.scores = chain.loss.bottom[0]
        self.parts: dict[str, list[Any]] = {"": self._copy_stock_layers()}
        self._part: list[Any] = []

    def build(self) -> None:
        builders: Mapping[Method, Callable[[], None]] = {
            "sm": self._add_sensitivity,
            "kw": self._add_worst_case,
            "jacob": self._add_jacobian,
            "spectral": self._add_spectral,
        }
        builders[self.loss.method]()
        names = [layer.name for layers in self.parts.values() for layer in layers]
        stock = len(self.parts[""])
        for layer in [layer for layers in self.parts.values() for layer in layers][stock:]:
            if names.count(layer.name) > 1:
                raise ChainError(
                    f"{self.chain.path}: the name '{layer.name}' is needed for a new layer; rename "
                    "the one that has it"
                )

    # --- The stock net ---------------------------------------------------------------------------

    def _copy_stock_layers(self) -> list[Any]:
        """Return the net's layers, with names for the parameters that are shared."""
        layers = []
        for layer in self.chain.network.layer:
            mine = caffe_pb2.LayerParameter()
            mine.CopyFrom(layer)
            for step in self.steps:
                if step.layer is layer:
                    for number, name in enumerate(self._name_parameters(step)):
                        while len(mine.param) <= number:
                            mine.param.add()
                        mine.param[number].name = name
            if layer is self.chain.loss and self.loss.method == "kw":
                del mine.loss_weight[:]
                mine.loss_weight.append(0)
            layers.append(mine)
        return layers

    @staticmethod
    def _name_parameters(step: LinearStep) -> list[str]:
        """Return the names of a layer's parameters."""
        names = []
        for number, ending in enumerate("wb"[: 1 + step.has_bias]):
            given = step.layer.param[number].name if number < len(step.layer.param) else ""
            names.append(given or f"{step.name}_{ending}")
        return names

    # --- Parts -----------------------------------------------------------------------------------

    def _begin(self, comment: str) -> None:
        self._part = self.parts[comment] = []

    def _add(self, text: str, *, share: LinearStep | None = None, bias: bool = True) -> None:
        """Add a layer of the training phase; `share`: the step whose parameters it has."""
        layer = parse_layer(text)
        layer.include.add(phase=caffe_pb2.TRAIN)
        if share is not None:
            for name in self._name_parameters(share)[: 1 + bias]:
                layer.param.add(name=name)
        self._part.append(layer)

    def _add_sensitivity(self) -> None:
        self._add_bounds()
        self._add_rows("")
        self._begin("The volume of the box of all scores, averaged over the batch.")
        self._add_spread('top: "up" top: "down"')
        self._add(
            'name: "sensitivity" type: "SensitivityLoss" bottom: "up" bottom: "down" '
            f'top: "sensitivity" loss_weight: {self.loss.loss_weight}'
        )

    def _add_worst_case(self) -> None:
        last = self.steps[-1]
        self._add_bounds()
        self._add_middle(last)
        self._add_rows(f'bottom: "{self.chain.label}"')
        self._begin(
            "The largest z_t - z_label within the bounds, plus a number that is the same for all t."
        )
        self._add_spread('top: "up"')
        self._add(
            f'name: "worst_scores" type: "Eltwise" bottom: "{last.name}_middle" bottom: "up" '
            'top: "worst_scores"'
        )
        self._add(
            'name: "worst_loss" type: "SoftmaxWithLoss" bottom: "worst_scores" '
            f'bottom: "{self.chain.label}" top: "worst_loss" loss_weight: {self.loss.loss_weight}'
        )

    def _add_jacobian(self) -> None:
        self._begin("The derivatives of the ReLUs.")
        for step in self.steps[:-1]:
            self._add(
                f'name: "{step.relu.name}_slope" type: "ReLURelaxation" '
                f'bottom: "{step.relu.top[0]}" top: "{step.relu.name}_slope"'
            )
        self._add_rows("")
        self._begin("The squared Frobenius norm of the Jacobian, averaged over the batch.")
        self._add(
            f'name: "jacobian" type: "Reduction" bottom: "{self.steps[0].name}_rows" '
            f'top: "jacobian" loss_weight: {self.loss.loss_weight} '
            f"reduction_param {{ operation: SUMSQ coeff: {1 / self.chain.batch:.9g} }}"
        )

    def _add_spectral(self) -> None:
        self._begin("Half the squared spectral norm of each layer's weights.")
        for step in self.steps:
            dims = " ".join(f"dim: {dim}" for dim in step.weights_shape)
            self._add(
                f'name: "{step.name}_spectral" type: "SpectralLoss" top: "{step.name}_spectral" '
                f"loss_weight: {self.loss.loss_weight} parameter_param {{ shape {{ {dims} }} }}",
                share=step,
                bias=False,
            )
            self._part[-1].param.add(lr_mult=0, decay_mult=0)

    # --- Bounds of the units ---------------------------------------------------------------------

    def _add_bounds(self) -> None:
        """Add the bounds of all units before a ReLU, and the relaxation of the ReLUs."""
        for number, step in enumerate(self.steps[:-1]):
            relu = step.relu.name
            # Of the sensitivity, the scores' values are no part, and an unused top would be logged.
            has_middle = self.loss.method == "kw" or number + 2 < len(self.steps)
            middle = f'top: "{step.name}_middle" ' if has_middle else ""
            if number == 0:
                self._begin(
                    f"Bounds of {step.name} for all images within epsilon: {self.epsilon} in the\n"
                    f"units of the input, {self.loss.epsilon:g} grey levels."
                )
                self._add(
                    f'name: "{step.name}_interval" type: "Interval{step.layer.type}" '
                    f'bottom: "{self.chain.data}" top: "{step.name}_lower" '
                    f'top: "{step.name}_upper" {middle}'
                    f"{_format_setting(step)} "
                    f"caffe_ext_param {{ interval {{ epsilon: {self.epsilon} }} }}",
                    share=step,
                )
            else:
                self._begin(f"Bounds of {step.name}.")
                self._add_middle(step)
                self._add_dual_bounds(number)
            self._add(
                f'name: "{relu}_relaxation" type: "ReLURelaxation" bottom: "{step.name}_lower" '
                f'bottom: "{step.name}_upper" top: "{relu}_slope" top: "{relu}_height"'
            )
            if has_middle:
                self._add(
                    f'name: "{relu}_middle" type: "Eltwise" bottom: "{step.name}_middle" '
                    f'bottom: "{relu}_slope" top: "{relu}_middle" '
                    "eltwise_param { operation: PROD }"
                )

    def _add_middle(self, step: LinearStep) -> None:
        """Add a step's outputs in the net whose ReLUs multiply by their slopes."""
        below = self.steps[self.steps.index(step) - 1]
        self._add(
            f'name: "{step.name}_middle" type: "{step.layer.type}" '
            f'bottom: "{below.relu.name}_middle" top: "{step.name}_middle" '
            f"{_format_setting(step)}",
            share=step,
        )

    def _add_dual_bounds(self, number: int) -> None:
        step = self.steps[number]
        bottoms = [f"{self.chain.data}", f"{step.name}_middle"]
        layers = []
        for below in self.steps[: number + 1]:
            kernel = f"kernel_size: {below.kernel} " if below.kernel else ""
            stride = f"stride: {below.stride} " if below.stride > 1 else ""
            pad = f"pad: {below.pad} " if below.pad else ""
            layers.append(f"layer {{ num_output: {below.above[0]} {kernel}{stride}{pad}}}")
        for below in self.steps[:number]:
            bottoms += [f"{below.relu.name}_slope", f"{below.relu.name}_height"]
        self._add(
            f'name: "{step.name}_bounds" type: "DualBounds" '
            + " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
            + f' top: "{step.name}_lower" top: "{step.name}_upper" caffe_ext_param {{ '
            f"dual_bounds {{ epsilon: {self.epsilon} {' '.join(layers)} }} }}"
        )
        for below in self.steps[: number + 1]:
            self._part[-1].param.add(name=self._name_parameters(below)[0])

    # --- Rows of the scores ----------------------------------------------------------------------

    def _add_rows(self, label: str) -> None:
        """Add the rows' way from the scores to the input.

        label  the bottom of the labels; empty: a row is a score, otherwise a margin
        """
        what = "margins z_t - z_label" if label else "scores"
        self._begin(f"The {what} as linear functions of the input, for each image: (K, N, ...).")
        self._add(f'name: "rows" type: "ScoreRows" bottom: "{self.scores}" {label} top: "rows"')
        blob = "rows"
        for number in range(len(self.steps) - 1, -1, -1):
            step = self.steps[number]
            top = f"{step.name}_rows"
            if step.kernel:
                stride = f"stride: {step.stride} " if step.stride > 1 else ""
                pad = f"pad: {step.pad} " if step.pad else ""
                self._add(
                    f'name: "{top}" type: "Deconvolution" bottom: "{blob}" top: "{top}" '
                    f"convolution_param {{ num_output: {step.below[0]} bias_term: false "
                    f"kernel_size: {step.kernel} {stride}{pad}axis: 2 }}",
                    share=step,
                    bias=False,
                )
            else:
                inputs = step.weights_shape[1]
                self._add(
                    f'name: "{top}" type: "InnerProduct" bottom: "{blob}" top: "{top}" '
                    f"inner_product_param {{ num_output: {inputs} bias_term: false axis: 2 "
                    "transpose: true }",
                    share=step,
                    bias=False,
                )
                if number and len(step.below) > 1:
                    dims = " ".join(f"dim: {dim}" for dim in (0, 0, *step.below))
                    self._add(
                        f'name: "{top}_reshape" type: "Reshape" bottom: "{top}" '
                        f'top: "{top}_reshape" reshape_param {{ shape {{ {dims} }} }}'
                    )
                    top += "_reshape"
            blob = top
            if number:
                relu = self.steps[number - 1].relu.name
                self._add(
                    f'name: "{relu}_rows" type: "Scale" bottom: "{blob}" bottom: "{relu}_slope" '
                    f'top: "{relu}_rows" scale_param {{ axis: 1 }}'
                )
                blob = f"{relu}_rows"

    def _add_spread(self, tops: str) -> None:
        bottoms = [f"{self.steps[0].name}_rows"]
        for step in self.steps[:-1]:
            bottoms += [f"{step.relu.name}_rows", f"{step.relu.name}_height"]
        self._add(
            'name: "spread" type: "RowSpread" '
            + " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
            + f" {tops} caffe_ext_param {{ row_spread {{ epsilon: {self.epsilon} }} }}"
        )


def _format_setting(step: LinearStep) -> str:
    """Return convolution_param or inner_product_param of a layer that shares a step's weights."""
    setting = type(step.setting)()
    setting.CopyFrom(step.setting)
    setting.ClearField("weight_filler")
    setting.ClearField("bias_filler")
    return f"{'convolution_param' if step.kernel else 'inner_product_param'} {{ {setting} }}"
