"""What a program is made of, from cargo's own resolution: a CycloneDX bill of materials and the texts of all licences.

usage: made_of.py PACKAGE BOM LICENCES TARGET
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tomllib

TEXTS = ("license", "licence", "copying", "notice", "unlicense")


def closure(resolve, start):
    """Ids of everything that is linked in, with what each needs."""
    nodes = {node["id"]: node for node in resolve["nodes"]}
    found, waiting = {}, [start]
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        linked = [d["pkg"] for d in nodes[package]["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
        found[package] = sorted(linked)
        waiting.extend(linked)
    return found


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums):
    told = {"type": "library", "bom-ref": reference(package), "name": package["name"], "version": package["version"], "purl": reference(package)}
    if package["license"]:
        told["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        told["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return told


def licences(packages):
    """Each text once, after the names of all that bear it."""
    bearers, texts, without = {}, {}, []
    for package in packages:
        folder = pathlib.Path(package["manifest_path"]).parent
        files = sorted(file for file in folder.iterdir() if file.is_file() and file.name.lower().startswith(TEXTS))
        name = f"{package['name']} {package['version']} ({package['license']})"
        if not files:
            without.append(name)
        for file in files:
            text = file.read_text(errors="replace").strip()
            key = hashlib.sha256(" ".join(text.split()).encode()).hexdigest()
            texts.setdefault(key, text)
            bearers.setdefault(key, []).append(name)
    parts = ["\n".join(bearers[key]) + "\n\n" + texts[key] for key in sorted(texts, key=lambda key: bearers[key])]
    if without:
        parts.append("Without a text of their own:\n" + "\n".join(without))
    return ("\n\n" + "=" * 80 + "\n\n").join(parts) + "\n"


def main():
    name, bom, texts, target = sys.argv[1:]
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    by_id = {package["id"]: package for package in metadata["packages"]}
    root = next(package for package in metadata["packages"] if package["name"] == name)
    lock = tomllib.loads(pathlib.Path("Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}
    needs = closure(metadata["resolve"], root["id"])
    packages = sorted((by_id[package] for package in needs if package != root["id"]), key=lambda p: (p["name"], p["version"]))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root, {}) | {"type": "application"}},
        "components": [component(package, checksums) for package in packages],
        "dependencies": [
            {"ref": reference(by_id[package]), "dependsOn": [reference(by_id[need]) for need in needs[package]]}
            for package in sorted(needs, key=lambda package: reference(by_id[package]))
        ],
    }
    pathlib.Path(bom).write_text(json.dumps(document, indent=1) + "\n")
    pathlib.Path(texts).write_text(licences(packages))


main()
