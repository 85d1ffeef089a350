"""Objects for snmpd's `pass_persist`: `OID type value` per line of a file that is read anew for each question.

It is net-snmp that encodes them; this only looks them up.
"""

import sys


def objects(path):
    found = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            name, kind, value = line.rstrip("\n").split(" ", 2)
            found.append((tuple(int(part) for part in name.strip(".").split(".")), kind, value))
    return sorted(found)


def main(path):
    while line := sys.stdin.readline():
        command = line.strip().lower()
        if command == "ping":
            print("PONG", flush=True)
            continue
        if command not in ("get", "getnext"):
            print("NONE", flush=True)
            continue
        asked = tuple(int(part) for part in sys.stdin.readline().strip().strip(".").split("."))
        fits = (lambda name: name == asked) if command == "get" else (lambda name: name > asked)
        answer = next((found for found in objects(path) if fits(found[0])), None)
        if answer is None:
            print("NONE", flush=True)
            continue
        name, kind, value = answer
        print("." + ".".join(str(part) for part in name), kind, value, sep="\n", flush=True)


main(sys.argv[1])
