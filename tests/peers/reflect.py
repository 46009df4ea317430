"""Calls the agent by grpcio with its default options, without generated code: reflection describes the
messages.

Usage: reflect.py TARGET PID

Prints one JSON document a line: the services of the reflection service, the code of a refused call, both
health checks, the statistics of PID, and each message of an exit stream until it is killed.
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SERVICE = "taskstats.v1.TaskstatsService"
DEADLINE_S = 60


class Reflected:
    """A service whose methods are found by reflection."""

    def __init__(self, channel, pool, name):
        self.channel = channel
        self.service = pool.FindServiceByName(name)

    def call(self, name, request):
        """Calls a method with a request given as a dictionary."""
        method = self.service.FindMethodByName(name)
        request_type = message_factory.GetMessageClass(method.input_type)
        response_type = message_factory.GetMessageClass(method.output_type)
        kind = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        callable_ = kind(
            f"/{self.service.full_name}/{name}",
            request_serializer=request_type.SerializeToString,
            response_deserializer=response_type.FromString,
        )
        deadline = None if method.server_streaming else DEADLINE_S
        return callable_(json_format.ParseDict(request, request_type()), timeout=deadline)


def show(**document):
    """Prints one line of JSON."""
    print(json.dumps(document), flush=True)


def check_health(channel):
    """Returns the health of the server and of the service, by name."""
    stub = health_pb2_grpc.HealthStub(channel)
    statuses = {}
    for name in ("", SERVICE):
        response = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE_S)
        statuses[name] = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    return statuses


def main(target, pid):
    """Calls everything in turn."""
    with grpc.insecure_channel(target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        show(services=list(database.get_services()))
        service = Reflected(channel, descriptor_pool.DescriptorPool(database), SERVICE)
        try:
            service.call("GetPid", {"pid": 0})
        except grpc.RpcError as error:
            show(refused=error.code().name, why=error.details())
        show(health=check_health(channel))
        show(task=json_format.MessageToDict(service.call("GetPid", {"pid": pid})))
        for message in service.call("WatchExits", {"scope": "SCOPE_PROCESSES"}):
            show(message=json_format.MessageToDict(message))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
