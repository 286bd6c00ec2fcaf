"""Inner loops of ARM kernels: what a turn consists of, and what a port model makes of it.

usage: loops.py PROGRAM FUNCTION MNEMONIC[,MNEMONIC...] [--mca LLVM-MCA --cpu NAME[,NAME...]] [--turns N] [--most N]

PROGRAM is for AArch64, with symbols: `target/xarch/build/aarch64-unknown-linux-gnu/release/examples/counts`, which `cargo xtask bench-arm`
builds. FUNCTION is a part of the name of the function, MNEMONIC one that multiplies. The loops of the function that multiply are
shown, those with the most multiplications and of these the shortest first. With `--mca` each is given to that program as it stands,
N turns of it, and the cycles of a turn are shown for each processor.
"""

import argparse
import collections
import re
import subprocess

LINE = re.compile(r"^\s+([0-9a-f]+):\s+(\S+)\s*(.*)$")
BRANCHES = ("cbz", "cbnz", "tbz", "tbnz", "b")


def functions(program):
    """Name and instructions (address, mnemonic, operands) of each function."""
    command = ["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", "-C", program]
    name, body = None, []
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        if start := re.match(r"^[0-9a-f]+ <(.*)>:$", line):
            yield name, body
            name, body = start[1], []
        elif instruction := LINE.match(line):
            body.append((int(instruction[1], 16), instruction[2], instruction[3]))
    yield name, body


def loops(body):
    """From the target of each branch backwards to the branch."""
    index = {address: i for i, (address, _, _) in enumerate(body)}
    for i, (_, mnemonic, operands) in enumerate(body):
        target = re.search(r"\b([0-9a-f]{4,})\b(?: <|$)", operands)
        if target and (mnemonic.startswith("b.") or mnemonic in BRANCHES):
            start = index.get(int(target[1], 16), i + 1)
            if start <= i:
                yield body[start : i + 1]


def cycles(mca, cpu, loop, turns):
    """Cycles of a turn by the port model; branches go nowhere there."""
    text = "\n".join(f"{m} {re.sub('<.*|//.*', '', o)}" for _, m, o in loop if not m.startswith("b.") and m not in BRANCHES)
    command = [mca, "-mtriple=aarch64", f"-mcpu={cpu}", "-mattr=+dotprod,+i8mm", f"-iterations={turns}"]
    out = subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", out)[1]) / turns


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program")
    parser.add_argument("function")
    parser.add_argument("mnemonics")
    parser.add_argument("--mca")
    parser.add_argument("--cpu", default="neoverse-n1,neoverse-n2,neoverse-v1,cortex-a76")
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--most", type=int, default=4)
    args = parser.parse_args()
    for name, body in functions(args.program):
        if not name or args.function not in name:
            continue
        found = []
        for loop in loops(body):
            count = collections.Counter(mnemonic for _, mnemonic, _ in loop)
            multiply = sum(count[m] for m in args.mnemonics.split(","))
            if multiply:
                found.append((-multiply, len(loop), count, loop))
        for multiply, length, count, loop in sorted(found, key=lambda f: f[:2])[: args.most]:
            print(f"{name[:80]}: {-multiply} multiply of {length}: {dict(count.most_common())}")
            for cpu in args.cpu.split(",") if args.mca else []:
                print(f"    {cpu}: {cycles(args.mca, cpu, loop, args.turns):.2f} cycles a turn")


if __name__ == "__main__":
    main()
