"""A process for ``base.worker_process_pool`` that does odd things on request."""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import time

from robustness.base.workers import serve


def answer(head: bytes, data: bytes) -> bytes:
    match head.split():
        case [b"allocate", size]:
            try:
                return str(len(bytearray(int(size)))).encode()
            except MemoryError:
                return b"no memory"
        case [b"die"]:
            os._exit(3)
        case [b"killed", b"once", mark] if not os.path.exists(mark):
            os.close(os.open(mark, os.O_CREAT))
            os.kill(os.getpid(), signal.SIGKILL)
        case [b"note", b"and", b"die", mark]:
            with open(mark, "ab") as file:
                file.write(b"died ")
            os._exit(3)
        case [b"claim", size]:
            os.write(sys.stdin.fileno(), struct.pack("<Q", int(size)))
            time.sleep(600)
        case [b"environment"]:
            return json.dumps(dict(os.environ)).encode()
        case [b"spin"]:
            while True:
                pass
        case [b"until", mark]:
            while not os.path.exists(mark):
                time.sleep(0.01)
        case [b"sleep"]:
            time.sleep(600)
    return head + data


if __name__ == "__main__":
    serve(answer)
