"""Writes builder_layers.safetensors: layers of PyTorch with their parameters, inputs and outputs.

    python crates/tq-eval/tests/data/make_builder_layers.py   (torch 2.15)

Keys are `case|w|parameter`, `case|x|i` and `case|y|i`.
"""

import json
import pathlib
import struct

import torch
from torch import nn

torch.manual_seed(20)
TENSORS = {}


def case(name, module, *inputs, call=None):
    module = module.eval()
    with torch.no_grad():
        for key, p in module.state_dict().items():
            # Running statistics and affine parameters that are not the neutral ones.
            if p.dtype == torch.float32 and p.dim() <= 1 and "num_batches" not in key:
                p.copy_(torch.rand_like(p) + 0.5 if "var" in key else torch.randn_like(p) * 0.5)
        y = (call or module)(*inputs)
    flat = []

    def walk(v):
        if torch.is_tensor(v):
            flat.append(v)
        elif v is not None:
            for e in v:
                walk(e)

    walk(y)
    for key, p in module.state_dict().items():
        TENSORS[f"{name}|w|m.{key}"] = p
    for i, x in enumerate(inputs):
        TENSORS[f"{name}|x|{i}"] = x
    for i, v in enumerate(flat):
        TENSORS[f"{name}|y|{i}"] = v


r = lambda *s: torch.randn(*s)
case("linear", nn.Linear(5, 3), r(2, 5))
case("linear_3d", nn.Linear(5, 3), r(2, 4, 5))
case("linear_no_bias", nn.Linear(5, 3, bias=False), r(2, 5))
case("bilinear", nn.Bilinear(4, 3, 5), r(2, 4), r(2, 3))
case("bilinear_3d", nn.Bilinear(4, 3, 5, bias=False), r(2, 6, 4), r(2, 6, 3))
case("embedding", nn.Embedding(7, 3), torch.tensor([[0, 6, 2], [3, 3, 1]]))
case("conv1d", nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), r(2, 4, 11))
case("conv1d_same", nn.Conv1d(2, 3, 4, padding="same", dilation=1), r(1, 2, 9))
case("conv2d", nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0)), r(2, 3, 7, 6))
case("conv3d", nn.Conv3d(2, 3, 2, bias=False), r(1, 2, 4, 4, 3))
case("conv_transpose1d", nn.ConvTranspose1d(4, 6, 3, stride=3, padding=1, output_padding=2, groups=2), r(2, 4, 5))
case("conv_transpose2d", nn.ConvTranspose2d(2, 3, (3, 2), stride=2, dilation=(2, 1), output_padding=1), r(1, 2, 4, 3))
case("conv_transpose3d", nn.ConvTranspose3d(2, 2, 2, stride=2, bias=False), r(1, 2, 2, 3, 2))
case("rnn", nn.RNN(3, 4), r(5, 2, 3))
case("rnn_relu", nn.RNN(3, 4, num_layers=2, nonlinearity="relu", bidirectional=True, batch_first=True), r(2, 5, 3))
m = nn.LSTM(3, 4)
case("lstm", m, r(5, 2, 3))
m = nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
case("lstm_states", m, r(2, 5, 3), r(4, 2, 4), r(4, 2, 4), call=lambda x, h, c: m(x, (h, c)))
case("lstm_no_bias", nn.LSTM(3, 4, bias=False), r(5, 2, 3))
case("gru", nn.GRU(3, 4, bidirectional=True), r(5, 2, 3))
m2 = nn.GRU(3, 4, num_layers=3)
case("gru_states", m2, r(5, 2, 3), r(3, 2, 4), call=lambda x, h: m2(x, h))
case("batch_norm1d", nn.BatchNorm1d(4), r(3, 4))
case("batch_norm1d_length", nn.BatchNorm1d(4, affine=False), r(3, 4, 5))
case("batch_norm2d", nn.BatchNorm2d(3, eps=1e-3), r(2, 3, 4, 4))
case("batch_norm3d", nn.BatchNorm3d(2), r(2, 2, 2, 3, 2))
case("layer_norm", nn.LayerNorm([3, 4]), r(2, 3, 4))
case("layer_norm_plain", nn.LayerNorm(4, elementwise_affine=False), r(2, 3, 4))
case("layer_norm_no_bias", nn.LayerNorm(4, bias=False), r(2, 3, 4))
case("instance_norm1d", nn.InstanceNorm1d(3), r(2, 3, 6))
case("instance_norm2d", nn.InstanceNorm2d(3, affine=True), r(2, 3, 4, 5))
case("instance_norm3d", nn.InstanceNorm3d(2), r(1, 2, 2, 3, 4))
case("group_norm", nn.GroupNorm(2, 6), r(2, 6, 3, 3))
for name, m in {
    "relu": nn.ReLU(), "relu6": nn.ReLU6(), "leaky_relu": nn.LeakyReLU(0.2), "prelu": nn.PReLU(), "elu": nn.ELU(0.7),
    "selu": nn.SELU(), "celu": nn.CELU(0.6), "hardswish": nn.Hardswish(), "hardsigmoid": nn.Hardsigmoid(),
    "hardtanh": nn.Hardtanh(-0.5, 1.5), "silu": nn.SiLU(), "gelu": nn.GELU(), "gelu_tanh": nn.GELU("tanh"),
    "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "softplus": nn.Softplus(), "softplus_beta": nn.Softplus(2.5),
    "softsign": nn.Softsign(), "mish": nn.Mish(), "softmax": nn.Softmax(1), "log_softmax": nn.LogSoftmax(-1),
    "prelu_channels": nn.PReLU(3), "dropout": nn.Dropout(0.5), "identity": nn.Identity(), "flatten": nn.Flatten(),
    "flatten_inner": nn.Flatten(0, 1),
}.items():
    case(name, m, r(2, 3, 8) * 4)
case("max_pool1d", nn.MaxPool1d(3, stride=2, padding=1, ceil_mode=True), r(1, 2, 8))
case("max_pool2d", nn.MaxPool2d((3, 2), stride=2, dilation=(2, 1)), r(1, 2, 9, 7))
case("max_pool3d", nn.MaxPool3d(2), r(1, 2, 4, 4, 5))
case("avg_pool1d", nn.AvgPool1d(3, stride=2, padding=1, ceil_mode=True), r(1, 2, 8))
case("avg_pool2d", nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), r(1, 2, 7, 8))
case("avg_pool3d", nn.AvgPool3d(2, ceil_mode=True), r(1, 2, 5, 4, 3))
case("adaptive_avg_pool1d", nn.AdaptiveAvgPool1d(3), r(1, 2, 10))
case("adaptive_avg_pool2d", nn.AdaptiveAvgPool2d((5, 3)), r(1, 2, 7, 8))
case("adaptive_avg_pool2d_even", nn.AdaptiveAvgPool2d((2, 4)), r(1, 2, 6, 8))
case("adaptive_avg_pool3d", nn.AdaptiveAvgPool3d((2, 3, 7)), r(1, 2, 3, 4, 5))
case("adaptive_max_pool2d", nn.AdaptiveMaxPool2d((2, 4)), r(1, 2, 6, 8))
case("global_avg_pool", nn.AdaptiveAvgPool2d(1), r(2, 3, 5, 4))
mha = nn.MultiheadAttention(8, 2)
case("attention", mha, r(5, 2, 8), r(6, 2, 8), r(6, 2, 8), call=lambda q, k, v: mha(q, k, v, need_weights=False)[0])
mhb = nn.MultiheadAttention(8, 4, bias=False, batch_first=True)
case("self_attention", mhb, r(2, 5, 8), call=lambda x: mhb(x, x, x, need_weights=False)[0])

TYPES = {torch.float32: "F32", torch.int64: "I64"}
header, data = {}, b""
for key, t in sorted(TENSORS.items()):
    raw = t.contiguous().numpy().tobytes()
    header[key] = {"dtype": TYPES[t.dtype], "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
text = json.dumps(header).encode()
path = pathlib.Path(__file__).parent / "builder_layers.safetensors"
path.write_bytes(struct.pack("<Q", len(text)) + text + data)
