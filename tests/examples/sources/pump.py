#!/usr/bin/env python3
"""An agent in a few lines: reads something, and tells the gateway over its socket in line protocol.

pump.py /run/pattoo/in.sock [SECONDS]
"""

import socket
import sys
import time


def read_pump(second):
    """Stands for what really reads the pump."""
    return {"level": 120.5 + second % 10, "starts": f"{40 + second}u", "running": "t" if second % 2 else "f"}


def main(path, pause=1.0):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gateway:
        gateway.connect(path)
        gateway.setblocking(False)
        second = 0
        while True:
            fields = ",".join(f"{name}={value}" for name, value in read_pump(second).items())
            gateway.sendall(f"pump,device=well-pump {fields} {time.time_ns()}\n".encode())
            try:
                # The gateway answers only where a line is wrong.
                print(gateway.recv(4096).decode(), end="", file=sys.stderr, flush=True)
            except BlockingIOError:
                pass
            time.sleep(pause)
            second += 1


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)
