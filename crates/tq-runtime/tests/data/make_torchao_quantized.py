#!/usr/bin/env python3
"""Makes torchao_quantized.zip: small models that torchao 0.18.0 quantized and PyTorch 2.15.0 exported, with PyTorch's outputs.

    python -m venv venv && venv/bin/pip install torch==2.15.0 torchao==0.18.0 onnx==1.23.2 onnxscript==0.7.2
    venv/bin/python make_torchao_quantized.py torchao_quantized.zip

In the archive: `<case>/model.onnx`, `<case>/input_0.pb`, `<case>/output_0.pb` (TensorProto messages). `pt2e_x86` and
`pt2e_arm`: graphs with observers that torchao converted after calibration, as its quantizers for x86 and ARM place them;
`pt2e_trained`: with fake quantization of training; `weight_only`: `quantize_` of linear layers, whose codes PyTorch's exporter
folds into floats behind a product with the scale.
"""

import os
import sys
import tempfile
import warnings
import zipfile

import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torchao.quantization import Int8WeightOnlyConfig, quantize_
from torchao.quantization.pt2e import move_exported_model_to_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e
from torchao.quantization.pt2e.quantizer import arm_inductor_quantizer as arm
from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

warnings.simplefilter("ignore")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = nn.BatchNorm2d(8)
        self.hidden, self.linear = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = nn.functional.max_pool2d(torch.relu(x + self.norm(self.second(x))), 2)
        return self.linear(torch.relu(self.hidden(x.mean((2, 3)))))


def data():
    return torch.randn(4, 3, 8, 8)


def static(quantizer):
    net = prepare_pt2e(torch.export.export(Net().eval(), (data(),)).module(), quantizer)
    for _ in range(4):
        net(data())
    return convert_pt2e(net)


def trained():
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config(is_qat=True))
    net = prepare_qat_pt2e(torch.export.export(Net().train(), (data(),)).module(), quantizer)
    for _ in range(4):
        net(data())
    move_exported_model_to_eval(net)
    return convert_pt2e(net)


def weight_only():
    net = Net().eval()
    quantize_(net, Int8WeightOnlyConfig())
    return net


def without_paths(path):
    """The file without what it says of the program that made it, which has paths of the machine."""
    model = onnx.load(path)
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model.SerializeToString()


CASES = {
    "pt2e_x86": lambda: static(
        x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    ),
    "pt2e_arm": lambda: static(
        arm.ArmInductorQuantizer().set_global(arm.get_default_arm_inductor_quantization_config())
    ),
    "pt2e_trained": trained,
    "weight_only": weight_only,
}


def main(target):
    torch.manual_seed(3)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        def add(name, content):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)

        for name, make in CASES.items():
            net, x = make(), data()
            with torch.no_grad():
                y = net(x)
            program = torch.onnx.export(
                net, (x,), dynamo=True, input_names=["x"], output_names=["y"], verbose=False
            )
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "model.onnx")
                program.save(path, include_initializers=True)
                add(f"{name}/model.onnx", without_paths(path))
            add(f"{name}/input_0.pb", numpy_helper.from_array(x.numpy()).SerializeToString())
            add(f"{name}/output_0.pb", numpy_helper.from_array(y.numpy()).SerializeToString())
            print(name)


if __name__ == "__main__":
    main(sys.argv[1])
