//! What the exit path spends on one exit: decoding the kernel's record and encoding the event.
//!
//! `cargo bench -p taskstatsd --bench codec`. The `prost` lines encode the same event with the
//! generated types, for comparison.

use std::time::Duration;

use divan::{Bencher, black_box};
use prost::Message;
use taskstats_proto::v1;
use taskstatsd::encode::{HiddenFields, encode_event, remove_fields};
use taskstatsd::taskstats::{DelayAccounting, Exit, Provenance, Since, Stats, decode};

const VERSION: u16 = 16;
/// Size of the struct of [`VERSION`].
const SIZE: usize = 560;
/// 2026-11-22 in seconds since 1970: as long in a varint as any date of this century.
const NOW: Duration = Duration::from_secs(1_795_000_000);
/// Any sequence of an agent that has run for a day.
const SEQUENCE: u64 = 20_000_000;
/// Exits in a full chunk of the history.
const CHUNK_EVENTS: u64 = 256;
/// Turned on a while after the boot, the slowest case of judging what a record covers.
const ACCOUNTING: DelayAccounting = DelayAccounting::On(Since::Between {
    off_at: Some(Duration::from_secs(1_794_000_000)),
    on_at: Duration::from_secs(1_794_000_001),
});

/// A record that looks like that of a short-lived command: offset and value of its fields.
const FIELDS: [(usize, u64); 24] = [
    (16, 4),
    (24, 61_352),
    (64, 1_848_000),
    (72, 1_712_433),
    (120, 1000 | 1000 << 32),
    (128, 123_456 | 123_400 << 32),
    (136, 1_795_000_000),
    (144, 2_310),
    (152, 611),
    (160, 1_237),
    (168, 143),
    (200, 3_456),
    (208, 8_220),
    (216, 9_812),
    (224, 1_204),
    (232, 14),
    (240, 3),
    (272, 2),
    (280, 1),
    (304, 1_848_000),
    (344, 1_795_000_000),
    (368, 123_456),
    (376, 2_310),
    (384, 0xfd01),
];

fn main() {
    divan::main();
}

fn record() -> Vec<u8> {
    let mut record = vec![0; SIZE];
    record[..2].copy_from_slice(&VERSION.to_ne_bytes());
    record[8] = 0x20;
    record[80..84].copy_from_slice(b"true");
    for (offset, value) in FIELDS {
        record[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
    }
    record[392..400].copy_from_slice(&1_312_087_u64.to_ne_bytes());
    record[432..440].copy_from_slice(&40_112_u64.to_ne_bytes());
    record[440..448].copy_from_slice(&3_020_u64.to_ne_bytes());
    record
}

fn exit() -> Exit {
    let task = decode(&record(), Provenance::ExitedTask);
    Exit { cpu: 1, kernel_sequence: 1_000_000, task, ..Exit::default() }
}

fn event() -> v1::ExitEvent {
    let mut encoded = Vec::new();
    encode_event(&mut encoded, &exit(), SEQUENCE, NOW, ACCOUNTING);
    let mut events = v1::ExitEvents::decode(&*encoded).unwrap_or_default().events;
    println!("an event has {} bytes, {} of prost", encoded.len(), events[0].encoded_len());
    events.swap_remove(0)
}

#[divan::bench]
fn decode_task(bencher: Bencher<'_, '_>) {
    let record = record();
    bencher.bench_local(|| decode(black_box(&record), Provenance::ExitedTask));
}

#[divan::bench]
fn decode_group(bencher: Bencher<'_, '_>) {
    let record = record();
    let provenance = Provenance::LiveGroup { tgid: 1 };
    bencher.bench_local(|| decode(black_box(&record), provenance));
}

#[divan::bench]
fn encode_by_hand(bencher: Bencher<'_, '_>) {
    let exit = exit();
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        encode_event(&mut out, black_box(&exit), SEQUENCE, NOW, ACCOUNTING);
        black_box(out.len())
    });
}

#[divan::bench]
fn encode_by_prost(bencher: Bencher<'_, '_>) {
    let event = event();
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        black_box(&event).encode(&mut out).map(|()| out.len())
    });
}

/// The exits of a full chunk, encoded.
fn chunk() -> Vec<u8> {
    let mut encoded = Vec::new();
    for sequence in SEQUENCE..SEQUENCE + CHUNK_EVENTS {
        encode_event(&mut encoded, &exit(), sequence, NOW, ACCOUNTING);
    }
    encoded
}

/// Removes the fields of `--redact comm,io` from the bytes of a chunk.
#[divan::bench]
fn redact_chunk_bytes(bencher: Bencher<'_, '_>) {
    let chunk = chunk();
    let hidden = HiddenFields { comm: true, io: true, ..HiddenFields::default() };
    bencher.bench_local(|| {
        let mut out = Vec::with_capacity(chunk.len());
        remove_fields(black_box(&chunk), hidden, &mut out).map(|()| out.len())
    });
}

/// Decodes a chunk into messages, removes the same fields, and encodes it again.
#[divan::bench]
fn redact_chunk_messages(bencher: Bencher<'_, '_>) {
    let chunk = chunk();
    bencher.bench_local(|| {
        let mut events = v1::ExitEvents::decode(black_box(&*chunk)).unwrap_or_default();
        for task in events.events.iter_mut().filter_map(|event| event.task.as_mut()) {
            task.io = None;
            task.identity.iter_mut().for_each(|identity| identity.comm = None);
        }
        events.encode_to_vec().len()
    });
}

/// The cost of one exit from the kernel's bytes to those of a watcher.
#[divan::bench]
fn decode_and_encode(bencher: Bencher<'_, '_>) {
    let record = record();
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        let task: Stats = decode(black_box(&record), Provenance::ExitedTask);
        let exit = Exit { cpu: 1, kernel_sequence: 1_000_000, task, ..Exit::default() };
        encode_event(&mut out, &exit, SEQUENCE, NOW, ACCOUNTING);
        black_box(out.len())
    });
}
