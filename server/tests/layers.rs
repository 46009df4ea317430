//! Checks the order of the modules and the places of `unsafe`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The only files with `unsafe`: system calls that no crate in use wraps, descriptors and variables that a
/// process receives from its parent.
const UNSAFE_FILES: [&str; 5] = [
    "bpf/syscall.rs",
    "netlink/socket.rs",
    "taskstats/linux/broker/syscall.rs",
    "inherit.rs",
    "program/environment.rs",
];
/// The roots of the two crates, which are no modules.
const ROOTS: [&str; 2] = ["lib", "main"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("a directory entry").path());
    let nested = paths.map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    nested.flatten().collect()
}

/// Returns the path below `src` and the text of every source file.
fn sources() -> Vec<(String, String)> {
    let root = source();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("a source file"))
    };
    files(&root).into_iter().map(read).collect()
}

/// Returns the modules in the order in which `lib.rs` declares them, lowest layer first.
fn layers() -> Vec<String> {
    let root = fs::read_to_string(source().join("lib.rs")).expect("lib.rs");
    let declared = |line: &str| {
        let (_, module) = line.split_once("mod ")?;
        module.strip_suffix(';').map(str::to_owned)
    };
    root.lines().filter(|line| !line.starts_with("//")).filter_map(declared).collect()
}

fn module_of(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

/// A module that `layers` does not find in `lib.rs` would be exempt from the order.
#[test]
fn every_source_file_belongs_to_a_layer() {
    let found: BTreeSet<_> = sources().iter().map(|(file, _)| module_of(file).to_owned()).collect();
    let declared = layers().into_iter().chain(ROOTS.map(str::to_owned)).collect();
    assert_eq!(found, declared);
}

#[test]
fn lower_modules_do_not_use_upper_ones() {
    let layers = layers();
    for (file, text) in sources() {
        assert!(!text.contains("use crate::{"), "{file}: name one module in each `use`");
        let module = module_of(&file);
        let Some(layer) = layers.iter().position(|layer| layer == module) else { continue };
        for upper in &layers[layer + 1..] {
            let used = format!("crate::{upper}");
            let is_path_end =
                |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            let uses = |line: &&str| line.split(&used).skip(1).any(is_path_end);
            assert_eq!(text.lines().find(uses), None, "{file} is below {upper}");
        }
    }
}

#[test]
fn unsafe_is_confined_to_small_system_call_modules() {
    for (file, text) in sources() {
        let has_unsafe = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn")
        });
        assert_eq!(has_unsafe, UNSAFE_FILES.contains(&file.as_str()), "{file}");
    }
}
