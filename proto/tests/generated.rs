//! The checked-in generated code is what the proto file gives.
//!
//! To renew it after a change of the contract: `BLESS=1 cargo test -p taskstats-proto`.

use std::path::{Path, PathBuf};
use std::{env, fs};

const PROTO: &str = "taskstats/v1/taskstats.proto";
const CODE: &str = "taskstats.v1.rs";
const SERVER_CODE: &str = "taskstats.v1.server.rs";
const DESCRIPTORS: &str = "taskstats.v1.bin";

/// Generates code and descriptors into `directory`, without protoc.
fn generate(directory: &Path) {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut compiler = protox::Compiler::new([root]).expect("the proto directory opens");
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file(PROTO).expect("the proto file compiles");
    // Reflection needs no comments; generated code does.
    let with_comments = compiler.file_descriptor_set();
    let mut bare = with_comments.clone();
    bare.file.iter_mut().for_each(|file| file.source_code_info = None);
    fs::write(directory.join(DESCRIPTORS), prost::Message::encode_to_vec(&bare)).expect("written");

    tonic_prost_build::configure()
        .out_dir(directory)
        .bytes(".taskstats.v1.TaskStats.unknown_tail")
        .boxed(".taskstats.v1.ExitEvent.process")
        .boxed(".taskstats.v1.ExitEvent.process_totals")
        .build_server(false)
        .compile_fds(with_comments.clone())
        .expect("messages and client are generated");

    // The agent encodes an exit once for all watchers, so its trait sends encoded messages.
    let server = tempfile::tempdir().expect("a temporary directory");
    tonic_prost_build::configure()
        .out_dir(server.path())
        .extern_path(".taskstats.v1.WatchExitsResponse", "crate::EncodedWatchExitsResponse")
        .extern_path(".taskstats.v1.GetPidResponse", "crate::EncodedGetPidResponse")
        .extern_path(".taskstats.v1", "crate::v1")
        .codec_path("crate::ReservingCodec")
        .build_client(false)
        .compile_fds(with_comments)
        .expect("the server is generated");
    fs::rename(server.path().join(CODE), directory.join(SERVER_CODE)).expect("renamed");
}

/// Where a generated file is checked in.
fn checked_in(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated").join(name)
}

#[test]
fn generated_code_is_current() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    generate(directory.path());
    for name in [CODE, SERVER_CODE, DESCRIPTORS] {
        let fresh = fs::read(directory.path().join(name)).expect("generated");
        if env::var_os("BLESS").is_some() {
            fs::write(checked_in(name), &fresh).expect("blessed");
        }
        let stored = fs::read(checked_in(name)).unwrap_or_default();
        assert!(fresh == stored, "{name} is stale: run BLESS=1 cargo test -p taskstats-proto");
    }
}
