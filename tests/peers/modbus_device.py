"""A Modbus TCP device that Pattoo's authors did not write: pymodbus 3.16.1, serving the registers of a JSON file.

    python modbus_device.py UNITS.json

UNITS.json is {unit: {table: {address: word}}}; tables are "input", "holding", "coil" and "discrete", addresses decimal or 0x….
Only what is listed can be read; anything else is exception 02. Prints "listening PORT" and runs until its input ends.
"""

import asyncio
import json
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

TABLES = ("coil", "discrete", "holding", "input")


def runs(words):
    """Neighbouring addresses as (first address, values)."""
    found = []
    for address, word in sorted((int(a, 0), w) for a, w in words.items()):
        if found and found[-1][0] + len(found[-1][1]) == address:
            found[-1][1].append(word)
        else:
            found.append((address, [word]))
    return found


def block(table, words):
    bits = table in ("coil", "discrete")
    datatype = DataType.BITS if bits else DataType.REGISTERS
    data = [SimData(a, values=[bool(v) for v in values] if bits else values, datatype=datatype) for a, values in runs(words)]
    # The library wants at least one entry in each table; the last address is as good as none.
    return data or [SimData(65535, values=[False] if bits else [0], datatype=datatype)]


async def main(path):
    with open(path, encoding="utf-8") as file:
        units = json.load(file)
    devices = [SimDevice(id=int(unit), simdata=tuple(block(t, tables.get(t, {})) for t in TABLES)) for unit, tables in units.items()]
    server = ModbusTcpServer(devices, address=("127.0.0.1", 0))
    await server.listen()
    print("listening", server.transport.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
