//! Texts of the documentation that the programs print.

use std::path::PathBuf;

use anyhow::{Context, Result};
use taskstats_tests::binaries::{self, WORKSPACE};
use taskstats_tests::peer::Peer;

/// Set to write the help into the READMEs instead of comparing it.
const UPDATE: &str = "BLESS";

/// The help of each program in its README is what the program prints.
#[tokio::test]
async fn the_documented_help_is_that_of_the_programs() -> Result<()> {
    let programs: [(&str, &str, PathBuf); 2] = [
        ("server/README.md", "taskstatsd", binaries::taskstatsd()?),
        ("client/README.md", "taskstatsctl", binaries::taskstatsctl()?),
    ];
    for (readme, name, program) in programs {
        let said = Peer::run(&program, ["--help"]).await?;
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{name}");
        let path = format!("{WORKSPACE}/{readme}");
        let text = std::fs::read_to_string(&path)?;
        let shown = shown(&text, name)?;
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(path, text.replacen(shown, &said.stdout, 1))?;
            continue;
        }
        assert_eq!(shown, said.stdout, "run this test with {UPDATE}=1 to update {readme}");
    }
    Ok(())
}

/// Returns the fenced text between the marks of a program.
fn shown<'a>(readme: &'a str, name: &str) -> Result<&'a str> {
    let between = |text: &'a str, begin: &str, end: &str| {
        let (_, rest) = text.split_once(begin)?;
        Some(rest.split_once(end)?.0)
    };
    let (begin, end) = (format!("<!-- help:{name}:begin -->"), format!("<!-- help:{name}:end -->"));
    let block = between(readme, &begin, &end).with_context(|| format!("no help of {name}"))?;
    between(block, "```text\n", "```\n").with_context(|| format!("no text of {name}"))
}
