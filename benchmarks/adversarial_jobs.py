"""What bench_adversarial.py times: iterations of adversarial training, in Caffe and in PyTorch.

PGD of 10 steps in the maximum norm, without a random start; half of the loss is that of the clean
images. In both, the attack works on the network as it is deployed and computes no weight gradients.
"""

# The packages, which load Caffe and PyTorch, are imported late: only the child needs them.
# ruff: noqa: PLC0415

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from engine_jobs import Network, count_operations, draw_batch, make_solver
from job_timing import Job
from torch_jobs import (
    Wrap,
    make_torch_network,
    make_torch_optimizer,
    make_torch_training,
    set_torch_modes,
)

STEPS = 10
EPSILON, STEP = 0.8, 0.2
# The images are Gaussian numbers; a grey level is 0.1 of them.
ADVERSARIAL = f"""
adversarial_param {{
  alpha: 0.5
  attack {{ type: PGD_LINF epsilon: 8 step_size: 2 steps: {STEPS} random_start: false clip: false }}
  transform_param {{ scale: 0.1 mean_value: 127.5 }}
}}
"""


def count_adversarial_operations(net: Any) -> float:
    """Return the operations that an iteration must have: clean, attacked, and the attack itself."""
    forward, iteration = count_operations(net)
    return 2 * iteration + STEPS * 2 * forward


def make_caffe_jobs(network: Network, ready: Callable[[], object]) -> Iterator[Job]:
    """Yield plain and adversarial training, with the engine."""
    from caffe_ext.runtime import engine

    with engine.switch(on=True), tempfile.TemporaryDirectory() as folder:
        plain = make_solver(network, "SGD", Path(folder))
        robust = make_solver(network, "Adversarial", Path(folder), ADVERSARIAL)
    yield Job("plain", "caffe_ext", partial(plain.step, 1), ready, count_operations(plain.net)[1])
    flop = count_adversarial_operations(robust.net)
    yield Job("adversarial", "caffe_ext", partial(robust.step, 1), ready, flop)


def make_torch_jobs(network: Network, threads: int) -> Iterator[Job]:
    """Yield PyTorch's plain and adversarial training in all its modes."""
    for title, layout, wrap in set_torch_modes(threads):
        yield Job("plain", title, make_torch_training(network, layout, wrap))
        yield Job("adversarial", title, make_torch_iteration(network, layout, wrap))


def make_torch_iteration(network: Network, layout: Any, wrap: Wrap) -> Callable[[], None]:
    """Return an iteration of PyTorch's adversarial training."""
    import torch

    torch.manual_seed(1)
    model = make_torch_network(network).to(memory_format=layout)
    parameters = list(model.parameters())
    optimizer = make_torch_optimizer(parameters)
    images, labels = map(torch.from_numpy, draw_batch(network, network.batch))
    images = images.to(memory_format=layout)
    loss = wrap(lambda x, y: torch.nn.functional.cross_entropy(model(x), y))

    def attack() -> Any:
        model.eval()
        for parameter in parameters:  # no weight gradients, in compiled code neither
            parameter.requires_grad_(False)
        attacked = images.clone()
        for _ in range(STEPS):
            attacked.requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(attacked, labels), attacked)
            with torch.no_grad():
                attacked = attacked.detach() + STEP * gradient.sign()
                attacked = torch.clamp(attacked, images - EPSILON, images + EPSILON)
        for parameter in parameters:
            parameter.requires_grad_(True)
        model.train()
        return attacked

    def step() -> None:
        attacked = attack()
        optimizer.zero_grad(set_to_none=True)
        (0.5 * loss(images, labels) + 0.5 * loss(attacked, labels)).backward()
        optimizer.step()

    return step
