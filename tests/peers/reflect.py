"""Speaks to the agent knowing nothing but the names of its service and methods.

Usage: reflect.py TARGET PID

Prints one JSON document a line: what reflection lists, the account of PID, both health checks, and
then every message of an exit stream until it is killed.
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
# By itself grpcio sends the escaped path of a unix socket as the authority, which is no authority,
# and which the agent's HTTP/2 library refuses (hyperium/h2#487, grpc/grpc#38142).
OPTIONS = (("grpc.default_authority", "localhost"),)


class Reflected:
    """A service whose methods are found by reflection."""

    def __init__(self, channel, pool, name):
        self.channel = channel
        self.service = pool.FindServiceByName(name)

    def call(self, name, request):
        """Calls a method with a request given as a dictionary."""
        method = self.service.FindMethodByName(name)
        request_type = message_factory.GetMessageClass(method.input_type)
        answer_type = message_factory.GetMessageClass(method.output_type)
        kind = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        callable_ = kind(
            f"/{self.service.full_name}/{name}",
            request_serializer=request_type.SerializeToString,
            response_deserializer=answer_type.FromString,
        )
        deadline = None if method.server_streaming else DEADLINE_S
        return callable_(json_format.ParseDict(request, request_type()), timeout=deadline)


def tell(**document):
    """Prints one line of JSON."""
    print(json.dumps(document), flush=True)


def check_health(channel):
    """Returns the health of the server and of the service, by name."""
    stub = health_pb2_grpc.HealthStub(channel)
    statuses = {}
    for name in ("", SERVICE):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE_S)
        statuses[name] = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return statuses


def main(target, pid):
    """Calls everything in turn."""
    with grpc.insecure_channel(target, options=OPTIONS) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        tell(services=list(database.get_services()))
        service = Reflected(channel, descriptor_pool.DescriptorPool(database), SERVICE)
        tell(task=json_format.MessageToDict(service.call("GetPid", {"pid": pid})))
        try:
            service.call("GetPid", {"pid": 0})
        except grpc.RpcError as error:
            tell(refused=error.code().name, why=error.details())
        tell(health=check_health(channel))
        for message in service.call("WatchExits", {"scope": "SCOPE_PROCESSES"}):
            tell(message=json_format.MessageToDict(message))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
