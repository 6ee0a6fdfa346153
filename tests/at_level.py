#!/usr/bin/env python3
"""at_level.py LEVEL THREADS DTYPE PROGRAM...: runs test programs at a kernel level of its own.

The plain run of a test takes the best level of the machine, mostly one thread, and fp32;
this one shows that nothing hangs on them. Skips, saying so, where the CPU has no such level.
A program that asks for none of it would do what its plain run does, and is left out.
"""
import ctypes
import os
import subprocess
import sys

AVX512 = {'avx512f', 'avx512bw', 'avx512dq', 'avx512vl', 'fma'}

# Flags of /proc/cpuinfo that a level needs, as lib/kernels/level.c asks for; its number
# in rlhf_cpu_level.
LEVELS = {
    'auto': (0, set()),
    'portable': (1, set()),
    'avx2': (2, {'avx2', 'fma'}),
    'avx512': (3, AVX512),
    'avx512_bf16': (4, AVX512 | {'avx512_bf16'}),
    'amx': (5, AVX512 | {'avx512_bf16', 'amx_tile', 'amx_bf16'}),
}


def cpu_flags():
    with open('/proc/cpuinfo', encoding='ascii', errors='replace') as file:
        for line in file:
            if line.startswith('flags'):
                return set(line.split(':', 1)[1].split())
    return set()


def tiles_are_granted():
    """Whether Linux gives the tiles' state to a process that asks, as lib/kernels/amx.c does."""
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


def asks(program, dtype):
    """Whether the program looks at what the environment says: its own strings tell, and the
    library has none of these."""
    with open(program, 'rb') as file:
        code = file.read()
    return b'RLHF_TEST_CPU_LEVEL' in code or (dtype != 'fp32' and b'RLHF_TEST_DTYPE' in code)


def main():
    level, threads, dtype = sys.argv[1:4]
    programs = [program for program in sys.argv[4:] if asks(program, dtype)]
    number, needed = LEVELS[level]
    missing = needed - cpu_flags()
    if missing:
        print(f'skipped: this CPU has no {", ".join(sorted(missing))}')
        return 77
    if 'amx_tile' in needed and not tiles_are_granted():
        print('skipped: the system does not grant this CPU\'s tiles')
        return 77
    if not programs:
        print('failed: no program asks for a level')
        return 1
    environment = dict(os.environ, RLHF_TEST_CPU_LEVEL=str(number),
                       RLHF_TEST_THREADS=threads, RLHF_TEST_DTYPE=dtype)
    failed = []
    for program in programs:
        print(f'== {os.path.basename(program)}', flush=True)
        code = subprocess.run([program], env=environment, check=False).returncode
        if code not in (0, 77):
            failed.append(os.path.basename(program))
    if failed:
        print(f'failed at {level} with {threads} threads in {dtype}: {", ".join(failed)}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
