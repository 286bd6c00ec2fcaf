"""Writes tflite.json: layers on int8 codes, as TensorFlow Lite's reference kernels run them.

    pip install tflite-runtime==2.14.0 ai-edge-litert flatbuffers "numpy<2"
    python make_tflite.py

Each case is one operator with random codes, weights, biases and scales, run by the reference kernels (BUILTIN_REF). Shapes
are written as ONNX has them: channels first, weights [out, in / groups, ...] (transposed convolutions [in, out, ...]).
ai-edge-litert gives the schema of files alone.
"""

import json
from pathlib import Path

import flatbuffers
import numpy as np
import tflite_runtime
from ai_edge_litert import schema_py_generated as schema
from tflite_runtime.interpreter import Interpreter, OpResolverType

rng = np.random.default_rng(7)
OP, OPTIONS, TYPE = schema.BuiltinOperator, schema.BuiltinOptions, schema.TensorType


class Model:
    """A model of one operator."""

    def __init__(self):
        self.tensors, self.buffers = [], [schema.BufferT()]

    def tensor(self, shape, kind, scales, zero, axis=0, data=None):
        t = schema.TensorT()
        t.name, t.shape, t.type, t.buffer = f"t{len(self.tensors)}", list(shape), kind, 0
        t.quantization = schema.QuantizationParametersT()
        t.quantization.scale = [float(s) for s in scales]
        t.quantization.zeroPoint = [zero] * len(scales)
        t.quantization.quantizedDimension = axis
        if data is not None:
            t.buffer = len(self.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.buffers.append(buffer)
        self.tensors.append(t)
        return len(self.tensors) - 1

    def run(self, op, kind, options, operands, version, given):
        """The result, whose tensor is the last one, for data of the tensors that have none."""
        graph, operator, code, model = schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT(), schema.ModelT()
        out = len(self.tensors) - 1
        graph.tensors, graph.inputs, graph.outputs = self.tensors, [i for i, _ in given], [out]
        operator.opcodeIndex, operator.inputs, operator.outputs = 0, operands, [out]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        graph.operators = [operator]
        code.builtinCode, code.deprecatedBuiltinCode, code.version = op, min(op, 127), version
        model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [code], self.buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        interpreter = Interpreter(
            model_content=bytes(builder.Output()), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
        )
        interpreter.allocate_tensors()
        for i, data in given:
            interpreter.set_tensor(i, data)
        interpreter.invoke()
        return interpreter.get_tensor(out)


def codes(shape, low=-128):
    return rng.integers(low, 128, shape, dtype=np.int8)


def scales(n, about):
    return rng.uniform(0.3, 1.0, n).astype(np.float32) * np.float32(about)


def last(x):
    """Channels last."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def first(x):
    """Channels first."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def case(op, x, w, bias, x_scale, w_scale, y_scale, zeros, y, **attributes):
    def array(a):
        return {"dims": list(a.shape), "data": a.ravel().tolist()}

    bits = np.asarray([x_scale, y_scale], np.float32).view(np.uint32).tolist()
    return {
        "op": op,
        "x": array(x),
        "w": array(w),
        "bias": None if bias is None else bias.tolist(),
        "x_scale_bits": bits[0],
        "w_scale_bits": np.asarray(w_scale, np.float32).view(np.uint32).tolist(),
        "y_scale_bits": bits[1],
        "x_zero": zeros[0],
        "w_zero": zeros[1],
        "y_zero": zeros[2],
        "y": array(y),
        **attributes,
    }


def fitting(sums, spread=35):
    """A scale of results at which sums of this size give most codes."""
    return float(np.float32(sums / spread))


def convolution(channels, out_channels, kernel, stride, per_channel, relu6=False, depthwise=False):
    x, zero_x, zero_y = codes((1, channels, 9, 8)), int(rng.integers(-40, 40)), int(rng.integers(-50, 50))
    depth = 1 if depthwise else channels
    w = codes((out_channels, depth, kernel, kernel), -127)
    bias = rng.integers(-4000, 4000, out_channels, dtype=np.int32)
    x_scale = scales(1, 0.04)[0]
    w_scale = scales(out_channels if per_channel else 1, 0.01)
    y_scale = fitting(x_scale * 0.006 * 74 * 74 * (depth * kernel * kernel) ** 0.5)
    model = Model()
    a = model.tensor(last(x).shape, TYPE.INT8, [x_scale], zero_x)
    if depthwise:
        kernels, axis = np.ascontiguousarray(np.transpose(w, (1, 2, 3, 0))), 3
    else:
        kernels, axis = last(w), 0
    b = model.tensor(kernels.shape, TYPE.INT8, w_scale, 0, axis, kernels)
    c = model.tensor([out_channels], TYPE.INT32, x_scale * w_scale, 0, 0, bias)
    size = [(9 - kernel) // stride + 1, (8 - kernel) // stride + 1]
    model.tensor([1, *size, out_channels], TYPE.INT8, [y_scale], zero_y)
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, stride, stride
    options.dilationHFactor = options.dilationWFactor = 1
    if depthwise:
        options.depthMultiplier = 1
    options.fusedActivationFunction = (
        schema.ActivationFunctionType.RELU6 if relu6 else schema.ActivationFunctionType.NONE
    )
    which = (OP.DEPTHWISE_CONV_2D, OPTIONS.DepthwiseConv2DOptions) if depthwise else (OP.CONV_2D, OPTIONS.Conv2DOptions)
    y = model.run(which[0], which[1], options, [a, b, c], 3, [(a, last(x))])
    groups = channels if depthwise else 1
    zeros = (zero_x, 0, zero_y)
    return case("conv", x, w, bias, x_scale, w_scale, y_scale, zeros, first(y), stride=stride, groups=groups, relu6=relu6)


def linear(rows, depth, columns):
    x, w = codes((rows, depth)), codes((columns, depth), -127)
    zero_x, zero_y = int(rng.integers(-40, 40)), int(rng.integers(-50, 50))
    bias = rng.integers(-4000, 4000, columns, dtype=np.int32)
    x_scale, w_scale = scales(1, 0.04)[0], scales(1, 0.01)
    y_scale = fitting(x_scale * w_scale[0] * 74 * 74 * depth**0.5)
    model = Model()
    a = model.tensor(x.shape, TYPE.INT8, [x_scale], zero_x)
    b = model.tensor(w.shape, TYPE.INT8, w_scale, 0, 0, w)
    c = model.tensor([columns], TYPE.INT32, x_scale * w_scale, 0, 0, bias)
    model.tensor([rows, columns], TYPE.INT8, [y_scale], zero_y)
    y = model.run(OP.FULLY_CONNECTED, OPTIONS.FullyConnectedOptions, schema.FullyConnectedOptionsT(), [a, b, c], 4, [(a, x)])
    return case("linear", x, w, bias, x_scale, w_scale, y_scale, (zero_x, 0, zero_y), y)


def product(rows, depth, columns):
    x, w = codes((2, rows, depth)), codes((2, depth, columns))
    zero_x, zero_w, zero_y = (int(z) for z in rng.integers(-30, 30, 3))
    x_scale, w_scale = scales(1, 0.04)[0], scales(1, 0.01)
    y_scale = fitting(x_scale * w_scale[0] * 74 * 74 * depth**0.5)
    model = Model()
    a = model.tensor(x.shape, TYPE.INT8, [x_scale], zero_x)
    b = model.tensor(w.shape, TYPE.INT8, w_scale, zero_w)
    model.tensor([2, rows, columns], TYPE.INT8, [y_scale], zero_y)
    options = schema.BatchMatMulOptionsT()
    y = model.run(OP.BATCH_MATMUL, OPTIONS.BatchMatMulOptions, options, [a, b], 2, [(a, x), (b, w)])
    return case("product", x, w, None, x_scale, w_scale, y_scale, (zero_x, zero_w, zero_y), y)


def transposed(channels, out_channels, kernel, stride):
    x, w = codes((1, channels, 5, 4)), codes((channels, out_channels, kernel, kernel), -127)
    zero_x, zero_y = int(rng.integers(-40, 40)), int(rng.integers(-50, 50))
    bias = rng.integers(-4000, 4000, out_channels, dtype=np.int32)
    x_scale, w_scale = scales(1, 0.04)[0], scales(out_channels, 0.01)
    y_scale = fitting(x_scale * 0.006 * 74 * 74 * (channels * kernel) ** 0.5)
    model = Model()
    size = [(5 - 1) * stride + kernel, (4 - 1) * stride + kernel]
    shape = model.tensor([4], TYPE.INT32, [], 0, 0, np.array([1, *size, out_channels], np.int32))
    kernels = np.ascontiguousarray(np.transpose(w, (1, 2, 3, 0)))
    b = model.tensor(kernels.shape, TYPE.INT8, w_scale, 0, 0, kernels)
    a = model.tensor(last(x).shape, TYPE.INT8, [x_scale], zero_x)
    c = model.tensor([out_channels], TYPE.INT32, x_scale * w_scale, 0, 0, bias)
    model.tensor([1, *size, out_channels], TYPE.INT8, [y_scale], zero_y)
    options = schema.TransposeConvOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, stride, stride
    y = model.run(OP.TRANSPOSE_CONV, OPTIONS.TransposeConvOptions, options, [shape, b, a, c], 3, [(a, last(x))])
    return case("transposed", x, w, bias, x_scale, w_scale, y_scale, (zero_x, 0, zero_y), first(y), stride=stride)


def main():
    cases = [
        convolution(3, 20, 3, 2, per_channel=False),
        convolution(5, 33, 3, 1, per_channel=True),
        convolution(16, 17, 1, 1, per_channel=True, relu6=True),
        convolution(24, 24, 3, 1, per_channel=True, depthwise=True),
        convolution(37, 37, 3, 2, per_channel=False, depthwise=True, relu6=True),
        convolution(7, 7, 5, 1, per_channel=True, depthwise=True),
        linear(4, 100, 50),
        linear(1, 33, 10),
        product(5, 40, 19),
        transposed(6, 9, 3, 2),
    ]
    source = f"TensorFlow Lite {tflite_runtime.__version__}, reference kernels"
    text = json.dumps({"source": source, "cases": cases}, separators=(",", ":"))
    Path(__file__).with_name("tflite.json").write_text(text.replace('{"op"', '\n{"op"') + "\n")
    for c in cases:
        y = np.array(c["y"]["data"])
        print(c["op"], c["y"]["dims"], len(np.unique(y)), "codes,", np.mean((y == -128) | (y == 127)).round(3), "at the ends")


main()
