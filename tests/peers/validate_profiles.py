"""Checks YAML files against a JSON Schema with software that Pattoo's authors did not write, as an editor does.

    python validate_profiles.py SCHEMA.json FILE...

Prints a line "FILE: good", or "FILE: WHERE: what is wrong" for the first error of a file.
"""

import json
import sys

from jsonschema import Draft202012Validator
from ruamel.yaml import YAML


def text_keys(node):
    """JSON has no other keys than texts."""
    if isinstance(node, dict):
        return {str(key): text_keys(value) for key, value in node.items()}
    if isinstance(node, list):
        return [text_keys(item) for item in node]
    return node


def main(schema, files):
    with open(schema, encoding="utf-8") as file:
        schema = json.load(file)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for path in files:
        with open(path, encoding="utf-8") as file:
            profile = text_keys(YAML(typ="safe", pure=True).load(file))
        error = next(iter(sorted(validator.iter_errors(profile), key=lambda error: list(map(str, error.path)))), None)
        print(f"{path}: good" if error is None else f"{path}: {error.json_path}: {error.message}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
