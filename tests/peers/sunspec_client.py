"""A SunSpec client that Pattoo's authors did not write: pysunspec2 1.3.7, with the model definitions of the SunSpec Alliance.

    python sunspec_client.py PORT UNIT...

Prints one line of JSON for each unit: [{"id": model, "points": [{"at": register, "name": name, "value": text or null}]}], registers counted
from the one with the model's id. A number has its power of ten applied, exactly; null is what the device does not implement. A chain
without an end gives what was found before it broke off.
"""

import json
import math
import sys
from decimal import Decimal

from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

NO_VALUES = ("pad", "sunssf")


def text(point):
    value = point.value
    if value is None or value == "" or isinstance(value, float) and not math.isfinite(value):
        return None
    if not point.pdef.get("sf"):
        return str(value) if not isinstance(value, float) else format(Decimal(value), "f")
    power = point.group.points.get(point.pdef["sf"]) or point.model.points[point.pdef["sf"]]
    return None if power.value is None else format(Decimal(value).scaleb(power.value), "f")


def points(group):
    for point in group.points.values():
        if point.pdef["type"] not in NO_VALUES:  # Powers of ten are applied already.
            yield {"at": point.offset, "name": point.pdef["name"], "value": text(point)}
    for groups in group.groups.values():
        for inner in groups if isinstance(groups, list) else [groups]:
            yield from points(inner)


def main(port, units):
    for unit in units:
        device = SunSpecModbusClientDeviceTCP(slave_id=int(unit), ipaddr="127.0.0.1", ipport=int(port), timeout=20)
        try:
            device.scan()
        except Exception as error:
            print(f"unit {unit}: {error}", file=sys.stderr)
        finally:
            device.disconnect()
        print(json.dumps([{"id": model.model_id, "points": list(points(model))} for model in device.model_list]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
