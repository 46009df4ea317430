// Command collector prints the exits of a node, and continues at its saved cursor after any restart.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	pb "collector/taskstats/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/encoding/protojson"
)

// watch prints exits until the stream fails.
func watch(agent pb.TaskstatsServiceClient, file string) error {
	deadline, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := agent.GetNode(deadline, &pb.GetNodeRequest{}); err != nil {
		return err
	}
	request, cursor := &pb.WatchExitsRequest{}, &pb.Cursor{}
	if saved, err := os.ReadFile(file); err == nil && protojson.Unmarshal(saved, cursor) == nil {
		request.ResumeAfter = cursor
	}
	stream, err := agent.WatchExits(context.Background(), request)
	for err == nil {
		message, failed := stream.Recv()
		if failed != nil {
			return failed
		}
		for _, exit := range message.GetEvents().GetEvents() {
			fmt.Println("exit", protojson.MarshalOptions{}.Format(exit))
		}
		if lost := message.GetLost(); lost != nil { // Without a count if the number cannot be known.
			fmt.Println("lost", protojson.MarshalOptions{}.Format(lost))
		}
		cursor = cmp.Or(message.GetStarted().GetCursor(), message.GetEvents().GetCursor(),
			message.GetLost().GetCursor(), message.GetHeartbeat().GetCursor(), cursor)
		if err = os.WriteFile(file+".new", []byte(protojson.Format(cursor)), 0o600); err == nil {
			err = os.Rename(file+".new", file)
		}
	}
	return err
}

func main() {
	// Notices after 15 s that the agent vanished. A stream without exits is silent for 10 s.
	alive := keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	agent, err := grpc.NewClient(os.Args[1], plain, grpc.WithKeepaliveParams(alive))
	for ; err == nil; time.Sleep(time.Second) {
		log.Print(watch(pb.NewTaskstatsServiceClient(agent), os.Args[2]))
	}
	log.Fatal(err)
}
