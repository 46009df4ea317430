// Calls the agent by grpc-js with its default options. It has no client for reflection, and reads the
// proto file.
//
// Usage: node peer.js PROTO_DIRECTORY TARGET PID
//
// Prints one JSON document a line: the statistics of PID, and each message of an exit stream until it
// is killed.
"use strict";

const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [directory, target, pid] = process.argv.slice(2);

const definition = loader.loadSync("taskstats/v1/taskstats.proto", {
  includeDirs: [directory],
  longs: String,
  enums: String,
  oneofs: true,
});
const { TaskstatsService } = grpc.loadPackageDefinition(definition).taskstats.v1;

function fail(error) {
  console.error(error.message);
  process.exit(1);
}

function show(document) {
  console.log(JSON.stringify(document));
}

const agent = new TaskstatsService(target, grpc.credentials.createInsecure());
agent.getPid({ pid: Number(pid) }, (error, task) => {
  if (error) {
    fail(error);
  }
  show({ task });
  const stream = agent.watchExits({});
  stream.on("data", (message) => show({ message }));
  stream.on("error", fail);
  stream.on("end", () => fail(new Error("the stream ended")));
});
