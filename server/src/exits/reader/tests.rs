//! The reader executes each command, whatever its state is when the command is sent.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use self::fake::FakeKernel;
use super::*;
use crate::exits::Exits;
use crate::taskstats::{DelayAccounting, Drained, ExitSink, SelfTest, Stats, TaskId, Wake};

mod fake;
mod set_clock;

/// A longer wait has no end.
const DEADLINE: Duration = Duration::from_secs(20);
const CONFIG: ReaderConfig =
    ReaderConfig { pace: Duration::ZERO, receive_buffer: 0, grace: Duration::ZERO };

/// Its wait ends when it is woken, and for no other reason.
struct QuietListener {
    waker: Sender<()>,
    woken: Receiver<()>,
}

impl Wake for Sender<()> {
    fn wake(&self) {
        // A listener that has gone waits no more.
        self.send(()).unwrap_or_default();
    }
}

impl ExitListener for QuietListener {
    fn waker(&self) -> Box<dyn Wake> {
        Box::new(self.waker.clone())
    }

    fn open(&mut self, _cpu: u32) -> Result<(), KernelError> {
        Ok(())
    }

    fn close(&mut self, _cpu: u32, _sink: &mut dyn ExitSink) {}

    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), KernelError> {
        match timeout {
            Some(timeout) => drop(self.woken.recv_timeout(timeout)),
            None => self.woken.recv().unwrap(),
        }
        Ok(())
    }

    fn drain(&mut self, _depth: Depth, _sink: &mut dyn ExitSink) -> Drained {
        Drained::default()
    }

    fn keep(self: Box<Self>) -> Vec<KeptSocket> {
        Vec::new()
    }

    fn check_drops(&mut self, _sink: &mut dyn ExitSink) {}
}

/// The exits of a machine where no task exits, with a signal that its listener was requested, and one that
/// permits it to open.
fn quiet() -> (Exits, UnboundedReceiver<()>, Sender<()>) {
    let (asked, is_asked) = unbounded_channel();
    let (let_on, is_let_on) = channel();
    let is_let_on = Mutex::new(is_let_on);
    let kernel = FakeKernel {
        possible: (0..2).collect(),
        listen: Box::new(move || {
            asked.send(()).unwrap();
            is_let_on.lock().unwrap().recv().unwrap();
            let (waker, woken) = channel();
            Box::new(QuietListener { waker, woken })
        }),
        delay_accounting: Box::new(DelayAccounting::default),
    };
    (Exits::start(Arc::new(kernel), CONFIG, 1 << 16, Arc::default()).unwrap(), is_asked, let_on)
}

fn cpu(number: u32) -> Cpumask {
    [number].into_iter().collect()
}

/// The second watcher comes while the listener is made for the first one: there is no waker yet that
/// it could use, and nothing else ends the wait.
#[tokio::test]
async fn a_watcher_that_comes_while_listening_begins_is_served() {
    let (exits, mut is_asked, let_on) = quiet();
    let second = async {
        is_asked.recv().await.unwrap();
        let open = async { let_on.send(()).unwrap() };
        tokio::join!(biased; exits.claim(cpu(1)), open).0.unwrap()
    };
    let both = async { tokio::join!(exits.claim(cpu(0)), second) };
    let claims = tokio::time::timeout(DEADLINE, both).await.expect("both are served");
    assert_eq!(exits.watched_cpus(), (0..2).collect());
    drop(claims);
}

/// With no grace the listener goes and comes with the claims, so commands meet the reader resting,
/// opening, waiting and closing.
#[test]
fn no_command_is_left_behind_while_listeners_come_and_go() {
    const CALLERS: u32 = 4;
    const ROUNDS: u32 = 1000;
    let (exits, _is_asked, let_on) = quiet();
    (0..CALLERS * ROUNDS).for_each(|_| let_on.send(()).unwrap());
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let exits = &exits;
            scope.spawn(move || claim_often(exits, &cpu(caller % 2), ROUNDS));
        }
    });
    exits.stop();
    assert!(exits.watched_cpus().is_empty(), "every claim has ended");
}

#[tokio::main(flavor = "current_thread")]
async fn claim_often(exits: &Exits, cpus: &Cpumask, rounds: u32) {
    for _ in 0..rounds {
        let claim = tokio::time::timeout(DEADLINE, exits.claim(cpus.clone())).await;
        drop(claim.expect("every claim is answered").unwrap());
    }
}
