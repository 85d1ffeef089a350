"""A Modbus device that Pattoo's authors did not write: pymodbus 3.16.1, serving the registers of a JSON file.

    python modbus_device.py UNITS.json [tcp | rtu-over-tcp | serial | tls CERTIFICATE KEY AUTHORITY]

UNITS.json is {unit: {table: {address: word}}}; tables are "input", "holding", "coil" and "discrete", addresses decimal or 0x….
Only what is listed can be read; anything else is exception 02. Prints "listening PORT" and runs until its input ends.
With TLS it wants a certificate of that authority from its clients. As a serial
device it sits at one end of a pair of pseudo terminals that it makes itself, and prints "listening PATH" of the other end.
"""

import asyncio
import json
import os
import ssl
import sys
import tty

from pymodbus import FramerType, ModbusDeviceIdentification
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer
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


def wire():
    """Two pseudo terminals whose far sides are joined; their paths. The near sides stay open so that nobody is hung up on."""
    (far_a, near_a), (far_b, near_b) = os.openpty(), os.openpty()
    for near in (near_a, near_b):
        tty.setraw(near)
    loop = asyncio.get_running_loop()
    for source, sink in ((far_a, far_b), (far_b, far_a)):
        loop.add_reader(source, lambda source=source, sink=sink: os.write(sink, os.read(source, 4096)))
    return os.ttyname(near_a), os.ttyname(near_b)


def tls(certificate, key, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def main(path, way="tcp", *files):
    with open(path, encoding="utf-8") as file:
        units = json.load(file)
    identity = ModbusDeviceIdentification(info_name={"VendorName": "Pymodbus", "ProductCode": "PM", "MajorMinorRevision": "3.16"})
    devices = [SimDevice(id=int(unit), simdata=tuple(block(t, tables.get(t, {})) for t in TABLES)) for unit, tables in units.items()]
    if way == "serial":
        address, own = wire()
        server = ModbusSerialServer(devices, port=own, baudrate=19200, ignore_missing_devices=True, identity=identity)
        await server.listen()
    elif way == "tls":
        server = ModbusTlsServer(devices, address=("127.0.0.1", 0), sslctx=tls(*files))
        await server.listen()
        address = server.transport.sockets[0].getsockname()[1]
    else:
        framer = FramerType.RTU if way == "rtu-over-tcp" else FramerType.SOCKET
        silent = way != "tcp"
        server = ModbusTcpServer(devices, framer=framer, address=("127.0.0.1", 0), ignore_missing_devices=silent, identity=identity)
        await server.listen()
        address = server.transport.sockets[0].getsockname()[1]
    print("listening", address, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.shutdown()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
