"""BACnet/IP devices that Pattoo's authors did not write: bacpypes3 0.0.110, holding the objects of a JSON file.

    python bacnet_device.py DEVICE.json [ADDRESS [PORT]]

ADDRESS is one of 127.0.0.0/8 (127.0.0.1 where it is not given), whose broadcasts go to 127.255.255.255; PORT 0 takes a free one.
Devices that should hear the same broadcast get addresses of their own and one port. bacpypes3 never answers 127.x at its own port
number: whoever asks it must sit at another one. DEVICE.json is

    { "device": { "instance": 1001, property: value … }, "objects": [ { "object": "analog-input", "instance": 1, property: value … } … ],
      "many": 600, "refuse": { "ReadPropertyMultiple": "reject", "SubscribeCOV": ["services", "cov-subscription-failed"] },
      "bbmd": true, "behind": { "network": 5, "mac": 26 } }

with properties as BACnet calls them. Texts may be {"latin-1": "…"} or {"utf-16": "…"}. "commandable": true gives a value object a
priority array, "read-only": true takes writes to its present value away. "many" adds that many analog values from instance 10000 on.
"behind" puts the device on a network of its own behind a router at that address.

Prints "listening IP:PORT", then answers each line of its input by one of its own, "answer N JSON" with N counted from 1:

    set OBJECT INSTANCE PROPERTY JSON    the device changes the value itself, and notifies
    get OBJECT INSTANCE PROPERTY         what it holds
    silent true | false                  drops all that it hears
    restart                              (not behind a router) forgets subscriptions and commands, keeps values that were set
    subscriptions | requests             what is subscribed: [object, instance, process, confirmed]; how often which service was asked
    i-am                                 says so to everybody

It ends with its input.
"""

import asyncio
import json
import socket
import sys
from collections import Counter
from functools import cache

from bacpypes3 import object as plain
from bacpypes3.apdu import Error, RejectPDU
from bacpypes3.app import Application
from bacpypes3.basetypes import BDTEntry, DateTime, IPMode, PropertyIdentifier, Scale
from bacpypes3.constructeddata import Array, List
from bacpypes3.errors import ExecutionError
from bacpypes3.local.analog import AnalogInputObject, AnalogOutputObject, AnalogValueObject
from bacpypes3.local.binary import BinaryInputObject, BinaryOutputObject, BinaryValueObject
from bacpypes3.local.cmd import Commandable
from bacpypes3.local.cov import COVIncrementCriteria, GenericCriteria
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.networkport import NetworkPortObject
from bacpypes3.local.object import Object as Local
from bacpypes3.pdu import IPv4Address
from bacpypes3.primitivedata import CharacterString, ObjectIdentifier
from bacpypes3.vlan import VirtualNetwork

TEXTS = {"latin-1": 5, "utf-16": 4}
MANY_FROM = 10000


@cache
def local(base, criteria, *mixins):
    """A class of ours over one of the library's, with the change-of-value rule that the standard gives it."""
    bases = (*mixins, base) if issubclass(base, Local) else (*mixins, Local, base)
    # As they were told: the library would work them out, and then tell no subscriber that they changed.
    flags = property(lambda self: getattr(self, "_flags", None), lambda self, value: setattr(self, "_flags", value))
    return type(base)(base.__name__, bases, {"_cov_criteria": criteria, "__annotations__": {}, "statusFlags": flags})


CLASSES = {
    "analog-input": (AnalogInputObject, COVIncrementCriteria),
    "analog-output": (AnalogOutputObject, COVIncrementCriteria),
    "analog-value": (AnalogValueObject, COVIncrementCriteria),
    "large-analog-value": (plain.LargeAnalogValueObject, COVIncrementCriteria),
    "integer-value": (plain.IntegerValueObject, COVIncrementCriteria),
    "positive-integer-value": (plain.PositiveIntegerValueObject, COVIncrementCriteria),
    "binary-input": (BinaryInputObject, GenericCriteria),
    "binary-output": (BinaryOutputObject, GenericCriteria),
    "binary-value": (BinaryValueObject, GenericCriteria),
    # The library's own ones notify by increments, which such objects do not have.
    "multi-state-input": (plain.MultiStateInputObject, GenericCriteria),
    "multi-state-output": (plain.MultiStateOutputObject, GenericCriteria),
    "multi-state-value": (plain.MultiStateValueObject, GenericCriteria),
    "accumulator": (plain.AccumulatorObject, GenericCriteria),
    "characterstring-value": (plain.CharacterStringValueObject, GenericCriteria),
    "bitstring-value": (plain.BitStringValueObject, GenericCriteria),
    "datetime-value": (plain.DateTimeValueObject, GenericCriteria),
    "loop": (plain.LoopObject, GenericCriteria),
}
DEFAULTS = {
    "analog": {"cov-increment": 0.1, "units": "no-units"},
    "large": {"cov-increment": 0.1, "units": "no-units"},
    "integer": {"cov-increment": 1, "units": "no-units"},
    "positive": {"cov-increment": 1, "units": "no-units"},
    "binary": {"polarity": "normal"},
    "multi": {"number-of-states": 4},
    "accumulator": {"units": "no-units", "max-pres-value": 4294967295},
}
ALL = {"status-flags": [0, 0, 0, 0], "event-state": "normal", "out-of-service": False}
OWN_KEYS = ("object", "instance", "commandable", "read-only")


def attribute(name):
    return PropertyIdentifier(name).attr


def made(value):
    """A value of the JSON file as the library wants it."""
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in TEXTS:
        (name, text), = value.items()
        text = CharacterString(text)
        text._encoding = TEXTS[name]
        return text
    if isinstance(value, dict) and set(value) == {"scale"}:
        return Scale(floatScale=float(value["scale"]))
    if isinstance(value, dict) and set(value) == {"date", "time"}:
        return DateTime(date=value["date"], time=value["time"])
    return value


def plainly(value):
    """A value of the library as JSON."""
    if isinstance(value, (Array, List, list, tuple)):
        return [plainly(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    # Enumerations are integers whose text is their name; bits of a bit string are plain ones.
    if isinstance(value, (bool, float)) or value is None:
        return value
    if isinstance(value, int):
        text = str(value)
        return int(value) if text.lstrip("-").isdigit() else text
    return str(value)


def built(entry):
    kind = entry["object"]
    base, criteria = CLASSES[kind]
    mixins = (Commandable,) if (entry.get("commandable") or kind.endswith("-output")) and not issubclass(base, Commandable) else ()
    properties = {**ALL, **DEFAULTS.get(kind.split("-")[0], {})}
    if kind == "accumulator":
        properties["scale"] = {"scale": 1.0}
    if "state-text" in entry:
        properties["number-of-states"] = len(entry["state-text"])
    properties |= {name: value for name, value in entry.items() if name not in OWN_KEYS}
    properties.setdefault("object-name", f"{kind} {entry['instance']}")
    known = {attribute(name): made(value) for name, value in properties.items() if attribute(name) in base._elements}
    unknown = [name for name in entry if name not in OWN_KEYS and attribute(name) not in base._elements]
    if unknown:
        raise SystemExit(f"{kind} has no {unknown}")
    made_object = local(base, criteria, *mixins)(objectIdentifier=(kind, entry["instance"]), **known)
    made_object._is_read_only = entry.get("read-only", kind.endswith("-input") or kind == "accumulator")
    return made_object


class Device(Application):
    """A device with faults on demand. What it was asked is counted."""

    refuse = {}
    asked = Counter()

    async def indication(self, apdu):
        service = type(apdu).__name__.removesuffix("Request")
        Device.asked[service] += 1
        how = self.refuse.get(service)
        if how == "reject":
            await self.response(RejectPDU(reason=9, context=apdu))
        elif how is not None:
            await self.response(Error(service_choice=apdu.apduService, errorClass=how[0], errorCode=how[1], context=apdu))
        else:
            await super().indication(apdu)

    async def do_WritePropertyRequest(self, apdu):
        found = self.get_object_id(apdu.objectIdentifier)
        if found and apdu.propertyIdentifier == PropertyIdentifier.presentValue and getattr(found, "_is_read_only", False):
            raise ExecutionError(errorClass="property", errorCode="writeAccessDenied")
        await super().do_WritePropertyRequest(apdu)


class Site:
    """The device as it runs, and what its file says."""

    def __init__(self, told, address):
        self.told, self.address = told, address
        self.silent, self.inner = False, None
        self.objects = told.get("objects", []) + [
            {"object": "analog-value", "instance": MANY_FROM + n, "object-name": f"many-{n:04}", "present-value": float(n)}
            for n in range(told.get("many", 0))
        ]
        Device.refuse = told.get("refuse", {})

    def port(self, behind):
        port = NetworkPortObject(self.address, objectIdentifier=("network-port", 1), objectName="port 1")
        if self.told.get("bbmd"):
            port.bacnetIPMode = IPMode.bbmd
            port.bbmdAcceptFDRegistrations = True
            port.bbmdForeignDeviceTable = []
            port.bbmdBroadcastDistributionTable = [BDTEntry(str(self.address))]
        if behind:
            port.networkNumber = behind["network"] + 1
        return port

    @staticmethod
    def inner_port(network, mac, number):
        return NetworkPortObject(
            objectIdentifier=("network-port", number), objectName=f"port {number}", networkType="virtual", protocolLevel="bacnet-application",
            networkNumber=network, networkNumberQuality="configured", networkInterfaceName="inner", macAddress=bytes([mac]),
            statusFlags=[0, 0, 0, 0], reliability="no-fault-detected", outOfService=False, changesPending=False, linkSpeed=0.0,
        )

    async def start(self):
        behind = self.told.get("behind")
        device = dict(self.told["device"])
        instance = device.pop("instance")
        device.setdefault("object-name", f"device {instance}")
        own = DeviceObject(objectIdentifier=("device", instance), **{attribute(name): made(value) for name, value in device.items()})
        # Before anything listens, so that nobody hears of half a device.
        objects = [built(entry) for entry in self.objects]
        self.router = None
        if behind:
            if not self.inner:
                self.inner = VirtualNetwork("inner")
            router = DeviceObject(objectIdentifier=("device", instance + 1), objectName=f"router {instance + 1}")
            self.router = Application.from_object_list([router, self.port(behind), self.inner_port(behind["network"], 1, 2)])
            self.app = Device.from_object_list([own, self.inner_port(behind["network"], behind["mac"], 1)])
        else:
            self.app = Device.from_object_list([own, self.port(None)])
        for one in objects:
            self.app.add_object(one)
        layers = (self.router or self.app).link_layers.values()
        self.servers = [layer.server for layer in layers if hasattr(layer, "server")]
        for server in self.servers:
            await asyncio.gather(*server._transport_tasks)
            hear = server.confirmation
            server.confirmation = lambda pdu, hear=hear: self.nothing() if self.silent else hear(pdu)

    async def nothing(self):
        pass

    def entry(self, kind, instance):
        for entry in self.objects:
            if entry["object"] == kind and entry["instance"] == instance:
                return entry
        raise KeyError(f"{kind} {instance}")

    def found(self, kind, instance):
        found = self.app.device_object if kind == "device" else self.app.get_object_id(ObjectIdentifier((kind, int(instance))))
        if not found:
            raise KeyError(f"{kind} {instance}")
        return found

    async def answer(self, line):
        word, *rest = line.split(" ", 4)
        match word:
            case "set":
                kind, instance, name, value = rest
                value = json.loads(value)
                setattr(self.found(kind, instance), attribute(name), made(value))
                if kind != "device":
                    self.entry(kind, int(instance))[name] = value
                return True
            case "get":
                kind, instance, name = rest
                value = getattr(self.found(kind, instance), attribute(name))
                if name == "priority-array":
                    return [None if slot.null is not None else plainly(getattr(slot, slot._choice)) for slot in value]
                return plainly(value)
            case "silent":
                self.silent = rest == ["true"]
                return self.silent
            case "restart" if not self.router:
                (self.router or self.app).close()
                self.app.close()
                await self.start()
                return True
            case "subscriptions":
                subscribed = [cov for detection in self.app._cov_detections.values() for cov in detection.cov_subscriptions]
                return [[str(cov.obj_id[0]), cov.obj_id[1], cov.proc_id, bool(cov.confirmed)] for cov in subscribed]
            case "requests":
                return dict(Device.asked)
            case "i-am":
                self.app.i_am()
                return True
        raise ValueError(f"no such command: {line!r}")


async def main(path, ip="127.0.0.1", port="0"):
    with open(path, encoding="utf-8") as file:
        told = json.load(file)
    if port == "0":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((ip, 0))
            port = probe.getsockname()[1]
    site = Site(told, IPv4Address(f"{ip}/8:{port}"))
    await site.start()
    print(f"listening {ip}:{port}", flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    number = 0
    while line := await lines.readline():
        number += 1
        try:
            said = await site.answer(line.decode().strip())
        except Exception as why:  # Whoever asked shows it.
            said = {"error": f"{type(why).__name__}: {why}"}
        # What a change set off is on its way before anybody is told that it was done.
        await asyncio.sleep(0)
        print("answer", number, json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
