"""Adapters of any Model for the attack libraries of other frameworks.

torch   a torch.nn.Module, for Foolbox, torchattacks, AutoAttack and other attacks on PyTorch models
art     an estimator of the Adversarial Robustness Toolbox

Each module needs its own optional extra: `pip install caffe_ext[torch]`, `[art]`.
"""
