//! Texts of the documentation that the programs print.

use std::path::PathBuf;

use anyhow::{Context, Result};
use taskstats_tests::binaries::{self, WORKSPACE};
use taskstats_tests::peer::Peer;

/// The help of a program in its README is the help that the program prints.
#[tokio::test]
async fn the_documented_help_is_that_of_the_programs() -> Result<()> {
    let programs: [(&str, &str, PathBuf); 2] = [
        ("README.md", "taskstatsd", binaries::taskstatsd()?),
        ("client/README.md", "taskstatsctl", binaries::taskstatsctl()?),
    ];
    for (readme, name, program) in programs {
        let readme = std::fs::read_to_string(format!("{WORKSPACE}/{readme}"))?;
        let output = Peer::run(&program, ["--help"]).await?;
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{name}");
        assert_eq!(shown(&readme, name)?, output.stdout, "the README's help of {name} is old");
    }
    Ok(())
}

/// The fenced text between the marks of a program.
fn shown<'a>(readme: &'a str, name: &str) -> Result<&'a str> {
    let between = |text: &'a str, begin: &str, end: &str| {
        let (_, rest) = text.split_once(begin)?;
        Some(rest.split_once(end)?.0)
    };
    let (begin, end) = (format!("<!-- help:{name}:begin -->"), format!("<!-- help:{name}:end -->"));
    let block = between(readme, &begin, &end).with_context(|| format!("no help of {name}"))?;
    between(block, "```text\n", "```\n").with_context(|| format!("no text of {name}"))
}
