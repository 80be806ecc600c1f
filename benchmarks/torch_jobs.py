"""The networks of engine_jobs.py in PyTorch, and the jobs that run them. No Caffe is needed."""

# PyTorch is imported late: only the processes that time it need it.
# ruff: noqa: PLC0415

from collections.abc import Callable, Iterator
from typing import Any

from engine_jobs import (
    FORWARD_BATCH,
    LENET,
    SETTINGS,
    Network,
    draw_batch,
    generate_weights,
)
from job_timing import Job

Wrap = Callable[[Any], Any]


def find_torch_version() -> str | None:
    """Return PyTorch's version, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return str(torch.__version__)


def make_torch_network(network: Network) -> Any:
    """Return the network in PyTorch; its scores, without the softmax."""
    from torch import nn

    if network is LENET:
        return nn.Sequential(
            nn.Conv2d(1, 20, 5),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(800, 500),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(500, 10),
        )
    return nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(1024, 64),
        nn.Linear(64, 10),
    )


def build_network(network: Network) -> Any:
    """Return the network in PyTorch as it is deployed, with known weights."""
    import torch

    model = make_torch_network(network).eval()
    parameters = list(model.parameters())
    known = generate_weights(tuple(one.shape) for one in parameters)
    for parameter, values in zip(parameters, known, strict=True):
        parameter.data[...] = torch.from_numpy(values)
    return model


def compute_torch_scores(network: Network, device: str = "cpu") -> Any:
    """Return PyTorch's scores before the softmax, with known weights."""
    import torch

    model = build_network(network)
    images = torch.from_numpy(draw_batch(network, FORWARD_BATCH)[0]).to(device)
    with torch.inference_mode():
        return model.to(device)(images).cpu().numpy()


def set_torch_modes(threads: int, compiled: bool = True) -> Iterator[tuple[str, Any, Wrap]]:
    """Set the threads; yield title, layout and compiler of PyTorch's ways to run a network.

    Eager, in the layout that it likes better, compiled, and both.

    compiled  whether torch.compile is among them
    """
    import torch

    torch.set_num_threads(threads)
    for title, last, compiles in (
        ("PyTorch eager", False, False),
        ("PyTorch channels_last", True, False),
        ("PyTorch compile", False, True),
        ("PyTorch compile channels_last", True, True),
    ):
        if compiles and not compiled:
            continue
        layout = torch.channels_last if last else torch.contiguous_format
        yield title, layout, torch.compile if compiles else lambda function: function


def make_torch_jobs(network: Network, threads: int) -> Iterator[Job]:
    """Yield the jobs of PyTorch in all its modes."""
    for title, layout, wrap in set_torch_modes(threads):
        yield Job("SGD", title, make_torch_training(network, layout, wrap))
        yield Job("forward", title, make_torch_forward(network, layout, wrap))


def make_torch_optimizer(parameters: Any) -> Any:
    """Return what Caffe's SGD is in PyTorch."""
    import torch

    return torch.optim.SGD(
        parameters,
        lr=SETTINGS["base_lr"],
        momentum=SETTINGS["momentum"],
        weight_decay=SETTINGS["weight_decay"],
        fused=True,
    )


def make_torch_training(
    network: Network, layout: Any, wrap: Wrap, device: str = "cpu"
) -> Callable[[], None]:
    """Return a training iteration of PyTorch's."""
    import torch

    torch.manual_seed(1)
    model = make_torch_network(network).to(device, memory_format=layout)
    optimizer = make_torch_optimizer(model.parameters())
    images, labels = map(torch.from_numpy, draw_batch(network, network.batch))
    images, labels = images.to(device, memory_format=layout), labels.to(device)
    loss = wrap(lambda x, y: torch.nn.functional.cross_entropy(model(x), y))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(images, labels).backward()
        optimizer.step()

    return step


def make_torch_forward(
    network: Network, layout: Any, wrap: Wrap, device: str = "cpu"
) -> Callable[[], object]:
    """Return a forward pass of PyTorch's, of FORWARD_BATCH images."""
    import torch

    images = torch.from_numpy(draw_batch(network, FORWARD_BATCH)[0])
    images = images.to(device, memory_format=layout)
    scores = wrap(make_torch_network(network).to(device, memory_format=layout).eval())

    def forward() -> object:
        with torch.inference_mode():
            return torch.softmax(scores(images), 1)

    return forward


def make_torch_gpu_jobs(network: Network) -> Iterator[Job]:
    """Yield PyTorch's jobs on the current GPU: eager, and as CUDA graphs.

    In float32 throughout, as Caffe computes; and with TensorFloat-32 in all products, which keeps
    10 bits of each factor.
    """
    import torch

    torch.backends.cudnn.benchmark = True
    layout = torch.contiguous_format
    for title, short, graphs in (
        ("PyTorch eager", False, False),
        ("PyTorch graphs", False, True),
        ("PyTorch graphs, TF32", True, True),
    ):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = short
        makers = {"SGD": make_torch_training, "forward": make_torch_forward}
        for task, make in makers.items():
            job = make(network, layout, lambda function: function, "cuda")
            yield Job(task, title, capture_graph(job) if graphs else job)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def capture_graph(job: Callable[[], object]) -> Callable[[], object]:
    """Return a job as one CUDA graph, after a few runs that settle what it allocates."""
    import torch

    cuda: Any = torch.cuda  # in parts without types
    aside = cuda.Stream()
    aside.wait_stream(cuda.current_stream())
    with cuda.stream(aside):
        for _ in range(5):
            job()
    cuda.current_stream().wait_stream(aside)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        result = job()

    def replay() -> object:
        graph.replay()
        return result  # it lives as long as this function

    return replay
