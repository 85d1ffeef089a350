"""An agent of the Python Pattoo: what it posts is made and sent by its own library, PattooShared 0.0.120, as it was published.

    python pattoo_agent.py FOLDER PORT

FOLDER gets the library's configuration, its agent ids and its cache of what could not be posted. Answers each line of its input,
a JSON object, by one of its own, "answer N JSON" with N counted from 1:

    { "program": "pattoo_agent_x", "interval_s": 300, "datapoints": [ { "target": "10.0.0.9", "key": "cpu", "value": 1, "type": "int",
      "at_ms": 1700000000000, "metadata": [["name", "value", true] …] } … ] }

posts what the datapoints say, and then what the cache holds where that worked, as an agent does in each round: types are float, int,
count, count64 and string; the boolean says whether the pair belongs to the checksum. The answer is { "posted": true, "cached": 0,
"agent_id": "…", "body": … } with the number of files in the cache and the body. It ends with its input.
"""

import json
import os
import pathlib
import sys


def configure(folder, port):
    """Writes what the library reads when it is imported."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("log", "cache", "daemon"):
        (folder / name).mkdir(exist_ok=True)
    # JSON is YAML.
    (folder / "pattoo.yaml").write_text(json.dumps({"pattoo": {
        "log_directory": str(folder / "log"), "log_level": "warning", "cache_directory": str(folder / "cache"),
        "daemon_directory": str(folder / "daemon"), "language": "en"}}))
    (folder / "pattoo_agent.yaml").write_text(json.dumps({"pattoo_agent_api": {"ip_address": "127.0.0.1", "ip_bind_port": port}}))
    os.environ["PATTOO_CONFIGDIR"] = str(folder)


def main():
    folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    configure(folder, port)
    from pattoo_shared import constants
    from pattoo_shared import converter
    from pattoo_shared.phttp import PostAgent
    from pattoo_shared.variables import AgentPolledData, DataPoint, DataPointMetadata, TargetDataPoints

    types = {"float": constants.DATA_FLOAT, "int": constants.DATA_INT, "count": constants.DATA_COUNT,
             "count64": constants.DATA_COUNT64, "string": constants.DATA_STRING}

    def polled(told):
        data = AgentPolledData(told["program"], told["interval_s"])
        targets = {}
        for item in told["datapoints"]:
            point = DataPoint(item["key"], item["value"], data_type=types[item["type"]], timestamp=item["at_ms"])
            for key, value, belongs in item.get("metadata", []):
                point.add(DataPointMetadata(key, value, update_checksum=belongs))
            targets.setdefault(item["target"], TargetDataPoints(item["target"])).add(point)
        data.add(list(targets.values()))
        return data

    print("ready", flush=True)
    for number, line in enumerate(sys.stdin, 1):
        told = json.loads(line)
        data = polled(told)
        agent = PostAgent(data)
        posted = agent.post()
        if posted:
            agent.purge()
        cached = sum(1 for path in (folder / "cache").rglob("*") if path.is_file())
        body = converter.posting_data_points(converter.agentdata_to_post(polled(told)))
        print("answer", number, json.dumps({"posted": posted, "cached": cached, "agent_id": data.agent_id, "body": body}), flush=True)


main()
