//! The seeds of the fuzz targets, which tests replay without a fuzzer.

use std::fs;
use std::path::Path;

/// The seeds of one target, in `tests/fuzz/corpus`.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).expect("a folder of seeds");
    let seeds = entries.map(|entry| fs::read(entry.expect("an entry").path()).expect("a seed"));
    let seeds: Vec<_> = seeds.collect();
    assert!(!seeds.is_empty(), "{} has no seeds", folder.display());
    seeds
}
