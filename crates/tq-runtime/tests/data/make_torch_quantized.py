#!/usr/bin/env python3
"""Makes torch_quantized.zip: small models as PyTorch 2.5.1 exports quantized modules, with PyTorch's outputs.

    python -m venv venv && venv/bin/pip install torch==2.5.1 numpy onnx==1.23.2
    venv/bin/python make_torch_quantized.py torch_quantized.zip

In the archive: `<case>/model.onnx`, `<case>/input_0.pb`, `<case>/output_0.pb` (TensorProto messages). `static`: quantized
modules after calibration, for FBGEMM (weights per channel) and QNNPACK (per tensor); `qat`: modules with fake
quantization, whose float weights stand in front of Quantize nodes.
"""

import io
import sys
import warnings
import zipfile

import torch
import torch.ao.quantization as quantization
from onnx import numpy_helper
from torch import nn

warnings.simplefilter("ignore")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.first, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pool, self.linear = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 4)
        self.sum = nn.quantized.FloatFunctional()

    def forward(self, x):
        x = self.relu(self.first(self.quant(x)))
        x = self.pool(self.sum.add(x, self.second(x))).flatten(1)
        return self.dequant(self.linear(x))


def data():
    return torch.randn(4, 3, 8, 7)


def static(engine):
    torch.backends.quantized.engine = engine
    net = Net().eval()
    net.qconfig = quantization.get_default_qconfig(engine)
    net = quantization.fuse_modules(net, [["first", "relu"]])
    quantization.prepare(net, inplace=True)
    for _ in range(4):
        net(data())
    return quantization.convert(net)


def trained():
    torch.backends.quantized.engine = "fbgemm"
    net = Net().train()
    activation = quantization.FakeQuantize.with_args(
        observer=quantization.MinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8
    )
    weight = quantization.FakeQuantize.with_args(
        observer=quantization.PerChannelMinMaxObserver, quant_min=-128, quant_max=127, dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric,
    )
    net.qconfig = quantization.QConfig(activation=activation, weight=weight)
    net = quantization.fuse_modules_qat(net, [["first", "relu"]])
    quantization.prepare_qat(net, inplace=True)
    net(data())
    net.eval()
    net.apply(quantization.disable_observer)
    return net


def main(target):
    torch.manual_seed(3)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        def add(name, content):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)

        for name, make in (("static_fbgemm", lambda: static("fbgemm")), ("static_qnnpack", lambda: static("qnnpack")), ("qat", trained)):
            net, x = make(), data()
            file = io.BytesIO()
            torch.onnx.export(net, x, file, opset_version=13, input_names=["x"], output_names=["y"])
            add(f"{name}/model.onnx", file.getvalue())
            add(f"{name}/input_0.pb", numpy_helper.from_array(x.numpy()).SerializeToString())
            add(f"{name}/output_0.pb", numpy_helper.from_array(net(x).detach().numpy()).SerializeToString())
            print(name)


if __name__ == "__main__":
    main(sys.argv[1])
