"""Write the networks of this folder: deploy prototxts, from the tables of the papers, and
GoogLeNet's for training.

    python prototxt/zoo/write_networks.py

Each network is a few lines here and a file there, one layer a line. Layers are named as in the
prototxts that the authors of the weights have published, so that Caffe finds the weights by name;
fillers are there for random weights. The description of the input is the YAML file beside it.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
FILLER = 'weight_filler { type: "msra" }'
CLASSES = 1000


class Network:
    """A deploy prototxt that grows by a layer at a time; each method returns the layer's top."""

    multipliers = ""  # of the learning rate and the decay, in layers with weights

    def __init__(self, name: str, about: str, side: int) -> None:
        """Begin with the input: a batch of colour images of side x side pixels."""
        self._lines = [f"# {line}" for line in about.splitlines()]
        self._lines += [f'name: "{name}"']
        self._add_input(side)

    def _add_input(self, side: int) -> None:
        """Add where the images come from."""
        self._add(
            "data", "Input", f"input_param {{ shape {{ dim: 1 dim: 3 {2 * f'dim: {side} '}}} }}"
        )

    @property
    def text(self) -> str:
        """Return the prototxt."""
        return "\n".join(self._lines) + "\n"

    def _add(
        self, name: str, kind: str, settings: str, bottoms: Sequence[str] = (), top: str = ""
    ) -> str:
        parts = [f'name: "{name}"', f'type: "{kind}"']
        parts += [f'bottom: "{bottom}"' for bottom in bottoms]
        parts += [f'top: "{top or name}"', *([settings] if settings else [])]
        self._lines.append(f"layer {{ {' '.join(parts)} }}")
        return top or name

    def convolve(  # noqa: PLR0913
        self,
        bottom: str,
        name: str,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: int = 0,
        group: int = 1,
        bias: bool = True,
    ) -> str:
        """Add a convolution of kernel x kernel."""
        settings = [f"num_output: {outputs}", f"kernel_size: {kernel}"]
        optional = {"stride": (stride, 1), "pad": (pad, 0), "group": (group, 1)}
        settings += [
            f"{key}: {value}" for key, (value, usual) in optional.items() if value != usual
        ]
        settings += [] if bias else ["bias_term: false"]
        text = f"convolution_param {{ {' '.join(settings)} {self._fill()} }}"
        return self._add(name, "Convolution", self.multipliers + text, [bottom])

    def connect(self, bottom: str, name: str, outputs: int) -> str:
        """Add a fully connected layer."""
        filler = self._fill(classifies=outputs == CLASSES)
        text = f"inner_product_param {{ num_output: {outputs} {filler} }}"
        return self._add(name, "InnerProduct", self.multipliers + text, [bottom])

    def _fill(self, *, classifies: bool = False) -> str:
        """Return the fillers of a layer with weights."""
        return FILLER

    def rectify(self, blob: str, name: str) -> str:
        """Add a ReLU, in place."""
        return self._add(name, "ReLU", "", [blob], blob)

    def drop(self, blob: str, name: str, ratio: float) -> str:
        """Add a Dropout, in place."""
        return self._add(
            name, "Dropout", f"dropout_param {{ dropout_ratio: {ratio} }}", [blob], blob
        )

    def pool(  # noqa: PLR0913
        self, bottom: str, name: str, method: str, kernel: int, stride: int, *, pad: int = 0
    ) -> str:
        """Add a pooling layer: MAX or AVE."""
        settings = f"pool: {method} kernel_size: {kernel}"
        settings += f" stride: {stride}" if stride != 1 else ""
        settings += f" pad: {pad}" if pad else ""
        return self._add(name, "Pooling", f"pooling_param {{ {settings} }}", [bottom])

    def pool_globally(self, bottom: str, name: str) -> str:
        """Add the average over the whole image."""
        text = "pooling_param { pool: AVE global_pooling: true }"
        return self._add(name, "Pooling", text, [bottom])

    def normalize_response(self, bottom: str, name: str) -> str:
        """Add AlexNet's local response normalisation."""
        text = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
        return self._add(name, "LRN", text, [bottom])

    def normalize_batch(self, bottom: str, name: str, scale: str, *, top: str, eps: float) -> str:
        """Add BatchNorm with the statistics of the training, and a Scale in place."""
        text = f"use_global_stats: true{'' if eps == 1e-5 else f' eps: {eps:g}'}"
        self._add(name, "BatchNorm", f"batch_norm_param {{ {text} }}", [bottom], top)
        return self._add(scale, "Scale", "scale_param { bias_term: true }", [top], top)

    def concatenate(self, bottoms: Sequence[str], name: str) -> str:
        """Add the channels of some blobs, one after another."""
        return self._add(name, "Concat", "", bottoms)

    def sum(self, bottoms: Sequence[str], name: str) -> str:
        """Add the sum of some blobs."""
        return self._add(name, "Eltwise", "", bottoms)

    def assist(self, blob: str, name: str) -> None:
        """Add a classifier that only helps to train."""

    def finish(self, bottom: str) -> "Network":
        """Add the softmax."""
        self._add("prob", "Softmax", "", [bottom])
        return self


class TrainingNetwork(Network):
    """A prototxt for training and tests with LMDBs, as BVLC trained GoogLeNet."""

    multipliers = "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 } "

    def _add_input(self, side: int) -> None:
        """Add the two Data layers; training images have the crop's size, as they are mixed."""
        mean = "mean_value: 104 mean_value: 117 mean_value: 123"
        for phase, transform, source, batch in (
            ("TRAIN", "mirror: true", "data/imagenet_hardpositives/train_lmdb", 80),
            ("TEST", f"crop_size: {side}", "data/ilsvrc12_val_lmdb", 50),
        ):
            self._lines.append(
                f'layer {{ name: "data" type: "Data" top: "data" top: "label" '
                f"include {{ phase: {phase} }} transform_param {{ {transform} {mean} }} "
                f'data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}'
            )

    def _fill(self, *, classifies: bool = False) -> str:
        bias = f'type: "constant" value: {0 if classifies else 0.2}'
        return f'weight_filler {{ type: "xavier" }} bias_filler {{ {bias} }}'

    def assist(self, blob: str, name: str) -> None:
        """Add one of GoogLeNet's two classifiers at inner layers."""
        blob = self.pool(blob, f"{name}/ave_pool", "AVE", 5, 3)
        blob = self.rectify(self.convolve(blob, f"{name}/conv", 128, 1), f"{name}/relu_conv")
        blob = self.rectify(self.connect(blob, f"{name}/fc", 1024), f"{name}/relu_fc")
        self.drop(blob, f"{name}/drop_fc", 0.7)
        scores = self.connect(blob, f"{name}/classifier", CLASSES)
        self._lose(scores, name, f"{name}/loss", f"{name}/{name}", 0.3)

    def finish(self, bottom: str) -> "Network":
        """Add the loss, and the shares of images whose label is first and among the first five."""
        self._lose(bottom, "loss3", "loss3/loss3", "loss3/loss3", 1)
        return self

    def _lose(self, scores: str, prefix: str, name: str, top: str, weight: float) -> None:
        bottoms, test = [scores, "label"], "include { phase: TEST }"
        self._add(name, "SoftmaxWithLoss", f"loss_weight: {weight}", bottoms, top)
        self._add(f"{prefix}/top-1", "Accuracy", test, bottoms)
        self._add(f"{prefix}/top-5", "Accuracy", f"{test} accuracy_param {{ top_k: 5 }}", bottoms)


def make_alexnet(*, caffenet: bool = False) -> Network:
    """AlexNet with its two groups; CaffeNet pools before it normalises."""
    about = (
        "CaffeNet: AlexNet with pooling before the normalisation; Jia and others, 2014."
        if caffenet
        else "AlexNet: Krizhevsky, Sutskever and Hinton, 2012, in one column with groups."
    )
    net = Network("CaffeNet" if caffenet else "AlexNet", about, 227)

    def shrink(blob: str, number: int) -> str:
        if caffenet:
            return net.normalize_response(
                net.pool(blob, f"pool{number}", "MAX", 3, 2), f"norm{number}"
            )
        return net.pool(net.normalize_response(blob, f"norm{number}"), f"pool{number}", "MAX", 3, 2)

    blob = shrink(net.rectify(net.convolve("data", "conv1", 96, 11, stride=4), "relu1"), 1)
    blob = shrink(net.rectify(net.convolve(blob, "conv2", 256, 5, pad=2, group=2), "relu2"), 2)
    for number, outputs, group in ((3, 384, 1), (4, 384, 2), (5, 256, 2)):
        blob = net.convolve(blob, f"conv{number}", outputs, 3, pad=1, group=group)
        net.rectify(blob, f"relu{number}")
    blob = net.pool(blob, "pool5", "MAX", 3, 2)
    return _classify_by_three(net, blob)


def _classify_by_three(net: Network, blob: str) -> Network:
    """Add the three fully connected layers of AlexNet and VGG."""
    for number in (6, 7):
        blob = net.rectify(net.connect(blob, f"fc{number}", 4096), f"relu{number}")
        net.drop(blob, f"drop{number}", 0.5)
    return net.finish(net.connect(blob, "fc8", CLASSES))


def make_vgg(layers: int) -> Network:
    """VGG with 16 or 19 layers: configurations D and E of Table 1."""
    deep = {16: 3, 19: 4}[layers]
    about = f"VGG-{layers}: Simonyan and Zisserman, 2015, Table 1, {'DE'[layers == 19]}."
    net, blob = Network(f"VGG-{layers}", about, 224), "data"
    for block, (outputs, count) in enumerate(
        ((64, 2), (128, 2), (256, deep), (512, deep), (512, deep)), 1
    ):
        for number in range(1, count + 1):
            blob = net.convolve(blob, f"conv{block}_{number}", outputs, 3, pad=1)
            net.rectify(blob, f"relu{block}_{number}")
        blob = net.pool(blob, f"pool{block}", "MAX", 2, 2)
    return _classify_by_three(net, blob)


# Table 1 of GoogLeNet's paper: outputs of 1x1, of 3x3 (reduced to, of), of 5x5, behind the pooling.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def make_googlenet(kind: type[Network] = Network, about: str = "") -> Network:
    """GoogLeNet; only to train does it have the classifiers at inner layers."""
    net = kind("GoogLeNet", f"GoogLeNet: Szegedy and others, 2015, Table 1.{about}", 224)

    def convolve(bottom: str, prefix: str, name: str, outputs: int, kernel: int) -> str:
        stride, pad = (2 if kernel == 7 else 1), kernel // 2
        blob = net.convolve(bottom, f"{prefix}/{name}", outputs, kernel, stride=stride, pad=pad)
        return net.rectify(blob, f"{prefix}/relu_{name.removesuffix('_s2')}")

    blob = net.pool(convolve("data", "conv1", "7x7_s2", 64, 7), "pool1/3x3_s2", "MAX", 3, 2)
    blob = net.normalize_response(blob, "pool1/norm1")
    blob = convolve(convolve(blob, "conv2", "3x3_reduce", 64, 1), "conv2", "3x3", 192, 3)
    blob = net.pool(net.normalize_response(blob, "conv2/norm2"), "pool2/3x3_s2", "MAX", 3, 2)
    for name, (ones, reduce3, threes, reduce5, fives, behind) in INCEPTIONS.items():
        prefix = f"inception_{name}"
        branches = [convolve(blob, prefix, "1x1", ones, 1)]
        reduced = convolve(blob, prefix, "3x3_reduce", reduce3, 1)
        branches.append(convolve(reduced, prefix, "3x3", threes, 3))
        reduced = convolve(blob, prefix, "5x5_reduce", reduce5, 1)
        branches.append(convolve(reduced, prefix, "5x5", fives, 5))
        pooled = net.pool(blob, f"{prefix}/pool", "MAX", 3, 1, pad=1)
        branches.append(convolve(pooled, prefix, "pool_proj", behind, 1))
        blob = net.concatenate(branches, f"{prefix}/output")
        if name in {"3b", "4e"}:
            blob = net.pool(blob, f"pool{name[0]}/3x3_s2", "MAX", 3, 2)
        if name in {"4a", "4d"}:
            net.assist(blob, f"loss{1 if name == '4a' else 2}")
    blob = net.pool(blob, "pool5/7x7_s1", "AVE", 7, 1)
    net.drop(blob, "pool5/drop_7x7_s1", 0.4)
    return net.finish(net.connect(blob, "loss3/classifier", CLASSES))


def make_squeezenet() -> Network:
    """SqueezeNet 1.1: fire modules of squeezed and expanded channels."""
    about = "SqueezeNet 1.1: Iandola and others, 2016; version 1.1 is its authors' own."
    net = Network("SqueezeNet_v1.1", about, 227)
    blob = net.rectify(net.convolve("data", "conv1", 64, 3, stride=2), "relu_conv1")
    blob = net.pool(blob, "pool1", "MAX", 3, 2)
    sizes = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
    for number, (squeezed, expanded) in enumerate(sizes, 2):

        def convolve(bottom: str, name: str, outputs: int, fire: str = f"fire{number}") -> str:
            kernel = int(name[-1])
            blob = net.convolve(bottom, f"{fire}/{name}", outputs, kernel, pad=kernel // 2)
            return net.rectify(blob, f"{fire}/relu_{name}")

        thin = convolve(blob, "squeeze1x1", squeezed)
        wide = [convolve(thin, name, expanded) for name in ("expand1x1", "expand3x3")]
        blob = net.concatenate(wide, f"fire{number}/concat")
        if number in {3, 5}:
            blob = net.pool(blob, f"pool{number}", "MAX", 3, 2)
    net.drop(blob, "drop9", 0.5)
    blob = net.rectify(net.convolve(blob, "conv10", CLASSES, 1), "relu_conv10")
    return net.finish(net.pool_globally(blob, "pool10"))


def make_resnet(layers: int) -> Network:
    """ResNet of bottleneck blocks with 50, 101 or 152 layers: Table 1 of the paper."""
    counts = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[layers]
    about = f"ResNet-{layers}: He, Zhang, Ren and Sun, 2016, Table 1."
    net = Network(f"ResNet-{layers}", about, 224)

    def convolve(bottom: str, name: str, outputs: int, stride: int = 1) -> str:
        kernel = 3 if name.endswith("2b") else 1
        blob = net.convolve(
            bottom, name, outputs, kernel, stride=stride, pad=kernel // 2, bias=False
        )
        short = name.removeprefix("res")
        return net.normalize_batch(blob, f"bn{short}", f"scale{short}", top=blob, eps=1e-5)

    # The published weights of ResNet-50 have a bias here.
    blob = net.convolve("data", "conv1", 64, 7, stride=2, pad=3, bias=layers == 50)
    net.normalize_batch(blob, "bn_conv1", "scale_conv1", top=blob, eps=1e-5)
    blob = net.pool(net.rectify(blob, "conv1_relu"), "pool1", "MAX", 3, 2)
    for stage, count in enumerate(counts, 2):
        width = 64 * 2 ** (stage - 2)
        for block in _name_blocks(stage, count, by_number=layers != 50 and stage in {3, 4}):
            first = block == f"res{stage}a"
            stride = 2 if first and stage > 2 else 1
            branch = f"{block}_branch"
            skipped = convolve(blob, f"{branch}1", 4 * width, stride) if first else blob
            inner = net.rectify(convolve(blob, f"{branch}2a", width, stride), f"{branch}2a_relu")
            inner = net.rectify(convolve(inner, f"{branch}2b", width), f"{branch}2b_relu")
            blob = net.sum([skipped, convolve(inner, f"{branch}2c", 4 * width)], block)
            net.rectify(blob, f"{block}_relu")
    return net.finish(net.connect(net.pool(blob, "pool5", "AVE", 7, 1), "fc1000", CLASSES))


def _name_blocks(stage: int, count: int, *, by_number: bool) -> Iterator[str]:
    """Yield res3a, res3b, res3c, ...; by number res3a, res3b1, res3b2, ..."""
    for number in range(count):
        rest = f"b{number}" if by_number and number else chr(ord("a") + number)
        yield f"res{stage}{rest}"


def make_mobilenet() -> Network:
    """MobileNet: depthwise convolutions of 3x3, and of 1x1 between the channels."""
    net = Network("MobileNet", "MobileNet: Howard and others, 2017, Table 1, width 1.", 224)
    blob = _normalize(net, net.convolve("data", "conv1", 32, 3, stride=2, pad=1, bias=False))
    net.rectify(blob, "relu1")
    inputs = 32
    table = {"2_1": 64, "2_2": 128, "3_1": 128, "3_2": 256, "4_1": 256, "4_2": 512}
    table |= {f"5_{number}": 512 for number in range(1, 6)} | {"5_6": 1024, "6": 1024}
    for number, outputs in table.items():
        stride = 2 if number in {"2_2", "3_2", "4_2", "5_6"} else 1
        name = f"conv{number}/dw"
        blob = net.convolve(blob, name, inputs, 3, stride=stride, pad=1, group=inputs, bias=False)
        blob = net.rectify(_normalize(net, blob), f"relu{number}/dw")
        blob = net.convolve(blob, f"conv{number}/sep", outputs, 1, bias=False)
        blob = net.rectify(_normalize(net, blob), f"relu{number}/sep")
        inputs = outputs
    return net.finish(net.convolve(net.pool_globally(blob, "pool6"), "fc7", CLASSES, 1))


def make_mobilenet_v2() -> Network:
    """MobileNet v2: inverted residuals, with bottlenecks that are not rectified."""
    net = Network("MobileNet_v2", "MobileNet v2: Sandler and others, 2018, Table 2, width 1.", 224)
    blob = _normalize(net, net.convolve("data", "conv1", 32, 3, stride=2, pad=1, bias=False))
    net.rectify(blob, "relu1")
    inputs, strided = 32, {"2_2", "3_2", "4_3", "5_3"}
    table = {"2_1": 16, "2_2": 24, "3_1": 24, "3_2": 32, "4_1": 32, "4_2": 32}
    table |= {f"4_{number}": 64 for number in range(3, 7)} | {"4_7": 96, "5_1": 96, "5_2": 96}
    table |= {"5_3": 160, "6_1": 160, "6_2": 160, "6_3": 320}
    for number, outputs in table.items():
        wide = inputs if number == "2_1" else 6 * inputs
        inner = net.convolve(blob, f"conv{number}/expand", wide, 1, bias=False)
        inner = net.rectify(_normalize(net, inner), f"relu{number}/expand")
        stride = 2 if number in strided else 1
        name = f"conv{number}/dwise"
        inner = net.convolve(inner, name, wide, 3, stride=stride, pad=1, group=wide, bias=False)
        inner = net.rectify(_normalize(net, inner), f"relu{number}/dwise")
        inner = _normalize(net, net.convolve(inner, f"conv{number}/linear", outputs, 1, bias=False))
        same = outputs == inputs and stride == 1
        blob = net.sum([blob, inner], f"block_{number}") if same else inner
        inputs = outputs
    blob = _normalize(net, net.convolve(blob, "conv6_4", 1280, 1, bias=False))
    blob = net.pool_globally(net.rectify(blob, "relu6_4"), "pool6")
    return net.finish(net.convolve(blob, "fc7", CLASSES, 1))


def _normalize(net: Network, blob: str) -> str:
    """Add MobileNet's BatchNorm and Scale."""
    return net.normalize_batch(blob, f"{blob}/bn", f"{blob}/scale", top=blob, eps=1e-5)


NETWORKS: dict[str, Callable[[], Network]] = {
    "alexnet": make_alexnet,
    "caffenet": lambda: make_alexnet(caffenet=True),
    "googlenet": make_googlenet,
    "mobilenet": make_mobilenet,
    "mobilenet_v2": make_mobilenet_v2,
    "resnet50": lambda: make_resnet(50),
    "resnet101": lambda: make_resnet(101),
    "resnet152": lambda: make_resnet(152),
    "squeezenet_v1.1": make_squeezenet,
    "vgg16": lambda: make_vgg(16),
    "vgg19": lambda: make_vgg(19),
}


GOOGLENET_FINETUNED = """ Fine-tuning with hard positives:
docs/hard-positives.md. `caffe-ext hardpositives --crop 224x224` writes the training images; the
validation images, of 256 x 256 pixels, are those of Caffe's examples/imagenet."""


def main() -> None:
    """Write all of them."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for name, network in NETWORKS.items():
        (FOLDER / f"{name}_deploy.prototxt").write_text(network().text)
    trained = make_googlenet(TrainingNetwork, GOOGLENET_FINETUNED)
    (FOLDER / "googlenet_finetune_train_test.prototxt").write_text(trained.text)


if __name__ == "__main__":
    main()
