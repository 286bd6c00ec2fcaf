"""Writes fixed_point.json: codes of accumulators in fixed point, as TensorFlow Lite's reference kernels give them.

    pip install tflite-runtime==2.14.0 ai-edge-litert flatbuffers "numpy<2"
    python make_fixed_point.py

Every case is a fully connected layer whose weights are zero and whose biases are the accumulators, run by TensorFlow Lite's
reference kernels (BUILTIN_REF). Beside it stands the formula of gemmlowp in Python's own integers and fractions; the script
fails where the two disagree. Of LiteRT, its successor, only the schema of files is used: its reference kernels (2.3.0) round
once, halves away from zero.
"""

import json
import random
from fractions import Fraction
from pathlib import Path

import flatbuffers
import numpy as np
import tflite_runtime
from ai_edge_litert import schema_py_generated as schema
from tflite_runtime.interpreter import Interpreter, OpResolverType

INT_MIN, INT_MAX = -(2**31), 2**31 - 1


def quantize_multiplier(real):
    """A fraction as (integer, power of two): integer / 2^31 in one half to one, nearest, halves away from zero."""
    shift = 0
    while real >= 1:
        real, shift = real / 2, shift + 1
    while real < Fraction(1, 2):
        real, shift = real * 2, shift - 1
    fixed = int(real * 2**31 + Fraction(1, 2))
    return (fixed // 2, shift + 1) if fixed == 2**31 else (fixed, shift)


def truncated(a, b):
    """a / b as C has it, towards zero."""
    return abs(a) // b * (1 if a >= 0 else -1)


def high_product(a, b):
    """SaturatingRoundingDoublingHighMul."""
    if a == b == INT_MIN:
        return INT_MAX
    nudge = 2**30 if a * b >= 0 else 1 - 2**30
    return truncated(a * b + nudge, 2**31)


def divide_by_power(x, exponent):
    """RoundingDivideByPOT, by its meaning: nearest, halves away from zero."""
    magnitude = int(Fraction(abs(x), 2**exponent) + Fraction(1, 2))
    return magnitude if x >= 0 else -magnitude


def requantize(acc, multiplier, shift, zero_point):
    left, right = max(shift, 0), max(-shift, 0)
    return min(max(divide_by_power(high_product(acc * 2**left, multiplier), right) + zero_point, -128), 127)


def tflite(product_scale, out_scale, zero_point, accumulators):
    """What the reference kernel makes of these accumulators."""
    n = len(accumulators)

    def tensor(name, shape, kind, scale, zero, buffer):
        out = schema.TensorT()
        out.name, out.shape, out.type, out.buffer = name, shape, kind, buffer
        out.quantization = schema.QuantizationParametersT()
        out.quantization.scale, out.quantization.zeroPoint = [float(scale)], [zero]
        return out

    graph = schema.SubGraphT()
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    graph.tensors = [
        tensor("x", [1, 1], int8, 1.0, 0, 0),
        tensor("w", [n, 1], int8, product_scale, 0, 1),
        tensor("b", [n], int32, product_scale, 0, 2),
        tensor("y", [1, n], int8, out_scale, zero_point, 0),
    ]
    graph.inputs, graph.outputs = [0], [3]
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = 0, [0, 1, 2], [3]
    op.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    op.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators = [op]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT() for _ in range(3)]
    model.buffers[1].data = np.zeros(n, np.uint8)
    model.buffers[2].data = np.frombuffer(np.array(accumulators, np.int32).tobytes(), np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    run = Interpreter(model_content=bytes(builder.Output()), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    run.allocate_tensors()
    run.set_tensor(0, np.zeros((1, 1), np.int8))
    run.invoke()
    return run.get_tensor(3)[0].tolist()


def accumulators(random, real, shift):
    """Ends, small numbers, numbers about the middle between two codes, and any; none that a shift to the left overflows."""
    out = [INT_MIN, INT_MIN + 1, INT_MAX, INT_MAX - 1, *range(-4, 5)]
    for k in range(-6, 7):
        middle = int((k + Fraction(1, 2)) / real)
        out += range(middle - 2, middle + 3)
    out += [random.randint(INT_MIN, INT_MAX) for _ in range(8)]
    out += [int(random.uniform(-140, 140) / real) for _ in range(40)]
    limit = 2 ** (31 - max(shift, 0))
    return [a for a in out if -limit <= a < limit]


def main():
    rng = random.Random(1)
    powers = [Fraction(1, 2**e) for e in (0, 1, 2, 7, 12, 20, 30)] + [Fraction(2), Fraction(64)]
    scales = [(np.float32(float(p)), np.float32(1)) for p in powers]
    scales += [(np.float32(rng.uniform(0.5, 1) * 2.0**-e), np.float32(rng.uniform(0.004, 0.3))) for e in range(-2, 22)]
    cases = []
    for product, out in scales:
        real = Fraction(float(np.float64(product) / np.float64(out)))
        multiplier, shift = quantize_multiplier(real)
        zero_point = rng.choice([-128, -3, 0, 17, 127])
        accs = accumulators(rng, real, shift)
        codes = tflite(product, out, zero_point, accs)
        expected = [requantize(a, multiplier, shift, zero_point) for a in accs]
        assert codes == expected, (product, out, [x for x in zip(accs, codes, expected) if x[1] != x[2]])
        cases.append(
            {
                "product_scale_bits": int(product.view(np.uint32)),
                "out_scale_bits": int(out.view(np.uint32)),
                "multiplier": multiplier,
                "shift": shift,
                "zero_point": zero_point,
                "acc": accs,
                "codes": codes,
            }
        )
    source = f"TensorFlow Lite {tflite_runtime.__version__}, reference kernels, fully connected, int8; and make_fixed_point.py"
    text = json.dumps({"source": source, "cases": cases}, separators=(",", ":"))
    Path(__file__).with_name("fixed_point.json").write_text(text.replace('{"product', '\n{"product') + "\n")
    print(source, "-", len(cases), "cases,", sum(len(c["acc"]) for c in cases), "codes")


main()
