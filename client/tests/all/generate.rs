//! `taskstatsctl generate` and `taskstatsctl completions`, by running the binary.

use std::fs;

use crate::command::{taskstatsctl, text};

#[tokio::test]
async fn a_completion_script_needs_no_agent() {
    let output = taskstatsctl("/nowhere", &["completions", "bash"]).output().await.unwrap();
    assert!(text(&output.stdout).contains("_taskstatsctl()"));
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn every_man_page_and_completion_script_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let share = directory.path().join("share");
    let arguments = ["generate", share.to_str().unwrap()];
    let output = taskstatsctl("/nowhere", &arguments).output().await.unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let mut pages: Vec<_> = fs::read_dir(share.join("man/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let names =
        ["completions", "generate", "get-pid", "get-tgid", "get", "health", "node", "watch"];
    let expected = names.map(|name| format!("taskstatsctl-{name}.1"));
    assert_eq!(pages, [&expected[..], &["taskstatsctl.1".to_owned()]].concat());
    let watch = fs::read_to_string(share.join("man/man1/taskstatsctl-watch.1")).unwrap();
    assert!(watch.contains(".TH taskstatsctl-watch 1"), "{watch}");
    assert!(watch.contains("heartbeat"), "{watch}");
    for script in [
        "bash-completion/completions/taskstatsctl",
        "fish/vendor_completions.d/taskstatsctl.fish",
        "zsh/site-functions/_taskstatsctl",
    ] {
        assert!(fs::read_to_string(share.join(script)).unwrap().contains("taskstatsctl"));
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let output = taskstatsctl("/nowhere", &["generate", "/dev/null"]).output().await.unwrap();
    assert!(text(&output.stderr).contains("writing /dev/null/man/man1/taskstatsctl.1 failed: "));
    assert_eq!(output.status.code(), Some(1));
}
