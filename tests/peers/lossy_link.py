"""Two networks joined by a link that loses packets: this one and a new one, each with a TUN interface.

    python lossy_link.py SEED PERCENT

Run it in a network namespace of its own, with the right to configure it, as `unshare --user --map-root-user --net` gives. This side
is 10.77.0.1, the other one 10.77.0.2. Prints "joined PID", where PID lives in the other network, then, each second, how many IP
packets came to the link and how many of them were lost, both ways together. Runs until its input ends.
"""

import fcntl
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
LARGEST_PACKET = 2048


def interface(address):
    """A TUN interface of this network that is up, as a file; and the loopback interface, which a new network has down."""
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"lossy", IFF_TUN | IFF_NO_PI))
    for words in ("addr add %s/30 dev lossy" % address, "link set lossy up", "link set lo up"):
        subprocess.run(["ip", *words.split()], check=True)
    return tun


def far():
    """In the other network: makes its interface, hands it over, and stays, so that the network stays."""
    near = socket.socket(fileno=int(sys.argv[2]))
    socket.send_fds(near, [b"tun"], [interface("10.77.0.2")])
    near.recv(1)


def forward(near, far, percent, random):
    came = lost = 0
    told = time.monotonic()
    while True:
        ready, _, _ = select.select([near, far, sys.stdin], [], [], 1)
        if sys.stdin in ready and not os.read(sys.stdin.fileno(), 64):
            return
        for source, target in ((near, far), (far, near)):
            if source in ready:
                packet = os.read(source, LARGEST_PACKET)
                came += 1
                if random.random() * 100 < percent:
                    lost += 1
                else:
                    os.write(target, packet)
        if time.monotonic() - told > 1:
            told = time.monotonic()
            print("packets", came, "lost", lost, flush=True)


def main():
    if sys.argv[1] == "far":
        return far()
    seed, percent = int(sys.argv[1]), float(sys.argv[2])
    near = interface("10.77.0.1")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = ["unshare", "--net", sys.executable, __file__, "far", str(theirs.fileno())]
    child = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    theirs.close()
    _, (tun, *_), _, _ = socket.recv_fds(ours, 16, 1)
    print("joined", child.pid, flush=True)
    forward(near, tun, percent, random.Random(seed))


if __name__ == "__main__":
    main()
