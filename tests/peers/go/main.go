// Command peer calls the agent by grpc-go with its default options.
//
// Usage: peer TARGET PID
//
// It prints one JSON document a line: the services of the reflection service, the statistics of PID, and
// each message of an exit stream until it is killed.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "peer/taskstats/v1"
)

func services(agent *grpc.ClientConn) ([]string, error) {
	stream, err := reflection.NewServerReflectionClient(agent).ServerReflectionInfo(context.Background())
	if err != nil {
		return nil, err
	}
	list := &reflection.ServerReflectionRequest_ListServices{}
	if err := stream.Send(&reflection.ServerReflectionRequest{MessageRequest: list}); err != nil {
		return nil, err
	}
	response, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, service := range response.GetListServicesResponse().GetService() {
		names = append(names, service.Name)
	}
	return names, stream.CloseSend()
}

func show(key string, message proto.Message) {
	fmt.Printf("{%q: %s}\n", key, protojson.MarshalOptions{}.Format(message))
}

func run(target string, pid uint32) error {
	agent, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	names, err := services(agent)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string][]string{"services": names}); err != nil {
		return err
	}
	client := pb.NewTaskstatsServiceClient(agent)
	task, err := client.GetPid(context.Background(), &pb.GetPidRequest{Pid: pid})
	if err != nil {
		return err
	}
	show("task", task)
	stream, err := client.WatchExits(context.Background(), &pb.WatchExitsRequest{})
	if err != nil {
		return err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		show("message", message)
	}
}

func main() {
	pid, err := strconv.ParseUint(os.Args[2], 10, 32)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(run(os.Args[1], uint32(pid)))
}
