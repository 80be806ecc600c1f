"""Any Model as what the attack libraries of other frameworks take.

torch   a torch.nn.Module, for Foolbox, torchattacks, AutoAttack and whatever attacks PyTorch models
art     an estimator of the Adversarial Robustness Toolbox

Each module needs its own optional extra: `pip install caffe_ext[torch]`, `[art]`.
"""
