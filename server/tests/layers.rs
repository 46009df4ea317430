//! The order of the modules, and where `unsafe` may stand, hold by test and not by habit.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first: a module may use those before it, and none after.
const LAYERS: [&str; 20] = [
    "clocks",
    "telemetry",
    "worker",
    "netlink",
    "taskstats",
    "sim",
    "capture",
    "exits",
    "readiness",
    "security",
    "sandbox",
    "rpc",
    "inherit",
    "notify",
    "handover",
    "listen",
    "serve",
    "descriptors",
    "config",
    "doctor",
];

/// The only files with `unsafe`: system calls that no crate in use wraps.
const UNSAFE_FILES: [&str; 2] = ["netlink/socket.rs", "inherit.rs"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|it| it.expect("an entry").path());
    let nested = entries.map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    nested.flatten().collect()
}

/// Every source file with its path below `src` and its text.
fn sources() -> Vec<(String, String)> {
    let root = source();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("a source file"))
    };
    files(&root).into_iter().map(read).collect()
}

fn layer_of(file: &str) -> Option<usize> {
    let module = file.split(['/', '.']).next();
    LAYERS.iter().position(|layer| Some(*layer) == module)
}

#[test]
fn lower_modules_do_not_use_upper_ones() {
    for (file, text) in sources() {
        let Some(layer) = layer_of(&file) else { continue };
        for upper in LAYERS[layer + 1..].iter().chain(&["agent"]) {
            let used = format!("crate::{upper}");
            let line = text.lines().find(|line| line.contains(&used));
            assert_eq!(line, None, "{file} is below {upper}");
        }
    }
}

#[test]
fn unsafe_stands_in_small_system_call_modules_only() {
    for (file, text) in sources() {
        let has_unsafe = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn")
        });
        assert_eq!(has_unsafe, UNSAFE_FILES.contains(&file.as_str()), "{file}");
    }
}
