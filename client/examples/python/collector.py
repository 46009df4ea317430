"""Prints the exits of a node, and continues at its saved cursor after any restart.

Usage: collector.py TARGET CURSOR_FILE
"""

import os
import sys
import time
from pathlib import Path

import grpc
from google.protobuf import json_format
from taskstats.v1 import taskstats_pb2 as pb
from taskstats.v1 import taskstats_pb2_grpc

# Notices after 15 s that the agent vanished. A stream without exits is silent for 10 s.
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]


def load(file):
    """Returns the saved cursor; None begins with the exits from now on."""
    if not os.path.exists(file):
        return None
    return json_format.Parse(Path(file).read_text(encoding="utf-8"), pb.Cursor())


def save(file, cursor):
    """Saves a cursor so that a crash leaves the old one or the new one."""
    Path(f"{file}.new").write_text(json_format.MessageToJson(cursor), encoding="utf-8")
    os.rename(f"{file}.new", file)


def show(kind, message):
    """Prints a message in one line."""
    print(kind, json_format.MessageToJson(message, indent=None), flush=True)


def watch(agent, file):
    """Prints exits until the stream fails."""
    agent.GetNode(pb.GetNodeRequest(), timeout=5)
    for message in agent.WatchExits(pb.WatchExitsRequest(resume_after=load(file))):
        for event in message.events.events:
            show("exit", event)
        if message.HasField("lost"):  # Without a count if the number cannot be known.
            show("lost", message.lost)
        if message.WhichOneof("kind") != "workloads":  # The others have a cursor.
            save(file, getattr(message, message.WhichOneof("kind")).cursor)


with grpc.insecure_channel(sys.argv[1], options=KEEPALIVE) as channel:
    while True:
        try:
            watch(taskstats_pb2_grpc.TaskstatsServiceStub(channel), sys.argv[2])
        except grpc.RpcError as error:
            print(error.code().name, error.details(), file=sys.stderr, flush=True)
        time.sleep(1)
