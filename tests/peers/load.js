// Calls the agent as fast as k6 can, watches exits meanwhile, and counts unexpected status codes.
//
// TARGET: host:port. PID: a process that lives as long as this runs.
import grpc from 'k6/net/grpc';
import { Counter } from 'k6/metrics';

const SERVICE = 'taskstats.v1.TaskstatsService';
// Above the kernel's limit (PID_MAX_LIMIT).
const NO_SUCH_TASK = 4194305;
// A stream is cancelled after so many messages.
const ENOUGH = 20;

const unexpected = new Counter('unexpected');
const calls = new Counter('calls');
const messages = new Counter('messages');
const streams = new Counter('streams');

export const options = {
  scenarios: {
    call: { executor: 'constant-vus', exec: 'call', vus: 4, duration: __ENV.DURATION },
    watch: { executor: 'constant-vus', exec: 'watch', vus: 2, duration: __ENV.DURATION },
  },
};

const pid = Number(__ENV.PID);
const MIX = [
  ['GetPid', { pid: pid }, grpc.StatusOK],
  ['GetTgid', { tgid: pid, include_threads: true }, grpc.StatusOK],
  ['BatchGet', { pids: [pid, NO_SUCH_TASK], tgids: [pid] }, grpc.StatusOK],
  ['GetNode', {}, grpc.StatusOK],
  ['GetPid', { pid: NO_SUCH_TASK }, grpc.StatusNotFound],
  ['GetPid', { pid: 0 }, grpc.StatusInvalidArgument],
];

const client = new grpc.Client();
let connected = false;

function connect() {
  if (!connected) {
    client.connect(__ENV.TARGET, { plaintext: true, reflect: true });
    connected = true;
  }
}

// k6 ends with a panic when two of its users register the types at once (grafana/k6, issue 3961): here one
// user registers them before the others begin.
export function setup() {
  connect();
  client.close();
}

function judge(what, code, expected) {
  if (code !== expected) {
    unexpected.add(1);
    console.error(`${what} ended with ${code} instead of ${expected}`);
  }
}

export function call() {
  connect();
  for (const [method, request, expected] of MIX) {
    const response = client.invoke(`${SERVICE}/${method}`, request);
    judge(method, response.status, expected);
    calls.add(1);
  }
  const health = client.invoke('grpc.health.v1.Health/Check', { service: SERVICE });
  judge('Check', health.status, grpc.StatusOK);
  calls.add(1);
}

export function watch() {
  // A connection for each stream: to close it is the only way that k6 has to give one up.
  client.connect(__ENV.TARGET, { plaintext: true, reflect: true });
  const stream = new grpc.Stream(client, `${SERVICE}/WatchExits`);
  let seen = 0;
  let over = false;
  stream.on('data', () => {
    messages.add(1);
    seen += 1;
    if (seen === ENOUGH) {
      over = true;
      client.close();
    }
  });
  stream.on('error', (error) => {
    // What it gives up itself is cancelled.
    if (!over) {
      judge('WatchExits', error.code, grpc.StatusOK);
    }
  });
  stream.on('end', () => client.close());
  stream.write({});
  streams.add(1);
}

export function handleSummary(data) {
  const count = (name) => (data.metrics[name] ? data.metrics[name].values.count : 0);
  const rate = (name) => (data.metrics[name] ? data.metrics[name].values.rate : 0);
  const summary = {
    calls: count('calls'),
    calls_per_second: rate('calls'),
    streams: count('streams'),
    messages: count('messages'),
    unexpected: count('unexpected'),
  };
  return { stdout: `${JSON.stringify(summary)}\n` };
}
