"""The cases of the buffer benchmark for ThingsBoard's gateway storages, through their own classes.

    python thingsboard.py CASE {file|sqlite} FOLDER [NUMBERS...]

An event is what the gateway makes of one poll of a device (`ConvertedData`, written as JSON as its service does); each has its number as
its time, so that what comes out can be told from what went in. Prints the figures of the case as one line of JSON.
"""

import json
import logging
import os
import resource
import sys
import time
from threading import Event

import simplejson
from thingsboard_gateway.gateway.entities.converted_data import ConvertedData
from thingsboard_gateway.gateway.entities.datapoint_key import DatapointKey
from thingsboard_gateway.gateway.entities.telemetry_entry import TelemetryEntry
from thingsboard_gateway.storage.file.file_event_storage import FileEventStorage
from thingsboard_gateway.storage.sqlite.sqlite_event_storage import SQLiteEventStorage

GROUP = 1000
LOOK_EVERY = 10
FIRST_MS = 1_790_000_000_000
# Enough that the thread that writes to the database never waits, and that what is only in memory stays bounded.
QUEUED = 5000
BYTES = 223
# Groups that are stored between what is promised and the kill.
GOES_ON = 5

# Whole files are read: with fewer records per read than per file the file storage removes files that it has read only in part.
SETTINGS = {
    "max_file_count": 1_000_000,
    "max_records_per_file": GROUP,
    "max_read_records_count": GROUP,
    "messages_ttl_check_in_hours": 1,
    "messages_ttl_in_days": 7,
}
# As the gateway's own tb_gateway.json has them.
DEFAULTS = {"max_file_count": 10, "max_records_per_file": 10000, "max_read_records_count": 10}


class Count(logging.Handler):
    """Counts what the storage complains of; the first complaint goes to the terminal."""

    seen = 0

    def emit(self, record):
        Count.seen += 1
        if Count.seen == 1:
            print(record.getMessage(), file=sys.stderr)


def log():
    logging.Logger.trace = lambda *_, **__: None
    logger = logging.getLogger("storage")
    logger.setLevel(logging.WARNING)
    logger.addHandler(Count())
    logger.propagate = False
    return logger


def event():
    """The text of an event before and behind its number, and its readings."""
    values = {"voltage_l1": 230.1, "voltage_l2": 229.8, "current_l1": 4.71, "power": 1083.7, "energy": 48211, "frequency": 50.02}
    data = ConvertedData("meter-01")
    entry = {DatapointKey(name): value for name, value in values.items()}
    data.add_to_telemetry(TelemetryEntry(entry, FIRST_MS))
    text = simplejson.dumps(data.to_dict(), separators=(",", ":"), skipkeys=True, ignore_nan=True)
    before, behind = text.split(str(FIRST_MS))
    missing = BYTES - len(text)
    # The device's name takes what is missing.
    assert 0 <= missing < 16, "an event has %d bytes" % len(text)
    return before.replace("meter-01", "meter-01" + "x" * missing), behind, len(values)


def usage():
    with open("/proc/self/io") as io:
        written = next(int(line.split()[1]) for line in io if line.startswith("write_bytes"))
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic(), cpu.ru_utime + cpu.ru_stime, written


def figures(name, before):
    found = {name + what: now - then for what, now, then in zip(("wall_s", "cpu_s", "written"), usage(), before)}
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    for what, field in (("rss", "VmRSS"), ("rss_own", "RssAnon"), ("hwm", "VmHWM")):
        found[name + what] = int(lines[field].split()[0]) * 1024
    return found


def taken(folder):
    total = os.stat(folder).st_blocks * 512
    for name in os.listdir(folder):
        try:
            total += os.stat(os.path.join(folder, name)).st_blocks * 512
        except FileNotFoundError:
            pass
    return total


class Storage:
    """A storage, and what it was given and gave."""

    def __init__(self, kind, folder, settings=SETTINGS):
        self.sqlite = kind == "sqlite"
        path = os.path.join(folder, "")
        os.makedirs(path, exist_ok=True)
        settings = dict(settings, data_folder_path=path, data_file_path=path)
        self.storage = (SQLiteEventStorage if self.sqlite else FileEventStorage)(settings, log(), Event())
        self.before, self.behind, self.readings = event()
        self.put_count = self.out = self.lost = self.again = self.kept = 0
        self.promised = 0
        self.expected = 0

    def put(self, count):
        for number in range(self.put_count, self.put_count + count):
            if not self.storage.put(self.before + str(FIRST_MS + number) + self.behind):
                raise SystemExit("the storage refused event %d" % number)
        self.put_count += count
        # What it has taken is in memory only; it sets no bound of its own.
        while self.sqlite and self.storage.write_queue.qsize() > QUEUED:
            time.sleep(0.001)

    def settle(self):
        """Waits until all that it has taken is in its files."""
        if self.sqlite:
            while self.storage.write_queue.qsize():
                time.sleep(0.001)
            # The last batch is being written.
            time.sleep(0.5)

    def take(self):
        """One pack out, counted and confirmed; how many."""
        pack = self.storage.get_event_pack()
        start, end = len(self.before), len(self.before) + 13
        for text in pack:
            number = int(text[start:end]) - FIRST_MS
            if number < self.expected:
                self.again += 1
            else:
                self.lost += number - self.expected
                self.expected = number + 1
                self.out += 1
                self.kept += number < self.promised
        if pack:
            self.storage.event_pack_processing_done()
        return len(pack)

    def take_all(self):
        """All that comes out, until nothing more does; when the last came."""
        last, empty = usage(), 0
        while empty < 20:
            if self.take():
                last, empty = usage(), 0
            else:
                empty += 1
                time.sleep(0.05 if self.sqlite else 0)
        return last


def insert(kind, folder, count, _group):
    storage = Storage(kind, folder)
    before = usage()
    for _ in range(count // GROUP):
        storage.put(GROUP)
    storage.settle()
    return dict(figures("", before), disk=taken(folder), readings=storage.readings, complaints=Count.seen)


def drain(kind, folder, count, backlog):
    storage = Storage(kind, folder)
    before = usage()
    ratios, peak_disk, since = [], 0, 0
    while storage.put_count < count:
        storage.put(GROUP)
        while storage.put_count - storage.out - storage.lost > backlog:
            since += 1
            if since % LOOK_EVERY == 0:
                disk = taken(folder)
                peak_disk = max(peak_disk, disk)
                ratios.append(disk / (BYTES * (storage.put_count - storage.out)))
            if not storage.take():
                time.sleep(0.001)
    found = figures("", before)
    storage.settle()
    storage.take_all()
    found.update(looks=len(ratios), mean_ratio=sum(ratios) / len(ratios), peak_ratio=max(ratios), peak_disk=peak_disk)
    found.update(drained_disk=taken(folder), lost=storage.put_count - storage.out, again=storage.again, complaints=Count.seen)
    return found


def fill(kind, folder, count):
    storage = Storage(kind, folder)
    before = usage()
    while storage.put_count < count:
        storage.put(GROUP)
    found = dict(figures("", before), disk=taken(folder))
    print(json.dumps(found), flush=True)
    if sys.stdin.readline():
        for _ in range(GOES_ON):
            storage.put(GROUP)
        print("still storing", flush=True)
        while True:
            storage.put(GROUP)
    storage.settle()
    storage.storage.stop()
    return found


def opened(kind, folder):
    before = usage()
    storage = Storage(kind, folder)
    found = figures("", before)
    storage.storage.stop()
    return found


def read(kind, folder, promised):
    before = usage()
    storage = Storage(kind, folder)
    storage.promised = promised
    last = storage.take_all()
    found = figures("", before)
    found.update(wall_s=last[0] - before[0], batches=storage.out, kept=storage.kept, again=storage.again)
    return dict(found, disk=taken(folder), complaints=Count.seen)


def defaults(kind, folder, count):
    """What comes out again with the settings that the gateway ships."""
    storage = Storage(kind, folder, DEFAULTS)
    storage.put(count)
    storage.settle()
    storage.take_all()
    return {"batches": storage.out}


def say(found):
    print(json.dumps(found), flush=True)
    return 0


def main():
    case, kind, folder, *numbers = sys.argv[1:]
    bare = figures("bare_", usage())
    cases = {"insert": insert, "drain": drain, "fill": fill, "open": opened, "read": read, "defaults": defaults}
    found = cases[case](kind, folder, *map(int, numbers))
    # Its threads are daemons that may be in the middle of something.
    os._exit(say(dict(found, **bare)))


main()
