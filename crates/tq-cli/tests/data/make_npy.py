"""Writes npy_by_numpy.txt: small arrays as numpy writes them, one `NAME HEX` a line."""

import io
import pathlib

import numpy as np

lines = []


def put(name, array, save=np.save, **kw):
    buffer = io.BytesIO()
    save(buffer, array, **kw)
    lines.append(f"{name} {buffer.getvalue().hex()}")


ramp = np.array([[0, 1, 2], [3, 100, 7]])
for t in ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"]:
    put(f"{t}-little", ramp.astype("<" + t))
    put(f"{t}-big", ramp.astype(">" + t))
    put(f"{t}-fortran", np.asfortranarray(ramp.astype("<" + t)))
put("scalar", np.float32(2.5))
put("vector", np.array([1, 2], "<i8"))
put("empty", np.zeros((0, 3), "<f4"))
put("complex", np.zeros(2, "<c16"))
put("text", np.array(["abc"]))
put("record", np.zeros(2, [("a", "<f4"), ("b", "<i2")]))
put("object", np.array([None]), allow_pickle=True)
put("long", np.zeros(1, np.longdouble))
put("version2", np.array([1, 2], "<i8"), save=lambda f, a: np.lib.format.write_array(f, a, (2, 0)))
put("npz", np.array([1, 2], "<i8"), save=lambda f, a: np.savez_compressed(f, x=a))
pathlib.Path(__file__).with_name("npy_by_numpy.txt").write_text("\n".join(lines) + "\n")
