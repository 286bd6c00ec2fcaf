"""Makes conv_bn.json: PyTorch's convolution with batch normalization in quantization-aware training.

    python make_conv_bn.py > conv_bn.json        (PyTorch 2.5.1)
"""

import json

import torch
from torch.ao.nn.intrinsic.qat import ConvBn2d
from torch.ao.quantization import FakeQuantize, MovingAveragePerChannelMinMaxObserver, QConfig

# An averaging constant of 1 forgets what was before: weights are observed as they are.
weight = FakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver,
    averaging_constant=1.0,
    quant_min=-127,
    quant_max=127,
    dtype=torch.qint8,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
)
qconfig = QConfig(activation=torch.nn.Identity, weight=weight)


def flat(t):
    return [float(v) for v in t.detach().flatten()]


def case(seed, channels, filters, groups, bias):
    torch.manual_seed(seed)
    m = ConvBn2d(channels, filters, 3, padding=1, groups=groups, bias=bias, qconfig=qconfig)
    with torch.no_grad():
        m.bn.weight.copy_(torch.rand(filters) + 0.5)
        m.bn.bias.copy_(torch.randn(filters))
        m.bn.running_mean.copy_(torch.randn(filters) * 0.3)
        m.bn.running_var.copy_(torch.rand(filters) + 0.3)
    out = {"groups": groups, "epsilon": m.bn.eps, "w_shape": list(m.weight.shape), "w": flat(m.weight)}
    out |= {"bias": flat(m.bias) if bias else None, "scale": flat(m.bn.weight), "offset": flat(m.bn.bias)}
    out |= {"mean": flat(m.bn.running_mean), "variance": flat(m.bn.running_var), "steps": []}
    for frozen in [False, False, True]:
        if frozen:
            m.freeze_bn_stats()
        x, g = torch.randn(3, channels, 4, 4), torch.randn(3, filters, 4, 4)
        m.zero_grad()
        y = m(x)
        y.backward(g)
        step = {"frozen": frozen, "x": flat(x), "g": flat(g), "y": flat(y), "dw": flat(m.weight.grad)}
        step |= {"dbias": flat(m.bias.grad) if bias else None}
        step |= {"dscale": flat(m.bn.weight.grad), "doffset": flat(m.bn.bias.grad)}
        step |= {"mean": flat(m.bn.running_mean), "variance": flat(m.bn.running_var)}
        out["steps"].append(step)
    return out


print(json.dumps({"torch": torch.__version__, "cases": [case(1, 2, 3, 1, False), case(2, 3, 3, 3, True)]}))
