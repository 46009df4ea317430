//! The taskstatsd agent: arguments, agent, signals, end.

use std::convert::Infallible;
use std::io;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use sd_notify::NotifyState;
use taskstatsd::agent::{self, Agent, Drained, Failure, StartError};
use taskstatsd::capacity;
use taskstatsd::capture::{self, RecordError, Recorder};
use taskstatsd::config::{Args, CaptureArgs, Command, Config, ConfigError, DoctorArgs};
use taskstatsd::doctor;
use taskstatsd::inherit::{self, Inherited};
use taskstatsd::notify;
use taskstatsd::sandbox::SandboxError;
use taskstatsd::telemetry::{self, LogFormat};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What a shell sees when the deadline or a second signal cut something off.
const CUT_OFF: u8 = 1;
/// What a shell sees of a setting that cannot be used, as of an unknown flag.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let matches = Args::command().get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let format = args.log_format;
    match args.command.clone() {
        None => report(run(args), format),
        Some(Command::Doctor(asked)) => report(examine(args, asked), format),
        Some(Command::Capture(asked)) => report(record(&args, asked, &matches), format),
    }
}

/// Tells why it ended, in the form of the log's lines: who reads those reads this.
fn report(outcome: anyhow::Result<ExitCode>, format: LogFormat) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            telemetry::report_fatal(&explain(&error), format);
            let usage = error.downcast_ref::<ConfigError>().is_some()
                || matches!(
                    error.downcast_ref(),
                    Some(
                        StartError::AlwaysWatch(_)
                            | StartError::Config(_)
                            | StartError::Sandbox(SandboxError::User(_))
                    )
                )
                || matches!(error.downcast_ref(), Some(RecordError::Cpus(_)));
            if usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let inherited = inherit::take().context("the service manager's LISTEN_FDS is malformed")?;
    log(&args)?;
    raise_descriptors();
    let config = Config::try_from(args)?;
    let runtime = agent::runtime().context("starting the runtime failed")?;
    let outcome = runtime.block_on(serve(config, inherited));
    // Calls that still run in the kernel do not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// Tells what is right and wrong with the machine.
fn examine(args: Args, asked: DoctorArgs) -> anyhow::Result<ExitCode> {
    DoctorArgs::check(&args)?;
    Ok(doctor::run(args, asked))
}

/// Begins to log to standard error.
fn log(args: &Args) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| ConfigError::Log {
        filter: args.log.clone(),
        reason: error.to_string(),
    })?;
    telemetry::start_log(filter, args.log_format);
    Ok(())
}

/// Takes as many descriptors as it may. Afterwards the sandbox lets nobody change a limit.
fn raise_descriptors() {
    if let Err(error) = capacity::raise_fd_limit() {
        tracing::warn!(%error, "the limit of open files stays low: setrlimit(RLIMIT_NOFILE) failed");
    }
}

/// The error and its causes, but for those that it has told already.
fn explain(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

async fn serve(config: Config, inherited: Vec<Inherited>) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::install().context("installing signal handlers failed")?;
    let bound = Agent::bind(config, inherited).await?;
    let mut running = bound.confine()?.start().await?;
    tell(&[NotifyState::Ready]);
    let unavailable = tokio::select! {
        () = signals.recv() => None,
        never = ping_watchdog() => match never {},
        failure = running.failed() => match failure {
            Failure::Broken(reason) => anyhow::bail!("serving ended: {reason}"),
            Failure::ExitsUnavailable(error) => Some(error),
        },
    };
    tell(&[NotifyState::Stopping]);
    tracing::info!("draining; a second signal ends at once");
    let in_flight = running.in_flight();
    let drained = tokio::select! {
        drained = running.drain() => drained,
        never = ping_watchdog() => match never {},
        () = signals.recv() => {
            tracing::warn!("cut off what had not ended at the second signal: {in_flight}");
            Drained::CutOff
        }
    };
    if let Some(error) = unavailable {
        return Err(StartError::FailFast(error).into());
    }
    match drained {
        Drained::Complete => {
            tracing::info!("drained");
            Ok(ExitCode::SUCCESS)
        }
        Drained::CutOff => Ok(ExitCode::from(CUT_OFF)),
    }
}

/// Takes a capture, until its time is over or a signal asks for its end.
fn record(args: &Args, asked: CaptureArgs, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    CaptureArgs::check_flags(matches)?;
    log(args)?;
    raise_descriptors();
    let plan = asked.plan(args)?;
    let runtime = agent::runtime().context("starting the runtime failed")?;
    let recorded = runtime.block_on(async {
        let mut signals = Signals::install().context("installing signal handlers failed")?;
        let recorder = Recorder::prepare(&plan)?;
        eprintln!("taskstatsd: capturing the exits of CPUs {}", recorder.header().cpus);
        anyhow::Ok(capture::record(recorder, async || signals.recv().await).await?)
    });
    // A thread that is blocked in a write does not hold up the end.
    runtime.shutdown_background();
    let capture::CaptureTotals { exits, replies, dropped } = recorded?;
    eprintln!("taskstatsd: captured exits: {exits}, replies: {replies}; lost exits: {dropped}");
    Ok(ExitCode::SUCCESS)
}

/// The signals that ask for an end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells the service manager that the event loop runs, at half of the time after which it would take
/// it for dead. Without a watchdog (`WatchdogSec=`), it does nothing and never wakes. It does not end.
async fn ping_watchdog() -> Infallible {
    let Some(longest) = sd_notify::watchdog_enabled().filter(|longest| !longest.is_zero()) else {
        return std::future::pending().await;
    };
    let mut interval = tokio::time::interval(longest / 2);
    loop {
        interval.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

/// Tells the service manager, if there is one.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify::send(state) {
        tracing::warn!(%error, "telling the service manager failed");
    }
}
