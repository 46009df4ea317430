//! The seeds of the fuzz targets, which tests replay without a fuzzer.

use std::fs;
use std::path::Path;

/// Returns the seeds of one target, from `tests/fuzz/corpus`.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).expect("a directory of seeds");
    let seeds = entries.map(|entry| fs::read(entry.expect("an entry").path()).expect("a seed"));
    let seeds: Vec<_> = seeds.collect();
    assert!(!seeds.is_empty(), "{} has no seeds", directory.display());
    seeds
}
