package peer;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.InsecureChannelCredentials;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.reflection.v1.ServerReflectionGrpc;
import io.grpc.reflection.v1.ServerReflectionRequest;
import io.grpc.reflection.v1.ServerReflectionResponse;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.unix.DomainSocketAddress;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import taskstats.v1.GetPidRequest;
import taskstats.v1.GetPidResponse;
import taskstats.v1.WatchExitsRequest;
import taskstats.v1.WatchExitsResponse;

/**
 * Calls the agent by grpc-java with its default options.
 *
 * <p>Usage: Peer SOCKET PID
 *
 * <p>Prints one JSON document a line: the services of the reflection service, the statistics of PID, and
 * each message of an exit stream until it is killed.
 */
public final class Peer {
  private Peer() {}

  private static void show(String key, Message message) throws InvalidProtocolBufferException {
    String json = JsonFormat.printer().omittingInsignificantWhitespace().print(message);
    System.out.printf("{\"%s\": %s}%n", key, json);
  }

  private static String services(Channel channel) {
    CompletableFuture<ServerReflectionResponse> response = new CompletableFuture<>();
    StreamObserver<ServerReflectionRequest> requests =
        ServerReflectionGrpc.newStub(channel)
            .serverReflectionInfo(
                new StreamObserver<>() {
                  @Override
                  public void onNext(ServerReflectionResponse value) {
                    response.complete(value);
                  }

                  @Override
                  public void onError(Throwable error) {
                    response.completeExceptionally(error);
                  }

                  @Override
                  public void onCompleted() {}
                });
    requests.onNext(ServerReflectionRequest.newBuilder().setListServices("").build());
    String names =
        response.join().getListServicesResponse().getServiceList().stream()
            .map(service -> '"' + service.getName() + '"')
            .collect(Collectors.joining(", "));
    requests.onCompleted();
    return names;
  }

  /** Describes a method, as generated stubs do. */
  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> method(
      MethodType type, String name, Q request, R response) {
    return MethodDescriptor.<Q, R>newBuilder()
        .setType(type)
        .setFullMethodName(
            MethodDescriptor.generateFullMethodName("taskstats.v1.TaskstatsService", name))
        .setRequestMarshaller(ProtoUtils.marshaller(request))
        .setResponseMarshaller(ProtoUtils.marshaller(response))
        .build();
  }

  public static void main(String[] arguments) throws Exception {
    Channel channel =
        NettyChannelBuilder.forAddress(
                new DomainSocketAddress(arguments[0]), InsecureChannelCredentials.create())
            .channelType(EpollDomainSocketChannel.class)
            .eventLoopGroup(new EpollEventLoopGroup())
            .build();
    System.out.printf("{\"services\": [%s]}%n", services(channel));
    var getPid =
        method(
            MethodType.UNARY,
            "GetPid",
            GetPidRequest.getDefaultInstance(),
            GetPidResponse.getDefaultInstance());
    var pid = GetPidRequest.newBuilder().setPid(Integer.parseInt(arguments[1])).build();
    show("task", ClientCalls.blockingUnaryCall(channel, getPid, CallOptions.DEFAULT, pid));
    var watchExits =
        method(
            MethodType.SERVER_STREAMING,
            "WatchExits",
            WatchExitsRequest.getDefaultInstance(),
            WatchExitsResponse.getDefaultInstance());
    var messages =
        ClientCalls.blockingServerStreamingCall(
            channel, watchExits, CallOptions.DEFAULT, WatchExitsRequest.getDefaultInstance());
    while (messages.hasNext()) {
      show("message", messages.next());
    }
  }
}
