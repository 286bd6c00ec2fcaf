"""PyTorch's dynamic quantization of a float model that is one linear layer or one LSTM: what `quantize_dynamic` there makes of it."""

import numpy as np
import onnx
from onnx import numpy_helper

import qdq


class Torch:
    name = qdq.Torch.name

    def __init__(self, path, threads):
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        graph = onnx.load(path).graph
        arrays = {t.name: numpy_helper.to_array(t).copy() for t in graph.initializer}
        nodes = [n for n in graph.node if n.op_type in ("Gemm", "LSTM")]
        if len(nodes) != 1 or any(n.op_type not in ("Gemm", "LSTM", "Squeeze") for n in graph.node):
            raise qdq.Unsupported("a model that is not one layer")
        constants = [arrays.get(i) for i in nodes[0].input[1:]]
        if nodes[0].op_type == "LSTM":
            layer = self.lstm(torch, *(constants + [None])[:3])
        else:
            transposed = any(a.name == "transB" and a.i for a in nodes[0].attribute)
            layer = self.linear(torch, constants[0] if transposed else constants[0].T, constants[1] if len(constants) > 1 else None)
        kinds = {torch.nn.Linear, torch.nn.LSTM}
        self.torch = torch
        self.model = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(layer).eval(), kinds, dtype=torch.qint8)

    @staticmethod
    def linear(torch, weights, bias):
        layer = torch.nn.Linear(weights.shape[1], weights.shape[0], bias=bias is not None)
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weights)))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))
        return layer

    @staticmethod
    def lstm(torch, w, r, b):
        # ONNX has the gates input, output, forget, cell; PyTorch input, forget, cell, output.
        if w.shape[0] != 1:
            raise qdq.Unsupported("an LSTM of two directions")
        hidden = r.shape[2]
        order = lambda a: torch.from_numpy(np.concatenate([a[i * hidden : (i + 1) * hidden] for i in (0, 2, 3, 1)]))
        layer = torch.nn.LSTM(w.shape[2], hidden, bias=b is not None)
        layer.weight_ih_l0.copy_(order(w[0]))
        layer.weight_hh_l0.copy_(order(r[0]))
        if b is not None:
            layer.bias_ih_l0.copy_(order(b[0][: 4 * hidden]))
            layer.bias_hh_l0.copy_(order(b[0][4 * hidden :]))
        return layer

    def run(self, x):
        y = self.model(self.torch.from_numpy(x))
        return [(y[0] if isinstance(y, tuple) else y).numpy()]
