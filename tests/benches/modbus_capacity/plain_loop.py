"""The same devices read with pymodbus's client and the plainest loop: one coroutine for each device, a read each second.

    python plain_loop.py REGISTERS WARM_UP_S RUN_S < PORTS

PORTS is a JSON list. Floats are decoded as a user would, with the library's own conversion. Prints one JSON object.
"""

import asyncio
import json
import resource
import sys
import time

from pymodbus.client import AsyncModbusTcpClient

LARGEST = 120
EVERY_S = 1.0


async def device(port, registers, phase_s, begin, end, seen):
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    due = begin + phase_s
    while due < end:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        late = time.monotonic() - due
        values = []
        for start in range(0, registers, LARGEST):
            count = min(LARGEST, registers - start)
            reply = await client.read_input_registers(start, count=count, device_id=1)
            values += client.convert_from_registers(reply.registers, client.DATATYPE.FLOAT32)
        seen.append((due, late, len(values), port))
        due += EVERY_S
        while due < time.monotonic() - EVERY_S:
            due += EVERY_S
    client.close()


async def main(registers, warm_up_s, run_s):
    ports = json.loads(sys.stdin.read())
    begin = time.monotonic()
    measured_from, end = begin + warm_up_s, begin + warm_up_s + run_s
    seen = []
    used = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])

    async def cpu_before():
        await asyncio.sleep(warm_up_s)
        return used()

    tasks = [device(port, registers, i / len(ports), begin, end, seen) for i, port in enumerate(ports)]
    before, *_ = await asyncio.gather(cpu_before(), *tasks)
    cpu_s = used() - before
    values = sum(count for due, _, count, _ in seen if due >= measured_from)
    late = {port: sorted(late for due, late, _, own in seen if own == port and due >= measured_from) for port in ports}
    with open("/proc/self/status", encoding="ascii") as file:
        resident = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))
    quantile = lambda share: max(own[int(len(own) * share)] for own in late.values()) * 1e3
    figures = {"values": values, "cpu_s": cpu_s, "resident": resident, "late_p95_ms": quantile(0.95), "late_p99_ms": quantile(0.99)}
    print(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
