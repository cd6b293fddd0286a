"""A process for ``base.limited_worker`` that does what it is told, however odd."""

from __future__ import annotations

import os
import time

from robustness.base.limited_worker import serve


def answer(head: bytes, data: bytes) -> bytes:
    match head.split():
        case [b"allocate", size]:
            try:
                return str(len(bytearray(int(size)))).encode()
            except MemoryError:
                return b"no memory"
        case [b"die"]:
            os._exit(3)
        case [b"die", b"once", mark] if not os.path.exists(mark):
            os.close(os.open(mark, os.O_CREAT))
            os._exit(3)
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
