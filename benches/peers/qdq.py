"""Quantized networks in QDQ form, for runtimes that do not read ONNX: PyTorch's quantized operators and LiteRT.

Both get the scales, zero points and codes of the file, but for averages, which in PyTorch keep the scale of what they are averages of. LiteRT has signed
codes: all are less by 128, which changes no result. What they do not have is an error: Unsupported. The output of the last layer is real in the file and
codes with both: of the range that is given.
"""

import numpy as np
import onnx
from onnx import numpy_helper


class Unsupported(Exception):
    pass


class Layer:
    """An operator on codes: kind, names of its inputs and its output, attributes, and codes and scales of its constants."""

    def __init__(self, node):
        self.kind = node.op_type
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        self.inputs, self.output, self.constants = [], None, []


class Network:
    """The layers of a file, scale and zero point of every tensor of codes, and names and shape of input and output."""

    def __init__(self, path, last_range):
        graph = onnx.load(path).graph
        arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        consumers = {i: n for n in graph.node for i in n.input}
        names, constants = {}, {}  # real tensor -> its codes; real constant -> codes and scales
        self.params, self.layers = {}, []
        self.input = graph.input[0].name
        self.first = self.last = None
        for node in graph.node:
            source, target = node.input[0], node.output[0]
            if node.op_type == "QuantizeLinear":
                if len(node.input) < 3 or arrays[node.input[2]].dtype != np.uint8 or arrays[node.input[1]].size != 1:
                    raise Unsupported("codes other than u8 of one scale")
                self.params[target] = (float(arrays[node.input[1]]), int(arrays[node.input[2]]))
                if source == self.input:
                    self.first = target
            elif node.op_type == "DequantizeLinear" and source in arrays:
                constants[target] = (arrays[source], np.atleast_1d(arrays[node.input[1]]))
            elif node.op_type == "DequantizeLinear":
                names[target] = source
            elif node.op_type in ("Conv", "Gemm", "Add", "MaxPool", "GlobalAveragePool", "Flatten", "Reshape"):
                layer = Layer(node)
                layer.inputs = [names[i] for i in node.input if i in names]
                layer.constants = [constants[i] for i in node.input if i in constants]
                shapes = len(node.input) - 1 if node.op_type == "Reshape" else 0
                if len(layer.inputs) + len(layer.constants) + shapes != len(node.input):
                    raise Unsupported(f"{node.op_type} of reals")
                a = layer.attributes
                if a.get("ceil_mode") or a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0 or a.get("auto_pad", b"NOTSET") != b"NOTSET":
                    raise Unsupported(f"{node.op_type} with these attributes")
                if target == graph.output[0].name:
                    low, high = min(last_range[0], 0.0), max(last_range[1], 0.0)
                    scale = (high - low) / 255 or 1.0
                    self.params[target] = (scale, int(np.clip(round(-low / scale), 0, 255)))
                    layer.output = self.last = target
                else:
                    behind = consumers.get(target)
                    if behind is None or behind.op_type != "QuantizeLinear":
                        raise Unsupported(f"{node.op_type} without codes behind it")
                    layer.output = behind.output[0]
                self.layers.append(layer)
            else:
                raise Unsupported(node.op_type)
        if self.first is None or self.last is None:
            raise Unsupported("an input or an output that is not real")


class Torch:
    """PyTorch's quantized operators, called one by one; the engine is its default for the processor."""

    name = "PyTorch"

    def __init__(self, network, threads):
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch, self.network = torch, network
        self.steps = [self.step(layer) for layer in network.layers]

    def weights(self, layer):
        torch, (codes, scales) = self.torch, layer.constants[0]
        if not layer.attributes.get("transB", layer.kind == "Conv"):
            codes = codes.T
        scales = torch.from_numpy(np.broadcast_to(scales, codes.shape[0]).astype(np.float64))
        zeros = torch.zeros(codes.shape[0], dtype=torch.long)
        weights = torch._make_per_channel_quantized_tensor(torch.from_numpy(codes.copy()), scales, zeros, 0)
        bias = layer.constants[1] if len(layer.constants) > 1 else None
        return weights, None if bias is None else torch.from_numpy((bias[0] * bias[1]).astype(np.float32))

    def step(self, layer):
        torch, operators = self.torch, self.torch.ops.quantized
        scale, zero = self.network.params[layer.output]
        a = layer.attributes
        if layer.kind == "Conv":
            pads = a["pads"]
            if pads[:2] != pads[2:]:
                raise Unsupported("padding on one side")
            packed = operators.conv2d_prepack(*self.weights(layer), a["strides"], pads[:2], a["dilations"], a["group"])
            return lambda x: operators.conv2d(x, packed, scale, zero)
        if layer.kind == "Gemm":
            packed = operators.linear_prepack(*self.weights(layer))
            return lambda x: operators.linear(x, packed, scale, zero)
        if layer.kind == "Add":
            return lambda x, y: operators.add(x, y, scale, zero)
        if layer.kind == "MaxPool":
            return lambda x: torch.nn.functional.max_pool2d(x, a["kernel_shape"], a["strides"], a["pads"][:2])
        if layer.kind == "GlobalAveragePool":
            return lambda x: torch.nn.functional.adaptive_avg_pool2d(x, 1)
        return lambda x: torch.flatten(x, 1)

    def run(self, x):
        torch, network = self.torch, self.network
        x = torch.from_numpy(x).contiguous(memory_format=torch.channels_last) if x.ndim == 4 else torch.from_numpy(x)
        values = {network.first: torch.quantize_per_tensor(x, *network.params[network.first], torch.quint8)}
        for layer, step in zip(network.layers, self.steps):
            values[layer.output] = step(*(values[i] for i in layer.inputs))
        return [values[network.last].dequantize().numpy()]


class LiteRt:
    """LiteRT's interpreter with XNNPACK, on a file that is made here."""

    name = "LiteRT"

    def __init__(self, network, x, threads):
        from ai_edge_litert import interpreter

        self.turn = x.ndim == 4
        runner = interpreter.Interpreter(model_content=flatbuffer(network, x.shape), num_threads=threads)
        runner.allocate_tensors()
        self.runner = runner
        self.input, self.output = runner.get_input_details()[0]["index"], runner.get_output_details()[0]["index"]

    def run(self, x):
        # Its pictures have channels last.
        self.runner.set_tensor(self.input, np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if self.turn else x)
        self.runner.invoke()
        return [self.runner.get_tensor(self.output)]


def flatbuffer(network, shape):
    """The bytes of a .tflite file of the network for an input of a shape."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as s

    op, options = s.BuiltinOperator, s.BuiltinOptions
    model, graph = s.ModelT(), s.SubGraphT()
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [s.BufferT()], [], [graph]
    graph.tensors, graph.operators = [], []
    codes = {}

    def tensor(name, shape, kind, scale=None, zero=None, data=None, axis=0):
        t = s.TensorT()
        t.name, t.shape, t.type, t.buffer = name, [int(d) for d in shape], kind, 0
        if data is not None:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            model.buffers.append(buffer)
            t.buffer = len(model.buffers) - 1
        if scale is not None:
            t.quantization = s.QuantizationParametersT()
            t.quantization.scale = np.atleast_1d(np.float32(scale))
            t.quantization.zeroPoint = np.atleast_1d(np.int64(zero))
            t.quantization.quantizedDimension = axis
        graph.tensors.append(t)
        return len(graph.tensors) - 1

    def operator(code, version, inputs, output, kind=None, how=None):
        if (code, version) not in codes:
            codes[code, version] = len(model.operatorCodes)
            c = s.OperatorCodeT()
            c.builtinCode, c.deprecatedBuiltinCode, c.version = code, min(code, 127), version
            model.operatorCodes.append(c)
        o = s.OperatorT()
        o.opcodeIndex, o.inputs, o.outputs = codes[code, version], inputs, [output]
        if how is not None:
            o.builtinOptionsType, o.builtinOptions = kind, how
        graph.operators.append(o)

    def activation(name, shape):
        scale, zero = network.params[name]
        places[name], shapes[name] = tensor(name, shape, s.TensorType.INT8, scale, zero - 128), shape
        return places[name]

    def bordered(name, pads):
        if not any(pads):
            return places[name], shapes[name]
        n, h, w, c = shapes[name]
        scale, zero = network.params[name]
        to = (n, h + pads[0] + pads[2], w + pads[1] + pads[3], c)
        widths = np.array([[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]], np.int32)
        by = tensor(name + "/border", [4, 2], s.TensorType.INT32, data=widths)
        out = tensor(name + "/bordered", to, s.TensorType.INT8, scale, zero - 128)
        operator(op.PAD, 2, [places[name], by], out, options.PadOptions, s.PadOptionsT())
        return out, to

    places, shapes = {}, {}
    last_first = (lambda d: (d[0], d[2], d[3], d[1])) if len(shape) == 4 else tuple
    real = tensor("x", last_first(shape), s.TensorType.FLOAT32)
    operator(op.QUANTIZE, 1, [real], activation(network.first, last_first(shape)), options.QuantizeOptions, s.QuantizeOptionsT())
    for layer in network.layers:
        a, source = layer.attributes, layer.inputs[0]
        dims = shapes[source]
        if layer.kind in ("Conv", "Gemm"):
            weights, scales = layer.constants[0]
            depthwise = a.get("group", 1) > 1
            if depthwise and (weights.shape[1] != 1 or a["group"] != dims[-1]):
                raise Unsupported("convolutions of groups")
            if layer.kind == "Conv":
                weights = weights.transpose(1, 2, 3, 0) if depthwise else weights.transpose(0, 2, 3, 1)
            elif not a.get("transB", 0):
                weights = weights.T
            axis = 3 if depthwise else 0
            count = weights.shape[axis]
            scales = np.broadcast_to(scales, count)
            w = tensor(layer.output + "/w", weights.shape, s.TensorType.INT8, scales, np.zeros(count), weights, axis)
            bias = layer.constants[1][0] if len(layer.constants) > 1 else np.zeros(count, np.int32)
            b = tensor(layer.output + "/b", [count], s.TensorType.INT32, scales * network.params[source][0], np.zeros(count), bias)
            if layer.kind == "Gemm":
                out = activation(layer.output, (dims[0], count))
                operator(op.FULLY_CONNECTED, 12, [places[source], w, b], out, options.FullyConnectedOptions, s.FullyConnectedOptionsT())
                continue
            (kh, kw), (sh, sw), pads = a["kernel_shape"], a["strides"], a["pads"]
            h, wide = ((d + p + q - k) // t + 1 for d, p, q, k, t in zip(dims[1:3], pads[:2], pads[2:], (kh, kw), (sh, sw)))
            # What its own rule would put around an image is free; anything else is an operator of its own.
            same = [max((-(-d // t) - 1) * t + k - d, 0) for d, k, t in zip(dims[1:3], (kh, kw), (sh, sw))]
            is_same = [pads[0], pads[1]] == [n // 2 for n in same] and [pads[2], pads[3]] == [n - n // 2 for n in same]
            if a["dilations"] != [1, 1]:
                raise Unsupported("dilated convolutions")
            image = places[source] if is_same else bordered(source, pads)[0]
            how = s.DepthwiseConv2DOptionsT() if depthwise else s.Conv2DOptionsT()
            how.padding = s.Padding.SAME if is_same else s.Padding.VALID
            how.strideH, how.strideW, how.dilationHFactor, how.dilationWFactor = sh, sw, *a["dilations"]
            out = activation(layer.output, (dims[0], h, wide, count))
            if depthwise:
                how.depthMultiplier = 1
                operator(op.DEPTHWISE_CONV_2D, 3, [image, w, b], out, options.DepthwiseConv2DOptions, how)
            else:
                operator(op.CONV_2D, 3, [image, w, b], out, options.Conv2DOptions, how)
        elif layer.kind == "Add":
            out = activation(layer.output, dims)
            operator(op.ADD, 2, [places[i] for i in layer.inputs], out, options.AddOptions, s.AddOptionsT())
        elif layer.kind == "MaxPool":
            if any(a["pads"]) and network.params[source][1] != 0:
                raise Unsupported("a padded maximum of what may be below zero")
            # Zero is the least code behind a ReLU, as the operator's own padding is.
            image, to = bordered(source, a["pads"])
            how = s.Pool2DOptionsT()
            how.padding = s.Padding.VALID
            (how.filterHeight, how.filterWidth), (how.strideH, how.strideW) = a["kernel_shape"], a["strides"]
            side = lambda d, k, t: (d - k) // t + 1
            h, wide = side(to[1], how.filterHeight, how.strideH), side(to[2], how.filterWidth, how.strideW)
            operator(op.MAX_POOL_2D, 2, [image], activation(layer.output, (dims[0], h, wide, dims[3])), options.Pool2DOptions, how)
        elif layer.kind == "GlobalAveragePool":
            axes = tensor(layer.output + "/axes", [2], s.TensorType.INT32, data=np.array([1, 2], np.int32))
            how = s.ReducerOptionsT()
            how.keepDims = False
            operator(op.MEAN, 2, [places[source], axes], activation(layer.output, (dims[0], dims[3])), options.ReducerOptions, how)
        else:
            if len(dims) > 2 and dims[1:3] != (1, 1):
                raise Unsupported("a picture that becomes a row")
            places[layer.output], shapes[layer.output] = places[source], (dims[0], dims[-1])
    end = tensor("y", shapes[network.last], s.TensorType.FLOAT32)
    operator(op.DEQUANTIZE, 2, [places[network.last]], end, options.DequantizeOptions, s.DequantizeOptionsT())
    graph.inputs, graph.outputs = [real], [end]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
