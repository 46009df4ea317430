//! The method by which exits are attributed to cgroups.

/// The value of `--attribution`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AttributionChoice {
    /// The best method that works here
    #[default]
    Auto,
    /// A socket filter in the kernel; the agent does not start without it
    Kernel,
    /// No attribution
    Off,
}
