"""Parameters of jaxml's layers in PyTorch's."""

import numpy as np


def _tensor(array):
    import torch  # noqa: PLC0415

    return torch.tensor(np.asarray(array))


def copy_dense(module, own):
    """A dense layer's."""
    module.weight.copy_(_tensor(np.asarray(own["kernel"]).T))
    module.bias.copy_(_tensor(own["bias"]))


def copy_norm(module, own):
    """A layer norm's."""
    module.weight.copy_(_tensor(own["scale"]))
    module.bias.copy_(_tensor(own["bias"]))


def copy_heads(module, own):
    """Those of attention with several heads."""
    heads = [own[name] for name in ("query", "key", "value")]
    module.in_proj_weight.copy_(
        _tensor(np.concatenate([np.asarray(head["kernel"]).T for head in heads]))
    )
    module.in_proj_bias.copy_(_tensor(np.concatenate([head["bias"] for head in heads])))
    copy_dense(module.out_proj, own["output"])
