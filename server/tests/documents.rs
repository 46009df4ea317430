//! Checks that the documents name files, tests and links that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The directories of the workspace with sources and documents; documents are also beside them.
const DIRECTORIES: [&str; 5] = ["proto", "server", "client", "tests", "deploy"];
/// Directories below them that are not part of the repository.
const GENERATED: [&str; 2] = ["target", "node_modules"];
/// The suffixes of files whose names in documents are checked.
const SUFFIXES: [&str; 6] = [".rs", ".proto", ".py", ".go", ".sh", ".md"];
/// The prefix of the kernel's helpers for filters, which look like names of tests.
const KERNEL_HELPER: &str = "bpf_";
/// An identifier with this many underscores is the name of a test.
const UNDERSCORES_OF_A_TEST: usize = 3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("a directory entry").path());
    let is_generated = |path: &PathBuf| GENERATED.iter().any(|name| path.ends_with(name));
    let paths = paths.filter(|path| !is_generated(path));
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn files() -> Vec<PathBuf> {
    let root = root();
    let top =
        fs::read_dir(&root).expect("a directory").map(|entry| entry.expect("an entry").path());
    let below = DIRECTORIES.iter().flat_map(|name| files_below(&root.join(name)));
    top.filter(|path| path.is_file()).chain(below).collect()
}

fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(suffix))
}

/// Returns each document with its text.
fn documents(files: &[PathBuf]) -> impl Iterator<Item = (&Path, String)> {
    let documents = files.iter().filter(|path| has_suffix(path, ".md"));
    documents.map(|path| (path.as_path(), fs::read_to_string(path).expect("a document")))
}

/// Returns the text outside of blocks of code.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Returns the spans of code in a document's prose.
fn code_spans(text: &str) -> Vec<String> {
    prose(text).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns the paths that a span names: `a/{b,c}.rs` names two.
fn paths(span: &str) -> Vec<String> {
    let is_path =
        |character: char| character.is_ascii_alphanumeric() || "_./-{},".contains(character);
    if !SUFFIXES.iter().any(|suffix| span.ends_with(suffix)) || !span.chars().all(is_path) {
        return Vec::new();
    }
    let Some((before, rest)) = span.split_once('{') else { return vec![span.to_owned()] };
    let (choices, after) = rest.split_once('}').expect("a closing brace");
    choices.split(',').map(|choice| format!("{before}{choice}{after}")).collect()
}

fn is_test_name(span: &str) -> bool {
    let is_identifier = |character: char| character.is_ascii_lowercase() || character == '_';
    !span.starts_with(KERNEL_HELPER)
        && span.matches('_').count() >= UNDERSCORES_OF_A_TEST
        && span.chars().all(is_identifier)
}

/// Returns the targets of links inside the repository, without their anchors.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    targets.map(|target| target.split('#').next().unwrap_or(target).to_owned()).collect()
}

#[test]
fn documents_name_files_that_exist() {
    let files = files();
    for (document, text) in documents(&files) {
        for path in code_spans(&text).iter().flat_map(|span| paths(span)) {
            let exists = files.iter().any(|file| file.ends_with(&path));
            assert!(exists, "{} names {path}, which does not exist", document.display());
        }
    }
}

/// The table of modules in `ARCHITECTURE.md` is complete.
#[test]
fn the_architecture_names_every_module() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("a file");
    let (library, architecture) = (read("server/src/lib.rs"), read("ARCHITECTURE.md"));
    let modules = library.lines().filter(|line| !line.starts_with("//"));
    let modules = modules.filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'));
    let spans: BTreeSet<String> = code_spans(&architecture).into_iter().collect();
    for module in modules {
        assert!(spans.contains(module), "ARCHITECTURE.md does not name {module}");
    }
}

#[test]
fn documents_name_tests_that_exist() {
    let files = files();
    let sources = files.iter().filter(|path| has_suffix(path, ".rs"));
    let sources: String = sources.map(|path| fs::read_to_string(path).expect("a source")).collect();
    let functions = sources.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
    let functions: BTreeSet<&str> = functions.collect();
    for (document, text) in documents(&files) {
        for name in code_spans(&text).iter().filter(|span| is_test_name(span)) {
            let exists = functions.contains(name.as_str());
            assert!(exists, "{} names {name}, which does not exist", document.display());
        }
    }
}

#[test]
fn links_of_documents_have_targets() {
    let files = files();
    for (document, text) in documents(&files) {
        let directory = document.parent().expect("a directory");
        for target in links(&text) {
            let exists = directory.join(&target).exists();
            assert!(exists, "{} links to {target}, which does not exist", document.display());
        }
    }
}
