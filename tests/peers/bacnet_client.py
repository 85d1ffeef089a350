"""A BACnet/IP client that Pattoo's authors did not write: bacpypes3 0.0.110, to judge what pretends to be a device.

    python bacnet_client.py TARGET

TARGET is IP:PORT of 127.0.0.0/8, or NETWORK:0xMAC@IP:PORT of a device behind a router there. The client takes a free port of its own.
Prints "ready", then answers each line of its input by one of its own, "answer N JSON" with N counted from 1; what was refused is
{"refused": "…"}:

    who-is [LOW HIGH]                                 [[instance, address, max. APDU, segmentation, vendor]]
    read OBJECT INSTANCE PROPERTY [INDEX]             its value
    read-multiple OBJECT INSTANCE PROPERTY…           {property: value or {"refused": …}}
    write OBJECT INSTANCE VALUE [PRIORITY]            to the present value; null gives a command back
    subscribe OBJECT INSTANCE CONFIRMED LIFETIME      with true or false, and seconds
    unsubscribe OBJECT INSTANCE
    notified OBJECT INSTANCE                          values that it was told of, and the flags beside them

It ends with its input.
"""

import asyncio
import json
import socket
import sys

from bacpypes3.apdu import ErrorRejectAbortNack, SimpleAckPDU, SubscribeCOVRequest
from bacpypes3.app import Application
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.networkport import NetworkPortObject
from bacpypes3.pdu import Address, IPv4Address
from bacpypes3.primitivedata import Null, ObjectIdentifier
from bacpypes3.vendor import get_vendor_info

from bacpypes3.settings import settings

from bacnet_device import plainly

# So that a router is what an address says that it is.
settings.route_aware = True


class Client(Application):
    """Keeps what it is told of changes."""

    told = {}

    async def do_ConfirmedCOVNotificationRequest(self, apdu):
        self.keep(apdu)
        await self.response(SimpleAckPDU(context=apdu))

    async def do_UnconfirmedCOVNotificationRequest(self, apdu):
        self.keep(apdu)

    def keep(self, apdu):
        kind = get_vendor_info(0).get_object_class(apdu.monitoredObjectIdentifier[0])
        values = [plainly(one.value.cast_out(kind.get_property_type(one.propertyIdentifier))) for one in apdu.listOfValues]
        self.told.setdefault(str(apdu.monitoredObjectIdentifier), []).append(values)


def done(answer):
    if isinstance(answer, ErrorRejectAbortNack):
        raise answer
    return True


def refused(why):
    return {"refused": f"{why.errorClass}: {why.errorCode}"}


async def answer(app, to, line):
    word, *rest = line.split(" ")
    one = f"{rest[0]},{rest[1]}" if len(rest) > 1 and word != "who-is" else None
    match word:
        case "who-is":
            low, high = (int(rest[0]), int(rest[1])) if rest else (None, None)
            found = await app.who_is(low, high, address=to, timeout=2)
            return [
                [i.iAmDeviceIdentifier[1], str(i.pduSource), i.maxAPDULengthAccepted, str(i.segmentationSupported), i.vendorID] for i in found
            ]
        case "read":
            return plainly(await app.read_property(to, one, rest[2], int(rest[3]) if len(rest) > 3 else None))
        case "read-multiple":
            found = await app.read_property_multiple(to, [one, rest[2:]])
            return {str(name): refused(value) if hasattr(value, "errorCode") else plainly(value) for _, name, _, value in found}
        case "write":
            value, priority = json.loads(rest[2]), int(rest[3]) if len(rest) > 3 else None
            value = Null(()) if value is None else value
            return done(await app.write_property(to, one, "present-value", value, priority=priority))
        case "subscribe":
            request = SubscribeCOVRequest(
                subscriberProcessIdentifier=7, monitoredObjectIdentifier=ObjectIdentifier(one), issueConfirmedNotifications=rest[2] == "true",
                lifetime=int(rest[3]), destination=to,
            )
            return done(await app.request(request))
        case "unsubscribe":
            request = SubscribeCOVRequest(subscriberProcessIdentifier=7, monitoredObjectIdentifier=ObjectIdentifier(one), destination=to)
            return done(await app.request(request))
        case "notified":
            return app.told.get(str(ObjectIdentifier(one)), [])
    raise ValueError(f"no such command: {line!r}")


async def main(where):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    device = DeviceObject(objectIdentifier=("device", 4194000), objectName="judge")
    own = NetworkPortObject(IPv4Address(f"127.0.0.1/8:{port}"), objectIdentifier=("network-port", 1), objectName="port 1")
    app = Client.from_object_list([device, own])
    for layer in app.link_layers.values():
        await asyncio.gather(*layer.server._transport_tasks)
    print("ready", flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    number = 0
    while line := await lines.readline():
        number += 1
        try:
            said = await answer(app, Address(where), line.decode().strip())
        except (ErrorRejectAbortNack, Exception) as why:  # Whoever asked shows it.
            said = {"refused": str(why) or type(why).__name__}
        print("answer", number, json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
